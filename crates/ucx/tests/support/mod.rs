//! Libraries, connections and other processes for tests.
#![allow(clippy::expect_used, clippy::panic, dead_code)]

use std::{
    cell::Cell,
    io::{BufRead, BufReader},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use arrowlane_conformance::transport::{Got, Seen};
use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Listener, Transport, TransportError};
use arrowlane_ucx::{Options, Search, UcxTransport};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, kill_process},
};
use url::Url;

/// The system's library; where it has none and that is no failure, the newest.
pub fn system() -> Search {
    let installed =
        ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
    let installed = installed.iter().map(|folder| Path::new(folder).join("libucp.so.0")).find(|file| file.exists());
    match installed {
        Some(file) => Search { explicit: Some(file), bundled: None },
        None => instead("the system has no libucp.so.0 (Debian: apt install libucx0)", wheel()),
    }
}

/// The libraries of the libucx-cu12 wheel: in the folder that ARROWLANE_UCX_NEWEST names, else beside the packages of ARROWLANE_PYTHON, where `npm test`
/// installs it. Where there are none and that is no failure, the system's.
pub fn newest() -> Search {
    match wheel() {
        Some(folder) => Search { explicit: Some(folder), bundled: None },
        None => instead(
            "the newest library is missing (`npm test` installs the libucx-cu12 wheel)",
            Some("libucp.so.0".into()),
        ),
    }
}

fn wheel() -> Option<PathBuf> {
    let named = std::env::var_os("ARROWLANE_UCX_NEWEST").map(PathBuf::from);
    let installed = || {
        let program = "import importlib.util; print(importlib.util.find_spec('libucx').submodule_search_locations[0])";
        let output = Command::new(std::env::var_os("ARROWLANE_PYTHON")?).args(["-c", program]).output().ok()?;
        let folder = String::from_utf8(output.stdout).ok()?;
        Some(Path::new(folder.trim()).join("lib")).filter(|_| output.status.success())
    };
    named.or_else(installed).filter(|folder| folder.join("libucp.so.0").exists())
}

/// What is used where a library is missing, unless that is a failure.
fn instead(missing: &str, other: Option<PathBuf>) -> Search {
    assert!(std::env::var_os("CI").is_none(), "{missing}");
    println!("{missing}: another one is tested instead");
    Search { explicit: other, bundled: None }
}

pub fn transport() -> UcxTransport {
    UcxTransport::new(Options { search: crate::search(), ..Options::default() })
}

/// Tests that count run beside no other. The others need not ask.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock()
}

/// Waits until something is so; a minute at most.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < deadline, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until one of them polls readable, or for a second: as those do that drive endpoints, who beat once a second. Not when
/// nothing has happened for a minute.
pub fn wait(descriptors: &[BorrowedFd<'_>]) {
    thread_local!(static IDLE: Cell<u32> = const { Cell::new(0) });
    let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let beat = Timespec { tv_sec: 1, tv_nsec: 0 };
    let ready = poll(&mut polled, Some(&beat)).expect("poll") > 0;
    let idle = if ready { 0 } else { IDLE.get() + 1 };
    IDLE.set(idle);
    assert!(idle < 60, "nothing happened for a minute");
}

fn readable(end: &dyn Endpoint) -> bool {
    is_readable(end.descriptor())
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).expect("poll") > 0
}

pub fn listen(transport: &UcxTransport) -> Box<dyn Listener> {
    transport.listen(&Url::parse("ucx://127.0.0.1:0").expect("a URL")).expect("a listener")
}

pub fn uri(listener: &dyn Listener) -> DataUri {
    let uri = DataUri::parse(&format!("{}?want_data=1&want_data_ext=2", listener.address())).expect("a URI");
    DataUri { extra: listener.parameters(), ..uri }
}

/// The next connection, after its first message.
pub fn accept(listener: &mut dyn Listener) -> Box<dyn Endpoint> {
    let mut server = loop {
        wait(&[listener.descriptor()]);
        if let Some(server) = listener.accept().expect("accepting") {
            break server;
        }
    };
    let mut seen = Seen::default();
    while seen.messages.is_empty() {
        wait(&[server.descriptor()]);
        server.receive(1 << 20, &mut seen).expect("received");
    }
    server
}

/// Sends so many bytes in bodies, and waits until they are taken. A peer that has all that it wants may be gone by then; what it says counts.
pub fn flow(server: &mut dyn Endpoint, bytes: usize) {
    server.body(u64::MAX, vec![Bytes::from(vec![3; bytes])]);
    while !server.flush().expect("sent") {
        wait(&[server.descriptor()]);
        match server.receive(1 << 20, &mut Seen::default()) {
            Err(TransportError::Closed) => return,
            received => drop(received.expect("received")),
        }
    }
}

/// A connection: the server's end and the client's, whose greeting was read.
pub fn connect(transport: &UcxTransport, listener: &mut dyn Listener) -> (Box<dyn Endpoint>, Box<dyn Endpoint>) {
    let uri = uri(listener);
    let mut client = transport.connect(&uri).expect("an endpoint");
    let mut server: Option<Box<dyn Endpoint>> = None;
    let (mut at_client, mut at_server) = (Seen::default(), Seen::default());
    while at_client.messages.is_empty() {
        wait(&[client.descriptor(), server.as_ref().map_or(listener.descriptor(), |server| server.descriptor())]);
        client.receive(1 << 20, &mut at_client).expect("connecting");
        match &mut server {
            None => server = listener.accept().expect("accepting"),
            Some(server) => {
                server.receive(1 << 20, &mut at_server).expect("connecting");
            }
        }
    }
    assert_eq!(at_client.messages, [Got::Greeting(uri.to_string())]);
    let mut server = server.expect("it was accepted before");
    // What is left of the handshake: an answer to a message that makes the way once is behind all of it.
    client.tagged(1, &[b"there"]);
    server.tagged(1, &[b"back"]);
    loop {
        let flushed = client.flush().expect("sent") && server.flush().expect("sent");
        if flushed && !at_server.messages.is_empty() && at_client.messages.len() > 1 {
            break;
        }
        if flushed {
            wait(&[client.descriptor(), server.descriptor()]);
        }
        server.receive(1 << 20, &mut at_server).expect("received");
        client.receive(1 << 20, &mut at_client).expect("received");
    }
    while readable(&*server) || readable(&*client) {
        server.receive(1 << 20, &mut at_server).expect("connecting");
        client.receive(1 << 20, &mut at_client).expect("connecting");
    }
    (server, client)
}

pub fn pair() -> (Box<dyn Endpoint>, Box<dyn Endpoint>) {
    let transport = transport();
    connect(&transport, &mut *listen(&transport))
}

/// The example `ucx_peer` in a process of its own; killed when it is dropped.
pub struct Peer {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Peer {
    pub fn start(arguments: &[&str], search: &Search) -> Self {
        let test = std::env::current_exe().expect("a path");
        let program = test.parent().and_then(Path::parent).expect("a folder").join("examples/ucx_peer");
        assert!(
            program.exists(),
            "{} is missing; run `cargo test -p arrowlane-ucx` without --test, or `cargo build -p arrowlane-ucx --examples` first",
            program.display()
        );
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        if let Some(library) = &search.explicit {
            command.env("ARROWLANE_UCX_LIBRARY", library);
        }
        let mut child = command.spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self { child, output }
    }

    /// The next line of its output.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("its output");
        assert!(!line.is_empty(), "the other process ended: {:?}", self.child.wait());
        line.trim().into()
    }

    /// The next line of its output, while `end` goes on: what was flushed may still lie in a buffer of UCX's that only its driver empties.
    pub fn line_beside(&mut self, end: &mut dyn Endpoint) -> String {
        while self.output.buffer().is_empty() {
            wait(&[end.descriptor(), self.output.get_ref().as_fd()]);
            if is_readable(self.output.get_ref().as_fd()) || end.receive(1 << 20, &mut Seen::default()).is_err() {
                break;
            }
        }
        self.line()
    }

    /// How many descriptors and bytes of memory it has.
    pub fn holds(&self) -> (usize, usize) {
        let folder = format!("/proc/{}", self.child.id());
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
        (std::fs::read_dir(format!("{folder}/fd")).expect("it runs").count(), kibibytes << 10)
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("it runs");
    }

    pub fn stop(&mut self) {
        self.signal(Signal::STOP);
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended by itself
        let _ = self.child.wait();
    }
}

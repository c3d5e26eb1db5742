//! The other process of the tests: a server or clients with a library of their own (ARROWLANE_UCX_LIBRARY).
//!
//!     ucx_peer serve              prints its URI; each connection is served as its first tagged message says
//!     ucx_peer exchange URI       sends and receives `mixed`, checks it, and prints the library's version
//!     ucx_peer take URI BYTES     takes bodies of so many bytes, prints what came
//!     ucx_peer idle URI COUNT     connects so often and prints "ready", then waits for the end of its input
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../tests/support/mixed.rs"]
mod mixed;

use std::{
    io::Read,
    os::fd::{AsFd, BorrowedFd},
};

use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Inbox, Progress, Transport, TransportError};
use arrowlane_ucx::UcxTransport;
use bytes::Bytes;
use mixed::{Mixed, mixed, send};
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use url::Url;

/// Bytes of a body of `flood`.
const FLOOD: usize = 1 << 20;

fn main() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve"] => serve(),
        ["exchange", uri] => exchange(uri),
        ["take", uri, bytes] => take(uri, bytes.parse().expect("a number")),
        ["idle", uri, count] => idle(uri, count.parse().expect("a number")),
        _ => panic!("see the head of the source"),
    }
}

/// Waits for one of them; `false` when standard input ended.
fn wait(descriptors: &[BorrowedFd<'_>]) -> bool {
    let stdin = std::io::stdin();
    let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    polled.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
    poll(&mut polled, None).expect("poll");
    let ended = !polled.last().expect("stdin").revents().is_empty();
    !(ended && matches!(std::io::stdin().read(&mut [0; 16]), Ok(0)))
}

#[derive(Default)]
struct Seen {
    command: Option<String>,
    mixed: Mixed,
    greeted: bool,
    bytes: usize,
    commanded: bool,
}

impl Inbox for Seen {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        self.greeted = true;
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.mixed.check(None, bytes);
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        if self.commanded && self.command.is_none() {
            self.command = Some(String::from_utf8_lossy(body).into_owned());
            return Ok(());
        }
        self.bytes += body.len();
        if tag != u64::MAX {
            self.mixed.check(Some(tag), body);
        }
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

fn serve() {
    let transport = UcxTransport::default();
    let mut listener = transport.listen(&Url::parse("ucx://127.0.0.1:0").expect("a URL")).expect("a listener");
    let parameters: String = listener.parameters().iter().map(|(name, value)| format!("&{name}={value}")).collect();
    println!("{}?want_data=1{parameters}", listener.address());
    let mut connections: Vec<(Box<dyn Endpoint>, Seen)> = Vec::new();
    loop {
        let mut descriptors = vec![listener.descriptor()];
        descriptors.extend(connections.iter().map(|(end, _)| end.descriptor()));
        if !wait(&descriptors) {
            return;
        }
        while let Some(end) = listener.accept().expect("accepting") {
            connections.push((end, Seen { commanded: true, ..Seen::default() }));
        }
        connections.retain_mut(|(end, seen)| serve_one(&mut **end, seen));
    }
}

/// `false`: it is over.
fn serve_one(end: &mut dyn Endpoint, seen: &mut Seen) -> bool {
    let before = seen.command.is_some();
    let open = end.receive(1 << 24, seen);
    match seen.command.as_deref() {
        Some("exchange") if !before => mixed().iter().for_each(|message| send(end, message)),
        Some("flood") => {
            while end.queued() < 16 * FLOOD {
                end.body(u64::MAX, vec![Bytes::from(vec![1; FLOOD])]);
                if end.flush().is_err() {
                    break;
                }
            }
        }
        _ => {}
    }
    let flushed = end.flush();
    // Whoever exchanges goes first; then all of it came.
    if open.is_err() && seen.command.as_deref() == Some("exchange") {
        seen.mixed.assert_complete();
        println!("exchanged");
    }
    open.is_ok() && flushed.is_ok()
}

fn connect(uri: &str) -> (Box<dyn Endpoint>, Seen) {
    let uri = DataUri::parse(uri).expect("a URI");
    let mut end = UcxTransport::default().connect(&uri).expect("an endpoint");
    let mut seen = Seen::default();
    while !seen.greeted {
        assert!(wait(&[end.descriptor()]), "whoever started this is gone");
        end.receive(1, &mut seen).expect("connecting");
    }
    (end, seen)
}

fn exchange(uri: &str) {
    let (mut end, mut seen) = connect(uri);
    end.tagged(1, &[b"exchange"]);
    mixed().iter().for_each(|message| send(&mut *end, message));
    loop {
        let flushed = end.flush().expect("sent");
        if flushed && seen.mixed.is_complete() {
            break;
        }
        assert!(wait(&[end.descriptor()]), "whoever started this is gone");
        while end.receive(1 << 24, &mut seen).expect("received") == Progress::More {}
    }
    println!("{}", UcxTransport::default().probe().expect("loaded").version);
}

fn take(uri: &str, bytes: usize) {
    let (mut end, mut seen) = connect(uri);
    end.tagged(1, &[b"take"]);
    end.flush().expect("sent");
    while seen.bytes < bytes {
        assert!(wait(&[end.descriptor()]), "whoever started this is gone");
        end.receive(1 << 24, &mut seen).expect("received");
    }
    println!("{}", seen.bytes);
}

fn idle(uri: &str, count: usize) {
    let mut ends: Vec<_> = (0..count).map(|_| connect(uri)).collect();
    for (end, _) in &mut ends {
        end.tagged(1, &[b"idle"]);
        end.flush().expect("sent");
    }
    println!("ready");
    loop {
        let descriptors: Vec<_> = ends.iter().map(|(end, _)| end.descriptor()).collect();
        if !wait(&descriptors) {
            return;
        }
        for (end, seen) in &mut ends {
            end.receive(1 << 20, seen).expect("the server holds it");
        }
    }
}

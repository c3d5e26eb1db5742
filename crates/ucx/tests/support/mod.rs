//! Connections for tests.

use std::time::Duration;

use arrowlane_conformance::transport::{Got, Seen};
use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Listener, Transport};
use arrowlane_ucx::UcxTransport;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use url::Url;

/// Waits until one of them polls readable, for a minute at most.
pub fn wait(descriptors: &[std::os::fd::BorrowedFd<'_>]) {
    let mut polled: Vec<_> = descriptors.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert!(poll(&mut polled, Some(&minute)).expect("poll") > 0, "nothing happened for a minute");
}

/// Whether it polls readable.
pub fn readable(end: &dyn Endpoint) -> bool {
    let descriptor = end.descriptor();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).expect("poll") > 0
}

pub fn listen(transport: &UcxTransport) -> Box<dyn Listener> {
    transport.listen(&Url::parse("ucx://127.0.0.1:0").expect("a URL")).expect("a listener")
}

pub fn uri(listener: &dyn Listener) -> DataUri {
    DataUri::parse(&format!("{}?want_data=1&want_data_ext=2", listener.address())).expect("a URI")
}

/// A connection: the server's end and the client's, whose greeting was read.
pub fn connect(transport: &UcxTransport, listener: &mut dyn Listener) -> (Box<dyn Endpoint>, Box<dyn Endpoint>) {
    let uri = uri(listener);
    let mut client = transport.connect(&uri).expect("an endpoint");
    let mut server = None;
    let (mut at_client, mut at_server) = (Seen::default(), Seen::default());
    while at_client.messages.is_empty() {
        let mut descriptors = vec![client.descriptor()];
        match &server {
            None => descriptors.push(listener.descriptor()),
            Some(server) => descriptors.push(Box::<dyn Endpoint>::as_ref(server).descriptor()),
        }
        wait(&descriptors);
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
    // What is left of the handshake.
    std::thread::sleep(Duration::from_millis(10));
    while readable(&*server) || readable(&*client) {
        server.receive(1 << 20, &mut at_server).expect("connecting");
        client.receive(1 << 20, &mut at_client).expect("connecting");
    }
    (server, client)
}

pub fn pair() -> (Box<dyn Endpoint>, Box<dyn Endpoint>) {
    let transport = UcxTransport::default();
    connect(&transport, &mut *listen(&transport))
}

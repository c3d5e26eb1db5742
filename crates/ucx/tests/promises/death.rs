//! Peers that are killed.

use arrowlane_conformance::transport::Seen;
use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Transport, TransportError};
use bytes::Bytes;

use crate::support::{self, Peer};

/// Receives until the end.
fn end_of(end: &mut dyn Endpoint) -> TransportError {
    let mut seen = Seen::default();
    loop {
        support::wait(&[end.descriptor()]);
        seen.messages.clear();
        if let Err(error) = end.receive(1 << 20, &mut seen) {
            return error;
        }
    }
}

#[test]
fn a_server_that_is_killed_while_it_sends_is_an_end_and_leaves_no_memory() {
    let _alone = support::alone();
    let before = arrowlane_memory::counters::snapshot();
    let mut server = Peer::start(&["serve"], &crate::search());
    let uri = DataUri::parse(&server.line()).expect("a URI");
    let mut client = support::transport().connect(&uri).expect("an endpoint");
    let mut seen = Seen::default();
    let mut asked = false;
    while seen.bytes() < 20 << 20 {
        support::wait(&[client.descriptor()]);
        client.receive(1 << 20, &mut seen).expect("received");
        if !std::mem::replace(&mut asked, true) {
            client.tagged(1, &[b"flood"]);
        }
        client.flush().expect("sent");
    }
    server.kill();
    let error = end_of(&mut *client);
    assert!(matches!(error, TransportError::Closed), "{error}");
    drop((client, seen));
    support::eventually("memory of the connection goes back", || arrowlane_memory::counters::snapshot() == before);
}

#[test]
fn a_client_that_is_killed_while_it_is_sent_to_is_an_end_and_lets_go_of_what_was_sent() {
    let _alone = support::alone();
    let transport = support::transport();
    let mut listener = support::listen(&transport);
    let uri = support::uri(&*listener).to_string();
    let mut peer = Peer::start(&["take", &uri, "1000000000000"], &crate::search());
    let mut server = support::accept(&mut *listener);
    let body = Bytes::from(vec![7; 8 << 20]);
    let (mut sent, mut killed) = (0usize, false);
    let mut seen = Seen::default();
    let error = loop {
        while server.queued() < 64 << 20 {
            server.body(u64::MAX, vec![body.clone(), body.slice(..100)]);
            sent += 1;
        }
        let sent_all = match server.flush() {
            Ok(sent_all) => sent_all,
            Err(error) => break error,
        };
        if sent >= 40 && !std::mem::replace(&mut killed, true) {
            peer.kill();
        }
        if !sent_all {
            support::wait(&[server.descriptor()]);
        }
        if let Err(error) = server.receive(1 << 20, &mut seen) {
            break error;
        }
    };
    assert!(matches!(error, TransportError::Closed), "{error}");
    assert!(sent >= 40);
    drop(server);
    support::eventually("the bodies are let go", || body.is_unique());
}

#[test]
fn a_client_that_is_stopped_blocks_nobody() {
    let _alone = support::alone();
    let transport = support::transport();
    let mut listener = support::listen(&transport);
    let uri = support::uri(&*listener).to_string();
    let mut stopped = Peer::start(&["take", &uri, "1000000000000"], &crate::search());
    let mut server = support::accept(&mut *listener);
    support::flow(&mut *server, 1 << 20);
    stopped.stop();
    server.body(u64::MAX, vec![Bytes::from(vec![0; 64 << 20])]);
    for _ in 0..10 {
        let _ = server.flush().expect("it is not dead");
        server.receive(1 << 20, &mut Seen::default()).expect("it is not dead");
    }
    assert!(server.queued() > 0);
    // Another one is served beside it.
    let mut other = Peer::start(&["take", &uri, "50000000"], &crate::search());
    let mut second = support::accept(&mut *listener);
    support::flow(&mut *second, 50_000_000);
    assert_eq!(other.line_beside(&mut *second), "50000000");
    stopped.kill();
}

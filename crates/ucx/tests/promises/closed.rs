//! Ports where nobody is, or nobody answers, or only this machine may come; and what a peer may not say.

use std::{net::TcpListener, time::Duration};

use arrowlane_conformance::transport::{Got, Seen};
use arrowlane_dissociated::DataUri;
use arrowlane_transport::{Endpoint, Transport, TransportError};
use arrowlane_ucx::{END_TAG, Options, UcxTransport};

use crate::support;

fn failure(end: &mut dyn Endpoint) -> TransportError {
    let mut seen = Seen::default();
    loop {
        support::wait(&[end.descriptor()]);
        if let Err(error) = end.receive(1 << 20, &mut seen) {
            assert!(seen.messages.is_empty(), "{:?}", seen.messages);
            return error;
        }
    }
}

fn uri(port: u16) -> DataUri {
    DataUri::parse(&format!("ucx://127.0.0.1:{port}?want_data=1")).expect("a URI")
}

#[test]
fn a_port_where_nobody_listens_is_an_error() {
    let _alone = support::alone();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("an address").port();
    drop(free);
    let mut end = support::transport().connect(&uri(port)).expect("an endpoint");
    end.tagged(1, &[b"never"]);
    assert!(!end.flush().expect("not yet known"));
    let error = failure(&mut *end);
    assert!(matches!(&error, TransportError::NotFound(peer) if peer.contains(&port.to_string())), "{error}");
    assert!(matches!(end.receive(1, &mut Seen::default()), Err(TransportError::Closed)));
}

#[test]
fn a_server_that_never_answers_is_an_error_when_the_time_is_over() {
    let _alone = support::alone();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let options = Options { connect: Duration::from_millis(300), search: crate::search() };
    let mut end = UcxTransport::new(options).connect(&uri(port)).expect("an endpoint");
    let error = failure(&mut *end);
    assert!(matches!(&error, TransportError::TimedOut { .. }), "{error}");
}

#[test]
fn what_listens_for_this_machine_listens_on_loopback_only() {
    let _alone = support::alone();
    let transport = support::transport();
    let mut listener = support::listen(&transport);
    let (_server, _client) = support::connect(&transport, &mut *listener);
    let own: Vec<String> = std::fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()?.into_os_string().into_string().ok())
        .collect();
    let mut found = 0;
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        for line in std::fs::read_to_string(table).unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" && own.contains(&format!("socket:[{inode}]")) {
                found += 1;
                assert!(local.starts_with("0100007F:"), "a socket listens at {local}");
            }
        }
    }
    assert!(found > 0, "the listener itself is among them");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_says_so() {
    let _alone = support::alone();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("ucx://{}", taken.local_addr().expect("an address"));
    let error = support::transport().listen(&url::Url::parse(&address).expect("a URL")).err().expect("taken");
    assert!(matches!(error, TransportError::Taken(_)), "{error}");
}

#[test]
fn metadata_over_the_limit_ends_the_connection_and_the_end_tag_with_bytes_is_a_message() {
    let _alone = support::alone();
    let (mut server, mut client) = support::pair();
    client.tagged(END_TAG, &[b"no end"]);
    assert!(client.flush().expect("sent"));
    let mut seen = Seen::default();
    while seen.messages.is_empty() {
        support::wait(&[server.descriptor()]);
        server.receive(1 << 20, &mut seen).expect("received");
    }
    assert_eq!(seen.messages, [Got::Tagged(END_TAG, b"no end".to_vec())]);
    // The server's way is the one where long messages are announced.
    server.metadata(&[&vec![0; (64 << 20) + 1]]);
    let _ = server.flush();
    let error = failure(&mut *client);
    assert!(matches!(error, TransportError::Framing(_)), "{error}");
}

#[test]
fn what_is_sent_behind_the_end_of_ones_own_reading_still_arrives() {
    let _alone = support::alone();
    let (mut server, mut client) = support::pair();
    client.tagged(5, &[b"last"]);
    client.stop_sending();
    client.flush().expect("sent");
    let mut seen = Seen::default();
    let error = loop {
        support::wait(&[server.descriptor()]);
        if let Err(error) = server.receive(1 << 20, &mut seen) {
            break error;
        }
    };
    assert!(matches!(error, TransportError::Closed), "{error}");
    assert_eq!(seen.messages, [Got::Tagged(5, b"last".to_vec())]);
    server.metadata(&[b"answer"]);
    while !server.flush().expect("it still reads") {}
    drop(server);
    let mut seen = Seen::default();
    while client.receive(1 << 20, &mut seen).is_ok() {
        support::wait(&[client.descriptor()]);
    }
    assert_eq!(seen.messages, [Got::Metadata(b"answer".to_vec())]);
}

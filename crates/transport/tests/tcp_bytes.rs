//! Bytes of a peer that is not ours: every cut of a conversation, noise, and what the rules forbid.
//!
//! What is sent here is written out from `docs/wire.md` ("TCP"), not made by the code that it is read with.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    system::wait_readable,
    tcp::{TcpEndpoint, TcpTransport},
};
use proptest::prelude::*;
use url::Url;

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    greetings: usize,
    messages: Vec<(Option<u64>, Vec<u8>)>,
}

impl Inbox for Seen {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        self.greetings += 1;
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.messages.push((None, bytes.to_vec()));
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.messages.push((Some(tag), body.to_vec()));
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

/// A message as the document has it.
fn message(tag: Option<u64>, bytes: &[u8]) -> Vec<u8> {
    let mut framed = match tag {
        None => [&[0xff; 4][..], &(bytes.len() as i32).to_le_bytes()].concat(),
        Some(tag) => {
            let head = [0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0];
            [&head[..], &tag.to_le_bytes(), &(bytes.len() as u64).to_le_bytes()].concat()
        }
    };
    framed.extend_from_slice(bytes);
    while !framed.len().is_multiple_of(8) {
        framed.push(0);
    }
    framed
}

/// A raw peer that plays the server, and our client's end.
fn raw_server() -> (TcpStream, TcpEndpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let uri = format!("tcp://{}?want_data=1", listener.local_addr().expect("bound"));
    let client = TcpTransport::default().dial(&DataUri::parse(&uri).expect("a URI")).expect("on its way");
    let (raw, _) = listener.accept().expect("accepted");
    raw.set_nodelay(true).expect("set");
    (raw, client)
}

/// Our server's end, and a raw peer that plays the client.
fn raw_client() -> (TcpEndpoint, TcpStream) {
    let transport = TcpTransport::default();
    let mut listener = transport.bind(&Url::parse("tcp://127.0.0.1:0").expect("a URL")).expect("bound");
    let address = arrowlane_transport::Listener::address(&listener);
    let raw = TcpStream::connect(address.strip_prefix("tcp://").expect("tcp")).expect("connected");
    raw.set_nodelay(true).expect("set");
    loop {
        if let Some(server) = listener.accept_one().expect("accepted") {
            return (server, raw);
        }
        std::thread::yield_now();
    }
}

fn wait(end: &TcpEndpoint) {
    let readable = wait_readable(end.descriptor(), Some(Duration::from_secs(60)));
    assert!(readable, "the descriptor did not become readable");
}

/// Receives until it ends, and how.
fn to_the_end(end: &mut TcpEndpoint) -> (Seen, TransportError) {
    let mut seen = Seen::default();
    loop {
        wait(end);
        if let Err(error) = end.receive(1 << 16, &mut seen) {
            return (seen, error);
        }
    }
}

fn conversation() -> Vec<(Option<u64>, Vec<u8>)> {
    let body: Vec<u8> = (0..9001u32).map(|n| n as u8).collect();
    vec![
        (None, vec![1, 0, 0, 0, 0, 9, 9, 9]),
        (Some(0x0000_0001), vec![]),
        (None, vec![]),
        (Some(u64::MAX), vec![7; 13]),
        (Some(2), body),
        (None, vec![0, 3, 0, 0, 0]),
    ]
}

#[test]
fn every_cut_of_a_conversation_gives_the_whole_messages_before_it_and_then_the_end() {
    let messages = conversation();
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for (tag, payload) in &messages {
        let from = bytes.len();
        bytes.extend(message(*tag, payload));
        // Zeros behind a message are not waited for.
        ends.push(from + if tag.is_some() { 24 } else { 8 } + payload.len());
    }
    let inside = ends[3] + 200..ends[4] - 200;
    for cut in (0..=bytes.len()).filter(|cut| !inside.contains(cut) || cut % 97 == 0) {
        let (mut raw, mut client) = raw_server();
        raw.write_all(&bytes[..cut]).expect("written");
        drop(raw);
        let (seen, error) = to_the_end(&mut client);
        assert!(matches!(error, TransportError::Closed), "cut at {cut}: {error}");
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(seen.greetings, 1);
        assert!(seen.messages == messages[..whole], "cut at {cut}: {} messages", seen.messages.len());
    }
}

#[test]
fn what_is_sent_is_what_the_document_says() {
    let (mut server, mut raw) = raw_client();
    let messages = conversation();
    for (tag, payload) in &messages {
        match tag {
            None => server.metadata(&[&payload[..payload.len() / 2], &payload[payload.len() / 2..]]),
            Some(tag) => server.body(*tag, vec![payload.clone().into()]),
        }
    }
    assert!(server.flush().expect("flush"));
    drop(server);
    let mut got = Vec::new();
    raw.read_to_end(&mut got).expect("read");
    let expected: Vec<u8> = messages.iter().flat_map(|(tag, payload)| message(*tag, payload)).collect();
    assert!(got == expected);
}

#[test]
fn what_the_rules_forbid_ends_the_connection() {
    let header = |tag: u64, length: u64| {
        [&[0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], &tag.to_le_bytes(), &length.to_le_bytes()].concat()
    };
    let untagged = |length: i32| [&[0xff; 4][..], &length.to_le_bytes()].concat();
    let padded = |bytes: &[u8]| [&message(None, &[1; 5])[..13], bytes].concat();
    for (bytes, why) in [
        (b"GET / HTTP/1.1\r\n".to_vec(), "begins with"),
        (untagged(-1), "cannot be"),
        (untagged((8 << 20) + 1), "over the limit"),
        (header(1, (8 << 20) + 1), "over the limit"),
        (header(1, u64::MAX), "over the limit"),
        (vec![0xfe, 0xff, 0xff, 0xff, 0, 0, 1, 0], "reserved"),
        (padded(&[0, 0, 1]), "is not zero"),
        (padded(&[0xff; 8]), "is not zero"),
        (vec![0x16, 0x03, 0x01, 0x02, 0x00], "tls=1"),
    ] {
        let (mut server, mut raw) = raw_client();
        raw.write_all(&bytes).expect("written");
        let (_, error) = to_the_end(&mut server);
        assert!(matches!(&error, TransportError::Framing(text) if text.contains(why)), "{why}: {error}");
    }
    // What servers may send is longer, and has an end too.
    for (bytes, allowed) in [
        (untagged(16 << 20), true),
        (untagged((16 << 20) + 1), false),
        (header(1, 1 << 40), true),
        (header(1, (1 << 40) + 1), false),
    ] {
        let (mut raw, mut client) = raw_server();
        raw.write_all(&bytes).expect("written");
        raw.shutdown(Shutdown::Write).expect("shut");
        let (_, error) = to_the_end(&mut client);
        assert_eq!(matches!(error, TransportError::Closed), allowed, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_in_pieces_of_any_size_arrive_whole_and_in_order(
        messages in proptest::collection::vec((any::<Option<u64>>(), 0usize..20_000, any::<u8>()), 1..10),
        cuts in proptest::collection::vec(1usize..5000, 1..40),
    ) {
        let (mut raw, mut client) = raw_server();
        let expected: Vec<_> = messages.iter().map(|(tag, length, byte)| (*tag, vec![*byte; *length])).collect();
        let bytes: Vec<u8> = expected.iter().flat_map(|(tag, payload)| message(*tag, payload)).collect();
        let (mut rest, mut seen) = (&bytes[..], Seen::default());
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            raw.write_all(now).expect("written");
            wait(&client);
            client.receive(1 << 16, &mut seen).expect("no error");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        drop(raw);
        while client.receive(1 << 16, &mut seen).is_ok() {
            wait(&client);
        }
        prop_assert!(seen.messages == expected);
    }

    #[test]
    fn bytes_of_noise_are_read_or_refused(
        starts in 0usize..4,
        noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let (mut server, mut raw) = raw_client();
        let start: &[u8] = [&[][..], &[0xff; 4], &[0xfe, 0xff, 0xff, 0xff], &[0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0]][starts];
        raw.write_all(&[start, &noise].concat()).expect("written");
        drop(raw);
        to_the_end(&mut server);
    }
}

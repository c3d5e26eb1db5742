//! TLS: whom one is connected to, and what happens where one side has none.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_transport::{
    Endpoint, Inbox, Listener, TransportError,
    system::wait_readable,
    tcp::{Identity, Roots, TcpConfig, TcpEndpoint, TcpListener, TcpTransport},
};
use proptest::prelude::*;
use url::Url;

#[derive(Default)]
struct Seen(Vec<Vec<u8>>);

impl Inbox for Seen {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.0.push(uri.into());
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.0.push(bytes.into());
        Ok(())
    }
    fn tagged(&mut self, _tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.0.push(body.into());
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

/// A certificate for that name that vouches for itself.
fn identity(name: &str) -> Identity {
    let made = rcgen::generate_simple_self_signed(vec![name.into()]).expect("a certificate");
    Identity { certificates: made.cert.pem().into(), key: made.signing_key.serialize_pem().into() }
}

fn transport(identity: Option<&Identity>, trusts: Option<&Identity>) -> TcpTransport {
    let roots = trusts.map_or(Roots::System, |one| Roots::Pem(one.certificates.clone()));
    TcpTransport::new(TcpConfig { identity: identity.cloned(), roots, ..TcpConfig::default() })
        .expect("a configuration")
}

fn listen(transport: &TcpTransport, query: &str) -> TcpListener {
    transport.bind(&Url::parse(&format!("tcp://127.0.0.1:0{query}")).expect("a URL")).expect("bound")
}

fn uri(listener: &TcpListener, tls: bool) -> DataUri {
    let mut uri = DataUri::parse(&format!("{}?want_data=1", listener.address())).expect("a URI");
    if tls {
        uri.extra.push(("tls".into(), "1".into()));
    }
    uri
}

fn readable(end: &TcpEndpoint) -> bool {
    wait_readable(end.descriptor(), Some(Duration::ZERO))
}

/// Drives both until each has failed, or heard something: what each heard.
fn meet(listener: &mut TcpListener, mut client: TcpEndpoint, says: &[u8]) -> [Result<Seen, TransportError>; 2] {
    let (mut server, mut said) = (None, false);
    let mut results = [None, None];
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    let heard = |seen: &mut Seen, most: usize| (seen.0.len() >= most).then(|| Ok(std::mem::take(seen)));
    while results.iter().any(Option::is_none) {
        match &mut server {
            None => server = listener.accept_one().expect("accepted"),
            Some(server) if results[0].is_none() && readable(server) => {
                results[0] =
                    server.receive(1 << 16, &mut at_server).err().map(Err).or_else(|| heard(&mut at_server, 1));
                if matches!(results[0], Some(Ok(_))) {
                    server.metadata(&[b"answer"]);
                    server.flush().expect("flush");
                }
            }
            Some(_) => {}
        }
        if results[1].is_none() && readable(&client) {
            results[1] = client.receive(1 << 16, &mut at_client).err().map(Err).or_else(|| heard(&mut at_client, 2));
            if !at_client.0.is_empty() && !std::mem::replace(&mut said, true) {
                client.metadata(&[says]);
                client.flush().expect("flush");
            }
        }
        if matches!(results[0], Some(Err(_))) {
            server = None; // its owner closes it
            results[0] = results[0].take().or(None);
            if results[1].is_none() {
                let rest = to_the_end(&mut client, &mut at_client);
                results[1] = Some(Err(rest));
            }
        }
    }
    results.map(|result| result.expect("both are known"))
}

fn to_the_end(end: &mut TcpEndpoint, seen: &mut Seen) -> TransportError {
    loop {
        while !wait_readable(end.descriptor(), None) {}
        if let Err(error) = end.receive(1 << 16, seen) {
            return error;
        }
    }
}

#[test]
fn a_server_that_the_client_trusts_is_spoken_to_and_nobody_else_can_read_it() {
    let server = identity("127.0.0.1");
    let transport = transport(Some(&server), Some(&server));
    let mut listener = listen(&transport, "?tls=1");
    assert_eq!(listener.parameters(), [("tls".to_owned(), "1".to_owned())], "clients have to be told");
    let client = transport.dial(&uri(&listener, true)).expect("on its way");
    let [at_server, at_client] = meet(&mut listener, client, b"hello");
    assert_eq!(at_server.expect("heard").0, [b"hello"]);
    assert_eq!(at_client.expect("heard").0[1], b"answer");

    // What a client sends before it knows the server does not contain what it will say.
    let raw = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = raw.local_addr().expect("an address");
    let uri = DataUri::parse(&format!("tcp://{address}?want_data=1&tls=1")).expect("a URI");
    let mut client = transport.dial(&uri).expect("on its way");
    client.metadata(&[b"secret words"]);
    let (mut raw, _) = raw.accept().expect("accepted");
    while client.receive(1, &mut Seen::default()).is_ok() && !readable(&client) {
        client.flush().expect("flush");
        let mut bytes = [0; 4096];
        let read = raw.read(&mut bytes).expect("read");
        if read > 0 {
            assert_eq!(bytes[0], 0x16, "a handshake");
            assert!(!bytes[..read].windows(6).any(|window| window == b"secret"));
            break;
        }
    }
}

#[test]
fn a_server_with_another_certificate_is_refused_by_both() {
    let (server, other) = (identity("127.0.0.1"), identity("127.0.0.1"));
    let mut listener = listen(&transport(Some(&server), None), "?tls=1");
    let client = transport(None, Some(&other)).dial(&uri(&listener, true)).expect("on its way");
    let [at_server, at_client] = meet(&mut listener, client, b"never said");
    let error = at_client.err().expect("refused");
    assert!(matches!(&error, TransportError::Tls { peer, .. } if peer.starts_with("127.0.0.1:")), "{error}");
    assert!(matches!(at_server, Err(TransportError::Tls { .. })));
}

#[test]
fn the_name_in_the_certificate_has_to_be_the_one_that_was_meant() {
    let server = identity("data.example");
    let mut listener = listen(&transport(Some(&server), None), "?tls=1");
    let client = transport(None, Some(&server)).dial(&uri(&listener, true)).expect("on its way");
    let [_, at_client] = meet(&mut listener, client, b"never said");
    assert!(matches!(at_client, Err(TransportError::Tls { .. })), "the URI says 127.0.0.1");
    let named = TcpConfig {
        roots: Roots::Pem(server.certificates.clone()),
        server_name: Some("data.example".into()),
        ..TcpConfig::default()
    };
    let client = TcpTransport::new(named).expect("a configuration").dial(&uri(&listener, true)).expect("on its way");
    let [at_server, _] = meet(&mut listener, client, b"hello");
    assert_eq!(at_server.expect("heard").0, [b"hello"]);
}

#[test]
fn a_client_without_tls_at_a_port_with_it_is_told_what_is_wrong_and_so_is_the_server() {
    let server = identity("127.0.0.1");
    let transport = transport(Some(&server), Some(&server));
    let mut listener = listen(&transport, "?tls=1");
    let client = transport.dial(&uri(&listener, false)).expect("on its way");
    let [at_server, at_client] = meet(&mut listener, client, b"hello");
    assert!(matches!(at_server, Err(TransportError::Tls { .. })));
    let error = at_client.err().expect("refused");
    assert!(matches!(&error, TransportError::Framing(text) if text.contains("tls=1")), "{error}");
}

#[test]
fn a_client_with_tls_at_a_port_without_it_is_told_what_is_wrong_and_so_is_the_server() {
    let server = identity("127.0.0.1");
    let transport = transport(None, Some(&server));
    let mut listener = listen(&transport, "");
    let client = transport.dial(&uri(&listener, true)).expect("on its way");
    let [at_server, at_client] = meet(&mut listener, client, b"hello");
    let error = at_server.err().expect("refused");
    assert!(matches!(&error, TransportError::Framing(text) if text.contains("TLS")), "{error}");
    let error = at_client.err().expect("refused");
    assert!(matches!(&error, TransportError::Tls { reason, .. } if reason.contains("speak TLS")), "{error}");
}

#[test]
fn a_server_that_takes_a_client_and_says_nothing_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = silent.local_addr().expect("an address");
    let roots = Roots::Pem(identity("127.0.0.1").certificates);
    let config = TcpConfig { connect_within: Duration::from_millis(100), roots, ..TcpConfig::default() };
    let uri = DataUri::parse(&format!("tcp://{address}?want_data=1&tls=1")).expect("a URI");
    let mut client = TcpTransport::new(config).expect("a configuration").dial(&uri).expect("on its way");
    let error = to_the_end(&mut client, &mut Seen::default());
    assert!(matches!(error, TransportError::TimedOut { .. }), "{error}");
}

#[test]
fn a_peer_that_stops_sending_is_read_to_its_last_message_and_still_hears() {
    let server = identity("127.0.0.1");
    let transport = transport(Some(&server), Some(&server));
    let mut listener = listen(&transport, "?tls=1");
    let mut client = transport.dial(&uri(&listener, true)).expect("on its way");
    let (mut greeted, mut at_server) = (Seen::default(), Seen::default());
    let mut server = None;
    let mut ended = None;
    while ended.is_none() {
        if greeted.0.is_empty() && readable(&client) {
            client.receive(1, &mut greeted).expect("connected");
            if !greeted.0.is_empty() {
                client.tagged(1, &[&[5; 100_000]]);
                client.stop_sending();
            }
        }
        client.flush().expect("flush");
        match &mut server {
            None => server = listener.accept_one().expect("accepted"),
            Some(server) if readable(server) => ended = server.receive(1 << 20, &mut at_server).err(),
            Some(_) => {}
        }
    }
    assert!(matches!(ended, Some(TransportError::Closed)));
    assert!(at_server.0 == [vec![5; 100_000]]);
    let mut server = server.expect("accepted");
    server.metadata(&[b"heard"]);
    assert!(server.flush().expect("flush"));
    drop(server);
    let mut at_client = Seen::default();
    to_the_end(&mut client, &mut at_client);
    assert_eq!(at_client.0, [b"heard"]);
}

#[test]
fn certificates_and_keys_that_are_none_are_refused_before_anything_is_bound() {
    let good = identity("127.0.0.1");
    let other = identity("127.0.0.1");
    for identity in [
        Identity { certificates: b"no PEM".into(), key: good.key.clone() },
        Identity { certificates: good.certificates.clone(), key: b"no PEM".into() },
        Identity { certificates: good.certificates.clone(), key: other.key.clone() },
    ] {
        let made = TcpTransport::new(TcpConfig { identity: Some(identity), ..TcpConfig::default() });
        assert!(matches!(made, Err(TransportError::Credentials { .. })));
    }
    let made = TcpTransport::new(TcpConfig { roots: Roots::Pem(b"".into()), ..TcpConfig::default() });
    assert!(matches!(made, Err(TransportError::Credentials { .. })));
    assert!(!format!("{good:?}").contains("PRIVATE"), "a key is not printed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bytes_of_noise_at_a_port_with_tls_are_refused(
        record in any::<bool>(),
        noise in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let server = identity("127.0.0.1");
        let mut listener = listen(&transport(Some(&server), None), "?tls=1");
        let address = listener.address();
        let mut raw = TcpStream::connect(address.strip_prefix("tcp://").expect("tcp")).expect("connected");
        let start = if record { vec![0x16, 3, 1, 0, noise.len().min(255) as u8] } else { vec![] };
        raw.write_all(&[start, noise].concat()).expect("written");
        raw.shutdown(std::net::Shutdown::Write).expect("shut");
        let mut server = loop {
            if let Some(server) = listener.accept_one().expect("accepted") {
                break server;
            }
        };
        let mut seen = Seen::default();
        to_the_end(&mut server, &mut seen);
        prop_assert!(seen.0.is_empty());
    }
}

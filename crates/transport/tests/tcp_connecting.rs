//! Ways to a server: those that lead nowhere, take too long, or were not asked for.

use std::time::Duration;

use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_transport::{
    Endpoint, Inbox, Listener, Transport, TransportError,
    system::wait_readable,
    tcp::{TcpConfig, TcpEndpoint, TcpTransport},
};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};
use url::Url;

#[derive(Default)]
struct Seen(Vec<String>);

impl Inbox for Seen {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.0.push(uri.into());
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.0.push(String::from_utf8_lossy(bytes).into());
        Ok(())
    }
    fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

fn url(text: &str) -> Url {
    Url::parse(text).expect("a URL")
}

fn uri(address: &str) -> DataUri {
    DataUri::parse(&format!("{address}?want_data=1")).expect("a URI")
}

/// What a client hears first, as an event loop does it: called when the descriptor says so.
fn outcome(client: &mut dyn Endpoint) -> Result<Vec<String>, TransportError> {
    let mut seen = Seen::default();
    while seen.0.is_empty() {
        while !wait_readable(client.descriptor(), None) {}
        client.receive(1 << 16, &mut seen)?;
    }
    Ok(seen.0)
}

fn dialled(transport: &TcpTransport, uri: &DataUri) -> Result<Vec<String>, TransportError> {
    outcome(&mut transport.dial(uri)?)
}

#[test]
fn a_listener_says_where_it_is_and_clients_hear_where_they_are() {
    for address in ["tcp://127.0.0.1:0", "tcp://[::1]:0", "tcp://localhost:0"] {
        let transport: &dyn Transport = &TcpTransport::default();
        let mut listener = match transport.listen(&url(address)) {
            Err(TransportError::Io { .. }) if address.contains("::1") => continue, // a machine without IPv6
            made => made.expect("bound"),
        };
        let uri = uri(&listener.address());
        assert_ne!(uri.port, Some(0), "{uri}");
        let mut client = transport.connect(&uri).expect("on its way");
        assert_eq!(outcome(&mut *client).expect("connected"), [uri.to_string()]);
        assert!(listener.accept().expect("accepted").is_some());
        assert!(listener.accept().expect("nobody else").is_none());
        assert!(matches!(transport.listen(&url(&listener.address())), Err(TransportError::Taken(_))));
    }
}

#[test]
fn what_was_queued_while_the_connection_was_made_is_sent_when_it_stands() {
    let transport = TcpTransport::default();
    let mut listener = transport.bind(&url("tcp://127.0.0.1:0")).expect("bound");
    let mut client = transport.dial(&uri(&listener.address())).expect("on its way");
    client.metadata(&[b"early"]);
    assert!(!client.flush().expect("not yet"), "the owner was not told that the connection stands");
    outcome(&mut client).expect("connected");
    let mut server = listener.accept_one().expect("accepted").expect("somebody waits");
    assert_eq!(outcome(&mut server).expect("received"), ["early"]);
}

#[test]
fn where_nobody_listens_is_an_error_that_says_so() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("bound").local_addr().expect("an address");
    let error = dialled(&TcpTransport::default(), &uri(&format!("tcp://{gone}"))).expect_err("refused");
    assert!(matches!(&error, TransportError::NotFound(who) if who.contains(&gone.to_string())), "{error}");
}

#[test]
fn a_server_that_takes_nobody_is_given_up_after_the_time_that_was_said() {
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&full, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("bound");
    listen(&full, 0).expect("listens");
    let address = std::net::SocketAddr::try_from(getsockname(&full).expect("bound")).expect("an address");
    let config = TcpConfig { connect_within: Duration::from_millis(100), ..TcpConfig::default() };
    let transport = TcpTransport::new(config).expect("a configuration");
    let mut crowd: Vec<TcpEndpoint> = Vec::new();
    let error = loop {
        let mut one = transport.dial(&uri(&format!("tcp://{address}"))).expect("on its way");
        match outcome(&mut one) {
            Ok(_) => crowd.push(one),
            Err(error) => {
                assert!(matches!(one.receive(1, &mut Seen::default()), Err(TransportError::Closed)), "it stays so");
                break error;
            }
        }
        assert!(crowd.len() < 100, "the queue has an end");
    };
    assert!(matches!(&error, TransportError::TimedOut { peer, .. } if *peer == address.to_string()), "{error}");
}

#[test]
fn addresses_that_cannot_be_are_refused_by_name() {
    let transport = TcpTransport::default();
    for address in ["tcp://127.0.0.1", "ucx://127.0.0.1:1", "tcp://127.0.0.1:0?x=1", "tcp://127.0.0.1:0?tls=2"] {
        let error = transport.listen(&url(address)).err().expect("refused");
        assert!(matches!(error, TransportError::BadUri { .. }), "{address}: {error}");
    }
    for uri in ["tcp://127.0.0.1?want_data=1", "shm:///x?want_data=1", "tcp://127.0.0.1:1?want_data=1&tls=yes"] {
        let error = transport.dial(&DataUri::parse(uri).expect("a URI")).err().expect("refused");
        assert!(matches!(error, TransportError::BadUri { .. }), "{uri}: {error}");
    }
    let error = transport.listen(&url("tcp://127.0.0.1:0?tls=1")).err().expect("refused");
    assert!(matches!(error, TransportError::Unavailable { .. }), "{error}");
    let error = transport.dial(&DataUri::parse("tcp://no.such.host.invalid:1?want_data=1").expect("a URI"));
    assert!(matches!(error, Err(TransportError::BadUri { .. })), "a name that nobody has");
}

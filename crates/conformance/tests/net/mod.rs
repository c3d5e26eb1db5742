//! Connections over loopback, for several tests.

#![allow(dead_code, reason = "each test uses its part")]

use arrowlane_conformance::transport::{Seen, pump, readable};
use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_transport::{
    Endpoint, Listener,
    tcp::{Identity, Roots, TcpConfig, TcpEndpoint, TcpListener, TcpTransport},
};
use url::Url;

/// A transport whose listeners show a certificate for 127.0.0.1, and whose clients know it.
pub fn with_tls() -> TcpTransport {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate");
    let certificates = made.cert.pem().into_bytes();
    let identity = Identity { certificates: certificates.clone(), key: made.signing_key.serialize_pem().into_bytes() };
    let config = TcpConfig { identity: Some(identity), roots: Roots::Pem(certificates), ..TcpConfig::default() };
    TcpTransport::new(config).expect("a configuration")
}

/// The URI of a listener, with this tag.
pub fn uri(listener: &TcpListener, want_data: u64) -> DataUri {
    let mut uri = DataUri::parse(&format!("{}?want_data={want_data}", listener.address())).expect("a URI");
    uri.want_data_ext = Some(want_data + 1);
    uri.extra = listener.parameters();
    uri
}

/// The server's end and the client's, and where that led.
pub fn connected(transport: &TcpTransport, address: &str, want_data: u64) -> (TcpEndpoint, TcpEndpoint, DataUri) {
    let mut listener = transport.bind(&Url::parse(address).expect("an address")).expect("bound");
    let uri = uri(&listener, want_data);
    let client = transport.dial(&uri).expect("on its way");
    let (server, client) = stand(&mut listener, client);
    (server, client, uri)
}

/// Both ends, when the connection stands: with TLS it takes both.
fn stand(listener: &mut TcpListener, mut client: TcpEndpoint) -> (TcpEndpoint, TcpEndpoint) {
    let mut server = None;
    let mut greeted = Seen::default();
    while greeted.messages.is_empty() || server.is_none() {
        if readable(&client) {
            client.receive(1, &mut greeted).expect("connected");
        }
        match &mut server {
            None => server = listener.accept_one().expect("accepted"),
            Some(server) if readable(server) => {
                server.receive(1, &mut Seen::default()).expect("nothing was sent");
            }
            Some(_) => std::thread::yield_now(),
        }
    }
    // A handshake's last word comes before the first message.
    let (mut server, mut seen) = (server.expect("accepted"), Seen::default());
    client.metadata(&[b"stands"]);
    pump(&mut server, &mut client, [&mut seen, &mut greeted], |[s, _]| !s.messages.is_empty());
    (server, client)
}

/// As [`connected`] in the clear, before the client's end has been driven at all.
pub fn fresh(transport: &TcpTransport, want_data: u64) -> (TcpEndpoint, TcpEndpoint, DataUri) {
    fresh_with(transport, want_data, true)
}

/// As [`fresh`], with the extension or without.
pub fn fresh_with(transport: &TcpTransport, want_data: u64, extended: bool) -> (TcpEndpoint, TcpEndpoint, DataUri) {
    let mut listener = transport.bind(&Url::parse("tcp://127.0.0.1:0").expect("an address")).expect("bound");
    let mut uri = uri(&listener, want_data);
    uri.want_data_ext = uri.want_data_ext.filter(|_| extended);
    let client = transport.dial(&uri).expect("on its way");
    let server = loop {
        if let Some(server) = listener.accept_one().expect("accepted") {
            break server;
        }
        std::thread::yield_now();
    };
    (server, client, uri)
}

//! The TCP transport keeps every transport's promises.

use arrowlane_conformance::{
    delivery_suite,
    transport::{Pair, wait_greeted},
};
use arrowlane_dissociated::DataUri;
use arrowlane_memory::{Pool, PoolConfig};
use arrowlane_transport::{Endpoint, Listener, Transport, tcp::TcpTransport};
use url::Url;

/// A client and the server's end that a listener at `address` makes.
fn connected(transport: &TcpTransport, address: &str) -> (Box<dyn Endpoint>, Box<dyn Endpoint>) {
    let mut listener = transport.listen(&Url::parse(address).expect("an address")).expect("bound");
    let uri = DataUri::parse(&format!("{}?want_data=1", listener.address())).expect("a URI");
    let mut client = transport.connect(&uri).expect("on its way");
    assert_eq!(wait_greeted(&mut *client), uri.to_string());
    (accept(&mut *listener), client)
}

fn accept(listener: &mut dyn Listener) -> Box<dyn Endpoint> {
    listener.accept().expect("accepted").expect("somebody waits")
}

fn pair() -> Pair {
    let (server, client) = connected(&TcpTransport::default(), "tcp://127.0.0.1:0");
    (server, client, Pool::new(PoolConfig::default()).expect("a pool"))
}

delivery_suite!(pair);

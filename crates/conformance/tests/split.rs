//! Two connections as one keep every transport's promises, but for one order of both.

mod net;

use arrowlane_conformance::transport::{Got, Pair, Seen, pump, wait_greeted};
use arrowlane_dissociated::{DataUri, Outbox};
use arrowlane_memory::{Kind, Pool, PoolConfig};
use arrowlane_transport::{Endpoint, Split, shm::ShmEndpoint, tcp::TcpTransport};

/// Tags that no test uses by chance.
const METADATA: u64 = 0x4d4d_0000_0000;
const DATA: u64 = 0x4444_0000_0000;

fn pool() -> Pool {
    let config = PoolConfig { kind: Kind::Shared, limit: 16 << 20, segment: 256 << 10, max_segments: 32 };
    Pool::new(config).expect("a pool")
}

fn joined(
    metadata: (impl Endpoint + 'static, impl Endpoint + 'static, DataUri),
    data: (impl Endpoint + 'static, impl Endpoint + 'static, DataUri),
) -> (Split, Split) {
    let server = Split::server((Box::new(metadata.0), &metadata.2), (Box::new(data.0), &data.2)).expect("a poller");
    let client = Split::client(Box::new(metadata.1), Box::new(data.1)).expect("a poller");
    (server, client)
}

fn tcp_pair(want_data: u64) -> (impl Endpoint + 'static, impl Endpoint + 'static, DataUri) {
    let (server, client, uri) = net::fresh(&TcpTransport::default(), want_data);
    (server, client, uri)
}

fn shm_pair() -> (impl Endpoint + 'static, impl Endpoint + 'static, DataUri) {
    let (mut server, client) = ShmEndpoint::pair().expect("socketpair");
    let uri =
        DataUri::parse(&format!("shm:///x?want_data={DATA}&free_data=7&want_data_ext={}", DATA + 1)).expect("a URI");
    server.greet(&uri.to_string());
    server.flush().expect("greeted");
    (server, client, uri)
}

fn greeted((server, mut client): (Split, Split)) -> Pair {
    let uri = DataUri::parse(&wait_greeted(&mut client)).expect("a URI");
    assert_eq!((uri.want_data, uri.want_data_ext), (DATA, Some(DATA + 1)), "the data's");
    (Box::new(server), Box::new(client), pool())
}

mod tcp_and_tcp {
    use super::*;
    use arrowlane_conformance::delivery_suite;

    fn pair() -> Pair {
        greeted(joined(tcp_pair(METADATA), tcp_pair(DATA)))
    }

    delivery_suite!(pair);
}

mod tcp_and_shm {
    use super::*;
    use arrowlane_conformance::transport_suite;

    fn pair() -> Pair {
        greeted(joined(tcp_pair(METADATA), shm_pair()))
    }

    transport_suite!(pair);
}

#[test]
fn the_ticket_goes_over_both_with_each_ones_tag_and_what_follows_over_the_metadatas() {
    let (metadata, data) = (tcp_pair(METADATA), tcp_pair(DATA));
    let (mut at_metadata, mut at_data) = (metadata.0, data.0);
    let mut client = Split::client(Box::new(metadata.1), Box::new(data.1)).expect("a poller");
    wait_greeted(&mut client);
    client.tagged(DATA + 1, &[b"ticket"]);
    client.tagged(DATA + 1, &[b"credit"]);
    client.tagged(99, &[b"free"]);
    let expected: [(&mut dyn Endpoint, Vec<Got>); 2] = [
        (
            &mut at_metadata,
            vec![Got::Tagged(METADATA + 1, b"ticket".to_vec()), Got::Tagged(METADATA + 1, b"credit".to_vec())],
        ),
        (&mut at_data, vec![Got::Tagged(DATA + 1, b"ticket".to_vec()), Got::Tagged(99, b"free".to_vec())]),
    ];
    for (end, messages) in expected {
        let (mut at_client, mut at_end) = (Seen::default(), Seen::default());
        pump(&mut client, end, [&mut at_client, &mut at_end], |[_, e]| e.messages.len() >= 2);
        assert_eq!(at_end.messages, messages);
    }
}

#[test]
fn a_server_hears_the_tags_of_the_datas_uri_over_both() {
    let (metadata, data) = (tcp_pair(METADATA), tcp_pair(DATA));
    let (mut client_metadata, mut client_data) = (metadata.1, data.1);
    wait_greeted(&mut client_metadata);
    wait_greeted(&mut client_data);
    client_metadata.tagged(METADATA + 1, &[b"credit"]);
    client_data.tagged(99, &[b"free"]);
    assert!(client_metadata.flush().expect("flush") && client_data.flush().expect("flush"));
    let mut server = Split::server((Box::new(metadata.0), &metadata.2), (Box::new(data.0), &data.2)).expect("a poller");
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(&mut server, &mut client_data, [&mut at_server, &mut at_client], |[s, _]| s.messages.len() >= 2);
    assert!(at_server.messages.contains(&Got::Tagged(DATA + 1, b"credit".to_vec())));
    assert!(at_server.messages.contains(&Got::Tagged(99, b"free".to_vec())));
}

#[test]
fn the_extension_is_offered_only_where_both_offer_it() {
    let (metadata, data) = (net::fresh_with(&TcpTransport::default(), METADATA, false), tcp_pair(DATA));
    let mut client = Split::client(Box::new(metadata.1), Box::new(data.1)).expect("a poller");
    let uri = DataUri::parse(&wait_greeted(&mut client)).expect("a URI");
    assert_eq!((uri.want_data, uri.want_data_ext), (DATA, None));
}

#[test]
fn what_comes_over_the_wrong_connection_ends_the_whole() {
    for wrong in [true, false] {
        let (mut metadata, mut data) = (tcp_pair(METADATA), tcp_pair(DATA));
        let mut client = Split::client(Box::new(metadata.1), Box::new(data.1)).expect("a poller");
        wait_greeted(&mut client);
        match wrong {
            true => metadata.0.tagged(1, &[b"a body"]),
            false => data.0.metadata(&[b"metadata"]),
        }
        metadata.0.flush().expect("flush");
        data.0.flush().expect("flush");
        let error = loop {
            arrowlane_conformance::transport::wait_readable(&client);
            if let Err(error) = client.receive(1 << 20, &mut Seen::default()) {
                break error;
            }
        };
        assert!(error.to_string().contains("came over the connection for"), "{error}");
    }
}

#[test]
fn when_one_connection_ends_the_other_is_ended_and_what_it_still_had_is_read() {
    let (metadata, data) = (tcp_pair(METADATA), tcp_pair(DATA));
    let mut client = Split::client(Box::new(metadata.1), Box::new(data.1)).expect("a poller");
    wait_greeted(&mut client);
    drop(data.0);
    let mut at_metadata = metadata.0;
    let mut seen = Seen::default();
    // The client's end of the metadata's connection is closed for writing when it has seen the data's end.
    let ended = loop {
        arrowlane_conformance::transport::wait_readable(&client);
        client.receive(1 << 20, &mut seen).expect("the other stands");
        let readable = arrowlane_conformance::transport::readable(&at_metadata);
        if readable && let Err(error) = at_metadata.receive(1 << 20, &mut Seen::default()) {
            break error;
        }
        if !arrowlane_conformance::transport::readable(&client) {
            arrowlane_conformance::transport::wait_readable(&at_metadata);
        }
    };
    assert!(matches!(ended, arrowlane_transport::TransportError::Closed), "{ended}");
    at_metadata.metadata(&[b"the end of the stream"]);
    at_metadata.flush().expect("flush");
    drop(at_metadata);
    while client.receive(1 << 20, &mut seen).is_ok() {
        arrowlane_conformance::transport::wait_readable(&client);
    }
    assert_eq!(seen.messages, [Got::Metadata(b"the end of the stream".to_vec())]);
}

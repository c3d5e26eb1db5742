//! The TCP transport keeps the promises of a transport that lends nothing, in the clear and in TLS.

mod net;

use arrowlane_conformance::transport::Pair;
use arrowlane_memory::{Pool, PoolConfig};
use arrowlane_transport::tcp::TcpTransport;

fn pair(transport: &TcpTransport, address: &str) -> Pair {
    let (server, client, _) = net::connected(transport, address, 1);
    (Box::new(server), Box::new(client), Pool::new(PoolConfig::default()).expect("a pool"))
}

mod plain {
    use super::*;
    use arrowlane_conformance::{delivery_suite, ordered_suite};

    fn pair() -> Pair {
        super::pair(&TcpTransport::default(), "tcp://127.0.0.1:0")
    }

    delivery_suite!(pair);
    ordered_suite!(pair);
}

mod tls {
    use super::*;
    use arrowlane_conformance::{delivery_suite, ordered_suite};

    fn pair() -> Pair {
        super::pair(&net::with_tls(), "tcp://127.0.0.1:0?tls=1")
    }

    delivery_suite!(pair);
    ordered_suite!(pair);
}

mod faults {
    use super::*;
    use arrowlane_conformance::{
        faulty::{Faults, FaultyEndpoint},
        transport::{Got, Seen, pump, wait_readable},
    };
    use arrowlane_transport::{Endpoint, TransportError};
    use bytes::Bytes;

    /// Four messages that leave one by one, over both kinds of connection.
    fn faulty(faults: Faults, tls: bool) -> (FaultyEndpoint<impl Endpoint>, impl Endpoint) {
        let (server, client, _) = match tls {
            true => net::connected(&net::with_tls(), "tcp://127.0.0.1:0?tls=1", 1),
            false => net::connected(&TcpTransport::default(), "tcp://127.0.0.1:0", 1),
        };
        let mut faulty = FaultyEndpoint::new(server, faults);
        faulty.metadata(&[b"metadata"]);
        faulty.body(1, vec![Bytes::from(vec![1; 100_000]), Bytes::from_static(b"end")]);
        faulty.tagged(2, &[b"x"]);
        faulty.metadata(&[&[]]);
        (faulty, client)
    }

    use arrowlane_dissociated::Outbox;

    #[test]
    fn messages_that_come_one_by_one_are_those_that_were_sent() {
        for tls in [false, true] {
            let (mut faulty, mut client) = faulty(Faults { split: true, ..Faults::default() }, tls);
            let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
            pump(&mut faulty, &mut client, [&mut at_server, &mut at_client], |[_, c]| c.messages.len() == 4);
            let body = [vec![1; 100_000], b"end".to_vec()].concat();
            let sent = [Got::Metadata(b"metadata".to_vec()), Got::Tagged(1, body), Got::Tagged(2, b"x".to_vec())];
            assert!(at_client.messages[..3] == sent);
            assert_eq!(at_client.messages[3], Got::Metadata(vec![]));
        }
    }

    #[test]
    fn a_connection_that_breaks_at_any_message_gives_those_before_it_and_then_the_end() {
        for (drop_at, tls) in (0..4).flat_map(|n| [(n, false), (n, true)]) {
            let (mut faulty, mut client) =
                faulty(Faults { split: true, drop_at: Some(drop_at), ..Faults::default() }, tls);
            while faulty.flush().is_ok() {}
            let mut seen = Seen::default();
            let error = loop {
                wait_readable(&client);
                if let Err(error) = client.receive(1 << 20, &mut seen) {
                    break error;
                }
            };
            assert!(matches!(error, TransportError::Closed), "{error}");
            assert_eq!(seen.messages.len(), drop_at);
        }
    }
}

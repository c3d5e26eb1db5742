//! The in-process transport keeps every transport's promises.

use arrowlane_conformance::{ordered_suite, transport::Pair, transport_suite};
use arrowlane_memory::{Kind, Pool, PoolConfig};
use arrowlane_transport::inproc::InprocEndpoint;

fn pair() -> Pair {
    let config = PoolConfig { kind: Kind::Heap, limit: 16 << 20, segment: 256 << 10, max_segments: 32 };
    let (server, client) = InprocEndpoint::pair().expect("eventfd");
    (Box::new(server), Box::new(client), Pool::new(config).expect("a pool"))
}

transport_suite!(pair);
ordered_suite!(pair);

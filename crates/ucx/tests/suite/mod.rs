//! Every transport's promises.

use arrowlane_conformance::{delivery_suite, transport::Pair};
use arrowlane_memory::{Kind, Pool, PoolConfig};

use crate::support;

fn pair() -> Pair {
    let config = PoolConfig { kind: Kind::Heap, limit: 16 << 20, segment: 256 << 10, max_segments: 32 };
    let (server, client) = support::pair();
    (server, client, Pool::new(config).expect("a pool"))
}

delivery_suite!(pair);

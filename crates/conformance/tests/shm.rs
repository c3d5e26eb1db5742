//! The shared-memory transport keeps every transport's promises, over a socket pair and over a listener.

use arrowlane_conformance::transport::Pair;
use arrowlane_memory::{Kind, Pool, PoolConfig};

fn pool() -> Pool {
    let config = PoolConfig { kind: Kind::Shared, limit: 16 << 20, segment: 256 << 10, max_segments: 32 };
    Pool::new(config).expect("a pool")
}

mod socket_pair {
    use super::*;
    use arrowlane_conformance::{ordered_suite, transport_suite};
    use arrowlane_transport::shm::ShmEndpoint;

    fn pair() -> Pair {
        let (server, client) = ShmEndpoint::pair().expect("socketpair");
        (Box::new(server), Box::new(client), pool())
    }

    transport_suite!(pair);
    ordered_suite!(pair);
}

mod listener {
    use std::sync::Arc;

    use super::*;
    use arrowlane_conformance::{ordered_suite, transport_suite};
    use arrowlane_transport::shm::{Folder, ShmListener};

    fn pair() -> Pair {
        let directory = tempfile::tempdir().expect("a folder");
        let folder = Arc::new(Folder::open(&directory.path().join("sockets")).expect("a folder of sockets"));
        let listener = ShmListener::bind(Arc::clone(&folder), "topic").expect("bound");
        let client = ShmListener::connect(&folder, "topic").expect("connected");
        let server = listener.accept().expect("accepted").expect("somebody waits");
        (Box::new(server), Box::new(client), pool())
    }

    transport_suite!(pair);
    ordered_suite!(pair);
}

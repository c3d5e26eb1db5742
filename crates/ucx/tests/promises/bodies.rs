//! Bodies go from where they lie.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

use arrowlane_conformance::transport::Seen;
use bytes::Bytes;

use crate::support::{self, Peer};

/// Counts what Rust code allocates.
struct Counting;
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is the system's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_body_of_100_mb_is_sent_without_a_copy() {
    let _alone = support::alone();
    const LENGTH: usize = 100_000_000;
    let transport = support::transport();
    let mut listener = support::listen(&transport);
    let uri = support::uri(&*listener).to_string();
    let mut peer = Peer::start(&["take", &uri, &LENGTH.to_string()], &crate::search());
    let mut server = support::accept(&mut *listener);
    let whole = Bytes::from(vec![42; LENGTH]);
    let parts: Vec<Bytes> = (0..50).map(|part| whole.slice(part * LENGTH / 50..(part + 1) * LENGTH / 50)).collect();
    let before = ALLOCATED.load(Ordering::Relaxed);
    server.body(u64::MAX, parts);
    let mut seen = Seen::default();
    while !server.flush().expect("sent") {
        assert_eq!(server.copied(), 0);
        support::wait(&[server.descriptor()]);
        server.receive(1 << 20, &mut seen).expect("received");
    }
    let allocated = ALLOCATED.load(Ordering::Relaxed) - before;
    assert!(allocated < 1 << 20, "{allocated} bytes were allocated to send {LENGTH}");
    assert!(whole.is_unique(), "nothing is kept");
    assert_eq!(peer.line_beside(&mut *server), LENGTH.to_string());
}

//! What a peer says costs no memory; what it sends costs a few times as much at most.
//!
//! One test: it counts what the whole process allocates.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
};

use arrowlane_dissociated::DataUri;
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    tcp::{TcpEndpoint, TcpTransport},
};

/// Counts what is allocated, and the most that was at a time.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

fn up(bytes: usize) {
    MOST.fetch_max(NOW.fetch_add(bytes, Ordering::Relaxed) + bytes, Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches none of the memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        up(layout.size());
        // SAFETY: the caller's promises are those of this call.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        up(size);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nothing;

impl Inbox for Nothing {
    fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
        Ok(())
    }
    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

fn raw_server() -> (TcpStream, TcpEndpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let uri = format!("tcp://{}?want_data=1", listener.local_addr().expect("bound"));
    let client = TcpTransport::default().dial(&DataUri::parse(&uri).expect("a URI")).expect("on its way");
    (listener.accept().expect("accepted").0, client)
}

#[test]
fn memory_is_taken_as_bytes_come_and_never_on_a_peers_word() {
    let metadata = |length: i32| [&[0xff; 4][..], &length.to_le_bytes()].concat();
    let body = |length: u64| [&[0xfe, 0xff, 0xff, 0xff, 0, 0, 0, 0][..], &[1; 8], &length.to_le_bytes()].concat();
    for (header, sent) in [
        (metadata(16 << 20), 0),
        (metadata(16 << 20), 3 << 20),
        (body(1 << 40), 0),
        (body(1 << 40), 100_000),
        (body(1 << 40), 20 << 20),
        (body(9 << 20), 9 << 20),
    ] {
        let (mut raw, mut client) = raw_server();
        let chunk = vec![0u8; 64 << 10];
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        raw.write_all(&header).expect("written");
        let mut left: usize = sent;
        while left > 0 {
            let now = left.min(chunk.len());
            raw.write_all(&chunk[..now]).expect("written");
            left -= now;
            client.receive(1 << 20, &mut Nothing).expect("awaited");
        }
        drop(raw);
        while client.receive(1 << 20, &mut Nothing).is_ok() {}
        let taken = MOST.load(Ordering::Relaxed) - before;
        assert!(taken <= 4 * sent + (2 << 20), "{sent} bytes took {taken}");
    }
}

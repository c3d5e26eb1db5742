//! Bodies that are lent: addresses, segments, retirement.

use std::ptr::NonNull;

use arrowlane_memory::{Block, Pool};
use arrowlane_transport::{Endpoint, Loan, TransportError};

use super::{
    Pair,
    driver::{Seen, pump},
};

fn block(pool: &Pool, length: usize) -> Block {
    loop {
        match pool.try_allocate(length) {
            Ok(block) => return block,
            Err(arrowlane_memory::AllocateError::NeedsGrowth) => pool.grow(length).expect("memory"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn write(at: NonNull<u8>, bytes: &[u8]) {
    // SAFETY: the callers pass a block's start and no more bytes than it was allocated with; nobody else writes it.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at.as_ptr(), bytes.len()) }
}

fn read(loan: &Loan) -> Vec<u8> {
    // SAFETY: a loan is a readable span as long as it lives, and nobody writes it meanwhile.
    unsafe { std::slice::from_raw_parts(loan.pointer.as_ptr(), loan.length) }.to_vec()
}

/// Lends a block and waits until the peer can resolve it.
fn lend(server: &mut dyn Endpoint, client: &mut dyn Endpoint, pool: &Pool, block: &Block) {
    server.lend(pool, block).expect("lent");
    server.tagged(1, &[b"after"]);
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(server, client, [&mut at_server, &mut at_client], |[_, c]| !c.messages.is_empty());
}

/// Where a loan lies is where the block lies: the same memory, seen from both sides.
pub fn lent_bytes_are_read_where_they_lie(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let _before = block(&pool, 5000);
    let block = block(&pool, 10_000);
    write(block.as_ptr(), b"first");
    lend(&mut *server, &mut *client, &pool, &block);
    let loan = client.resolve(block.address(), 10_000).expect("resolved");
    assert_eq!((loan.length, &read(&loan)[..5]), (10_000, &b"first"[..]));
    match &loan.mapping {
        Some((mapping, offset)) => {
            let of = |fd: std::os::fd::BorrowedFd<'_>| {
                let stat = rustix::fs::fstat(fd).expect("fstat");
                (stat.st_dev, stat.st_ino)
            };
            let segment = pool.segment(block.segment()).expect("a shared segment");
            assert_eq!(of(mapping.fd()), of(segment.fd()), "the same memory file");
            assert_eq!(*offset as u64, block.offset(), "at the same place in it");
            let start = mapping.region().host_ptr().expect("host memory").as_ptr() as usize;
            assert_eq!(loan.pointer.as_ptr() as usize, start + offset);
        }
        None => assert_eq!(loan.pointer, block.as_ptr(), "the same address"),
    }
    // No copy was made: what is written now is seen through the loan that was taken before.
    write(block.as_ptr(), b"later");
    assert_eq!(&read(&loan)[..5], b"later");
    let inside = client.resolve(block.address() + 2, 3).expect("resolved");
    assert_eq!(read(&inside), b"ter");
}

/// Segments are announced one after the other, and no message overtakes the segment that it needs.
pub fn blocks_of_many_segments_can_be_lent_at_once(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let mut blocks = Vec::new();
    while pool.statistics().segments < 6 {
        blocks.push(block(&pool, 100_000));
    }
    for (number, block) in blocks.iter().enumerate() {
        write(block.as_ptr(), &[number as u8; 100]);
        server.lend(&pool, block).expect("lent");
        server.tagged(number as u64, &[&block.address().to_le_bytes()]);
    }
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    let mut checked = 0;
    while checked < blocks.len() {
        server.flush().expect("flush");
        client.receive(1 << 16, &mut at_client).expect("receive");
        server.receive(1 << 16, &mut at_server).expect("receive");
        for block in &blocks[checked..at_client.messages.len()] {
            let loan = client.resolve(block.address(), 100).expect("it was lent before the message came");
            assert_eq!(read(&loan), [checked as u8; 100]);
            checked += 1;
        }
    }
}

/// An address is a peer's word: outside of what that peer lent it is refused.
pub fn addresses_outside_what_was_lent_are_refused(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let block = block(&pool, 100);
    let unknown = |end: &dyn Endpoint, address: u64, length: u64| match end.resolve(address, length) {
        Err(TransportError::BadAddress { address: a, length: l }) => assert_eq!((a, l), (address, length)),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("{address:#x} with {length} bytes was resolved"),
    };
    unknown(&*client, block.address(), 1);
    lend(&mut *server, &mut *client, &pool, &block);
    let segment = block.address() & !((1 << 48) - 1);
    let size = block.region().len() as u64;
    assert!(client.resolve(segment, size).is_ok(), "the whole segment");
    unknown(&*client, segment, size + 1);
    unknown(&*client, segment + size - 1, 2);
    unknown(&*client, segment + size, 1);
    unknown(&*client, segment + size + (1 << 40), 1);
    unknown(&*client, segment + 1, u64::MAX);
    unknown(&*client, segment | ((1 << 48) - 1), u64::MAX);
    unknown(&*client, block.address() + (1 << 48), 1);
    unknown(&*client, block.offset(), 1);
    unknown(&*client, u64::MAX, 1);
    unknown(&*server, block.address(), 1);
}

/// A segment's number may be used again once the peer acknowledged that it uses it no more.
pub fn a_retired_segment_is_acknowledged_and_its_number_used_again(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    for round in 0..3u8 {
        let block = block(&pool, 1000);
        let number = block.segment();
        assert_eq!(number, 1, "the number is used again");
        write(block.as_ptr(), &[round; 10]);
        lend(&mut *server, &mut *client, &pool, &block);
        let address = block.address();
        assert_eq!(read(&client.resolve(address, 10).expect("resolved")), [round; 10]);
        drop(block);
        assert_eq!(pool.idle_segments(0), [number]);
        assert!(server.retire(number), "the peer knows it");
        assert!(!server.retire(number), "it is told once");
        let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
        pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[s, _]| !s.retired.is_empty());
        assert_eq!(at_server.retired, [number]);
        assert!(matches!(client.resolve(address, 10), Err(TransportError::BadAddress { .. })), "it is gone");
        assert!(pool.release_segment(number));
    }
}

/// There is nothing to wait for where nothing was lent.
pub fn a_segment_that_the_peer_never_knew_needs_no_acknowledgement(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let block = block(&pool, 1000);
    assert!(!server.retire(block.segment()));
    assert!(!server.retire(77));
    server.metadata(&[b"x"]);
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[_, c]| !c.messages.is_empty());
    assert!(at_server.retired.is_empty());
}

/// A loan keeps its memory readable whatever happens to segment, connection and pool.
pub fn loans_outlive_retirement_and_connection(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let block = block(&pool, 1000);
    write(block.as_ptr(), b"kept");
    lend(&mut *server, &mut *client, &pool, &block);
    let loan = client.resolve(block.address(), 4).expect("resolved");
    server.retire(block.segment());
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[s, _]| !s.retired.is_empty());
    assert_eq!(read(&loan), b"kept");
    drop((server, client, block, pool));
    assert_eq!(read(&loan), b"kept");
    std::thread::spawn(move || assert_eq!(read(&loan), b"kept")).join().expect("readable on any thread");
}

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::error::Limit;

fn page() -> u64 {
    page_size() as u64
}

fn heap(limit: u64, segment: u64, max_segments: u16) -> Pool {
    Pool::new(PoolConfig { kind: Kind::Heap, limit, segment, max_segments }).unwrap()
}

/// What a caller that may block does.
fn allocate(pool: &Pool, len: usize) -> Block {
    match pool.try_allocate(len) {
        Err(AllocateError::NeedsGrowth) => {
            pool.grow(len).unwrap();
            pool.try_allocate(len).unwrap()
        }
        other => other.unwrap(),
    }
}

#[test]
fn an_empty_pool_asks_for_growth_then_gives_a_block_and_takes_it_back() {
    let pool = heap(64 * page(), 16 * page(), 4);
    assert_eq!(pool.try_allocate(1).unwrap_err(), AllocateError::NeedsGrowth);
    let block = allocate(&pool, 5000);
    assert_eq!(
        (block.len(), block.capacity() as u64, block.segment(), block.offset() % page()),
        (5000, 2 * page(), 1, 0)
    );
    assert_eq!(block.address(), 1 << 48 | block.offset());
    assert_eq!((block.region().len() as u64, block.kind()), (16 * page(), Kind::Heap));
    assert_eq!(block.as_ptr().as_ptr() as usize, block.region().address() + block.offset() as usize);
    let statistics =
        PoolStatistics { limit: 64 * page(), capacity: 16 * page(), used: 2 * page(), blocks: 1, segments: 1 };
    assert_eq!(pool.statistics(), statistics);
    drop(block);
    assert_eq!(pool.statistics(), PoolStatistics { used: 0, blocks: 0, ..statistics });
    assert_eq!(pool.largest_free(), 16 * page());
}

#[test]
fn a_block_of_no_bytes_has_a_page_of_its_own() {
    let pool = heap(4 * page(), page(), 4);
    let (one, two) = (allocate(&pool, 0), allocate(&pool, 0));
    assert_eq!((one.len(), one.capacity() as u64), (0, page()));
    assert_ne!(one.as_ptr(), two.as_ptr());
}

#[test]
fn what_can_never_fit_is_too_large_and_what_cannot_fit_now_is_full() {
    let pool = heap(4 * page(), page(), 4);
    let too_large = AllocateError::TooLarge { requested: 4 * page() + 1, limit: 4 * page() };
    assert_eq!(pool.try_allocate(4 * page() as usize + 1).unwrap_err(), too_large);
    assert!(matches!(pool.try_allocate(usize::MAX).unwrap_err(), AllocateError::TooLarge { .. }));
    let held = allocate(&pool, 4 * page() as usize);
    assert_eq!(pool.try_allocate(1).unwrap_err(), AllocateError::Full);
    let error = pool.grow(1).unwrap_err();
    assert!(matches!(error, MemoryError::OutOfMemory { which: Limit::Pool, limit: 0, .. }), "{error}");
    drop(held);
    pool.try_allocate(1).unwrap();
}

#[test]
fn segments_double_and_stop_at_the_limits_of_bytes_and_of_number() {
    let pool = heap(64 * page(), 4 * page(), 8);
    let mut held = Vec::new();
    let mut capacities = Vec::new();
    while pool.statistics().used < 64 * page() {
        held.push(allocate(&pool, 1));
        capacities.push(pool.statistics().capacity / page());
    }
    capacities.dedup();
    assert_eq!(capacities, [4, 8, 16, 32, 64]);

    let few = heap(64 * page(), page(), 2);
    let held = [allocate(&few, 1), allocate(&few, 1)];
    assert_eq!(few.try_allocate(1).unwrap_err(), AllocateError::Full);
    assert!(matches!(few.grow(1), Err(MemoryError::OutOfMemory { which: Limit::Segments, limit: 2, .. })));
    drop(held);
}

#[test]
fn a_return_is_told_after_the_block_is_free_and_without_a_lock() {
    let pool = heap(4 * page(), 4 * page(), 1);
    let told = Arc::new(AtomicUsize::new(0));
    let block = allocate(&pool, 4 * page() as usize);
    let (counter, inner) = (Arc::clone(&told), Arc::downgrade(&pool.0));
    pool.set_on_return(Box::new(move || {
        if counter.fetch_add(1, Ordering::SeqCst) == 0 {
            let pool = Pool(inner.upgrade().unwrap());
            drop(pool.try_allocate(4 * page() as usize).unwrap());
        }
    }));
    std::thread::spawn(move || drop(block)).join().unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
}

#[test]
fn idle_segments_retire_from_the_last_down_to_what_is_kept_and_ids_come_back_only_after_release() {
    let pool = heap(64 * page(), 4 * page(), 8);
    let held: Vec<Block> = (0..32).map(|_| allocate(&pool, 1)).collect();
    assert_eq!(pool.statistics().segments, 4); // 4, 4, 8 and 16 pages
    assert!(pool.idle_segments(0).is_empty(), "a segment with a live block was retired");
    drop(held);
    assert_eq!(pool.idle_segments(8 * page()), [4, 3]);
    assert!(pool.idle_segments(8 * page()).is_empty(), "retired twice");
    assert_eq!((pool.statistics().capacity, pool.largest_free()), (32 * page(), 4 * page()));
    // Retiring memory still counts and its id is still taken.
    let block = allocate(&pool, 16 * page() as usize);
    assert_eq!(block.segment(), 5);
    assert!(!pool.release_segment(5) && !pool.release_segment(0) && !pool.release_segment(99));
    assert!(pool.release_segment(3) && !pool.release_segment(3));
    drop(block);
    assert!(pool.release_segment(4));
    assert_eq!(pool.statistics().segments, 3);
    let held: Vec<Block> = (0..41).map(|_| allocate(&pool, 1)).collect();
    assert!(held.iter().any(|block| block.segment() == 3), "a released id was not used again");
}

#[test]
fn a_pool_full_of_small_segments_makes_way_for_a_block_of_the_whole_limit() {
    let pool = heap(64 * page(), 4 * page(), 8);
    let mut held: Vec<Block> = (0..64).map(|_| allocate(&pool, 1)).collect();
    let whole = 64 * page() as usize;
    assert!(pool.make_way(whole).is_empty(), "everything is in use");
    let last = held.pop();
    drop(held);
    assert_eq!(pool.try_allocate(whole).unwrap_err(), AllocateError::Full);
    assert!(pool.make_way(whole).is_empty(), "one block still stands in the way");
    drop(last);
    assert_eq!(pool.try_allocate(whole).unwrap_err(), AllocateError::Full);
    let retiring = pool.make_way(whole);
    assert_eq!(retiring.len(), 5);
    assert!(pool.make_way(whole).is_empty(), "asked twice, retired twice");
    retiring.into_iter().for_each(|id| assert!(pool.release_segment(id)));
    assert_eq!(allocate(&pool, whole).capacity(), whole);
}

#[test]
fn what_peers_may_have_mapped_of_segments_that_left_is_bounded_and_their_ids_wait() {
    let pool = heap(8 * page(), 2 * page(), 4);
    let whole = (8 * page()) as usize;
    pool.grow(whole).unwrap();
    let number = allocate(&pool, whole).segment();
    assert_eq!(pool.idle_segments(0), [number]);
    assert!(pool.give_up_segment(number) && !pool.give_up_segment(number));
    assert_eq!((pool.statistics().capacity, pool.statistics().segments), (0, 0));
    // Nobody has acknowledged it: there is room for as much once more, under another id.
    pool.grow(whole).unwrap();
    let block = allocate(&pool, whole);
    assert_ne!(block.segment(), number);
    let second = block.segment();
    drop(block);
    assert_eq!(pool.idle_segments(0), [second]);
    assert!(pool.give_up_segment(second));
    assert_eq!(pool.try_allocate(1).unwrap_err(), AllocateError::Full);
    assert!(matches!(pool.grow(1), Err(MemoryError::OutOfMemory { which: Limit::Pool, .. })));
    assert!(pool.release_segment(number) && !pool.release_segment(number));
    assert_eq!(pool.try_allocate(1).unwrap_err(), AllocateError::NeedsGrowth);
    pool.grow(whole).unwrap();
    assert_eq!(allocate(&pool, whole).segment(), number, "its id is free, and the other's is not");
}

#[test]
fn concurrent_growth_makes_one_segment_for_all() {
    let pool = heap(1024 * page(), 64 * page(), 8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| pool.grow(10).unwrap());
        }
    });
    assert_eq!(pool.statistics().segments, 1);
}

#[test]
fn a_pool_outlives_its_last_handle_for_as_long_as_a_block_does() {
    let pool = heap(4 * page(), page(), 4);
    let block = allocate(&pool, 1);
    drop(pool);
    // SAFETY: the block is alive and a page long; nobody else knows it.
    unsafe { block.as_ptr().write(1) };
}

#[test]
fn limits_of_nothing_are_refused() {
    let config = PoolConfig { kind: Kind::Heap, limit: page() - 1, segment: 0, max_segments: 1 };
    let refused = Pool::new(config.clone()).unwrap_err();
    assert!(matches!(refused, MemoryError::TooLittle { least, .. } if least == page()), "{refused}");
    assert!(matches!(
        Pool::new(PoolConfig { limit: page(), max_segments: 0, ..config }),
        Err(MemoryError::Invalid { .. })
    ));
}

#[cfg(target_os = "linux")]
#[test]
fn blocks_of_a_shared_pool_show_up_at_their_address_in_a_consumers_mapping() {
    let pool = Pool::new(PoolConfig { limit: 64 * page(), segment: 16 * page(), ..PoolConfig::default() }).unwrap();
    let block = allocate(&pool, 100);
    let segment = pool.segment(block.segment()).unwrap();
    let fd = segment.fd().try_clone_to_owned().unwrap();
    let mapping = crate::shared::Mapping::open(fd, segment.len() as u64).unwrap();
    // SAFETY: the block is alive and this test's alone; the mapping covers the whole segment.
    unsafe {
        block.as_ptr().write_volatile(42);
        let start = mapping.region().host_ptr().unwrap();
        assert_eq!(start.add(block.offset() as usize).read_volatile(), 42);
    }
    assert!(pool.segment(2).is_none() && pool.segment(0).is_none());
}

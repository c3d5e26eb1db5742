//! Nothing is left behind. One test in a process of its own, since the counters are the process's.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use arrowlane_memory::counters::{Counters, snapshot};
use arrowlane_memory::shared::{Mapping, Segment};
use arrowlane_memory::{AllocateError, Kind, Pool, PoolConfig, page_size};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn address_space_pages() -> u64 {
    std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Segments grown, blocks handed out and returned from another thread, a consumer with stray writes, retirement, release.
fn one_life() {
    let page = page_size();
    let config = PoolConfig { kind: Kind::Shared, limit: 256 * page as u64, segment: 8 * page as u64, max_segments: 8 };
    let pool = Pool::new(config).unwrap();
    let mut blocks = Vec::new();
    for _ in 0..64 {
        while pool.largest_free() < page as u64 {
            assert_eq!(pool.try_allocate(1).unwrap_err(), AllocateError::NeedsGrowth);
            pool.grow(1).unwrap();
        }
        blocks.push(pool.try_allocate(1).unwrap());
    }
    let segments: Vec<_> = (1..=4).map(|id| pool.segment(id).unwrap()).collect();
    let mappings: Vec<_> = segments
        .iter()
        .map(|segment| Mapping::open(segment.fd().try_clone_to_owned().unwrap(), segment.len() as u64).unwrap())
        .collect();
    for mapping in &mappings {
        // SAFETY: a private page of a live mapping that only this test uses.
        unsafe { mapping.region().host_ptr().unwrap().write_volatile(1) };
        assert_eq!(mapping.discard_written(0, mapping.len()).unwrap(), 1);
    }
    assert_eq!(snapshot(), Counters { segments: 4, mappings: 4, blocks: 64, arrivals: 0 });
    std::thread::spawn(move || drop(blocks)).join().unwrap();
    drop(segments);
    for id in pool.idle_segments(0) {
        assert!(pool.release_segment(id));
    }
    assert_eq!(snapshot(), Counters { segments: 0, mappings: 4, blocks: 0, arrivals: 0 });
    assert_eq!(pool.statistics().capacity, 0);
}

#[test]
fn a_thousand_lives_leave_no_segment_mapping_block_descriptor_or_address_space_behind() {
    (0..10).for_each(|_| one_life()); // what is cached for the process (the page map) is open now
    let (open, mapped) = (descriptors(), address_space_pages());
    (0..1000).for_each(|_| one_life());
    // Growth that fails leaves nothing either.
    let too_much = Segment::create(1 << 46);
    assert!(too_much.is_err());
    assert_eq!(snapshot(), Counters::default());
    assert_eq!(descriptors(), open);
    // One leaked life is 64 pages twice; what the heap takes for its arenas is much less than a thousand of them.
    assert!(address_space_pages() < mapped + 64_000, "{} pages more", address_space_pages() - mapped);
}

use super::*;
use crate::shared::{Mapping, Segment};

const OURS: u8 = 1;
const NEXT: u8 = 2;
const STRAY: u8 = 0xEE;

fn pair(pages: usize) -> (Segment, Mapping) {
    let segment = Segment::create(pages * page_size()).unwrap();
    let mapping = Mapping::open(segment.fd().try_clone_to_owned().unwrap(), segment.len() as u64).unwrap();
    (segment, mapping)
}

fn put(region: &crate::Region, page: usize, value: u8) {
    assert!((page + 1) * page_size() <= region.len());
    // SAFETY: inside the region (asserted); the tests touch it from one thread at a time.
    unsafe { region.host_ptr().unwrap().add(page * page_size() + 5).write_volatile(value) }
}

fn get(region: &crate::Region, page: usize) -> u8 {
    assert!((page + 1) * page_size() <= region.len());
    // SAFETY: as above.
    unsafe { region.host_ptr().unwrap().add(page * page_size() + 5).read_volatile() }
}

/// The story of a block on pages 1 to 6 whose consumer writes where it should not.
fn stray_writes_are_undone_by(method: Method, dropped: usize) {
    let (segment, mapping) = pair(8);
    let (producer, consumer) = (segment.region(), mapping.region());
    (0..8).for_each(|page| put(producer, page, OURS));
    assert!((0..7).all(|page| get(consumer, page) == OURS));
    [2, 3, 5, 7].iter().for_each(|&page| put(consumer, page, STRAY));
    assert!((0..8).all(|page| get(producer, page) == OURS), "a consumer's write reached the producer");

    (0..8).for_each(|page| put(producer, page, NEXT));
    assert_eq!(get(consumer, 1), NEXT);
    assert_eq!(get(consumer, 2), STRAY, "without discarding, the page is stale: else this test shows nothing");

    let (first, last) = (consumer.address() + page_size(), consumer.address() + 7 * page_size());
    // SAFETY: whole pages of the mapping above, which only this test uses.
    assert_eq!(unsafe { discard_by(method, first, last) }.unwrap(), dropped);
    assert!((1..7).all(|page| get(consumer, page) == NEXT), "stale after {method:?}");
    assert_eq!(get(consumer, 7), STRAY, "the neighbour's page was dropped as well");
    assert!((0..8).all(|page| get(producer, page) == NEXT));
}

#[test]
fn stray_writes_are_undone_by_the_scan_and_only_they() {
    match pagemap().and_then(|fd| scan(&fd, 0, page_size(), &mut |_, _| Ok(0))) {
        Ok(_) => stray_writes_are_undone_by(Method::Scan, 3),
        Err(error) => eprintln!("skipped: PAGEMAP_SCAN (Linux 6.7) is not to be had here: {error}"),
    }
}

#[test]
fn stray_writes_are_undone_by_reading_the_page_map_and_only_they() {
    stray_writes_are_undone_by(Method::Read, 3);
}

#[test]
fn stray_writes_are_undone_by_dropping_all() {
    stray_writes_are_undone_by(Method::All, 6);
}

#[test]
fn more_spans_than_one_call_returns_are_all_found() {
    for method in [Method::Scan, Method::Read] {
        let pages = 2 * ENTRIES + 3;
        let (segment, mapping) = pair(pages);
        let written: Vec<usize> = (0..pages).step_by(2).collect();
        written.iter().for_each(|&page| put(mapping.region(), page, STRAY));
        let (first, last) = (mapping.region().address(), mapping.region().address() + mapping.len());
        // SAFETY: whole pages of the mapping above, which only this test uses.
        match unsafe { discard_by(method, first, last) } {
            Ok(dropped) => assert_eq!(dropped, written.len()),
            Err(error) => {
                eprintln!("skipped {method:?}: {error}");
                continue;
            }
        }
        put(segment.region(), 4, NEXT);
        assert_eq!(get(mapping.region(), 4), NEXT);
    }
}

#[test]
fn a_span_is_widened_to_pages_and_one_outside_the_segment_is_an_error() {
    let (segment, mapping) = pair(4);
    put(mapping.region(), 1, STRAY);
    put(segment.region(), 1, NEXT);
    assert_eq!(mapping.discard_written(page_size() + 100, 1).unwrap(), 1);
    assert_eq!(get(mapping.region(), 1), NEXT);
    assert_eq!(mapping.discard_written(page_size() + 100, 0).unwrap(), 0);
    assert_eq!(mapping.discard_written(4 * page_size(), 0).unwrap(), 0);
    for (offset, len) in [(0, 4 * page_size() + 1), (usize::MAX, 2), (4 * page_size(), 1)] {
        assert_eq!(mapping.discard_written(offset, len).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}

#[test]
fn written_pages_are_discarded_from_any_thread_while_others_are_scanned() {
    let (segment, mapping) = pair(64);
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (segment, mapping) = (&segment, &mapping);
            scope.spawn(move || {
                for round in 0..50u8 {
                    let page = part * 16 + usize::from(round % 16);
                    put(mapping.region(), page, STRAY);
                    put(segment.region(), page, round);
                    mapping.discard_written(part * 16 * page_size(), 16 * page_size()).unwrap();
                    assert_eq!(get(mapping.region(), page), round);
                }
            });
        }
    });
}

//! What somebody with a segment's descriptor cannot do to the producer, and what a peer's descriptor cannot do to us.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::ptr::null_mut;

use arrowlane_memory::shared::{Mapping, Segment};
use arrowlane_memory::{MemoryError, Region, page_size};
use rustix::fs::{
    FallocateFlags, MemfdFlags, Mode, SealFlags, fallocate, fchmod, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create,
};
use rustix::io::{Errno, pwrite};
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap, mprotect, munmap};

const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::FUTURE_WRITE).union(SealFlags::SEAL);

fn bytes(region: &Region) -> Vec<u8> {
    let start = region.host_ptr().unwrap();
    // SAFETY: the region is alive, mapped readable, and nobody writes it while this copies.
    unsafe { std::slice::from_raw_parts(start.as_ptr(), region.len()) }.to_vec()
}

fn fill(region: &Region, value: u8) {
    // SAFETY: the region is alive, mapped writable, and nobody else looks at it meanwhile.
    unsafe { region.host_ptr().unwrap().write_bytes(value, region.len()) }
}

fn received(segment: &Segment) -> OwnedFd {
    segment.fd().try_clone_to_owned().unwrap()
}

/// Tries everything that could change the file, through a descriptor of whatever access.
fn attack(fd: &impl AsFd, len: usize, how: &str) {
    let rw = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: mappings at addresses of the kernel's choice, unmapped at once and not used.
    unsafe {
        for prot in [rw, ProtFlags::WRITE] {
            assert!(mmap(null_mut(), len, prot, MapFlags::SHARED, fd, 0).is_err(), "{how}: mapped shared-writable");
        }
        if let Ok(read_only) = mmap(null_mut(), len, ProtFlags::READ, MapFlags::SHARED, fd, 0) {
            let write = MprotectFlags::READ | MprotectFlags::WRITE;
            assert!(mprotect(read_only, len, write).is_err(), "{how}: a read-only map became writable");
            assert!(madvise(read_only, len, Advice::LinuxRemove).is_err(), "{how}: MADV_REMOVE punched a hole");
            munmap(read_only, len).unwrap();
        }
    }
    assert!(ftruncate(fd, 0).is_err(), "{how}: shrunk");
    assert!(ftruncate(fd, 2 * len as u64).is_err(), "{how}: grown");
    assert!(fallocate(fd, FallocateFlags::empty(), 0, 2 * len as u64).is_err(), "{how}: grown");
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    assert!(fallocate(fd, punch, 0, len as u64).is_err(), "{how}: hole punched");
    let zero = FallocateFlags::ZERO_RANGE;
    assert!(fallocate(fd, zero, 0, len as u64).is_err(), "{how}: range zeroed");
    assert!(pwrite(fd, b"garbage", 0).is_err(), "{how}: written");
    assert!(fcntl_add_seals(fd, SealFlags::WRITE).is_err(), "{how}: sealed further");
}

#[test]
fn no_holder_of_the_descriptor_can_change_the_producers_bytes() {
    let segment = Segment::create(4 * page_size()).unwrap();
    fill(segment.region(), 0x5A);
    attack(&segment.fd(), segment.len(), "the descriptor itself");
    let peer = received(&segment);
    attack(&peer, segment.len(), "a received descriptor");
    let path = format!("/proc/self/fd/{}", peer.as_raw_fd());
    let reopened = OpenOptions::new().read(true).write(true).open(&path);
    if let Ok(reopened) = reopened {
        attack(&reopened, segment.len(), "reopened for writing");
    }
    if let Ok(reopened) = File::open(&path) {
        attack(&reopened, segment.len(), "reopened for reading");
    }
    assert!(OpenOptions::new().write(true).truncate(true).open(&path).is_err(), "truncated by opening");
    assert!(bytes(segment.region()).iter().all(|&byte| byte == 0x5A));

    // And the producer itself still writes.
    fill(segment.region(), 0xA5);
    let mapping = Mapping::open(peer, segment.len() as u64).unwrap();
    assert!(bytes(mapping.region()).iter().all(|&byte| byte == 0xA5));
}

#[test]
fn garbage_written_by_a_consumer_reaches_neither_the_producer_nor_another_consumer_and_kills_nobody() {
    let segment = Segment::create(16 * page_size()).unwrap();
    fill(segment.region(), 1);
    let len = segment.len() as u64;
    let hostile = Mapping::open(received(&segment), len).unwrap();
    let other = Mapping::open(received(&segment), len).unwrap();
    fill(hostile.region(), 0xFF);
    assert!(bytes(segment.region()).iter().all(|&byte| byte == 1));
    assert!(bytes(other.region()).iter().all(|&byte| byte == 1));
    fill(segment.region(), 2);
    assert!(bytes(other.region()).iter().all(|&byte| byte == 2));
    assert_eq!(hostile.discard_written(0, hostile.len()).unwrap(), 16);
    assert!(bytes(hostile.region()).iter().all(|&byte| byte == 2), "the next batch shows stale bytes");
}

#[test]
fn a_mapping_lives_as_long_as_its_region_and_a_forwarded_descriptor_opens_again() {
    let segment = Segment::create(page_size()).unwrap();
    fill(segment.region(), 9);
    let first = Mapping::open(received(&segment), segment.len() as u64).unwrap();
    let second = Mapping::open(first.fd().try_clone_to_owned().unwrap(), first.len() as u64).unwrap();
    let region = second.region().clone();
    drop((segment, first, second));
    assert!(bytes(&region).iter().all(|&byte| byte == 9));
}

/// A memfd of our own making, with the given seals.
fn memfd(len: usize, allocate: bool, seals: SealFlags) -> OwnedFd {
    let fd = memfd_create("test", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&fd, len as u64).unwrap();
    if allocate && len > 0 {
        fallocate(&fd, FallocateFlags::empty(), 0, len as u64).unwrap();
    }
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

#[test]
fn a_received_segment_that_is_not_sealed_in_every_way_is_refused() {
    let len = page_size();
    Mapping::open(memfd(len, true, SEALS), len as u64).unwrap();
    for missing in [SealFlags::SHRINK, SealFlags::GROW, SealFlags::FUTURE_WRITE, SealFlags::SEAL] {
        let error = Mapping::open(memfd(len, true, SEALS.difference(missing)), len as u64).unwrap_err();
        assert!(
            matches!(error, MemoryError::NotSealed { missing: named, .. } if named == missing.bits()),
            "{missing:?}: {error}"
        );
    }
}

#[test]
fn a_received_file_that_is_no_memory_file_is_refused() {
    let plain = tempfile::tempfile().unwrap();
    plain.set_len(page_size() as u64).unwrap();
    let (pipe, _other) = std::io::pipe().unwrap();
    let null = File::open("/dev/null").unwrap();
    let folder = File::open("/").unwrap();
    for (what, fd) in
        [("file", plain.into()), ("pipe", pipe.into()), ("device", null.into()), ("folder", folder.into())]
    {
        let result = Mapping::open(fd, page_size() as u64);
        assert!(matches!(result, Err(MemoryError::NotSealed { .. })), "{what}");
    }
}

#[test]
fn a_received_segment_of_another_size_than_announced_is_refused() {
    let len = 2 * page_size();
    for announced in [0, 1, page_size(), len - 1, len + 1, 4 * page_size(), usize::MAX] {
        let error = Mapping::open(memfd(len, true, SEALS), announced as u64).unwrap_err();
        assert!(matches!(error, MemoryError::WrongSize { found, .. } if found == len as u64), "{announced}: {error}");
    }
    for len in [0, 1, page_size() + 1] {
        let error = Mapping::open(memfd(len, true, SEALS), len as u64).unwrap_err();
        assert!(matches!(error, MemoryError::WrongSize { .. }), "{len}: {error}");
    }
}

#[test]
fn a_received_segment_with_holes_is_refused_because_reading_would_allocate() {
    let len = 1 << 40;
    let error = Mapping::open(memfd(len, false, SEALS), len as u64).unwrap_err();
    assert!(matches!(error, MemoryError::NotPlainMemory { .. }), "{error}");
}

#[test]
fn a_segment_cannot_be_made_executable_where_the_kernel_can_see_to_it() {
    let segment = Segment::create(page_size()).unwrap();
    if !fcntl_get_seals(segment.fd()).unwrap().contains(SealFlags::EXEC) {
        eprintln!("skipped: the kernel has no F_SEAL_EXEC (Linux 6.3)");
        return;
    }
    assert_eq!(fchmod(segment.fd(), Mode::RWXU), Err(Errno::PERM));
    assert_eq!(fstat(segment.fd()).unwrap().st_mode & 0o111, 0);
}

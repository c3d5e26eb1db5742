//! Frames and descriptors between two endpoints, and from a peer that writes raw bytes.

#![cfg(unix)]

use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::Arc,
};

use arrowlane_dissociated::Outbox;
use arrowlane_memory::{Block, Kind, Pool, PoolConfig};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    frame::{HEADER, Header, Kind as Frame, MAX_PAYLOAD, MAX_REPLY},
    shm::{Folder, ShmEndpoint, ShmListener},
};
use proptest::prelude::*;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

#[derive(Default, Debug, PartialEq)]
struct Seen {
    metadata: Vec<Vec<u8>>,
    tagged: Vec<(u64, Vec<u8>)>,
    greetings: Vec<String>,
    retired: Vec<u16>,
}

impl Inbox for Seen {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.greetings.push(uri.into());
        Ok(())
    }
    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.metadata.push(bytes.to_vec());
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.tagged.push((tag, body.to_vec()));
        Ok(())
    }
    fn retired(&mut self, segment: u16) {
        self.retired.push(segment);
    }
}

/// An endpoint of a client and the raw socket of its server.
struct Raw {
    client: ShmEndpoint,
    server: UnixStream,
    _directory: tempfile::TempDir,
}

fn raw() -> Raw {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let folder = Folder::open(&path).expect("folder");
    let listener = std::os::unix::net::UnixListener::bind(path.join("x")).expect("bound");
    let client = ShmListener::connect(&folder, "x").expect("connected");
    let (server, _) = listener.accept().expect("accepted");
    Raw { client, server, _directory: directory }
}

/// An endpoint of a server and the raw socket of its client.
fn raw_client() -> (ShmEndpoint, UnixStream, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("sockets");
    let listener = ShmListener::bind(Arc::new(Folder::open(&path).expect("folder")), "x").expect("bound");
    let client = UnixStream::connect(path.join("x")).expect("connected");
    let server = listener.accept().expect("accepted").expect("one");
    (server, client, directory)
}

fn pool(segments: u64) -> Pool {
    let segment = 1 << 16;
    let config = PoolConfig { kind: Kind::Shared, limit: segments * segment, segment, ..PoolConfig::default() };
    Pool::new(config).expect("pool")
}

/// Blocks in as many segments.
fn blocks(pool: &Pool, count: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    while blocks.len() < count {
        match pool.try_allocate(1 << 16) {
            Ok(block) => blocks.push(block),
            Err(_) => pool.grow(1 << 16).expect("memory"),
        }
    }
    blocks
}

fn frame(kind: Frame, tag: u64, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Header { length: payload.len(), kind, tag }.encode().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn drain(endpoint: &mut ShmEndpoint, seen: &mut Seen) -> Result<(), TransportError> {
    endpoint.receive(1 << 30, seen).map(|_| ())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn frames_cut_anywhere_arrive_whole_and_in_order(
        payloads in proptest::collection::vec((any::<bool>(), any::<u64>(), proptest::collection::vec(any::<u8>(), 0..3000)), 1..12),
        cuts in proptest::collection::vec(1usize..4000, 1..40),
    ) {
        let mut raw = raw();
        let mut expected = Seen::default();
        let mut bytes = frame(Frame::Greeting, 0, b"shm:///x");
        expected.greetings.push("shm:///x".into());
        for (tagged, tag, payload) in payloads {
            if tagged {
                bytes.extend(frame(Frame::Tagged, tag, &payload));
                expected.tagged.push((tag, payload));
            } else {
                bytes.extend(frame(Frame::Metadata, 0, &payload));
                expected.metadata.push(payload);
            }
        }
        let mut seen = Seen::default();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            raw.server.write_all(now).expect("written");
            drain(&mut raw.client, &mut seen).expect("no error");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn bytes_of_noise_are_read_or_refused(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut raw = raw();
        raw.server.write_all(&noise).expect("written");
        drop(raw.server);
        let mut seen = Seen::default();
        while drain(&mut raw.client, &mut seen).is_ok() {}
    }
}

#[test]
fn at_most_one_descriptor_is_unacknowledged_and_what_follows_waits_for_it() {
    let pool = pool(3);
    let blocks = blocks(&pool, 3);
    let (mut server, mut client) = ShmEndpoint::pair().expect("pair");
    for (n, block) in blocks.iter().enumerate() {
        server.lend(&pool, block).expect("lent");
        server.tagged(n as u64, &[b"after segment"]);
    }
    let mut seen = Seen::default();
    for round in 1..=3 {
        assert_eq!(server.flush().expect("flushed"), round == 3, "the next descriptor waits");
        assert!(!server.wants_write(), "for the peer, not for the socket");
        assert_eq!(server.flush().expect("flushed"), round == 3, "asking again changes nothing");
        drain(&mut client, &mut seen).expect("received");
        drain(&mut client, &mut seen).expect("received");
        assert_eq!(seen.tagged.len(), round);
        let block = &blocks[round - 1];
        let loan = client.resolve(block.address(), block.len() as u64).expect("mapped");
        assert_eq!(loan.length, block.len());
        drain(&mut server, &mut seen).expect("acknowledged");
    }
    server.lend(&pool, &blocks[0]).expect("known already");
    assert_eq!(server.queued(), 0, "a segment is lent once");
}

#[test]
fn a_retired_segment_is_acknowledged_once_and_held_loans_outlive_it() {
    let pool = pool(1);
    let block = blocks(&pool, 1).remove(0);
    let (mut server, mut client) = ShmEndpoint::pair().expect("pair");
    assert!(!server.retire(block.segment()), "it was never lent");
    server.lend(&pool, &block).expect("lent");
    server.flush().expect("flushed");
    let mut seen = Seen::default();
    drain(&mut client, &mut seen).expect("received");
    drain(&mut server, &mut seen).expect("acknowledged");
    let loan = client.resolve(block.address(), 8).expect("mapped");
    // SAFETY: the block is this test's alone and longer than eight bytes.
    unsafe { block.as_ptr().cast::<u64>().write_volatile(0x0123_4567) };
    assert!(server.retire(block.segment()));
    assert!(!server.retire(block.segment()), "once");
    server.flush().expect("flushed");
    drain(&mut client, &mut seen).expect("received");
    assert!(matches!(client.resolve(block.address(), 8), Err(TransportError::BadAddress { .. })));
    drain(&mut server, &mut seen).expect("acknowledged");
    assert_eq!(seen.retired, [block.segment()]);
    // SAFETY: the loan keeps eight mapped bytes.
    assert_eq!(unsafe { loan.pointer.cast::<u64>().read_volatile() }, 0x0123_4567);
    // Lent again, it is a new segment to the peer.
    server.lend(&pool, &block).expect("lent again");
    server.flush().expect("flushed");
    drain(&mut client, &mut seen).expect("received");
    client.resolve(block.address(), 8).expect("mapped again");
}

#[test]
fn addresses_are_checked_to_the_byte() {
    let pool = pool(1);
    let block = blocks(&pool, 1).remove(0);
    let (mut server, mut client) = ShmEndpoint::pair().expect("pair");
    server.lend(&pool, &block).expect("lent");
    server.flush().expect("flushed");
    drain(&mut client, &mut Seen::default()).expect("received");
    let (base, length) = (u64::from(block.segment()) << 48, 1u64 << 16);
    assert_eq!(client.resolve(base, length).expect("all of it").length, 1 << 16);
    client.resolve(base | (length - 1), 1).expect("the last byte");
    for (address, length) in [
        (base, length + 1),
        (base | length, 1),
        (base | (length - 1), 2),
        (base | ((1 << 48) - 1), u64::MAX),
        (base, u64::MAX),
        (0, 1),
        (length, 1),
        ((u64::from(block.segment()) + 1) << 48, 1),
        (u64::MAX, u64::MAX),
    ] {
        assert!(
            matches!(client.resolve(address, length), Err(TransportError::BadAddress { .. })),
            "{address:#x}+{length}"
        );
    }
}

#[test]
fn a_server_takes_no_memory_and_no_long_messages_from_its_clients() {
    let file = tempfile::tempfile().expect("file");
    for bytes in [
        frame(Frame::Segment, 1, &4096u64.to_le_bytes()),
        frame(Frame::Retire, 1, &[]),
        Header { length: MAX_REPLY + 1, kind: Frame::Tagged, tag: 0 }.encode().to_vec(),
    ] {
        let (mut server, client, _directory) = raw_client();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [file.as_fd()];
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        sendmsg(&client, &[std::io::IoSlice::new(&bytes)], &mut control, SendFlags::empty()).expect("sent");
        let error = drain(&mut server, &mut Seen::default()).expect_err("refused");
        assert!(matches!(error, TransportError::Framing(_)), "{error}");
    }
}

#[test]
fn a_frame_over_the_limit_is_refused_by_its_header_alone() {
    let mut raw = raw();
    let mut header = Header { length: MAX_PAYLOAD, kind: Frame::Metadata, tag: 0 }.encode();
    raw.server.write_all(&header).expect("written");
    drain(&mut raw.client, &mut Seen::default()).expect("the longest is awaited");
    header[..4].copy_from_slice(&(MAX_PAYLOAD as u32 + 1).to_le_bytes());
    let mut other = self::raw();
    other.server.write_all(&header).expect("written");
    assert!(matches!(drain(&mut other.client, &mut Seen::default()), Err(TransportError::Framing(_))));
}

#[test]
fn half_a_message_before_the_end_is_an_end_and_not_a_message() {
    let mut raw = raw();
    let mut bytes = frame(Frame::Metadata, 0, b"whole");
    bytes.extend_from_slice(&frame(Frame::Metadata, 0, b"half")[..HEADER + 2]);
    raw.server.write_all(&bytes).expect("written");
    drop(raw.server);
    let mut seen = Seen::default();
    let error = loop {
        if let Err(error) = drain(&mut raw.client, &mut seen) {
            break error;
        }
    };
    assert!(matches!(error, TransportError::Closed), "{error}");
    assert_eq!(seen.metadata, [b"whole".to_vec()]);
}

#[test]
fn acknowledgements_that_nobody_asked_for_are_refused() {
    for (kind, tag) in [
        (Frame::SegmentAcknowledged, 1),
        (Frame::SegmentAcknowledged, 1 << 16),
        (Frame::Retired, 1),
        (Frame::Retired, 0),
    ] {
        let (mut server, mut client, _directory) = raw_client();
        client.write_all(&frame(kind, tag, &[])).expect("written");
        assert!(matches!(drain(&mut server, &mut Seen::default()), Err(TransportError::Framing(_))), "{kind:?} {tag}");
    }
}

#[test]
fn messages_to_a_peer_that_does_not_read_are_kept_and_go_out_in_order_when_it_does() {
    let (mut server, mut client, _directory) = raw_client();
    let payload = vec![7u8; 100_000];
    for n in 0..50u64 {
        server.tagged(n, &[&payload]);
    }
    assert!(!server.flush().expect("flushed"), "the socket is full");
    assert!(server.wants_write());
    client.set_nonblocking(true).expect("set");
    let mut received = Vec::new();
    let mut chunk = vec![0u8; 1 << 16];
    while received.len() < 50 * (HEADER + payload.len()) {
        match client.read(&mut chunk) {
            Ok(read) => received.extend_from_slice(&chunk[..read]),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
        server.flush().expect("flushed");
    }
    assert_eq!(server.queued(), 0);
    for (n, bytes) in received.chunks(HEADER + payload.len()).enumerate() {
        assert_eq!(bytes, frame(Frame::Tagged, n as u64, &payload));
    }
}

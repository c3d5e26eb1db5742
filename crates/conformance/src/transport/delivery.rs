//! Messages: order, wholeness, readiness, bounds.

use std::sync::Arc;

use arrowlane_transport::{Endpoint, Inbox, Progress, TransportError};
use bytes::Bytes;

use super::{
    Pair,
    driver::{Got, Seen, by_kind, has_room, pump, readable, wait_readable},
};

/// `length` bytes that differ from those of any other number.
fn pattern(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|i| (i.wrapping_mul(31) ^ number.wrapping_mul(131) ^ (i >> 8)) as u8).collect()
}

fn send(end: &mut dyn Endpoint, message: &Got) {
    match message {
        Got::Metadata(bytes) => {
            // In parts, as the protocol does it.
            let (a, b) = bytes.split_at(bytes.len() / 3);
            end.metadata(&[a, &[], b]);
        }
        Got::Tagged(tag, bytes) => {
            let (a, b) = bytes.split_at(bytes.len() / 2);
            end.tagged(*tag, &[a, b]);
        }
        Got::Greeting(_) => unreachable!("the suite does not greet"),
    }
}

/// Of every length around those at which something could go wrong: empty, one, around a page and a socket's buffers.
fn mixed() -> Vec<Got> {
    let lengths = [0, 1, 2, 15, 16, 17, 63, 4095, 4096, 4097, 65_519, 65_536, 65_537, 0, 300_000, 1];
    let message = |(number, length): (usize, &usize)| match number % 2 {
        0 => Got::Metadata(pattern(number, *length)),
        _ => Got::Tagged(u64::MAX - number as u64, pattern(number, *length)),
    };
    lengths.iter().enumerate().map(message).collect()
}

/// Messages of all lengths, tagged and not, arrive as they were sent, untagged ones in their order and tagged ones in theirs.
pub fn messages_arrive_whole_and_each_kind_in_order(make_pair: &dyn Fn() -> Pair) {
    let (sent, seen) = send_mixed(make_pair);
    assert!(by_kind(&seen) == by_kind(&sent), "bytes or order differ");
}

/// What was sent first arrives first, whatever it is.
pub fn untagged_and_tagged_messages_keep_one_order(make_pair: &dyn Fn() -> Pair) {
    let (sent, seen) = send_mixed(make_pair);
    assert!(seen == sent, "bytes or order differ");
}

fn send_mixed(make_pair: &dyn Fn() -> Pair) -> (Vec<Got>, Vec<Got>) {
    let (mut server, mut client, _pool) = make_pair();
    let sent: Vec<Got> = (0..20).flat_map(|_| mixed()).collect();
    sent.iter().for_each(|m| send(&mut *server, m));
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    let all = sent.len();
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[_, c]| c.messages.len() >= all);
    assert_eq!(server.queued(), 0);
    assert!(server.flush().expect("flush"), "nothing is left");
    (sent, at_client.messages)
}

/// Messages of many megabytes arrive whole.
pub fn large_messages_arrive_whole(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    let sent = [Got::Tagged(1, pattern(1, 20 << 20)), Got::Metadata(pattern(2, 5 << 20)), Got::Tagged(3, vec![])];
    sent.iter().for_each(|m| send(&mut *server, m));
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[_, c]| c.messages.len() >= sent.len());
    assert!(by_kind(&at_client.messages) == by_kind(&sent), "bytes differ");
}

/// Bodies are taken as they are given, and come in memory that can be read in place. What was given is let go of as soon as
/// it is with the system.
pub fn bodies_arrive_whole_and_aligned_and_their_parts_are_let_go(make_pair: &dyn Fn() -> Pair) {
    struct Part(Vec<u8>, #[expect(dead_code, reason = "counts")] Arc<()>);
    impl AsRef<[u8]> for Part {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let (mut server, mut client, _pool) = make_pair();
    let kept = Arc::new(());
    let lengths: [&[usize]; 8] =
        [&[], &[0], &[1], &[8192], &[8193], &[5, 0, 11, 100_000], &[3 << 20, 1, 65_536], &[100; 1000]];
    let mut sent = Vec::new();
    for (number, lengths) in lengths.iter().enumerate() {
        let parts: Vec<_> = lengths.iter().enumerate().map(|(part, length)| pattern(number + part, *length)).collect();
        sent.push(Got::Tagged(number as u64, parts.concat()));
        sent.push(Got::Metadata(vec![number as u8; number]));
        let parts = parts.into_iter().map(|part| Bytes::from_owner(Part(part, Arc::clone(&kept)))).collect();
        server.body(number as u64, parts);
        server.metadata(&[&vec![number as u8; number]]);
    }
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[_, c]| c.messages.len() >= sent.len());
    assert!(by_kind(&at_client.messages) == by_kind(&sent), "bytes differ");
    assert_eq!((server.queued(), server.copied(), Arc::strong_count(&kept)), (0, 0, 1), "nothing is kept");
}

/// What goes one way neither waits for nor mixes with what goes the other.
pub fn both_directions_are_independent(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    let (mut to_client, mut to_server) = (Vec::new(), Vec::new());
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    for round in 0..50 {
        for (number, message) in mixed().into_iter().enumerate() {
            if (number + round) % 3 > 0 {
                send(&mut *server, &message);
                to_client.push(message.clone());
            }
            if (number + round) % 2 > 0 {
                send(&mut *client, &message);
                to_server.push(message);
            }
        }
        if round % 7 == 0 {
            let expected = (to_server.len(), to_client.len());
            pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[s, c]| {
                (s.messages.len(), c.messages.len()) == expected
            });
        }
    }
    let expected = (to_server.len(), to_client.len());
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[s, c]| {
        (s.messages.len(), c.messages.len()) == expected
    });
    assert!(by_kind(&at_client.messages) == by_kind(&to_client), "bytes to the client differ");
    assert!(by_kind(&at_server.messages) == by_kind(&to_server), "bytes to the server differ");
}

/// A descriptor that stays readable makes an event loop spin; one that does not become readable makes it sleep for ever.
pub fn the_descriptor_is_readable_exactly_when_there_is_something(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    let (mut at_server, mut at_client) = (Seen::default(), Seen::default());
    let quiet = |a: &dyn Endpoint, b: &dyn Endpoint| assert!(!readable(a) && !readable(b), "nothing is there to read");
    quiet(&*server, &*client);
    for _ in 0..3 {
        server.metadata(&[b"queued"]);
        quiet(&*server, &*client);
        server.flush().expect("flush");
        wait_readable(&*client);
        assert_eq!(client.receive(1 << 20, &mut at_client).expect("receive"), Progress::Drained);
        quiet(&*server, &*client);
    }
    // Receiving where there is nothing is allowed, and changes nothing.
    assert_eq!(client.receive(1 << 20, &mut at_client).expect("receive"), Progress::Drained);
    assert_eq!(at_client.messages.len(), 3);
    // Lending and its acknowledgement come to rest as well.
    if server.lends() {
        pool.grow(1).expect("memory");
        let block = pool.try_allocate(1).expect("block");
        server.lend(&pool, &block).expect("lent");
    }
    server.metadata(&[b"lent"]);
    pump(&mut *server, &mut *client, [&mut at_server, &mut at_client], |[_, c]| c.messages.len() == 4);
    while readable(&*server) {
        server.receive(1 << 20, &mut at_server).expect("receive");
    }
    quiet(&*server, &*client);
    drop(client);
    wait_readable(&*server); // an end is something to be read
}

/// One busy peer cannot keep its receiver from the others.
pub fn a_budget_bounds_what_one_call_reads(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    let sent: Vec<Got> = (0..2000).map(|n| Got::Metadata(pattern(n, 1000))).collect();
    let mut seen = Seen::default();
    for message in &sent {
        send(&mut *server, message);
    }
    let mut calls = 0;
    while seen.messages.len() < sent.len() {
        server.flush().expect("flush");
        wait_readable(&*client); // all of it has to come
        let before = seen.bytes();
        let progress = client.receive(1000, &mut seen).expect("receive");
        let read = seen.bytes() - before;
        assert!(read <= 256 << 10, "one call with a budget of 1000 bytes delivered {read}");
        if progress == Progress::More && server.queued() == 0 && seen.messages.len() < sent.len() {
            wait_readable(&*client); // more is waiting
        }
        calls += 1;
    }
    assert!(calls > 5, "2 MB came in {calls} calls");
    assert!(seen.messages == sent);
}

/// Whatever a budget leaves, the descriptor tells of it.
pub fn a_small_budget_loses_no_wake_up(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    for round in 0..20 {
        let mut sent = Vec::new();
        for message in [Got::Tagged(round, pattern(1, 60_000 + 3001 * round as usize)), Got::Metadata(pattern(2, 10))] {
            send(&mut *server, &message);
            sent.push(message);
        }
        let mut seen = Seen::default();
        while seen.messages.len() < 2 {
            server.flush().expect("flush");
            wait_readable(&*client);
            client.receive(1, &mut seen).expect("receive");
        }
        assert!(by_kind(&seen.messages) == by_kind(&sent), "bytes differ");
    }
}

/// Flushing never blocks; what the system does not take stays queued, and the endpoint says what it waits for.
pub fn a_peer_that_does_not_read_loses_nothing_and_blocks_nobody(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    overwhelm(&mut *server, &mut *client);
    overwhelm(&mut *client, &mut *server);
}

fn overwhelm(sender: &mut dyn Endpoint, receiver: &mut dyn Endpoint) {
    let mut sent = Vec::new();
    let mut full = false;
    for number in 0..64 {
        let message = Got::Tagged(number as u64, pattern(number, 256 << 10));
        let before = sender.queued();
        send(sender, &message);
        assert!(sender.queued() >= before + (256 << 10), "what is queued is counted");
        sent.push(message);
        if !sender.flush().expect("flush") {
            full = true;
            assert!(sender.queued() > 0, "what is left is counted");
        } else {
            assert!(sender.queued() == 0 && !sender.wants_write());
        }
    }
    let (mut at_sender, mut at_receiver) = (Seen::default(), Seen::default());
    // The sender sleeps while its peer reads all that is on its way: its descriptor wakes it.
    while full && !has_room(sender) {
        wait_readable(receiver);
        receiver.receive(1 << 20, &mut at_receiver).expect("receive");
    }
    pump(sender, receiver, [&mut at_sender, &mut at_receiver], |[_, c]| c.messages.len() == sent.len());
    assert!(at_receiver.messages == sent);
    assert!(sender.flush().expect("flush") && !sender.wants_write(), "full before: {full}");
}

/// What the inbox refuses ends the call with the inbox's own error.
pub fn an_error_of_the_inbox_comes_back(make_pair: &dyn Fn() -> Pair) {
    struct Refuses;
    impl Inbox for Refuses {
        fn greeting(&mut self, _uri: &str) -> Result<(), TransportError> {
            Ok(())
        }
        fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
            Err(TransportError::NotFound("refused".into()))
        }
        fn tagged(&mut self, _tag: u64, _body: &[u8]) -> Result<(), TransportError> {
            Ok(())
        }
        fn retired(&mut self, _segment: u16) {}
    }
    let (mut server, mut client, _pool) = make_pair();
    server.tagged(1, &[b"fine"]);
    server.metadata(&[b"not"]);
    server.flush().expect("flush");
    let error = loop {
        wait_readable(&*client);
        if let Err(error) = client.receive(1 << 20, &mut Refuses) {
            break error;
        }
    };
    assert!(matches!(&error, TransportError::NotFound(name) if name == "refused"), "{error}");
}

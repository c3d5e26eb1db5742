//! Ends.

use arrowlane_transport::{Endpoint, TransportError};

use super::{
    Pair,
    driver::{Got, Seen, wait_readable},
};

/// Receives until the end; `Closed` it has to be.
fn to_the_end(end: &mut dyn Endpoint, seen: &mut Seen) {
    let error = loop {
        wait_readable(end);
        match end.receive(1 << 16, seen) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, TransportError::Closed), "{error}");
    assert!(matches!(end.receive(1 << 16, seen), Err(TransportError::Closed)), "it stays closed");
}

/// Closing loses nothing that was flushed, however much it is.
pub fn the_end_is_seen_after_everything_was_delivered(make_pair: &dyn Fn() -> Pair) {
    for size in [0, 1, 1000, 20_000] {
        let (mut server, mut client, _pool) = make_pair();
        let mut sent = 0u64;
        while sent < 5000 {
            server.tagged(sent, &[&vec![sent as u8; size]]);
            sent += 1;
            if !server.flush().expect("flush") {
                break;
            }
        }
        let mut seen = Seen::default();
        while !server.flush().expect("flush") {
            client.receive(1 << 10, &mut seen).expect("receive");
        }
        drop(server);
        to_the_end(&mut *client, &mut seen);
        assert_eq!(seen.messages.len() as u64, sent);
        for (number, message) in seen.messages.iter().enumerate() {
            assert_eq!(*message, Got::Tagged(number as u64, vec![number as u8; size]));
        }
    }
}

/// What a peer still has to be told does not hide what it said before it went.
pub fn the_end_is_seen_even_while_answers_are_owed(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, pool) = make_pair();
    if server.lends() {
        pool.grow(1).expect("memory");
        let block = pool.try_allocate(1).expect("block");
        server.lend(&pool, &block).expect("lent");
    }
    for number in 0..100 {
        server.tagged(number, &[&[0; 10_000]]);
    }
    let mut seen = Seen::default();
    while !server.flush().expect("flush") {
        client.receive(1 << 10, &mut seen).expect("receive");
        client.tagged(1, &[b"never read"]);
    }
    client.tagged(1, &[b"never read"]);
    client.flush().expect("flush");
    client.tagged(2, &[b"never sent"]);
    drop(server);
    to_the_end(&mut *client, &mut seen);
    assert_eq!(seen.messages.len(), 100);
}

/// Sending finds out, or receiving does; the process lives.
pub fn sending_to_a_peer_that_is_gone_is_an_error_and_no_signal(make_pair: &dyn Fn() -> Pair) {
    let (mut server, client, _pool) = make_pair();
    drop(client);
    for _ in 0..3 {
        server.metadata(&[&[1; 1000]]);
        match server.flush() {
            Ok(_) | Err(TransportError::Closed) => {}
            Err(error) => panic!("{error}"),
        }
    }
    to_the_end(&mut *server, &mut Seen::default());
}

/// Nothing is kept by what was queued, sent and not read, lent and not acknowledged. (The suite counts after each promise.)
pub fn dropping_both_ends_frees_what_was_queued(make_pair: &dyn Fn() -> Pair) {
    for server_first in [true, false] {
        let (mut server, mut client, pool) = make_pair();
        let mut blocks = Vec::new();
        while pool.statistics().segments < 3 {
            match pool.try_allocate(50_000) {
                Ok(block) => blocks.push(block),
                Err(_) => pool.grow(50_000).expect("memory"),
            }
        }
        for block in &blocks {
            if server.lends() {
                server.lend(&pool, block).expect("lent");
            }
            server.tagged(1, &[&[0; 100]]);
        }
        server.flush().expect("flush");
        client.receive(1, &mut Seen::default()).expect("receive");
        client.tagged(1, &[b"queued"]);
        server.metadata(&[&[0; 1 << 20]]);
        server.flush().expect("flush");
        if server.lends() {
            server.retire(1);
        }
        if server_first {
            drop(server);
            drop(client);
        } else {
            drop(client);
            drop(server);
        }
    }
}

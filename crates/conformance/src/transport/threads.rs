//! Ends on threads of their own.

use arrowlane_transport::{Endpoint, TransportError};

use super::{
    Pair,
    driver::{Got, Seen, wait_readable},
};

const COUNT: u64 = 5000;

fn send_all(mut end: Box<dyn Endpoint>, size: usize) -> Box<dyn Endpoint> {
    for number in 0..COUNT {
        end.tagged(number, &[&vec![number as u8; size]]);
        while end.queued() > 100_000 && !end.flush().expect("flush") {
            std::thread::yield_now();
        }
    }
    while !end.flush().expect("flush") {
        std::thread::yield_now();
    }
    end
}

fn receive_all(mut end: Box<dyn Endpoint>, size: usize) -> Box<dyn Endpoint> {
    let mut seen = Seen::default();
    while (seen.messages.len() as u64) < COUNT {
        wait_readable(&*end);
        match end.receive(1 << 16, &mut seen) {
            Ok(_) => {}
            // The sender may be gone by the time its last message is read.
            Err(TransportError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(seen.messages.len() as u64, COUNT);
    for (number, message) in seen.messages.iter().enumerate() {
        assert_eq!(*message, Got::Tagged(number as u64, vec![number as u8; size]));
    }
    end
}

/// No wake-up is lost between two threads: a receiver that sleeps whenever there is nothing gets all of it.
pub fn ends_may_live_on_different_threads(make_pair: &dyn Fn() -> Pair) {
    for size in [0, 8, 3000] {
        let (server, client, _pool) = make_pair();
        let receiver = std::thread::spawn(move || receive_all(client, size));
        drop(send_all(server, size));
        receiver.join().expect("received");
    }
}

/// An end belongs to no thread.
pub fn an_end_may_move_between_threads(make_pair: &dyn Fn() -> Pair) {
    let (mut server, mut client, _pool) = make_pair();
    for _ in 0..2 {
        let there = std::thread::spawn(move || receive_all(client, 100));
        server = std::thread::spawn(move || send_all(server, 100)).join().expect("sent");
        client = there.join().expect("received");
        // And the other way round.
        let there = std::thread::spawn(move || receive_all(server, 10));
        client = send_all(client, 10);
        server = there.join().expect("received");
    }
}

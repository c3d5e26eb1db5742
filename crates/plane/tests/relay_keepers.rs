//! What a relay handed on stays as it is while anybody reads it, whatever becomes of the relay.
//!
//! Here a relay goes with its event loop; `__test__/process/relay.test.ts` kills it.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use arrow_array::{Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_dissociated::Outbox;
use arrowlane_plane::{Batch, PublisherOptions, Standing, copied_bytes};
use arrowlane_transport::{
    Endpoint, Inbox, TransportError,
    shm::{ShmEndpoint, ShmListener},
};
use support::{chain::*, *};

const ROWS: usize = 1000;

/// So many that a producer with little memory has used all of it again.
const MANY: usize = 40;

/// As little memory as a batch that is held and one that goes on need.
fn narrow() -> PublisherOptions {
    PublisherOptions { memory: 512 << 10, ..options() }
}

fn chain(world: &World) -> Chain {
    let mut chain = Chain::new(world, 1);
    chain.producer = world.publish("narrow", narrow());
    chain.upstream = world.subscribe("narrow");
    chain.settle();
    chain
}

/// The relay's process ends in good order: its event loop lets go of everything.
fn ends(chain: &mut Chain) {
    chain.upstream.lane.shut_down();
    chain.relay.lane.shut_down();
    chain.upstream.batches.clear();
    let world = World::new();
    chain.upstream = world.subscribe("nothing");
    chain.relay = world.publish("nothing else", PublisherOptions { memory: 4096, ..options() });
}

/// Has the producer use all of its memory again. `others` subscribe to it as well, and take what comes.
fn overwrites(producer: &mut Producer, world: &World, others: &mut [&mut Consumer]) {
    let mut reader = world.subscribe("narrow");
    settle(producer, std::slice::from_mut(&mut reader));
    for number in 1000..1000 + MANY {
        producer.send(&numbered(number, ROWS));
        settle(producer, std::slice::from_mut(&mut reader));
        for other in others.iter_mut() {
            settle(producer, std::slice::from_mut(other));
            other.take();
        }
        drop(reader.take().expect("delivered"));
    }
    reader.close();
    settle(producer, std::slice::from_mut(&mut reader));
}

fn standings(producer: &Producer) -> Vec<Standing> {
    producer.publisher.subscriptions().iter().map(|s| s.standing).collect()
}

/// Sends a batch through a chain; what arrives at its end.
fn passes(chain: &mut Chain, number: usize) -> Arc<Batch> {
    chain.producer.send(&numbered(number, ROWS));
    let batch = chain.arrives();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    drop(batch);
    chain.settle();
    chain.consumers[0].take().expect("delivered")
}

#[test]
fn when_a_relay_ends_what_is_read_behind_it_stays_and_then_all_of_it_comes_back() {
    let world = World::new();
    let mut chain = chain(&world);
    let before = chain.producer.used();
    let (first, second) = (passes(&mut chain, 1), passes(&mut chain, 2));
    ends(&mut chain);
    chain.settle();
    assert_eq!(standings(&chain.producer), [Standing::Orphaned]);
    assert_eq!((chain.producer.left.len(), chain.up()), (1, 2));
    overwrites(&mut chain.producer, &world, &mut []);
    assert_numbered(&first, 1, ROWS);
    drop(first);
    overwrites(&mut chain.producer, &world, &mut []);
    assert_numbered(&second, 2, ROWS);
    assert_eq!(chain.up(), 2, "which of them is read still, nobody can say");
    drop(second);
    chain.until("it is free", |c| c.producer.used() == before);
    assert_eq!((chain.up(), standings(&chain.producer)), (0, Vec::new()));
}

#[test]
fn a_reader_that_goes_after_its_relay_gives_everything_back() {
    let world = World::new();
    let mut chain = chain(&world);
    // Held, and never read from the socket.
    let held = passes(&mut chain, 1);
    chain.producer.send(&numbered(2, ROWS));
    let batch = chain.arrives();
    chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
    drop(batch);
    ends(&mut chain);
    settle(&mut chain.producer, &mut []);
    assert_eq!(chain.up(), 2);
    chain.consumers[0].lane.shut_down();
    drop(held);
    chain.consumers.clear();
    settle(&mut chain.producer, &mut []);
    assert_eq!((chain.up(), chain.producer.used()), (0, 0));
}

#[test]
fn a_relay_of_whom_nobody_holds_anything_leaves_nothing() {
    let world = World::new();
    let mut chain = chain(&world);
    drop(passes(&mut chain, 1));
    chain.settle();
    chain.producer.send(&numbered(2, ROWS));
    let own = chain.arrives();
    assert_eq!(chain.up(), 1);
    drop(own);
    ends(&mut chain);
    chain.settle();
    assert_eq!((chain.up(), chain.producer.used(), standings(&chain.producer)), (0, 0, Vec::new()));
}

#[test]
fn a_relay_that_gives_up_keeps_what_is_read_until_nobody_reads_it() {
    let world = World::new();
    let mut chain = chain(&world);
    let held = passes(&mut chain, 1);
    chain.relay.publisher.give_up();
    chain.settle();
    assert!(chain.relay.closed && chain.consumers[0].failed.is_some());
    overwrites(&mut chain.producer, &world, &mut [&mut chain.upstream]);
    assert_eq!(chain.up(), 1);
    assert_numbered(&held, 1, ROWS);
    drop(held);
    chain.settle();
    assert_eq!((chain.up(), chain.producer.used()), (0, 0));
}

#[test]
fn and_so_does_one_that_gives_up_and_ends_then() {
    let world = World::new();
    let mut chain = chain(&world);
    let held = passes(&mut chain, 1);
    chain.relay.publisher.give_up();
    chain.settle();
    ends(&mut chain);
    overwrites(&mut chain.producer, &world, &mut []);
    assert_numbered(&held, 1, ROWS);
    drop(held);
    chain.settle();
    assert_eq!((chain.up(), chain.producer.used()), (0, 0));
}

#[test]
fn in_a_chain_of_four_those_in_between_may_go_in_any_order() {
    for order in [&[0][..], &[1], &[0, 1], &[1, 0]] {
        let world = World::new();
        let mut producer = world.publish("narrow", narrow());
        let mut relays: Vec<(Consumer, Producer)> = [("narrow", "b"), ("b", "c")]
            .map(|(up, down)| (up, world.publish(down, narrow())))
            .map(|(up, relay)| (world.subscribe(up), relay))
            .into();
        let mut last = world.subscribe("c");
        let mut settle_all = |producer: &mut Producer, relays: &mut Vec<(Consumer, Producer)>| {
            for _ in 0..4 {
                settle(producer, &mut []);
                for (upstream, relay) in relays.iter_mut() {
                    settle(relay, std::slice::from_mut(upstream));
                }
                settle(producer, std::slice::from_mut(&mut last));
            }
            last.take()
        };
        assert!(settle_all(&mut producer, &mut relays).is_none());
        producer.send(&numbered(7, ROWS));
        settle_all(&mut producer, &mut relays);
        let mut held = None;
        for at in 0..2 {
            let batch = relays[at].0.take().expect("delivered");
            let out = relays[at].1.publisher.forward(&batch, whole(&batch), None).expect("it fits").expect("lent");
            relays[at].1.publisher.try_send(&out).expect("sent");
            drop((out, batch));
            held = settle_all(&mut producer, &mut relays);
        }
        let held = held.expect("delivered");
        for (n, gone) in order.iter().enumerate() {
            let (upstream, relay) = &relays[*gone];
            upstream.lane.shut_down();
            relay.lane.shut_down();
            relays[*gone].0.batches.clear();
            settle_all(&mut producer, &mut relays);
            // The first of them is a subscriber while it is there.
            let mut others: Vec<_> =
                relays.iter_mut().take(1).filter(|_| !order[..=n].contains(&0)).map(|(upstream, _)| upstream).collect();
            overwrites(&mut producer, &world, &mut others);
            settle_all(&mut producer, &mut relays);
            assert_numbered(&held, 7, ROWS);
            assert_eq!(producer.publisher.statistics().leases, 1, "{order:?}");
        }
        drop(held);
        settle_all(&mut producer, &mut relays);
        assert_eq!((producer.publisher.statistics().leases, producer.used()), (0, 0), "{order:?}");
    }
}

#[test]
fn a_chain_that_is_too_long_for_keepers_copies() {
    let world = World::new();
    let mut producer = world.publish("0", narrow());
    producer = {
        let mut upstream = world.subscribe("0");
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        producer.send(&numbered(1, ROWS));
        settle(&mut producer, std::slice::from_mut(&mut upstream));
        let mut batch = upstream.take().expect("delivered");
        let mut chain = Vec::new();
        let mut forwarded = 0;
        for n in 1.. {
            let mut relay = world.publish(&n.to_string(), narrow());
            let mut next = world.subscribe(&n.to_string());
            settle(&mut relay, std::slice::from_mut(&mut next));
            let Some(out) = relay.publisher.forward(&batch, whole(&batch), None).expect("it fits") else { break };
            relay.publisher.try_send(&out).expect("sent");
            drop(out);
            settle(&mut relay, std::slice::from_mut(&mut next));
            batch = next.take().expect("delivered");
            assert_numbered(&batch, 1, ROWS);
            forwarded = n;
            chain.push((relay, next));
        }
        assert_eq!(forwarded, 8);
        producer
    };
    assert!(producer.publisher.statistics().leases <= 1);
}

/// What a client received that knows of no keepers.
#[derive(Default)]
struct Received {
    greeting: String,
    lent: usize,
    bodies: Vec<Vec<u8>>,
}

impl Inbox for Received {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.greeting = uri.into();
        Ok(())
    }
    fn metadata(&mut self, _bytes: &[u8]) -> Result<(), TransportError> {
        Ok(())
    }
    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        if tag >> 56 == 1 {
            self.lent += 1;
        } else {
            self.bodies.push(body.to_vec());
        }
        Ok(())
    }
    fn retired(&mut self, _segment: u16) {}
}

fn joins(world: &World, producer: &mut Producer, tag: &str) -> (ShmEndpoint, Received) {
    let (mut endpoint, mut received) =
        (ShmListener::connect(&world.folder, "down").expect("connected"), Received::default());
    settle(producer, &mut []);
    endpoint.receive(1 << 20, &mut received).expect("greeted");
    let (_, rest) = received.greeting.split_once(&format!("{tag}=")).expect("a tag");
    let want = rest.split('&').next().expect("a value").parse::<u64>().expect("a number");
    endpoint.tagged(want, &[b"down"]);
    endpoint.flush().expect("asked");
    settle(producer, &mut []);
    (endpoint, received)
}

#[test]
fn a_client_without_keepers_is_sent_what_others_are_lent() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    let mut clients: Vec<_> =
        ["want_data", "want_data_ext"].map(|tag| joins(&world, &mut chain.relay, tag)).into_iter().collect();
    for rows in [100i64, 5000] {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, false)]);
        let column = Arc::new(Int64Array::from_iter_values(0..rows));
        chain.producer.send(&RecordBatch::try_new(Arc::new(schema), vec![column]).expect("a batch"));
        let batch = chain.arrives();
        let (place, copied) = (batch.body.location(), copied_bytes());
        chain.relay.publisher.try_send(&chain.forward(&batch)).expect("sent");
        drop(batch);
        chain.settle();
        assert_eq!(copied_bytes() - copied, 2 * 8 * rows as u64, "and it is counted");
        let held = chain.consumers[0].take().expect("delivered");
        assert_eq!(held.body.location(), place, "who keeps it is lent it");
        for (endpoint, received) in &mut clients {
            endpoint.receive(1 << 20, received).expect("read");
            let bytes: Vec<u8> = (0..rows).flat_map(i64::to_le_bytes).collect();
            let body = received.bodies.pop().expect("a body");
            assert_eq!((received.lent, body.len()), (0, bytes.len().next_multiple_of(64)));
            assert_eq!(body[..bytes.len()], bytes);
        }
        drop(held);
        chain.settle();
        assert_eq!((chain.up(), chain.down()), (0, 0), "the sent ones hold nothing");
    }
}

#[test]
fn what_came_without_a_keeper_is_not_handed_on() {
    let world = World::new();
    let mut chain = Chain::new(&world, 1);
    // As of a publisher that knows of none: its segments come with their length alone.
    let (mut endpoint, mut received) = joins(&world, &mut chain.relay, "want_data_ext");
    chain.relay.send(&numbered(1, 10));
    settle(&mut chain.relay, &mut []);
    endpoint.receive(1 << 20, &mut received).expect("read");
    assert_eq!(received.lent, 1);
    let loan = endpoint.resolve(1 << 48, 1).expect("lent");
    let (mapping, _) = loan.mapping.expect("shared");
    assert!(mapping.keepers().onward().is_none());
}

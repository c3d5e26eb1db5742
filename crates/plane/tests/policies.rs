//! Subscribers that do not keep up: what each policy promises to them, and to everybody else.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use std::{sync::Arc, time::Duration};

use arrowlane_plane::{
    Overflow, Permits, PlaneError, PublisherOptions, Queue, Request, SendOutcome, SubscriptionOptions, TopicState,
    ask_topic, topic_files,
};
use support::{policies::*, *};

#[test]
fn drop_newest_gives_what_came_first_and_counts_the_rest_on_both_sides() {
    let (_world, mut producer, mut consumers) = meeting(small(), &[overflow(Overflow::DropNewest)]);
    let given: Vec<_> = (0..10).map(|n| producer.send(&numbered(n, 5))).collect();
    assert_eq!(given[3..5], [SendOutcome::Sent(1), SendOutcome::Sent(0)], "the fifth was given to nobody");
    assert_eq!(drain(&mut producer, &mut consumers), [0, 1, 2, 3]);
    let [told] = &producer.publisher.subscriptions()[..] else { panic!("one subscriber") };
    assert_eq!((told.sent, told.dropped, told.policy.overflow), (4, 6, Overflow::DropNewest));
    assert_eq!(consumers[0].dropped, 6, "told though nothing followed");
    producer.send(&numbered(10, 5));
    assert_eq!(drain(&mut producer, &mut consumers), [10]);
    assert_eq!(producer.used(), 0, "dropped batches hold no memory");
}

#[test]
fn drop_oldest_gives_what_is_under_way_and_then_the_latest() {
    let (_world, mut producer, mut consumers) = meeting(small(), &[overflow(Overflow::DropOldest)]);
    for n in 0..10 {
        assert_eq!(producer.send(&numbered(n, 5)), SendOutcome::Sent(1));
    }
    let [told] = &producer.publisher.subscriptions()[..] else { panic!("one subscriber") };
    assert_eq!((told.in_flight, told.queued, told.dropped), (2, 2, 6), "never more than its queue");
    assert_eq!(drain(&mut producer, &mut consumers), [0, 1, 8, 9], "in order, the oldest that could be dropped gone");
    let figures = consumers[0].subscription.figures().read();
    assert_eq!((consumers[0].dropped, figures.dropped), (6, 6));
    assert_eq!(figures.policy.expect("told").overflow, Overflow::DropOldest);
    assert_eq!(producer.used(), 0);
}

#[test]
fn a_queue_of_bytes_takes_one_batch_of_any_size_in_each_half() {
    let request = Request { bytes: Some(1), ..overflow(Overflow::DropOldest) };
    let (_world, mut producer, mut consumers) = meeting(small(), &[request]);
    for n in 0..5 {
        producer.send(&numbered(n, 1000));
    }
    assert_eq!(drain(&mut producer, &mut consumers), [0, 4]);
}

#[test]
fn the_stream_of_one_that_waits_is_whole_beside_one_that_drops() {
    let requests = [overflow(Overflow::Wait), overflow(Overflow::DropOldest), overflow(Overflow::DropNewest)];
    let (_world, mut producer, mut consumers) = meeting(small(), &requests);
    let mut seen = Vec::new();
    for n in 0..40 {
        // The others never turn: as if their processes were stopped.
        while producer.send(&numbered(n, 5)) == SendOutcome::NoRoom {
            settle(&mut producer, &mut consumers[..1]);
            seen.extend(consumers[0].take().map(|batch| number_of(&batch)));
            settle(&mut producer, &mut consumers[..1]);
        }
    }
    seen.extend(drain(&mut producer, &mut consumers[..1]));
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
    let told = producer.publisher.subscriptions();
    assert!(told[0].waited > 0 && told[0].dropped == 0, "it alone was waited for: {told:?}");
    assert_eq!([told[1].waited, told[2].waited], [0, 0]);
    assert_eq!(drain(&mut producer, &mut consumers[1..]), [0, 1, 38, 39]);
    assert_eq!(drain(&mut producer, &mut consumers[2..]), [0, 1, 2, 3]);
    assert_eq!(producer.used(), 0);
}

#[test]
fn the_end_comes_after_all_that_is_kept() {
    let (_world, mut producer, mut consumers) = meeting(small(), &[overflow(Overflow::DropOldest)]);
    for n in 0..6 {
        producer.send(&numbered(n, 5));
    }
    producer.publisher.close();
    settle(&mut producer, &mut consumers);
    assert!(consumers[0].ended && producer.closed);
    let numbers: Vec<_> = consumers[0].batches.drain(..).map(|batch| number_of(&batch)).collect();
    assert_eq!((numbers, consumers[0].dropped), (vec![0, 1, 4, 5], 2));
}

#[test]
fn one_that_leaves_lets_go_of_what_was_kept_for_it() {
    let (_world, mut producer, mut consumers) = meeting(small(), &[overflow(Overflow::DropOldest), Request::default()]);
    for n in 0..4 {
        producer.send(&numbered(n, 5));
    }
    consumers.remove(0).close();
    drain(&mut producer, &mut consumers);
    assert_eq!((producer.used(), producer.left.len()), (0, 1));
}

#[test]
fn every_batch_has_its_dictionary_whichever_were_dropped() {
    for which in [Overflow::DropOldest, Overflow::DropNewest] {
        let (_world, mut producer, mut consumers) = meeting(small(), &[overflow(which)]);
        let warm = ["red", "orange"];
        let cold = ["blue", "green"];
        // The batches with which a dictionary comes first are among those that are dropped.
        let values = [&warm, &warm, &warm, &warm, &cold, &cold, &warm, &cold, &cold, &warm];
        let mut expected = Vec::new();
        for (n, values) in values.iter().enumerate() {
            expected.push(values[n % 2]);
            producer.send(&coded(*values, (n % 2) as i8));
        }
        let mut got = Vec::new();
        loop {
            settle(&mut producer, &mut consumers);
            match consumers[0].take() {
                Some(batch) => got.push(colour(&batch)),
                None => break,
            }
        }
        let kept: &[usize] = if which == Overflow::DropOldest { &[0, 1, 8, 9] } else { &[0, 1, 2, 3] };
        assert_eq!(got, kept.iter().map(|n| expected[*n]).collect::<Vec<_>>());
        producer.send(&coded(&cold, 1));
        settle(&mut producer, &mut consumers);
        assert_eq!(colour(&consumers[0].take().expect("delivered")), "green");
    }
}

#[test]
fn last_begins_with_the_latest_batch_and_only_who_asks_gets_it() {
    let world = World::new();
    let permits = Permits { last: true, ..options().permits };
    let options = PublisherOptions { min_subscribers: 0, permits, ..options() };
    let mut producer = world.publish("topic", options);
    let last = Request { last: true, ..Request::default() };
    let mut consumers = vec![asking(&world, last)];
    settle(&mut producer, &mut consumers);
    assert!(consumers[0].batches.is_empty(), "nothing was published yet");
    for n in 0..3 {
        producer.send(&coded(&["red", "blue"], (n % 2) as i8));
    }
    consumers.extend([asking(&world, last), asking(&world, Request::default())]);
    settle(&mut producer, &mut consumers);
    producer.send(&coded(&["red", "blue"], 1));
    settle(&mut producer, &mut consumers);
    let all = |consumer: &mut Consumer| {
        std::iter::from_fn(|| consumer.take()).map(|batch| colour(&batch)).collect::<Vec<_>>()
    };
    assert_eq!(all(&mut consumers[0]), ["red", "blue", "red", "blue"]);
    assert_eq!(all(&mut consumers[1]), ["red", "blue"], "the latest, with its dictionary, then what came");
    assert_eq!(all(&mut consumers[2]), ["blue"]);
    assert!(producer.used() > 0, "the latest is kept");
    producer.publisher.close();
    wait_until(&mut producer, &mut consumers, |producer, _| producer.closed);
}

#[test]
fn the_latest_batch_makes_way_for_the_next_one() {
    let permits = Permits { last: true, ..options().permits };
    let options = PublisherOptions { min_subscribers: 0, permits, memory: 1 << 20, ..options() };
    let world = World::new();
    let producer = world.publish("topic", options);
    for _ in 0..4 {
        let block = producer.publisher.allocate(1 << 20).expect("all of the memory, each time");
        drop(block);
        producer.send(&numbered(1, 20_000));
    }
}

#[test]
fn what_is_not_permitted_is_refused_with_a_reason_and_disturbs_nobody() {
    let world = World::new();
    let permits = Permits { overflow: vec![Overflow::DropNewest], queue: SMALL, last: false };
    let mut producer = world.publish("topic", PublisherOptions { permits, ..options() });
    let mut consumers = vec![
        asking(&world, Request::default()),
        asking(&world, overflow(Overflow::DropOldest)),
        asking(&world, Request { last: true, ..Request::default() }),
        asking(&world, Request { batches: Some(1 << 50), bytes: Some(u64::MAX), ..overflow(Overflow::DropNewest) }),
    ];
    settle(&mut producer, &mut consumers);
    for refused in &consumers[1..3] {
        let error = refused.failed.as_ref().expect("refused");
        assert!(matches!(error, PlaneError::NotPermitted(_)) && error.code() == "ERR_NOT_PERMITTED", "{error}");
    }
    let granted = consumers[3].subscription.figures().read().policy.expect("granted");
    assert_eq!(granted.queue, SMALL, "a queue is made to fit");
    assert_eq!(producer.joined.len(), 2);
    assert_eq!(producer.send(&numbered(1, 5)), SendOutcome::Sent(2));
    settle(&mut producer, &mut consumers);
    assert_numbered(&consumers[0].take().expect("delivered"), 1, 5);
}

#[test]
fn one_that_keeps_everything_and_may_lose_some_leaves_memory_for_the_others() {
    let options = PublisherOptions { memory: 8 << 20, queue: Queue { batches: 1000, bytes: 1 << 30 }, ..options() };
    let (_world, mut producer, mut consumers) =
        meeting(options, &[overflow(Overflow::DropOldest), overflow(Overflow::DropNewest), Request::default()]);
    let mut kept = Vec::new();
    for n in 0..200 {
        assert!(matches!(producer.send(&numbered(n, 4000)), SendOutcome::Sent(_)), "never waits");
        settle(&mut producer, &mut consumers);
        kept.extend(consumers[0].take());
        kept.extend(consumers[1].take());
        assert_numbered(&consumers[2].take().expect("all of it"), n, 4000);
    }
    let told = producer.publisher.subscriptions();
    assert!(told[..2].iter().all(|s| s.dropped > 0 && s.bytes <= 1 << 20), "{told:?}");
    kept.clear();
    drain(&mut producer, &mut consumers);
    drain(&mut producer, &mut consumers[1..]);
    wait_until(&mut producer, &mut consumers, |producer, _| producer.used() == 0);
}

#[test]
fn a_question_for_figures_is_answered_beside_the_stream() {
    let (world, mut producer, mut consumers) = meeting(small(), &[overflow(Overflow::DropNewest)]);
    for n in 0..6 {
        producer.send(&numbered(n, 5));
    }
    let files = topic_files(&world.folder).expect("read");
    assert_eq!(files, ["topic"]);
    let (folder, file) = (Arc::clone(&world.folder), files[0].clone());
    let asked = std::thread::spawn(move || ask_topic(&folder, &file, Duration::from_secs(20)));
    wait_until(&mut producer, &mut consumers, |_, _| asked.is_finished());
    let report = asked.join().expect("asked");
    assert_eq!((report.topic.as_deref(), report.pid), (Some("topic"), Some(std::process::id())));
    let TopicState::Live(answers) = report.state else { panic!("{report:?}") };
    let number = |at: usize, name| answers[at].number(name).expect("a number");
    assert_eq!((answers.len(), number(0, "batches"), number(0, "subscribers")), (2, Some(6), Some(1)));
    assert_eq!((number(1, "sent"), number(1, "dropped"), number(1, "leases")), (Some(4), Some(2), Some(4)));
    assert_eq!(producer.joined.len(), 1, "whoever asks takes no part");
    assert_eq!(drain(&mut producer, &mut consumers), [0, 1, 2, 3]);
    drop(producer);
    let dead = std::os::unix::net::UnixListener::bind(world.folder.path().join("dead")).expect("bound");
    let silent = ask_topic(&world.folder, "dead", Duration::from_millis(50));
    assert!(matches!(silent.state, TopicState::Silent) && silent.pid.is_some(), "{silent:?}");
    drop(dead);
    let stale = ask_topic(&world.folder, "dead", Duration::from_millis(50));
    assert!(matches!(stale.state, TopicState::Stale), "{stale:?}");
    assert!(topic_files(&world.folder).expect("read").is_empty(), "what a dead one left is removed");
}

#[test]
fn a_subscription_goes_over_to_the_next_publisher_and_ends_with_a_stream_that_ends() {
    let world = World::new();
    let options = SubscriptionOptions { reconnect: true, ..SubscriptionOptions::default() };
    let mut consumers = vec![Consumer::with_options(Arc::clone(&world.folder), "topic", options).expect("waits")];
    let mut kept = Vec::new();
    for round in 0..3usize {
        let mut producer = world.publish("topic", small());
        wait_until(&mut producer, &mut consumers, |producer, _| producer.joined.len() == 1);
        for n in 0..3 {
            producer.send(&numbered(10 * round + n, 5));
        }
        settle(&mut producer, &mut consumers);
        kept.extend(consumers[0].take());
        settle(&mut producer, &mut consumers);
        // From the second round on, what was taken came from the publisher before: this one hears nothing of it.
        let in_flight = producer.publisher.subscriptions()[0].in_flight;
        assert_eq!(in_flight, if round == 0 { 2 } else { 3 });
        assert_eq!((consumers[0].lost, consumers[0].reconnected), (round, round));
        if round == 2 {
            producer.publisher.close();
            wait_until(&mut producer, &mut consumers, |_, consumers| consumers[0].ended);
        } else {
            // As a process that dies: its sockets close, its stream has no end.
            producer.lane.shut_down();
            drop(producer);
            while consumers[0].lost == round {
                consumers[0].turn();
            }
        }
    }
    let figures = consumers[0].subscription.figures().read();
    assert_eq!((figures.reconnects, kept.len() + consumers[0].batches.len(), figures.leases), (2, 9, 9));
    kept.extend(consumers[0].batches.drain(..));
    kept.sort_by_key(|batch| number_of(batch));
    for (batch, number) in kept.iter().zip([0, 1, 2, 10, 11, 12, 20, 21, 22]) {
        assert_numbered(batch, number, 5);
    }
    kept.clear();
    assert_eq!(consumers[0].subscription.figures().read().leases, 0);
}

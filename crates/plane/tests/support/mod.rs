//! Publishers and subscriptions over real lanes, driven by the test instead of an event loop.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

pub mod by_hand;
pub mod chain;
pub mod policies;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use arrow_array::{Int32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use arrowlane_dissociated::KeyValues;
use arrowlane_memory::AllocateError;
use arrowlane_plane::{
    Batch, ConnectionId, Event, Lane, Outgoing, PackOutcome, PlaneError, Publisher, PublisherOptions, Queue,
    SendOutcome, Subscription, SubscriptionOptions, Target,
};
use arrowlane_transport::shm::Folder;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Little memory: making it takes the time of most tests.
pub fn options() -> PublisherOptions {
    PublisherOptions { memory: 8 << 20, queue: Queue { batches: 64, bytes: 64 << 20 }, ..PublisherOptions::default() }
}

/// A folder of sockets of its own.
pub struct World {
    pub directory: tempfile::TempDir,
    pub folder: Arc<Folder>,
}

impl World {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let folder = Arc::new(Folder::open(&directory.path().join("s")).expect("a folder of sockets"));
        Self { directory, folder }
    }

    pub fn publish(&self, topic: &str, options: PublisherOptions) -> Producer {
        let lane = Lane::new().expect("a lane");
        let prepared = Publisher::prepare(Arc::clone(&self.folder), topic, options).expect("prepared");
        let publisher = Publisher::start(prepared, &lane).expect("started");
        Producer {
            lane,
            publisher,
            joined: Vec::new(),
            left: Vec::new(),
            evicted: Vec::new(),
            rooms: 0,
            closed: false,
            events: Vec::new(),
        }
    }

    pub fn subscribe(&self, topic: &str) -> Consumer {
        Consumer::new(Arc::clone(&self.folder), topic)
    }

    /// A publisher and so many subscribers of it.
    pub fn connected(&self, options: PublisherOptions, subscribers: usize) -> (Producer, Vec<Consumer>) {
        let mut producer = self.publish("topic", options);
        let mut consumers: Vec<_> = (0..subscribers).map(|_| self.subscribe("topic")).collect();
        settle(&mut producer, &mut consumers);
        assert_eq!(producer.joined.len(), subscribers);
        (producer, consumers)
    }
}

pub struct Producer {
    pub lane: Arc<Lane>,
    pub publisher: Arc<Publisher>,
    pub joined: Vec<ConnectionId>,
    pub left: Vec<ConnectionId>,
    pub evicted: Vec<ConnectionId>,
    pub rooms: usize,
    pub closed: bool,
    events: Vec<(u32, Event)>,
}

impl Producer {
    pub fn pack(&self, batch: &RecordBatch) -> Outgoing {
        self.pack_with(batch, Vec::new())
    }

    /// Copies a batch into the pool, which grows as it has to.
    pub fn pack_with(&self, batch: &RecordBatch, metadata: KeyValues) -> Outgoing {
        loop {
            match self.publisher.pack(batch, metadata.clone()).expect("packed") {
                PackOutcome::Packed(outgoing) => return *outgoing,
                PackOutcome::NoMemory(AllocateError::NeedsGrowth, bytes) => {
                    self.publisher.pool().grow(bytes).expect("memory")
                }
                PackOutcome::NoMemory(error, _) => panic!("{error}"),
            }
        }
    }

    pub fn send(&self, batch: &RecordBatch) -> SendOutcome {
        self.publisher.try_send(&self.pack(batch)).expect("sent")
    }

    pub fn turn(&mut self) -> bool {
        let worked = turn(&self.lane, &mut self.events);
        for (id, event) in self.events.drain(..) {
            assert_eq!(id, self.publisher.id());
            match event {
                Event::Joined(id) => self.joined.push(id),
                Event::Left(id) => self.left.push(id),
                Event::Evicted(id) => self.evicted.push(id),
                Event::Room => self.rooms += 1,
                Event::Closed => self.closed = true,
                _ => panic!("an event that publishers do not have"),
            }
        }
        worked
    }

    pub fn used(&self) -> u64 {
        self.publisher.statistics().bytes_in_use
    }
}

pub struct Consumer {
    pub lane: Arc<Lane>,
    pub subscription: Arc<Subscription>,
    /// Delivered and not yet taken.
    pub batches: VecDeque<Arc<Batch>>,
    pub connected: usize,
    pub retries: usize,
    pub lost: usize,
    pub reconnected: usize,
    pub dropped: u64,
    pub ended: bool,
    pub failed: Option<PlaneError>,
    events: Vec<(u32, Event)>,
}

impl Consumer {
    pub fn new(folder: Arc<Folder>, topic: &str) -> Self {
        Self::with(folder, topic, true).expect("connected, or waits")
    }

    pub fn with(folder: Arc<Folder>, topic: &str, wait: bool) -> Result<Self, PlaneError> {
        Self::with_options(folder, topic, SubscriptionOptions { wait, ..SubscriptionOptions::default() })
    }

    pub fn with_options(folder: Arc<Folder>, topic: &str, options: SubscriptionOptions) -> Result<Self, PlaneError> {
        let lane = Lane::new().expect("a lane");
        let target = Target::Topic(topic.into());
        let subscription = Subscription::new(folder, target, options, &lane);
        subscription.connect()?;
        Ok(Self::over(lane, subscription))
    }

    /// One of a subscription that was connected already; its events come to `lane`.
    pub fn over(lane: Arc<Lane>, subscription: Arc<Subscription>) -> Self {
        Self {
            lane,
            subscription,
            batches: VecDeque::new(),
            connected: 0,
            retries: 0,
            lost: 0,
            reconnected: 0,
            dropped: 0,
            ended: false,
            failed: None,
            events: Vec::new(),
        }
    }

    /// Turns until `done`, a minute at most: its server runs on a thread of its own.
    pub fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !done(self) {
            assert!(Instant::now() < deadline, "what was waited for did not happen: {:?}", self.failed);
            if !self.turn() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// The next batch, which counts as taken.
    pub fn take(&mut self) -> Option<Arc<Batch>> {
        let batch = self.batches.pop_front()?;
        self.subscription.taken();
        Some(batch)
    }

    pub fn turn(&mut self) -> bool {
        let worked = turn(&self.lane, &mut self.events);
        for (id, event) in self.events.drain(..) {
            assert_eq!(id, self.subscription.id());
            assert!(!self.ended && self.failed.is_none(), "nothing follows an end");
            match event {
                Event::Batch(batch) => self.batches.push_back(batch),
                Event::Connected => self.connected += 1,
                Event::Ended => self.ended = true,
                Event::Failed(error) => self.failed = Some(error),
                Event::Retry => self.retries += 1,
                Event::Lost => self.lost += 1,
                Event::Reconnected => self.reconnected += 1,
                Event::Dropped(all) => self.dropped = all,
                _ => panic!("an event that subscriptions do not have"),
            }
        }
        worked
    }

    /// Closes the subscription as JavaScript does: what was not taken goes back.
    pub fn close(&mut self) {
        self.subscription.close();
        self.batches.clear();
    }
}

/// One round of an event loop: whether it had anything to do.
fn turn(lane: &Arc<Lane>, events: &mut Vec<(u32, Event)>) -> bool {
    let descriptor = lane.descriptor();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    let ready = poll(&mut polled, Some(&Timespec::default())).expect("poll") > 0;
    if ready || lane.has_events() {
        lane.turn(Some(Duration::ZERO), events).expect("turn");
    }
    lane.idle();
    ready || !events.is_empty()
}

/// Turns all lanes until none has anything to do. A loop that never comes to rest is a fault: it would spin.
pub fn settle(producer: &mut Producer, consumers: &mut [Consumer]) {
    let mut rest = 0;
    for _ in 0..20_000 {
        let mut worked = producer.turn();
        for consumer in consumers.iter_mut() {
            worked |= consumer.turn();
        }
        rest = if worked { 0 } else { rest + 1 };
        if rest == 2 {
            return;
        }
    }
    panic!("a loop does not come to rest: something stays readable and is not read");
}

/// Settles until `done`; other threads are waited for, a minute at most.
pub fn wait_until(
    producer: &mut Producer,
    consumers: &mut [Consumer],
    mut done: impl FnMut(&mut Producer, &mut [Consumer]) -> bool,
) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        settle(producer, consumers);
        if done(producer, consumers) {
            return;
        }
        assert!(Instant::now() < deadline, "what was waited for did not happen");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A batch that is unlike that of any other number: `rows` integers and texts.
pub fn numbered(number: usize, rows: usize) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("number", DataType::Int64, false),
        Field::new("small", DataType::Int32, true),
        Field::new("text", DataType::Utf8, true),
    ]);
    let value = |row: usize| (number * 1_000_003 + row) as i64;
    let numbers = Int64Array::from_iter_values((0..rows).map(value));
    let small = Int32Array::from_iter((0..rows).map(|row| (row % 5 != 1).then_some(value(row) as i32)));
    let texts = StringArray::from_iter((0..rows).map(|row| (row % 3 != 2).then(|| format!("{number}/{row}"))));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(small), Arc::new(texts)]).expect("a batch")
}

/// What was received is what was sent, value by value.
pub fn assert_numbered(batch: &Batch, number: usize, rows: usize) {
    let arrow = batch.to_arrow().expect("arrays");
    for column in arrow.columns() {
        column.to_data().validate_full().expect("valid arrays");
    }
    assert_eq!(arrow, numbered(number, rows));
}

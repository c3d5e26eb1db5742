//! Turning two ends until something has happened.

use arrowlane_transport::{Endpoint, Inbox, Progress, TransportError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// The server's first message.
    Greeting(String),
    /// An untagged message.
    Metadata(Vec<u8>),
    /// A tagged message.
    Tagged(u64, Vec<u8>),
}

/// Keeps what arrives.
#[derive(Debug, Default)]
pub struct Seen {
    /// Messages in the order in which they came.
    pub messages: Vec<Got>,
    /// Segments whose retirement was acknowledged.
    pub retired: Vec<u16>,
}

impl Seen {
    /// Bytes of all tagged and untagged messages.
    pub fn bytes(&self) -> usize {
        let length = |m: &Got| match m {
            Got::Greeting(uri) => uri.len(),
            Got::Metadata(bytes) | Got::Tagged(_, bytes) => bytes.len(),
        };
        self.messages.iter().map(length).sum()
    }
}

impl Inbox for Seen {
    fn greeting(&mut self, uri: &str) -> Result<(), TransportError> {
        self.messages.push(Got::Greeting(uri.into()));
        Ok(())
    }

    fn metadata(&mut self, bytes: &[u8]) -> Result<(), TransportError> {
        self.messages.push(Got::Metadata(bytes.to_vec()));
        Ok(())
    }

    fn tagged(&mut self, tag: u64, body: &[u8]) -> Result<(), TransportError> {
        self.messages.push(Got::Tagged(tag, body.to_vec()));
        Ok(())
    }

    fn retired(&mut self, segment: u16) {
        self.retired.push(segment);
    }
}

/// Whether an end's descriptor polls readable now.
pub fn readable(end: &dyn Endpoint) -> bool {
    polled(end, &Timespec::default())
}

/// Waits until an end's descriptor polls readable; a minute at most.
pub fn wait_readable(end: &dyn Endpoint) {
    let minute = Timespec { tv_sec: 60, tv_nsec: 0 };
    assert!(polled(end, &minute), "the descriptor did not become readable");
}

fn polled(end: &dyn Endpoint, wait: &Timespec) -> bool {
    let descriptor = end.descriptor();
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    loop {
        match poll(&mut polled, Some(wait)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
    }
}

/// Flushes and receives on both ends until `done`. Calls `receive` only where the descriptor says so, as an event loop
/// does: what it does not say is never seen.
pub fn pump(
    a: &mut dyn Endpoint,
    b: &mut dyn Endpoint,
    seen: [&mut Seen; 2],
    mut done: impl FnMut([&Seen; 2]) -> bool,
) {
    let [at_a, at_b] = seen;
    let mut idle = 0;
    while !done([at_a, at_b]) {
        let before = (a.queued(), b.queued());
        a.flush().expect("flush");
        b.flush().expect("flush");
        let mut worked = before != (a.queued(), b.queued());
        worked |= serve(a, at_a);
        worked |= serve(b, at_b);
        idle = if worked { 0 } else { idle + 1 };
        assert!(idle < 3, "both ends came to rest before what was waited for had happened");
    }
}

/// Receives once where the descriptor says that there is something.
fn serve(end: &mut dyn Endpoint, inbox: &mut Seen) -> bool {
    if !readable(end) {
        return false;
    }
    let progress = end.receive(1 << 20, inbox).expect("receive");
    assert!(progress == Progress::Drained || readable(end), "more is waiting, and the descriptor does not say so");
    true
}

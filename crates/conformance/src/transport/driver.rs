//! Turning two ends until something has happened.

use arrowlane_transport::{Endpoint, Inbox, TransportError};
use bytes::Bytes;
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

/// Messages, untagged before tagged, each kind in its order.
pub fn by_kind(messages: &[Got]) -> Vec<&Got> {
    let tagged = |message: &&Got| matches!(message, Got::Tagged(..));
    messages.iter().filter(|m| !tagged(m)).chain(messages.iter().filter(tagged)).collect()
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

    fn body(&mut self, tag: u64, body: Bytes) -> Result<(), TransportError> {
        assert_eq!(body.as_ptr() as usize % 64, 0, "memory of its own is aligned");
        self.tagged(tag, &body)
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

/// Whether an end's descriptor says that what is queued can go on: by room to write where the end asks for that, else as an
/// end does that watches for room itself.
pub fn has_room(end: &dyn Endpoint) -> bool {
    polled_any(&[end], true, &Timespec::default())
}

/// Receives until a client's end has handed its greeting on; what that was.
pub fn wait_greeted(client: &mut dyn Endpoint) -> String {
    let mut seen = Seen::default();
    while seen.messages.is_empty() {
        wait_readable(client);
        client.receive(1, &mut seen).expect("connected");
    }
    match seen.messages.remove(0) {
        Got::Greeting(uri) => uri,
        other => panic!("{other:?} came before the greeting"),
    }
}

fn polled(end: &dyn Endpoint, wait: &Timespec) -> bool {
    polled_any(&[end], false, wait)
}

/// Whether one of them has something to do; with `room`, also where one waits for room to write.
fn polled_any(ends: &[&dyn Endpoint], room: bool, wait: &Timespec) -> bool {
    let descriptors: Vec<_> = ends.iter().map(|end| end.descriptor()).collect();
    let flags =
        |end: &&dyn Endpoint| if room && end.wants_write() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
    let mut polled: Vec<_> = descriptors.iter().zip(ends).map(|(fd, end)| PollFd::new(fd, flags(end))).collect();
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
    let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
    let [at_a, at_b] = seen;
    while !done([at_a, at_b]) {
        let before = (a.queued(), b.queued());
        a.flush().expect("flush");
        b.flush().expect("flush");
        let mut worked = before != (a.queued(), b.queued());
        worked |= serve(a, at_a);
        worked |= serve(b, at_b);
        // A network takes its time.
        let rests = !worked && !done([at_a, at_b]) && !polled_any(&[&*a, &*b], true, &patience);
        assert!(!rests, "both ends came to rest before what was waited for had happened");
    }
}

/// Receives once where the descriptor says that there is something.
fn serve(end: &mut dyn Endpoint, inbox: &mut Seen) -> bool {
    let has = readable(end);
    if has {
        end.receive(1 << 20, inbox).expect("receive");
    }
    has
}

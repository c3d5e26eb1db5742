//! Throwing away what this process wrote into memory that it was lent.
//!
//! A page that a consumer wrote is a private copy and would show stale bytes of the next batch in that block. Finding
//! such pages costs time in proportion to the *populated* page table, which is small where little of a large batch was
//! read. So it is done where the lease ends, in growing steps, for a short time; what is left then goes to a thread of
//! its own, so that no event loop waits for it.

use std::{
    sync::{Arc, OnceLock, mpsc},
    time::{Duration, Instant},
};

use arrowlane_memory::shared::Mapping;

/// Bytes of the first step in place, and of the longest: 36 µs and 290 µs at most, where all of it was read, and hardly
/// more than the system call where nothing was.
const FIRST_STEP: usize = 4 << 20;
const LONGEST_STEP: usize = 32 << 20;
/// No step in place begins after so long: a wake-up of the other thread costs about as much.
const IN_PLACE: Duration = Duration::from_micros(25);

/// A span of a mapping.
pub(crate) struct Written {
    pub mapping: Arc<Mapping>,
    pub offset: usize,
    pub length: usize,
}

type Job = (Vec<Written>, Box<dyn FnOnce() + Send>);

/// Discards what was written in `spans`, then calls `done`: here and now, or on the recycling thread.
pub(crate) fn discard(mut spans: Vec<Written>, done: impl FnOnce() + Send + 'static) {
    if discard_shortly(&mut spans, IN_PLACE) {
        return done();
    }
    submit((spans, Box::new(done)));
}

/// Discards for a short time. Whether all was done; `spans` is what was not.
fn discard_shortly(spans: &mut Vec<Written>, most: Duration) -> bool {
    let started = Instant::now();
    let mut step = FIRST_STEP;
    loop {
        let mut left = step;
        while let Some(span) = spans.last_mut()
            && left > 0
        {
            let length = span.length.min(left);
            discard_now(&span.mapping, span.offset, length);
            left -= length;
            span.offset += length;
            span.length -= length;
            if span.length == 0 {
                spans.pop();
            }
        }
        if spans.is_empty() {
            return true;
        }
        if started.elapsed() >= most {
            return false;
        }
        step = (4 * step).min(LONGEST_STEP);
    }
}

/// Runs something that takes long, such as unmapping a segment, on the recycling thread.
pub(crate) fn later(job: impl FnOnce() + Send + 'static) {
    submit((Vec::new(), Box::new(job)));
}

fn submit(job: Job) {
    let job = match worker() {
        Some(worker) => match worker.send(job) {
            Ok(()) => return,
            Err(mpsc::SendError(job)) => job,
        },
        None => job,
    };
    run(job);
}

fn run((spans, done): Job) {
    for span in &spans {
        discard_now(&span.mapping, span.offset, span.length);
    }
    done();
}

fn discard_now(mapping: &Mapping, offset: usize, length: usize) {
    if let Err(error) = mapping.discard_written(offset, length) {
        // The span is still released: keeping the block for ever would stop the producer. What this process sees
        // there later may be what it wrote itself; nobody else is concerned.
        tracing::error!(%error, "pages written by this process could not be discarded");
    }
}

fn worker() -> Option<&'static mpsc::Sender<Job>> {
    static WORKER: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    WORKER
        .get_or_init(|| {
            let (sender, jobs) = mpsc::channel::<Job>();
            let work = move || jobs.into_iter().for_each(run);
            std::thread::Builder::new().name("arrowlane-recycle".into()).spawn(work).ok().map(|_| sender)
        })
        .as_ref()
}

#[cfg(test)]
mod tests {
    use arrowlane_memory::shared::Segment;

    use super::*;

    const LENGTH: usize = 64 << 20;

    /// A mapping of a segment of zeros, with a 1 written every 100 KiB.
    fn written() -> Arc<Mapping> {
        let segment = Segment::create(LENGTH).expect("a segment");
        let descriptor = segment.fd().try_clone_to_owned().expect("a descriptor");
        let mapping = Arc::new(Mapping::open(descriptor, LENGTH as u64).expect("a mapping"));
        for at in places() {
            // SAFETY: inside the mapping, which is private to this test.
            unsafe { byte(&mapping, at).write(1) };
        }
        mapping
    }

    fn places() -> impl Iterator<Item = usize> {
        (0..LENGTH).step_by(100 << 10)
    }

    fn byte(mapping: &Mapping, at: usize) -> *mut u8 {
        let start = mapping.region().host_ptr().expect("host memory");
        start.as_ptr().wrapping_add(at)
    }

    /// Places that still show the 1.
    fn stale(mapping: &Mapping) -> Vec<usize> {
        // SAFETY: inside the mapping.
        places().filter(|at| unsafe { byte(mapping, *at).read_volatile() } != 0).collect()
    }

    #[test]
    fn what_was_written_is_gone_before_the_lease_ends_whoever_does_it() {
        let mapping = written();
        let middle = LENGTH / 2 + 100;
        let span = |offset, length| Written { mapping: Arc::clone(&mapping), offset, length };
        let (send, done) = mpsc::channel();
        let seen = Arc::clone(&mapping);
        discard(vec![span(0, middle), span(middle, LENGTH - middle)], move || send.send(stale(&seen)).expect("sent"));
        assert_eq!(done.recv().expect("done"), []);
    }

    #[test]
    fn what_is_not_done_in_place_in_time_is_left_over() {
        let mapping = written();
        let mut spans = vec![Written { mapping: Arc::clone(&mapping), offset: 0, length: LENGTH }];
        assert!(!discard_shortly(&mut spans, Duration::ZERO));
        assert_eq!((spans[0].offset, spans[0].length), (FIRST_STEP, LENGTH - FIRST_STEP));
        assert_eq!(stale(&mapping), places().filter(|at| *at >= FIRST_STEP).collect::<Vec<_>>());
        assert!(discard_shortly(&mut spans, Duration::MAX));
        assert_eq!(stale(&mapping), []);
    }
}

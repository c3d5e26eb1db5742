//! Throwing away what this process wrote into memory that it was lent.
//!
//! A page that a consumer wrote is a private copy and would show stale bytes of the next batch in that block. Finding
//! such pages costs time in proportion to the populated page table: short spans are done where the lease ends, long
//! ones on a thread of their own, so that no event loop waits for them.

use std::sync::{Arc, OnceLock, mpsc};

use arrowlane_memory::shared::Mapping;

/// Spans up to this length are done in place.
const IN_PLACE: usize = 1 << 20;

/// A span of a mapping.
pub(crate) struct Written {
    pub mapping: Arc<Mapping>,
    pub offset: usize,
    pub length: usize,
}

type Job = (Vec<Written>, Box<dyn FnOnce() + Send>);

/// Discards what was written in `spans`, then calls `done`: here and now, or on the recycling thread.
pub(crate) fn discard(spans: Vec<Written>, done: impl FnOnce() + Send + 'static) {
    if spans.iter().map(|s| s.length).sum::<usize>() <= IN_PLACE {
        discard_now(&spans);
        return done();
    }
    let job: Job = (spans, Box::new(done));
    let job = match worker() {
        Some(worker) => match worker.send(job) {
            Ok(()) => return,
            Err(mpsc::SendError(job)) => job,
        },
        None => job,
    };
    discard_now(&job.0);
    (job.1)();
}

fn discard_now(spans: &[Written]) {
    for span in spans {
        if let Err(error) = span.mapping.discard_written(span.offset, span.length) {
            // The span is still released: keeping the block for ever would stop the producer. What this process sees
            // there later may be what it wrote itself; nobody else is concerned.
            tracing::error!(%error, "pages written by this process could not be discarded");
        }
    }
}

fn worker() -> Option<&'static mpsc::Sender<Job>> {
    static WORKER: OnceLock<Option<mpsc::Sender<Job>>> = OnceLock::new();
    WORKER
        .get_or_init(|| {
            let (sender, jobs) = mpsc::channel::<Job>();
            let run = move || {
                for (spans, done) in jobs {
                    discard_now(&spans);
                    done();
                }
            };
            std::thread::Builder::new().name("arrowlane-recycle".into()).spawn(run).ok().map(|_| sender)
        })
        .as_ref()
}

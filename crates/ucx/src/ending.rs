//! Connections that nobody uses any more, until the peer has what was sent to it.
//!
//! UCX tells a peer that a connection is closed on another socket than the one on which the data is, and what was not read by then is lost. So a connection ends
//! with a message that the peer acknowledges by taking it, and is closed after that.

use std::time::{Duration, Instant};

use arrowlane_transport::system::Alarm;
use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::connection::Connection;

/// So long a peer has to take what was sent to it.
const LINGER: Duration = Duration::from_secs(30);
/// So long a connection that nobody wants any more has to stand.
const CONNECT: Duration = Duration::from_secs(10);
/// So long UCX has to close an endpoint.
const CLOSE: Duration = Duration::from_secs(2);
/// So long the process waits for both when it exits.
const EXIT: Duration = Duration::from_secs(2);
/// So often in a row one connection is worked on before it is another's turn.
const ROUNDS: usize = 64;

struct Ending {
    connection: Connection,
    deadline: Instant,
    closing: bool,
    /// It does not stand yet, and that is waited for.
    connecting: bool,
}

/// The thread's door.
struct Desk {
    incoming: Vec<Ending>,
    /// Wakes the thread, while there is one.
    alarm: Option<&'static Alarm>,
    running: bool,
}

static DESK: Mutex<Desk> = Mutex::new(Desk { incoming: Vec::new(), alarm: None, running: false });
static IDLE: Condvar = Condvar::new();

/// Closes a connection when the peer has taken its end (or all that was sent, where it knows no end), or is gone, or the time is over.
/// A peer that was sent nothing (it was refused, say) is not made to wait for that: `has_sent`.
pub(crate) fn linger(connection: Connection, has_sent: bool) {
    let after = if has_sent { LINGER } else { CLOSE };
    hand_in(Ending { connection, deadline: Instant::now() + after, closing: false, connecting: false });
}

/// Closes a connection that is being made when it stands, or never will: a server that is just accepting it, with a release before 1.18, is aborted by
/// a client that goes then.
pub(crate) fn give_up(connection: Connection) {
    hand_in(Ending { connection, deadline: Instant::now() + CONNECT, closing: false, connecting: true });
}

/// Closes a connection.
pub(crate) fn close(connection: Connection) {
    connection.worker.close(connection.ep);
    hand_in(Ending { connection, deadline: Instant::now() + CLOSE, closing: true, connecting: false });
}

fn hand_in(ending: Ending) {
    let mut desk = DESK.lock();
    if desk.alarm.is_none()
        && let Ok(alarm) = Alarm::new()
    {
        desk.alarm = Some(Box::leak(Box::new(alarm)));
        // SAFETY: the function is valid as long as the object that it is in: the system calls it before that is unloaded.
        unsafe { libc::atexit(wait_for_endings) };
    }
    desk.incoming.push(ending);
    match desk.alarm {
        Some(alarm) if desk.running => alarm.ring(),
        Some(alarm) => {
            let thread = std::thread::Builder::new().name("arrowlane ucx".into()).spawn(move || work(alarm));
            desk.running = thread.is_ok();
        }
        None => {}
    }
    if !desk.running {
        // Neither thread nor descriptor to be had: they end as they are.
        desk.incoming.clear();
    }
}

/// Called when the process exits: UCX must not be taken down below the thread, and what was sent last should arrive.
extern "C" fn wait_for_endings() {
    let deadline = Instant::now() + EXIT;
    let mut desk = DESK.lock();
    while desk.running && !IDLE.wait_until(&mut desk, deadline).timed_out() {}
}

fn work(alarm: &'static Alarm) {
    let mut endings: Vec<Ending> = Vec::new();
    loop {
        {
            let mut desk = DESK.lock();
            endings.append(&mut desk.incoming);
            if endings.is_empty() {
                desk.running = false;
                IDLE.notify_all();
                return;
            }
        }
        let now = Instant::now();
        let mut again = false;
        endings.retain_mut(|ending| match ending.step(now) {
            Step::Done => false,
            Step::Waits => true,
            Step::Again => {
                again = true;
                true
            }
        });
        if again || endings.is_empty() {
            continue;
        }
        let next = endings.iter().map(|ending| ending.deadline).min().unwrap_or(now);
        let wait = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        let wait = Timespec { tv_sec: wait.as_secs() as _, tv_nsec: wait.subsec_nanos() as _ };
        let descriptors = endings.iter().map(|ending| ending.connection.worker.descriptor());
        let mut polled: Vec<_> = descriptors.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        polled.push(PollFd::new(alarm, PollFlags::IN));
        let _ = poll(&mut polled, Some(&wait)); // interrupted: everybody is looked at, which is no harm
        alarm.quiet();
    }
}

enum Step {
    Done,
    Waits,
    Again,
}

impl Ending {
    fn step(&mut self, now: Instant) -> Step {
        let worker = &self.connection.worker;
        let shared = worker.shared();
        for _ in 0..ROUNDS {
            let worked = worker.progress();
            worker.discard_all();
            if !self.closing {
                let taken = match self.connecting {
                    true => *shared.stands.lock(),
                    false => (shared.end_taken() || !self.connection.knows_end) && !shared.is_sending(),
                };
                if taken || shared.failure().is_some() || now >= self.deadline {
                    worker.close(self.connection.ep);
                    self.closing = true;
                    self.deadline = now + CLOSE;
                    continue;
                }
            } else {
                worker.cancel_receives();
                if !shared.is_busy() || now >= self.deadline {
                    return Step::Done;
                }
            }
            if !worked {
                return match worker.arm() {
                    Ok(true) => Step::Waits,
                    Ok(false) => continue,
                    Err(_) => Step::Done,
                };
            }
        }
        Step::Again
    }
}

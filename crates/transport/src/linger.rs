//! Connections that were closed on this side before the peer closed its own.
//!
//! A socket that is closed while bytes of the peer come in is reset: what was sent and has not arrived is thrown away by the
//! system, and a peer that has all of it, but did not read it yet, fails to write (a credit, say) before it finds the end. So
//! what the peer says is read and forgotten until it closes its side too, or a time is over. A thread does that, which lives as
//! long as there is such a socket. Unix sockets of unix systems keep what was sent; those of Windows are not known to.

use std::{
    collections::HashMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    net::{Shutdown, shutdown},
};

use crate::{
    Interest, TransportError,
    stream::{Read, read_some},
    system::Poller,
};

/// A peer that takes longer does not read.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whose time is over.
const LOOK: Duration = Duration::from_secs(1);
/// Sockets that may wait; beyond that, the one that waited longest is closed.
const MANY: usize = 1024;

#[derive(Default)]
struct Waiting {
    sockets: HashMap<u64, (OwnedFd, Instant)>,
    next: u64,
    /// The thread's, while there is one.
    poller: Option<Arc<Poller>>,
}

impl Waiting {
    fn close(&mut self, key: u64) {
        if let (Some((socket, _)), Some(poller)) = (self.sockets.remove(&key), &self.poller) {
            poller.delete(socket.as_fd());
        }
    }
}

static WAITING: Mutex<Option<Waiting>> = Mutex::new(None);

/// To be called before a socket is closed: the connection ends when the peer has closed its side.
pub(crate) fn close(socket: BorrowedFd<'_>) {
    if shutdown(socket, Shutdown::Write).is_err() || forget_input(socket) {
        return;
    }
    // Without a thread, or a descriptor for it, it is closed at once.
    let _ = socket.try_clone_to_owned().map(keep);
}

/// Waits until the peers of all that was closed have closed their side, or a time is over. A process that ends before may take from
/// its peers what it has sent them: on Windows a connection that is reset loses what has arrived and was not read.
pub fn finish(within: Duration) {
    let until = Instant::now() + within;
    while WAITING.lock().is_some() && Instant::now() < until {
        thread::sleep(Duration::from_millis(2));
    }
}

fn keep(socket: OwnedFd) -> Result<(), TransportError> {
    let mut waiting = WAITING.lock();
    let waiting = waiting.get_or_insert_default();
    if waiting.sockets.len() >= MANY
        && let Some(oldest) = waiting.sockets.keys().min().copied()
    {
        waiting.close(oldest);
    }
    let poller = match &waiting.poller {
        Some(poller) => Arc::clone(poller),
        None => {
            let poller = Arc::new(Poller::new()?);
            let its_own = Arc::clone(&poller);
            let named = thread::Builder::new().name("arrowlane-closing".into());
            named.spawn(move || run(&its_own)).map_err(|e| TransportError::io("thread", e))?;
            waiting.poller = Some(Arc::clone(&poller));
            poller
        }
    };
    waiting.next += 1;
    poller.add(socket.as_fd(), waiting.next, Interest::Read)?;
    waiting.sockets.insert(waiting.next, (socket, Instant::now() + PATIENCE));
    Ok(())
}

fn run(poller: &Poller) {
    loop {
        let mut ended = Vec::new();
        let waited = poller.wait(Some(LOOK), |key, _| ended.push(key));
        let mut guard = WAITING.lock();
        let Some(waiting) = guard.as_mut() else { return };
        ended.retain(|key| waiting.sockets.get(key).is_none_or(|(socket, _)| forget_input(socket.as_fd())));
        let now = Instant::now();
        let late = waiting.sockets.iter().filter(|(_, (_, until))| now >= *until || waited.is_err());
        ended.extend(late.map(|(key, _)| *key));
        for key in ended {
            waiting.close(key);
        }
        if waiting.sockets.is_empty() {
            *guard = None;
            return;
        }
    }
}

/// Reads what has arrived, a bounded part of it; whether the peer has closed its side.
fn forget_input(socket: BorrowedFd<'_>) -> bool {
    let mut bytes = [0; 16 << 10];
    for _ in 0..64 {
        match read_some(socket, &mut bytes) {
            Ok(Read::Some { .. }) => {}
            Ok(Read::Nothing) => return false,
            Ok(Read::Ended) | Err(_) => return true,
        }
    }
    false
}

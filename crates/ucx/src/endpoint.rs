//! One end of a connection.

use std::{collections::VecDeque, mem::ManuallyDrop, os::fd::BorrowedFd};

use arrowlane_dissociated::Outbox;
use arrowlane_transport::{Endpoint, Inbox, Progress, TransportError};
use arrowlane_ucx_sys::bindings as ucx;
use bytes::Bytes;

use crate::{
    connecting::{Connecting, Standing},
    connection::Connection,
    ending, is_end,
    shared::{Arrival, Arrivals, Buffer, EACH, Stage},
};

/// While so many bytes wait to be taken, sending reads no more of what comes.
const ENOUGH: usize = 4 << 20;

/// One end of a connection over UCX. Made by [`UcxTransport`](crate::UcxTransport) and [`UcxListener`](crate::UcxListener).
///
/// When it is dropped, what was flushed still reaches the peer: the connection is handed to a thread that waits until the peer has it (30 s at most).
pub struct UcxEndpoint {
    /// Taken when it is dropped.
    connection: ManuallyDrop<Connection>,
    /// A client's way to its connection; kept for its descriptor.
    connecting: Option<Connecting>,
    pending: VecDeque<Pending>,
    queued: usize,
    bodies: usize,
    ended: bool,
    /// Whether the peer was ever sent anything.
    has_sent: bool,
}

enum Pending {
    Metadata(Vec<u8>),
    Tagged(u64, Vec<u8>),
    Body(u64, Vec<Bytes>),
    End,
}

impl UcxEndpoint {
    pub(crate) fn new(connection: Connection, connecting: Option<Connecting>) -> Self {
        // Whoever waits for the descriptor calls `receive` once, which arms it.
        connection.worker.signal();
        Self {
            connection: ManuallyDrop::new(connection),
            connecting,
            pending: VecDeque::new(),
            queued: 0,
            bodies: 0,
            ended: false,
            has_sent: false,
        }
    }

    /// Whether messages may be sent and handed over.
    fn stands(&self) -> bool {
        self.connecting.as_ref().is_none_or(Connecting::is_done)
    }

    /// Hands queued messages to UCX.
    fn start(&mut self) {
        let connection = &mut *self.connection;
        while let Some(message) = self.pending.pop_front() {
            self.has_sent |= !matches!(message, Pending::End);
            match message {
                Pending::Metadata(bytes) => connection.worker.send_metadata(connection.ep, bytes),
                Pending::Tagged(tag, bytes) => connection.worker.send_tagged(connection.ep, tag, bytes),
                Pending::Body(tag, parts) => connection.worker.send_body(connection.ep, tag, parts),
                Pending::End => connection.send_end(),
            }
        }
        (self.queued, self.bodies) = (0, 0);
    }

    /// Whether [`receive`](Endpoint::receive) has something to do that no event will tell of.
    fn is_stirring(&self) -> bool {
        let shared = self.connection.worker.shared();
        let stands = self.connecting.as_ref().is_some_and(|connecting| !connecting.is_done()) && *shared.stands.lock();
        let arrived = || {
            let arrivals = shared.arrivals.lock();
            arrivals.is_ready() || arrivals.next().is_some() || shared.offence.lock().is_some()
        };
        stands || shared.failure().is_some() || (self.stands() && arrived())
    }

    /// Sees to the descriptor: readable when there is something to hand over or to find out, else when something comes.
    fn settle(&self) -> Result<(), TransportError> {
        let worker = &self.connection.worker;
        loop {
            // Arming is for a worker that has nothing to do: what waits in UCX's own queues makes no descriptor readable.
            let mut drained = false;
            while !drained && worker.shared().waiting() < ENOUGH {
                drained = !worker.progress();
            }
            if !drained || self.is_stirring() {
                worker.signal();
                return Ok(());
            }
            if worker.arm()? {
                return Ok(());
            }
        }
    }

    /// Hands over what is whole, in order, until one is not. `true` when the budget is used up.
    fn hand_over(&mut self, left: &mut usize, inbox: &mut dyn Inbox) -> Result<bool, TransportError> {
        while !self.ended {
            if *left == 0 {
                return Ok(true);
            }
            let Some(arrival) = self.connection.worker.shared().arrivals.lock().take() else { return Ok(false) };
            *left = left.saturating_sub(arrival.length + EACH);
            if is_end(&arrival) {
                self.ended = true;
                break;
            }
            deliver(arrival, inbox)?;
        }
        Ok(false)
    }

    /// Why nothing more comes, if so.
    fn end(&mut self) -> Option<TransportError> {
        let shared = self.connection.worker.shared();
        let offence = shared.offence.lock().take();
        let lost = shared.arrivals.lock().is_lost();
        let error = match (self.ended, offence, shared.failure()) {
            (true, ..) => TransportError::Closed,
            (_, Some(offence), _) => TransportError::Framing(offence),
            (_, _, Some(status)) => {
                let error = self.connection.worker.error(status);
                match error.status {
                    _ if error.is_gone() => TransportError::Closed,
                    ucx::UCS_ERR_IO_ERROR => TransportError::Closed,
                    _ => error.during("a connection over UCX"),
                }
            }
            _ if lost => TransportError::Closed,
            _ => return None,
        };
        self.ended = true;
        Some(error)
    }
}

impl Arrivals {
    /// Whether the first is whole, or will never be.
    fn is_ready(&self) -> bool {
        self.queue.front().is_some_and(|first| matches!(first.stage, Stage::Whole(_) | Stage::Lost))
    }

    /// Whether one is being received.
    fn is_arriving(&self) -> bool {
        self.queue.iter().take(self.begun).any(|arrival| matches!(arrival.stage, Stage::Begun))
    }

    fn is_lost(&self) -> bool {
        self.queue.front().is_some_and(|first| matches!(first.stage, Stage::Lost))
    }

    /// The first, if it is whole.
    fn take(&mut self) -> Option<Arrival> {
        if !matches!(self.queue.front()?.stage, Stage::Whole(_)) {
            return None;
        }
        let arrival = self.queue.pop_front()?;
        self.first += 1;
        self.cost = self.cost.saturating_sub(arrival.length.saturating_add(EACH));
        if self.begun > 0 {
            self.begun -= 1;
            self.bytes -= arrival.length;
        }
        Some(arrival)
    }
}

fn deliver(arrival: Arrival, inbox: &mut dyn Inbox) -> Result<(), TransportError> {
    let Stage::Whole(buffer) = arrival.stage else { return Ok(()) };
    match (buffer, arrival.tag) {
        (Buffer::Small(bytes), None) => inbox.metadata(&bytes),
        (Buffer::Small(bytes), Some(tag)) => inbox.tagged(tag, &bytes),
        (Buffer::Aligned(mut memory), tag) => {
            // SAFETY: UCX said that it wrote all of it, to where `spare` pointed when there was nothing in it.
            unsafe { memory.advance(arrival.length) };
            let Some(whole) = memory.finish() else { return Ok(()) };
            match tag {
                Some(tag) => inbox.body(tag, Bytes::from_owner(whole)),
                None => inbox.metadata(whole.as_ref()),
            }
        }
    }
}

impl Outbox for UcxEndpoint {
    fn metadata(&mut self, parts: &[&[u8]]) {
        let bytes = parts.concat();
        self.queued += bytes.len();
        self.pending.push_back(Pending::Metadata(bytes));
    }

    fn tagged(&mut self, tag: u64, parts: &[&[u8]]) {
        let bytes = parts.concat();
        self.queued += bytes.len();
        self.pending.push_back(Pending::Tagged(tag, bytes));
    }
}

impl Endpoint for UcxEndpoint {
    fn scheme(&self) -> &'static str {
        "ucx"
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.connecting {
            Some(connecting) => connecting.descriptor(),
            None => self.connection.worker.descriptor(),
        }
    }

    fn receive(&mut self, budget: usize, inbox: &mut dyn Inbox) -> Result<Progress, TransportError> {
        let mut left = budget.max(1);
        loop {
            if self.ended {
                return Err(TransportError::Closed);
            }
            if let Some(connecting) = &mut self.connecting {
                match connecting.look(&mut self.connection) {
                    Ok(Standing::Stands(uri)) => {
                        inbox.greeting(&uri)?;
                        self.start();
                    }
                    Ok(_) => {}
                    Err(error) => {
                        self.ended = true;
                        return Err(error);
                    }
                }
            }
            if self.stands() {
                self.connection.worker.begin()?;
                if self.hand_over(&mut left, inbox)? {
                    self.connection.worker.signal();
                    return Ok(Progress::More);
                }
                if let Some(error) = self.end() {
                    return Err(error);
                }
            }
            let worker = &self.connection.worker;
            // What UCX counts as work is not all that it does.
            if !worker.progress() && !self.is_stirring() && worker.arm()? {
                return Ok(Progress::Drained);
            }
        }
    }

    fn flush(&mut self) -> Result<bool, TransportError> {
        if !self.stands() {
            return Ok(self.pending.is_empty());
        }
        let idle = self.pending.is_empty();
        self.start();
        let shared = self.connection.worker.shared();
        if idle && !shared.is_sending() {
            return Ok(true);
        }
        let worker = &self.connection.worker;
        while shared.is_sending() && shared.waiting() < ENOUGH && worker.progress() {}
        self.settle()?;
        match shared.failure() {
            Some(_) => Err(TransportError::Closed),
            None => Ok(!shared.is_sending()),
        }
    }

    fn stirs_by_itself(&self) -> Option<bool> {
        Some(self.connection.worker.shared().arrivals.lock().is_arriving())
    }

    fn queued(&self) -> usize {
        self.queued + self.connection.worker.shared().sending().0
    }

    fn copied(&self) -> usize {
        self.queued() - self.connection.worker.shared().sending().1 - self.bodies
    }

    /// The descriptor polls readable when UCX can go on, and `receive` goes on then.
    fn wants_write(&self) -> bool {
        false
    }

    fn stop_sending(&mut self) {
        self.pending.push_back(Pending::End);
    }

    fn body(&mut self, tag: u64, parts: Vec<Bytes>) {
        let length: usize = parts.iter().map(Bytes::len).sum();
        self.queued += length;
        self.bodies += length;
        self.pending.push_back(Pending::Body(tag, parts));
    }
}

impl Drop for UcxEndpoint {
    fn drop(&mut self) {
        let stands = self.stands();
        // SAFETY: taken here only, and not used after it.
        let mut connection = unsafe { ManuallyDrop::take(&mut self.connection) };
        if stands && connection.worker.shared().failure().is_none() {
            connection.send_end();
            ending::linger(connection, self.has_sent);
        } else if connection.worker.shared().failure().is_none() {
            ending::give_up(connection);
        } else {
            ending::close(connection);
        }
    }
}

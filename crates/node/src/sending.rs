//! A batch from JavaScript's typed arrays into a publisher: allocating, and sending what was written.

use std::sync::Arc;

use arrowlane_dissociated::{BatchHeader, FieldNode, Span};
use arrowlane_memory::Block;
use arrowlane_plane::{Memory, Outgoing, PlaneError, Publisher, SendOutcome};
use napi::{Env, sys};

use crate::{
    arrays,
    cell::Keep,
    error::{Result, plane, stale},
    host::Entry,
    lane::{NativeLane, number},
    publish::pairs,
    scratch::Cursor,
};

/// Answers of `send` and `resend` that are not a number of subscribers.
const NO_SUBSCRIBER: f64 = -1.0;
const NO_ROOM: f64 = -2.0;

/// What is called in other ways than as a method of JavaScript's.
impl NativeLane {
    /// A block as an `ArrayBuffer`, its handle in the scratch array; or a number that says why not.
    pub(crate) fn allocate(&self, env: &Env, publisher: u32, bytes: f64) -> Result<sys::napi_value> {
        let publisher = self.publisher(publisher)?;
        if publisher.is_closed() {
            return Err(plane(PlaneError::Closed));
        }
        let length = (bytes as usize).max(1);
        let block = match publisher.allocate(length) {
            Ok(block) => Arc::new(block),
            Err(error) => return number(env, self.refusal_of(&publisher, error)).map(|n| n.0),
        };
        let (pointer, keep) = (block.as_ptr(), Keep::Block(Arc::clone(&block)));
        let handle = self.host.tables.borrow_mut().blocks.insert((block, None));
        let made = arrays::external(&self.host, pointer, length, keep, Entry::Block(handle));
        let mut tables = self.host.tables.borrow_mut();
        let (value, cell) = match made {
            Ok(made) => made,
            Err(error) => {
                tables.blocks.remove(handle);
                return Err(error);
            }
        };
        if let Some((_, known)) = tables.blocks.get_mut(handle) {
            *known = Some(cell);
        }
        drop(tables);
        self.host.scratch.write(0, &[f64::from(handle)]);
        Ok(value)
    }

    /// Sends a written block, whose `ArrayBuffer` is detached if it was not before. The number of subscribers; or why it
    /// waits, and then the scratch array has the handle to `resend` it with.
    ///
    /// In the scratch array: publisher, block (-1: no bytes), schema, rows, connection (0: all), nodes, (length, null count)…,
    /// buffers, (offset, length)…, variadic counts, count…, dictionaries, handle….
    pub(crate) fn send(
        &self,
        env: &Env,
        buffer: Option<sys::napi_value>,
        metadata: Option<Vec<String>>,
    ) -> Result<sys::napi_value> {
        let at = |index| self.host.scratch.read(index);
        let (publisher, block, schema, rows, connection) = (at(0) as u32, at(1), at(2) as u32, at(3) as u64, at(4));
        // First of all: whatever is wrong with the rest, nobody writes the block from now on, and it is not forgotten.
        let block = self.take_block(env, block, buffer)?;
        let sender = self.publisher(publisher)?;
        let (mut header, dictionaries) = self.read_layout(5);
        header.rows = rows;
        let schema = self.schema(schema)?;
        schema.shape.check(&header).map_err(|e| plane(e.into()))?;
        check_layout(&header, block.as_deref())?;
        let dictionaries = {
            let tables = self.host.tables.borrow();
            let found: Option<Vec<_>> = dictionaries.iter().map(|d| tables.dictionaries.get(*d).cloned()).collect();
            found.ok_or_else(|| stale("dictionary"))?
        };
        let metadata = pairs(metadata);
        let memory = block.map(Memory::Block);
        let answer = self.offer(&sender, Outgoing { schema, header, memory, metadata, dictionaries }, connection)?;
        number(env, answer).map(|n| n.0)
    }

    pub(crate) fn publisher(&self, publisher: u32) -> Result<Arc<Publisher>> {
        self.host.tables.borrow().publishers.get(&publisher).cloned().ok_or_else(|| plane(PlaneError::Closed))
    }

    pub(crate) fn offer(&self, publisher: &Arc<Publisher>, outgoing: Outgoing, connection: f64) -> Result<f64> {
        if let Some(dataset) = self.host.tables.borrow_mut().datasets.get_mut(&publisher.id()) {
            dataset.push_outgoing(outgoing).map_err(plane)?;
            return Ok(1.0);
        }
        let outcome = match connection {
            c if c > 0.0 => publisher.try_send_to(c as u64, &outgoing),
            _ => publisher.try_send(&outgoing),
        };
        let answer = match outcome.map_err(plane)? {
            SendOutcome::Sent(subscribers) => return Ok(subscribers as f64),
            SendOutcome::NoSubscriber => NO_SUBSCRIBER,
            SendOutcome::NoRoom => NO_ROOM,
        };
        let handle = self.host.tables.borrow_mut().outgoing.insert(outgoing);
        self.host.scratch.write(0, &[f64::from(handle)]);
        Ok(answer)
    }

    /// The block behind a handle, after its `ArrayBuffer` was detached: from now on nobody writes it.
    pub(crate) fn take_block(
        &self,
        env: &Env,
        block: f64,
        buffer: Option<sys::napi_value>,
    ) -> Result<Option<Arc<Block>>> {
        if let Some(buffer) = buffer {
            arrays::detach(env, buffer)?;
        }
        if block < 0.0 {
            return Ok(None);
        }
        let removed = self.host.tables.borrow_mut().blocks.remove(block as u32);
        let (block, cell) = removed.ok_or_else(|| stale("block"))?;
        if let Some(cell) = cell {
            cell.release();
        }
        Ok(Some(block))
    }

    pub(crate) fn read_layout(&self, at: usize) -> (BatchHeader, Vec<u32>) {
        let mut cursor = Cursor::at(&self.host.scratch, at);
        let nodes = cursor.count();
        let nodes: Vec<_> =
            (0..nodes).map(|_| FieldNode { length: cursor.next(), null_count: cursor.next() }).collect();
        let buffers = cursor.count();
        let buffers: Vec<_> = (0..buffers).map(|_| Span { offset: cursor.next(), length: cursor.next() }).collect();
        let variadic = cursor.count();
        let variadic: Vec<u64> = (0..variadic).map(|_| cursor.next()).collect();
        let dictionaries = cursor.count();
        let dictionaries = (0..dictionaries).map(|_| cursor.next() as u32).collect();
        let end = buffers.iter().map(|b| b.offset + b.length).max().unwrap_or(0);
        let rows = nodes.first().map_or(0, |n| n.length);
        let body_length = end.next_multiple_of(8);
        let header = BatchHeader { rows, nodes, buffers, variadic, compression: None, body_length };
        (header, dictionaries)
    }
}

/// Every buffer has to lie inside the block: subscribers get these addresses.
pub(crate) fn check_layout(header: &BatchHeader, block: Option<&Block>) -> Result<()> {
    let room = block.map_or(0, |b| b.len() as u64);
    let inside = |b: &Span| b.length == 0 || b.offset.checked_add(b.length).is_some_and(|end| end <= room);
    if header.buffers.iter().all(inside) { Ok(()) } else { Err(stale("layout")) }
}

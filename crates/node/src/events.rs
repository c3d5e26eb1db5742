//! Events as records of numbers.

use std::sync::Arc;

use arrowlane_plane::{Batch, BatchSchema, Event};

use crate::{
    held::Held,
    host::{BatchEntry, Tables},
};

/// Numbers per record: kind, owner, then what the kind says.
pub const RECORD: usize = 8;

/// What JavaScript writes over the kind of a batch's record when the application took the batch at once.
pub const TAKEN: f64 = 0.0;

/// Kinds of record; `ts/native/lane.ts` has the same list.
mod kind {
    pub const BATCH: f64 = 1.0;
    pub const CONNECTED: f64 = 2.0;
    pub const ENDED: f64 = 3.0;
    pub const FAILED: f64 = 4.0;
    pub const RETRY: f64 = 5.0;
    pub const ROOM: f64 = 6.0;
    pub const JOINED: f64 = 7.0;
    pub const LEFT: f64 = 8.0;
    pub const CLOSED: f64 = 9.0;
    pub const PULSE: f64 = 10.0;
    pub const LOST: f64 = 11.0;
    pub const RECONNECTED: f64 = 12.0;
    pub const DROPPED: f64 = 13.0;
    pub const EVICTED: f64 = 14.0;
}

/// The record of an event. A batch gets its handle here.
pub fn record(tables: &mut Tables, id: u32, event: Event) -> [f64; RECORD] {
    let mut record = [0.0; RECORD];
    record[1] = f64::from(id);
    record[0] = match event {
        Event::Batch(batch) => {
            let described = batch_record(tables, Some(id), batch);
            record[2..].copy_from_slice(&described);
            kind::BATCH
        }
        Event::Connected => kind::CONNECTED,
        Event::Ended => {
            tables.subscriptions.remove(&id);
            tables.schema_of.remove(&id);
            tables.forget_terms(id);
            kind::ENDED
        }
        Event::Failed(error) => {
            tables.subscriptions.remove(&id);
            tables.schema_of.remove(&id);
            tables.forget_terms(id);
            tables.errors.insert(id, (error.code().into(), error.to_string()));
            kind::FAILED
        }
        Event::Retry => kind::RETRY,
        Event::Room => kind::ROOM,
        Event::Joined(connection) => {
            record[2] = connection as f64;
            kind::JOINED
        }
        Event::Left(connection) => {
            record[2] = connection as f64;
            kind::LEFT
        }
        Event::Evicted(connection) => {
            record[2] = connection as f64;
            kind::EVICTED
        }
        Event::Closed => {
            tables.publishers.remove(&id);
            kind::CLOSED
        }
        Event::Lost => kind::LOST,
        Event::Reconnected => kind::RECONNECTED,
        Event::Dropped(batches) => {
            record[2] = batches as f64;
            kind::DROPPED
        }
        Event::Pulse(value) => {
            record[2] = value;
            kind::PULSE
        }
    };
    record
}

/// Ways in which a batch comes; `ts/batch.ts` has the same list. The first is for what says so itself.
const WAYS: [&str; 7] = ["shm", "unix", "tcp", "ucx", "fabric", "grpc", "http"];

fn way_of(via: &str) -> f64 {
    WAYS.iter().position(|way| *way == via).unwrap_or(0) as f64
}

/// Handle, schema, rows, bytes, 1 where the memory is lent and twice the way that it came, number of key/values.
pub fn batch_record(tables: &mut Tables, owner: Option<u32>, batch: Arc<Batch>) -> [f64; 6] {
    let schema = schema_handle(tables, owner, &batch.schema);
    let described = [
        0.0,
        f64::from(schema),
        batch.header.rows as f64,
        batch.body.length() as f64,
        if batch.body.is_lent() { 1.0 } else { 0.0 } + 2.0 * way_of(batch.via),
        batch.metadata.len() as f64,
    ];
    let handle = tables.batches.insert(BatchEntry { batch, cells: Vec::new(), held: Held::new(owner) });
    let mut described = described;
    described[0] = f64::from(handle);
    described
}

/// The number of a schema: equal schemas have the same, so that the table grows with different ones only.
pub fn schema_handle(tables: &mut Tables, owner: Option<u32>, schema: &Arc<BatchSchema>) -> u32 {
    if let Some(owner) = owner
        && let Some((known, handle)) = tables.schema_of.get(&owner)
        && Arc::ptr_eq(known, schema)
    {
        return *handle;
    }
    let same = |known: &Arc<BatchSchema>| known.arrow == schema.arrow && known.dictionaries == schema.dictionaries;
    let handle = match tables.schemas.iter().position(same) {
        Some(position) => position,
        None => {
            tables.schemas.push(Arc::clone(schema));
            tables.schemas.len() - 1
        }
    } as u32;
    // A batch may arrive after its subscription was closed: then nothing is remembered for it.
    if let Some(owner) = owner
        && tables.subscriptions.contains_key(&owner)
    {
        tables.schema_of.insert(owner, (Arc::clone(schema), handle));
    }
    handle
}

//! Publishers, as JavaScript drives them.

use std::sync::Arc;

use arrowlane_dissociated::{BatchHeader, FieldNode, KeyValues, Span};
use arrowlane_memory::{AllocateError, Block, Limit, MemoryError, Pool};
use arrowlane_plane::{
    Outgoing, OutgoingDictionary, PackOutcome, PlaneError, Prepared, Publisher, PublisherOptions, Queue, SendOutcome,
};
use arrowlane_transport::shm::Folder;
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    arrays,
    cell::Keep,
    error::{Result, plane, stale},
    lane::{NativeLane, Raw, detach_value, number},
    policy::NativePublisherPolicy,
    scratch::Cursor,
};

/// Answers of `allocate` and `pack` that are not a block.
const NEEDS_GROWTH: f64 = -1.0;
const FULL: f64 = -2.0;
const TOO_LARGE: f64 = -3.0;
/// Answers of `send` and `resend` that are not a number of subscribers.
const NO_SUBSCRIBER: f64 = -1.0;
const NO_ROOM: f64 = -2.0;

#[napi(object)]
pub struct NativePublisherOptions {
    pub memory: f64,
    pub queue_batches: f64,
    pub queue_bytes: f64,
    pub min_subscribers: u32,
    pub per_subscriber: bool,
    pub policy: NativePublisherPolicy,
}

#[napi(object)]
pub struct NativePublisherStatistics {
    pub subscribers: f64,
    pub leases: f64,
    pub bytes_in_use: f64,
    pub capacity: f64,
}

/// A publisher that is not in a lane yet, or why there is none.
#[napi]
pub struct NativePrepared {
    prepared: Option<std::result::Result<Prepared, PlaneError>>,
}

/// Makes a publisher off the loop; on the loop it is only put into its lane.
pub struct PrepareTask {
    topic: String,
    options: PublisherOptions,
    prepared: Option<std::result::Result<Prepared, PlaneError>>,
}

impl<'task> ScopedTask<'task> for PrepareTask {
    type Output = ();
    type JsValue = NativePrepared;

    fn compute(&mut self) -> napi::Result<()> {
        let prepared = Folder::open_default().map_err(PlaneError::from);
        let prepared =
            prepared.and_then(|folder| Publisher::prepare(Arc::new(folder), &self.topic, self.options.clone()));
        self.prepared = Some(prepared);
        Ok(())
    }

    fn resolve(&mut self, _env: &'task Env, (): ()) -> napi::Result<Self::JsValue> {
        Ok(NativePrepared { prepared: self.prepared.take() })
    }
}

/// Makes room in a pool off the loop.
pub struct GrowTask {
    pool: Pool,
    bytes: usize,
}

impl<'task> ScopedTask<'task> for GrowTask {
    type Output = Option<(String, String)>;
    type JsValue = Vec<String>;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let failed = match self.pool.grow(self.bytes) {
            // Somebody else took what was left since the pool was asked: it is full, and will say so when asked again.
            Err(MemoryError::OutOfMemory { which: Limit::Pool | Limit::Segments, .. }) => None,
            other => other.err().map(PlaneError::from),
        };
        Ok(failed.map(|error| (error.code().to_owned(), error.to_string())))
    }

    fn resolve(&mut self, _env: &'task Env, failed: Self::Output) -> napi::Result<Vec<String>> {
        Ok(failed.map(|(code, text)| vec![code, text]).unwrap_or_default())
    }
}

#[napi]
impl NativeLane {
    /// First half of making a publisher: what may block.
    #[napi(ts_return_type = "Promise<NativePrepared>")]
    pub fn prepare_publisher(&self, topic: String, options: NativePublisherOptions) -> AsyncTask<PrepareTask> {
        let queue = Queue { batches: options.queue_batches as usize, bytes: options.queue_bytes as u64 };
        let options = PublisherOptions {
            memory: options.memory as u64,
            queue,
            min_subscribers: options.min_subscribers as usize,
            per_subscriber: options.per_subscriber,
            ..options.policy.into_options()
        };
        AsyncTask::new(PrepareTask { topic, options, prepared: None })
    }

    /// Second half: opens it for subscribers and returns its number.
    #[napi]
    pub fn start_publisher(&self, prepared: &mut NativePrepared) -> Result<u32> {
        let prepared = prepared.prepared.take().unwrap_or(Err(PlaneError::Closed)).map_err(plane)?;
        let publisher = Publisher::start(prepared, &self.host.lane).map_err(plane)?;
        let id = publisher.id();
        self.host.tables.borrow_mut().publishers.insert(id, publisher);
        Ok(id)
    }

    #[napi]
    pub fn publisher_uri(&self, publisher: u32) -> Result<String> {
        Ok(self.publisher(publisher)?.uri().to_owned())
    }

    #[napi]
    pub fn publisher_statistics(&self, publisher: u32) -> Result<NativePublisherStatistics> {
        let statistics = self.publisher(publisher)?.statistics();
        Ok(NativePublisherStatistics {
            subscribers: statistics.subscribers as f64,
            leases: statistics.leases as f64,
            bytes_in_use: statistics.bytes_in_use as f64,
            capacity: statistics.capacity as f64,
        })
    }

    /// A block as an `ArrayBuffer`, its handle in the scratch array; or a number that says why not.
    #[napi(ts_return_type = "ArrayBuffer | number")]
    pub fn allocate(&self, env: &Env, publisher: u32, bytes: f64) -> Result<Raw> {
        let publisher = self.publisher(publisher)?;
        if publisher.is_closed() {
            return Err(plane(PlaneError::Closed));
        }
        let length = (bytes as usize).max(1);
        let block = match publisher.allocate(length) {
            Ok(block) => Arc::new(block),
            Err(error) => return number(env, refusal(error)),
        };
        let (value, cell) = arrays::external(env, block.as_ptr(), length, Keep::Block(Arc::clone(&block)))?;
        let handle = self.host.tables.borrow_mut().blocks.insert((block, Some(cell)));
        self.host.scratch.write(0, &[f64::from(handle)]);
        Ok(Raw(value))
    }

    /// Makes room for so many bytes, off the loop. Resolves to nothing, or to code and message.
    #[napi(ts_return_type = "Promise<string[]>")]
    pub fn grow(&self, publisher: u32, bytes: f64) -> Result<AsyncTask<GrowTask>> {
        let pool = self.publisher(publisher)?.pool().clone();
        Ok(AsyncTask::new(GrowTask { pool, bytes: bytes as usize }))
    }

    /// Which shared memory a block lies in, the same in every process: device, inode and offset.
    #[napi]
    pub fn block_location(&self, publisher: u32, block: u32) -> Result<Vec<BigInt>> {
        let pool = self.publisher(publisher)?.pool().clone();
        let tables = self.host.tables.borrow();
        let (block, _) = tables.blocks.get(block).ok_or_else(|| stale("block"))?;
        let location = pool.segment(block.segment()).and_then(|s| arrowlane_plane::identity_of(s.fd()));
        let location = location.map(|[device, inode]| [device, inode, block.offset()]);
        Ok(location.map(|l| l.map(BigInt::from).to_vec()).unwrap_or_default())
    }

    /// Takes the memory away from an `ArrayBuffer` over a block; the block stays.
    #[napi]
    pub fn detach(&self, env: &Env, buffer: ArrayBuffer<'_>) -> Result<()> {
        detach_value(env, &buffer)
    }

    /// Gives a block back unsent.
    #[napi]
    pub fn free_block(&self, env: &Env, block: u32, buffer: Option<ArrayBuffer<'_>>) -> Result<()> {
        if let Some(buffer) = buffer {
            detach_value(env, &buffer)?;
        }
        let removed = self.host.tables.borrow_mut().blocks.remove(block);
        if let Some((_, Some(cell))) = &removed {
            cell.release();
        }
        Ok(())
    }

    /// A dictionary out of a written block; its layout is in the scratch array as for `send`.
    #[napi]
    pub fn put_dictionary(&self, env: &Env, block: i32, buffer: Option<ArrayBuffer<'_>>) -> Result<u32> {
        let (header, _) = self.read_layout(0);
        let block = self.take_block(env, block, buffer)?;
        check_layout(&header, block.as_deref())?;
        let version = Publisher::next_dictionary_version();
        Ok(self.host.tables.borrow_mut().dictionaries.insert(OutgoingDictionary { version, header, block }))
    }

    #[napi]
    pub fn drop_dictionary(&self, dictionary: u32) {
        let dropped = self.host.tables.borrow_mut().dictionaries.remove(dictionary);
        drop(dropped);
    }

    /// Sends a written block (or -1: no bytes), whose `ArrayBuffer` is detached. The number of subscribers; or why it
    /// waits, and then the scratch array has the handle to `resend` it with.
    ///
    /// Layout in the scratch array: rows, connection (0: all), nodes, (length, null count)…, buffers, (offset, length)…, variadic counts,
    /// count…, dictionaries, handle….
    #[napi]
    pub fn send(
        &self,
        env: &Env,
        publisher: u32,
        block: i32,
        buffer: Option<ArrayBuffer<'_>>,
        schema: u32,
        metadata: Option<Vec<String>>,
    ) -> Result<f64> {
        // First of all: whatever is wrong with the rest, nobody writes the block from now on, and it is not forgotten.
        let block = self.take_block(env, block, buffer)?;
        let sender = self.publisher(publisher)?;
        let (rows, connection) = (self.host.scratch.read(0) as u64, self.host.scratch.read(1));
        let (mut header, dictionaries) = self.read_layout(2);
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
        self.offer(&sender, Outgoing { schema, header, block, metadata, dictionaries }, connection)
    }

    /// Tries again to send what had to wait.
    #[napi]
    pub fn resend(&self, publisher: u32, outgoing: u32, connection: f64) -> Result<f64> {
        let sender = self.publisher(publisher)?;
        let removed = self.host.tables.borrow_mut().outgoing.remove(outgoing);
        self.offer(&sender, removed.ok_or_else(|| stale("outgoing batch"))?, connection)
    }

    /// Gives up on what had to wait.
    #[napi]
    pub fn drop_outgoing(&self, outgoing: u32) {
        let dropped = self.host.tables.borrow_mut().outgoing.remove(outgoing);
        drop(dropped);
    }

    /// Copies rows and columns of a batch into the publisher's memory, to be sent with `resend`; or a negative number
    /// that says why not, and the bytes asked for in the scratch array.
    #[napi]
    pub fn pack(
        &self,
        publisher: u32,
        batch: u32,
        offset: f64,
        length: f64,
        columns: Option<Vec<u32>>,
        metadata: Option<Vec<String>>,
    ) -> Result<f64> {
        let sender = self.publisher(publisher)?;
        let arrow = self.part(batch, offset, length, columns)?;
        match sender.pack(&arrow, pairs(metadata)).map_err(plane)? {
            PackOutcome::Packed(outgoing) => Ok(f64::from(self.host.tables.borrow_mut().outgoing.insert(*outgoing))),
            PackOutcome::NoMemory(error, bytes) => {
                self.host.scratch.write(0, &[bytes as f64]);
                Ok(refusal(error))
            }
        }
    }

    /// Ends one subscriber's own stream: well, or with an error's code and message.
    #[napi]
    pub fn finish_connection(&self, publisher: u32, connection: f64, failure: Option<Vec<String>>) -> Result<()> {
        let failure = failure.unwrap_or_default();
        let failure = if let [code, message] = &failure[..] { Some((code.as_str(), message.as_str())) } else { None };
        self.publisher(publisher)?.finish(connection as u64, failure);
        Ok(())
    }

    #[napi]
    pub fn close_publisher(&self, publisher: u32) -> Result<()> {
        self.publisher(publisher)?.close();
        Ok(())
    }

    pub(crate) fn publisher(&self, publisher: u32) -> Result<Arc<Publisher>> {
        self.host.tables.borrow().publishers.get(&publisher).cloned().ok_or_else(|| plane(PlaneError::Closed))
    }

    fn offer(&self, publisher: &Arc<Publisher>, outgoing: Outgoing, connection: f64) -> Result<f64> {
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
    fn take_block(&self, env: &Env, block: i32, buffer: Option<ArrayBuffer<'_>>) -> Result<Option<Arc<Block>>> {
        if let Some(buffer) = buffer {
            detach_value(env, &buffer)?;
        }
        let Ok(handle) = u32::try_from(block) else { return Ok(None) };
        let removed = self.host.tables.borrow_mut().blocks.remove(handle);
        let (block, cell) = removed.ok_or_else(|| stale("block"))?;
        if let Some(cell) = cell {
            cell.release();
        }
        Ok(Some(block))
    }

    fn read_layout(&self, at: usize) -> (BatchHeader, Vec<u32>) {
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
fn check_layout(header: &BatchHeader, block: Option<&Block>) -> Result<()> {
    let room = block.map_or(0, |b| b.len() as u64);
    let inside = |b: &Span| b.length == 0 || b.offset.checked_add(b.length).is_some_and(|end| end <= room);
    if header.buffers.iter().all(inside) { Ok(()) } else { Err(stale("layout")) }
}

fn refusal(error: AllocateError) -> f64 {
    match error {
        AllocateError::NeedsGrowth => NEEDS_GROWTH,
        AllocateError::Full => FULL,
        AllocateError::TooLarge { .. } => TOO_LARGE,
    }
}

pub(crate) fn pairs(flat: Option<Vec<String>>) -> KeyValues {
    let mut strings = flat.unwrap_or_default().into_iter();
    let mut pairs = Vec::new();
    while let (Some(key), Some(value)) = (strings.next(), strings.next()) {
        pairs.push((key, value));
    }
    pairs
}

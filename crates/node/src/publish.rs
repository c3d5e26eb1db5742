//! Publishers, as JavaScript drives them.

use std::sync::Arc;

use arrowlane_dissociated::KeyValues;
use arrowlane_memory::{AllocateError, Limit, MemoryError, Pool};
use arrowlane_plane::{
    Memory, OutgoingDictionary, PackOutcome, PlaneError, Prepared, Publisher, PublisherOptions, Queue,
};
use arrowlane_transport::shm::Folder;
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    error::{Result, plane, stale},
    lane::{NativeLane, detach_value},
    policy::NativePublisherPolicy,
    sending::check_layout,
};

/// Answers of `allocate` and `pack` that are not a block.
const NEEDS_GROWTH: f64 = -1.0;
const FULL: f64 = -2.0;
const TOO_LARGE: f64 = -3.0;

#[napi(object)]
pub struct NativePublisherOptions {
    pub memory: f64,
    pub queue_batches: f64,
    pub queue_bytes: f64,
    pub min_subscribers: u32,
    pub per_subscriber: bool,
    /// Nobody finds it by its name: a server offers it.
    pub unlisted: bool,
    pub strict_zero_copy: bool,
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
    unlisted: bool,
    options: PublisherOptions,
    prepared: Option<std::result::Result<Prepared, PlaneError>>,
}

impl<'task> ScopedTask<'task> for PrepareTask {
    type Output = ();
    type JsValue = NativePrepared;

    fn compute(&mut self) -> napi::Result<()> {
        let (topic, options) = (&self.topic, self.options.clone());
        self.prepared = Some(if self.unlisted {
            Publisher::prepare_unlisted(topic, options)
        } else {
            let folder = Folder::open_default().map_err(PlaneError::from);
            folder.and_then(|folder| Publisher::prepare(Arc::new(folder), topic, options))
        });
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
        let unlisted = options.unlisted;
        let options = PublisherOptions {
            memory: options.memory as u64,
            queue,
            min_subscribers: options.min_subscribers as usize,
            per_subscriber: options.per_subscriber,
            strict: options.strict_zero_copy,
            ..options.policy.into_options()
        };
        AsyncTask::new(PrepareTask { topic, unlisted, options, prepared: None })
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

    /// Takes the memory away from the `ArrayBuffer` over a block; the block stays, until it is sent or freed.
    #[napi]
    pub fn detach(&self, env: &Env, block: u32, buffer: ArrayBuffer<'_>) -> Result<()> {
        detach_value(env, &buffer)?;
        // The buffer's finalizer is to find nothing that it could let go of.
        let cell = self.host.tables.borrow_mut().blocks.get_mut(block).and_then(|(_, cell)| cell.take());
        if let Some(cell) = cell {
            cell.release();
        }
        Ok(())
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
        let block = self.take_block(env, f64::from(block), buffer.map(|b| b.raw()))?;
        check_layout(&header, block.as_deref())?;
        let version = Publisher::next_dictionary_version();
        Ok(self.host.tables.borrow_mut().dictionaries.insert(OutgoingDictionary {
            version,
            header,
            memory: block.map(Memory::Block),
        }))
    }

    #[napi]
    pub fn drop_dictionary(&self, dictionary: u32) {
        let dropped = self.host.tables.borrow_mut().dictionaries.remove(dictionary);
        drop(dropped);
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
                Ok(self.refusal_of(&sender, error))
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

    /// Ends every stream: well, or with an error's code and message.
    #[napi]
    pub fn close_publisher(&self, publisher: u32, failure: Option<Vec<String>>) -> Result<()> {
        let publisher = self.publisher(publisher)?;
        match failure.as_deref() {
            Some([code, message]) => publisher.fail(code, message),
            _ => publisher.close(),
        }
        Ok(())
    }

    /// Lets go of what a closing publisher has not handed over yet.
    #[napi]
    pub fn give_up_publisher(&self, publisher: u32) -> Result<()> {
        self.publisher(publisher)?.give_up();
        Ok(())
    }
}

/// What is called in other ways than as a method of JavaScript's.
impl NativeLane {
    /// Why there is no block. What a dataset holds never comes back, so that is not waited for.
    pub(crate) fn refusal_of(&self, publisher: &Publisher, error: AllocateError) -> f64 {
        match error {
            AllocateError::NeedsGrowth => NEEDS_GROWTH,
            AllocateError::Full if self.host.tables.borrow().datasets.contains_key(&publisher.id()) => TOO_LARGE,
            AllocateError::Full => FULL,
            AllocateError::TooLarge { .. } => TOO_LARGE,
        }
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

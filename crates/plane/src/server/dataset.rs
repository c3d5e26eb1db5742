//! Batches that lie in this process's memory, to be sent as often as anybody asks.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use arrowlane_dissociated::{KeyValues, encode_batch, encode_dictionary};
use arrowlane_memory::AllocateError;
use bytes::Bytes;

use super::feeder::{Content, Feeder};
use crate::{
    Batch, BatchSchema, Body, Dictionary, NativeLane, Outgoing, Overflow, PackOutcome, Permits, PlaneError, Publisher,
    PublisherOptions, Queue,
    publisher::{buffers_of, bytes_of},
};

/// How a dataset is kept and sent.
#[derive(Debug, Clone)]
pub struct DatasetOptions {
    /// Its name in messages.
    pub name: String,
    /// The most memory it may take, in bytes.
    pub memory: u64,
    /// How far each client may lag behind.
    pub queue: Queue,
}

/// A dataset that is being put together. Used from any thread, one at a time.
pub struct DatasetBuilder {
    lane: &'static NativeLane,
    publisher: Arc<Publisher>,
    schema: Option<Arc<BatchSchema>>,
    batches: Vec<Outgoing>,
    rows: u64,
    bytes: u64,
    finished: bool,
}

/// Batches of one schema, in an order. They lie where processes of this machine can be lent them, and are sent to
/// others from there. Its memory is free when it is offered no more, no ticket stands for it, and every transfer and lease
/// has ended.
pub struct Dataset {
    content: Arc<Content>,
    publisher: Arc<Publisher>,
    feeder: Arc<Feeder>,
    rows: u64,
    bytes: u64,
}

/// An IPC message of a dataset: its flatbuffer, and its body in parts that are not copied.
pub struct Message {
    /// A `Message` flatbuffer, bare.
    pub header: Vec<u8>,
    /// The body's bytes in order, padding included.
    pub body: Vec<Bytes>,
}

impl DatasetBuilder {
    pub(super) fn new(lane: &'static NativeLane, options: DatasetOptions) -> Result<Self, PlaneError> {
        let DatasetOptions { name, memory, queue } = options;
        let options = PublisherOptions {
            memory,
            queue,
            permits: Permits { queue, overflow: vec![Overflow::Wait], last: false },
            min_subscribers: 0,
            per_subscriber: true,
            ..PublisherOptions::default()
        };
        let publisher = Publisher::start(Publisher::prepare_unlisted(&name, options)?, lane.lane())?;
        Ok(Self { lane, publisher, schema: None, batches: Vec::new(), rows: 0, bytes: 0, finished: false })
    }

    /// The publisher in whose memory the batches lie: blocks of [`push_outgoing`](Self::push_outgoing) come from there.
    pub fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Appends a batch: one copy. **Blocks** while memory is made.
    ///
    /// # Errors
    /// When its schema is another, it holds something that cannot travel, or the memory does not suffice.
    pub fn push(&mut self, batch: &RecordBatch, metadata: KeyValues) -> Result<(), PlaneError> {
        self.expect(&batch.schema())?;
        loop {
            match self.publisher.pack(batch, metadata.clone())? {
                PackOutcome::Packed(outgoing) => return self.push_outgoing(*outgoing),
                PackOutcome::NoMemory(AllocateError::NeedsGrowth, bytes) => self.publisher.pool().grow(bytes)?,
                PackOutcome::NoMemory(_, bytes) => {
                    let limit = self.publisher.pool().statistics().limit;
                    return Err(PlaneError::TooLarge { requested: self.bytes + bytes as u64, limit });
                }
            }
        }
    }

    /// Says what the schema is, of a dataset that may turn out to have no batches.
    ///
    /// # Errors
    /// When it is another than before, or holds something that cannot travel.
    pub fn expect(&mut self, schema: &SchemaRef) -> Result<(), PlaneError> {
        match &self.schema {
            Some(known) if known.arrow == *schema => Ok(()),
            Some(known) => Err(PlaneError::SchemaMismatch(crate::topic::difference(&known.arrow, schema))),
            None => {
                self.schema = Some(BatchSchema::new(Arc::clone(schema))?);
                Ok(())
            }
        }
    }

    /// Appends a batch whose body lies in this publisher's memory already: no copy.
    ///
    /// # Errors
    /// When its schema is another.
    pub fn push_outgoing(&mut self, batch: Outgoing) -> Result<(), PlaneError> {
        self.expect(&batch.schema.arrow)?;
        self.rows += batch.header.rows;
        self.bytes += batch.header.buffers.iter().map(|b| b.length).sum::<u64>();
        self.batches.push(batch);
        Ok(())
    }

    /// The dataset.
    ///
    /// # Errors
    /// When no schema was ever given.
    pub fn finish(mut self) -> Result<Arc<Dataset>, PlaneError> {
        let schema = self.schema.take();
        let schema = schema.ok_or_else(|| PlaneError::SchemaMismatch("it has neither a schema nor a batch".into()))?;
        let content = Arc::new(Content { schema, batches: std::mem::take(&mut self.batches) });
        self.finished = true;
        let publisher = Arc::clone(&self.publisher);
        let feeder = Feeder::start(Arc::clone(&content), Arc::clone(&publisher), self.lane);
        Ok(Arc::new(Dataset { content, publisher, feeder, rows: self.rows, bytes: self.bytes }))
    }
}

impl Drop for DatasetBuilder {
    fn drop(&mut self) {
        if !self.finished {
            // Its lane knows it still, and nobody else will ever close it.
            self.publisher.give_up();
        }
    }
}

impl Dataset {
    /// Its schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.content.schema.arrow
    }

    /// Rows of all batches.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Bytes of all batches' buffers, dictionaries not counted.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many batches there are.
    pub fn batches(&self) -> usize {
        self.content.batches.len()
    }

    pub(crate) fn publisher(&self) -> &Arc<Publisher> {
        &self.publisher
    }

    /// Batch `index` as arrow-rs arrays over the same memory.
    ///
    /// # Errors
    /// When it has no such batch.
    pub fn batch(&self, index: usize) -> Result<RecordBatch, PlaneError> {
        let batch = self.content.batches.get(index).ok_or(PlaneError::Closed)?;
        let dictionaries = batch.dictionaries.iter().zip(&batch.schema.dictionaries).map(|(dictionary, field)| {
            let buffers = buffers_of(&dictionary.header, dictionary.memory.as_ref())?;
            let (body, buffers) = Body::of_buffers(&buffers);
            Ok(Some(Arc::new(Dictionary { id: field.id, header: dictionary.header.clone(), buffers, body })))
        });
        let dictionaries = dictionaries.collect::<Result<Vec<_>, PlaneError>>()?;
        let (body, buffers) = Body::of_buffers(&buffers_of(&batch.header, batch.memory.as_ref())?);
        let (schema, header, metadata) = (Arc::clone(&batch.schema), batch.header.clone(), batch.metadata.clone());
        Batch { schema, header, buffers, body, dictionaries, metadata, via: "import", sequence: None }.to_arrow()
    }

    /// The IPC messages of batch `index`: the dictionaries that it needs and the batch before it did not have, and itself.
    /// Nothing of the bodies is copied.
    ///
    /// # Errors
    /// When it has no such batch.
    pub fn messages(&self, index: usize) -> Result<Vec<Message>, PlaneError> {
        let Some(batch) = self.content.batches.get(index) else { return Err(PlaneError::Closed) };
        let before = index.checked_sub(1).and_then(|i| self.content.batches.get(i));
        let mut messages = Vec::new();
        let mut ids: Vec<i64> = Vec::new();
        for (at, dictionary) in batch.dictionaries.iter().enumerate() {
            let Some(field) = batch.schema.dictionaries.get(at) else { continue };
            let known = before.and_then(|b| b.dictionaries.get(at)).is_some_and(|b| b.version == dictionary.version);
            if known || ids.contains(&field.id) {
                continue;
            }
            ids.push(field.id);
            let (header, body) = bytes_of(&dictionary.header, dictionary.memory.as_ref())?;
            messages.push(Message { header: encode_dictionary(field.id, false, &header), body });
        }
        let (header, body) = bytes_of(&batch.header, batch.memory.as_ref())?;
        messages.push(Message { header: encode_batch(&header, &batch.metadata), body });
        Ok(messages)
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        self.feeder.retire();
    }
}

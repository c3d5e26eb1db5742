//! Batches on their way out.

use std::{panic::AssertUnwindSafe, sync::Arc};

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrowlane_dissociated::{
    BatchHeader, Flat, Header, KeyValues, Limits, decode_message, encode_schema, flatten, header_of, shape_of,
};
use arrowlane_memory::{AllocateError, Block, Pool, Region};

use crate::{Batch, BatchSchema, Body, Dictionary, Memory, PlaneError, copied};

/// Buffers inside a block are aligned to this.
pub(crate) const ALIGN: usize = 64;

/// A batch whose body lies where its publisher's subscribers can read it.
pub struct Outgoing {
    /// The schema; the first batch of a topic fixes it.
    pub schema: Arc<BatchSchema>,
    /// Lengths, null counts, and where each buffer lies in the block, or would if they lay packed.
    pub header: BatchHeader,
    /// Where the bytes are. `None` when the batch has none.
    pub memory: Option<Memory>,
    /// Key/values that travel with the batch.
    pub metadata: KeyValues,
    /// The dictionaries that the batch needs, one per dictionary-encoded field, depth first.
    pub dictionaries: Vec<OutgoingDictionary>,
}

/// A dictionary that outgoing batches refer to.
#[derive(Clone)]
pub struct OutgoingDictionary {
    /// Identity: batches that carry the same version need nothing sent again.
    pub version: u64,
    /// Lengths, null counts, and where each buffer lies in the block, or would if they lay packed.
    pub header: BatchHeader,
    /// Where the bytes are. `None` when the dictionary has none.
    pub memory: Option<Memory>,
}

impl Outgoing {
    /// The block that the body lies in, when it lies in one of the publisher's own.
    pub fn block(&self) -> Option<&Arc<Block>> {
        self.memory.as_ref().and_then(Memory::block)
    }
}

impl BatchSchema {
    /// What is derived from a schema, with dictionaries numbered depth first as our publishers number them.
    ///
    /// # Errors
    /// When the schema holds something that cannot travel.
    pub fn new(schema: arrow_schema::SchemaRef) -> Result<Arc<Self>, PlaneError> {
        let dictionaries = match decode_message(&encode_schema(&schema), &Limits::default())? {
            (Header::Schema(decoded), _) => decoded.dictionaries,
            _ => Vec::new(),
        };
        let shape = shape_of(&schema);
        Ok(Arc::new(Self { arrow: schema, dictionaries, shape }))
    }
}

/// Copies a flat batch into a block of the pool. One copy per buffer, none when there is nothing to copy.
pub(crate) fn pack(flat: &Flat, pool: &Pool) -> Result<(BatchHeader, Option<Memory>), AllocateError> {
    let header = header_of(flat, ALIGN);
    if header.body_length == 0 {
        return Ok((header, None));
    }
    let block = pool.try_allocate(header.body_length as usize)?;
    copied::count(header.body_length);
    for (span, buffer) in header.buffers.iter().zip(&flat.buffers) {
        if span.length > 0 {
            // SAFETY: `header_of` laid the buffers out within `body_length`, the length the block was allocated with,
            // and the block is nobody else's yet.
            unsafe {
                let target = block.as_ptr().add(span.offset as usize).as_ptr();
                std::ptr::copy_nonoverlapping(buffer.as_ptr(), target, span.length as usize);
            }
        }
    }
    Ok((header, Some(Memory::Block(Arc::new(block)))))
}

/// Copies flat buffers into one allocation, laid out as `header` says.
fn packed(flat: &Flat, header: &BatchHeader) -> Result<Buffer, PlaneError> {
    let length = header.body_length as usize;
    copied::count(header.body_length);
    let region = Region::heap_within_limits(length)?;
    let Some(start) = region.host_ptr() else { return Ok(Buffer::from(Vec::<u8>::new())) };
    for (span, buffer) in header.buffers.iter().zip(&flat.buffers).filter(|(span, _)| span.length > 0) {
        // SAFETY: `header_of` laid the buffers out within `body_length`, the region's length, each as long as its span, and
        // the region is nobody else's yet.
        unsafe {
            let target = start.add(span.offset as usize).as_ptr();
            std::ptr::copy_nonoverlapping(buffer.as_ptr(), target, span.length as usize);
        }
    }
    // SAFETY: the region is `length` initialised bytes from `start` on, and the buffer keeps it.
    Ok(unsafe { Buffer::from_custom_allocation(start, length, Arc::new(AssertUnwindSafe(region))) })
}

pub(crate) fn dictionary_copied(id: i64, values: &arrow_data::ArrayData) -> Result<Dictionary, PlaneError> {
    let flat = flatten(std::slice::from_ref(values))?;
    let header = header_of(&flat, ALIGN);
    let (body, buffers) = Body::of_packed(packed(&flat, &header)?, &header);
    Ok(Dictionary { id, header, buffers, body })
}

pub(crate) fn batch_copied(batch: &RecordBatch, metadata: KeyValues) -> Result<Batch, PlaneError> {
    let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
    let flat = flatten_batch(batch.num_rows(), &columns)?;
    let schema = BatchSchema::new(batch.schema())?;
    let mut dictionaries: Vec<Option<Arc<Dictionary>>> = schema.dictionaries.iter().map(|_| None).collect();
    for (index, values) in &flat.dictionaries {
        if let (Some(slot), Some(field)) = (dictionaries.get_mut(*index), schema.dictionaries.get(*index)) {
            *slot = Some(Arc::new(dictionary_copied(field.id, values)?));
        }
    }
    let header = header_of(&flat, ALIGN);
    let (body, buffers) = Body::of_packed(packed(&flat, &header)?, &header);
    Ok(Batch { schema, header, buffers, body, dictionaries, metadata, via: "copy", sequence: None })
}

pub(crate) fn batch_from_arrow(batch: &RecordBatch, metadata: KeyValues) -> Result<Batch, PlaneError> {
    let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
    let flat = flatten_batch(batch.num_rows(), &columns)?;
    let schema = BatchSchema::new(batch.schema())?;
    let mut dictionaries: Vec<Option<Arc<Dictionary>>> = schema.dictionaries.iter().map(|_| None).collect();
    for (index, values) in &flat.dictionaries {
        let flat = flatten(std::slice::from_ref(values))?;
        let header = header_of(&flat, ALIGN);
        let (body, buffers) = Body::of_buffers(&flat.buffers);
        if let (Some(slot), Some(field)) = (dictionaries.get_mut(*index), schema.dictionaries.get(*index)) {
            *slot = Some(Arc::new(Dictionary { id: field.id, header, buffers, body }));
        }
    }
    let header = header_of(&flat, ALIGN);
    let (body, buffers) = Body::of_buffers(&flat.buffers);
    Ok(Batch { schema, header, buffers, body, dictionaries, metadata, via: "import", sequence: None })
}

/// A batch's columns as flat buffers; the row count is the batch's own, which matters when it has no columns.
pub(crate) fn flatten_batch(rows: usize, columns: &[arrow_data::ArrayData]) -> Result<Flat, PlaneError> {
    let mut flat = flatten(columns)?;
    flat.rows = rows;
    Ok(flat)
}

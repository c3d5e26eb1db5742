//! Sending arrow-rs batches: one copy into the publisher's memory.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow_array::{Array, RecordBatch};
use arrow_data::ArrayData;
use arrow_schema::SchemaRef;
use arrowlane_dissociated::{KeyValues, flatten, packed_size};
use arrowlane_memory::AllocateError;

use super::Publisher;
use crate::{
    BatchSchema, Outgoing, OutgoingDictionary, PlaneError,
    outgoing::{ALIGN, flatten_batch, pack},
};

/// What earlier batches of this publisher had: the same schema and dictionaries are not made again.
#[derive(Default)]
pub(super) struct Packed {
    schema: Option<(SchemaRef, Arc<BatchSchema>)>,
    dictionaries: Vec<Option<(ArrayData, OutgoingDictionary)>>,
}

impl Packed {
    /// What is derived from a schema, with dictionaries numbered as ours.
    pub(super) fn schema(&mut self, schema: &SchemaRef) -> Result<Arc<BatchSchema>, PlaneError> {
        if let Some((known, derived)) = &self.schema
            && (Arc::ptr_eq(known, schema) || known == schema)
        {
            return Ok(Arc::clone(derived));
        }
        let derived = BatchSchema::new(Arc::clone(schema))?;
        self.schema = Some((Arc::clone(schema), Arc::clone(&derived)));
        self.dictionaries = derived.dictionaries.iter().map(|_| None).collect();
        Ok(derived)
    }
}

/// What became of an attempt to copy a batch into the pool.
pub enum PackOutcome {
    /// It is there.
    Packed(Box<Outgoing>),
    /// The pool has no such block; so many bytes were asked for.
    NoMemory(AllocateError, usize),
}

impl Publisher {
    /// A version that no other dictionary of this process has.
    pub fn next_dictionary_version() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether it was closed. From then on nothing may be written: its connections are given up while subscribers still
    /// read, so the pool no longer knows which blocks are free.
    pub fn is_closed(&self) -> bool {
        let state = self.state.lock();
        state.closing || state.closed
    }

    /// Copies a batch into the pool. Dictionaries that an earlier batch had are not copied again.
    ///
    /// # Errors
    /// When the batch holds something that cannot travel, or the publisher was closed.
    pub fn pack(&self, batch: &RecordBatch, metadata: KeyValues) -> Result<PackOutcome, PlaneError> {
        if self.is_closed() {
            return Err(PlaneError::Closed);
        }
        let mut packed = self.packed.lock();
        let schema = packed.schema(batch.schema_ref())?;
        let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        let flat = flatten_batch(batch.num_rows(), &columns)?;
        for (index, values) in &flat.dictionaries {
            let Some(slot) = packed.dictionaries.get_mut(*index) else { continue };
            if slot.as_ref().is_some_and(|(known, _)| is_same(known, values)) {
                continue;
            }
            let flat = flatten(std::slice::from_ref(values))?;
            let bytes = packed_size(&flat, ALIGN);
            let (header, memory) = match self.ask_pool(bytes, || pack(&flat, &self.pool)) {
                Ok(packed) => packed,
                Err(error) => return Ok(PackOutcome::NoMemory(error, bytes as usize)),
            };
            let version = Self::next_dictionary_version();
            *slot = Some((values.clone(), OutgoingDictionary { version, header, memory }));
        }
        let bytes = packed_size(&flat, ALIGN);
        let (header, memory) = match self.ask_pool(bytes, || pack(&flat, &self.pool)) {
            Ok(packed) => packed,
            Err(error) => return Ok(PackOutcome::NoMemory(error, bytes as usize)),
        };
        let dictionaries = packed.dictionaries.iter().flatten().map(|(_, dictionary)| dictionary.clone()).collect();
        Ok(PackOutcome::Packed(Box::new(Outgoing { schema, header, memory, metadata, dictionaries })))
    }
}

/// The same buffers, or failing that the same values.
fn is_same(known: &ArrayData, other: &ArrayData) -> bool {
    known.ptr_eq(other) || known == other
}

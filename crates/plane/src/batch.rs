//! A record batch whose body lives somewhere.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_data::ArrayData;
use arrow_schema::SchemaRef;
use arrowlane_dissociated::{BatchHeader, DictionaryField, KeyValues, Shape, assemble, assemble_values, shape_of};

use crate::{
    PlaneError,
    body::{Body, Placed, to_buffers},
};

/// A schema with what is derived from it once.
pub struct BatchSchema {
    /// The schema.
    pub arrow: SchemaRef,
    /// Its dictionary-encoded fields, depth first; several may share an id.
    pub dictionaries: Vec<DictionaryField>,
    /// How many nodes and buffers a batch of it has.
    pub shape: Shape,
}

/// Longest dictionary that deltas, which are copied, may grow to.
const MAX_EXTENDED: usize = 1 << 30;

/// The values of a dictionary-encoded field, as they stood when a batch was sent.
pub struct Dictionary {
    /// The id under which the stream knows it.
    pub id: i64,
    /// Lengths and null counts.
    pub header: BatchHeader,
    /// One entry per buffer.
    pub buffers: Vec<Placed>,
    /// Where the buffers are.
    pub body: Arc<Body>,
}

impl Dictionary {
    /// This dictionary with the values of a delta behind its own, in memory of this process.
    ///
    /// # Errors
    /// When either does not hold values of the field's type.
    pub(crate) fn extended(
        &self,
        field: &DictionaryField,
        header: &BatchHeader,
        body: &Arc<Body>,
        buffers: &[Placed],
    ) -> Result<Self, PlaneError> {
        let values =
            |header, body, placed| assemble_values(&field.value_type, header, to_buffers(body, placed), 0, &|_| None);
        let bytes: usize = self.buffers.iter().chain(buffers).map(|placed| placed.length).sum();
        if bytes > MAX_EXTENDED {
            return Err(PlaneError::Protocol(arrowlane_dissociated::ProtocolError::Limit {
                what: "bytes of a dictionary with its deltas",
                value: bytes as u64,
                limit: MAX_EXTENDED as u64,
            }));
        }
        let own = arrow_array::make_array(values(&self.header, &self.body, &self.buffers)?);
        let more = arrow_array::make_array(values(header, body, buffers)?);
        let both = arrow_select::concat::concat(&[own.as_ref(), more.as_ref()])?.to_data();
        crate::outgoing::dictionary_copied(self.id, &both)
    }
}

/// A record batch: its schema, the shape of its columns, and where its buffers lie.
///
/// Cloning an `Arc` of it, or exporting it, keeps the lease; the last one ends it. May be used from any thread.
pub struct Batch {
    /// The schema.
    pub schema: Arc<BatchSchema>,
    /// Number of rows, node lengths, null counts.
    pub header: BatchHeader,
    /// One entry per buffer, in the header's order.
    pub buffers: Vec<Placed>,
    /// Where the buffers are.
    pub body: Arc<Body>,
    /// One entry per dictionary-encoded field, depth first.
    pub dictionaries: Vec<Option<Arc<Dictionary>>>,
    /// Key/values that were sent with the batch.
    pub metadata: KeyValues,
    /// Which transport brought it.
    pub via: &'static str,
    /// Its number on the connection that brought it.
    pub sequence: Option<u32>,
}

impl Batch {
    /// A batch over arrays of this process: no copy.
    pub fn from_arrow(batch: &RecordBatch, metadata: KeyValues) -> Result<Self, PlaneError> {
        crate::outgoing::batch_from_arrow(batch, metadata)
    }

    /// A batch with the same values in memory of its own: one block, packed as on the wire.
    ///
    /// # Errors
    /// [`MemoryError::OutOfMemory`](arrowlane_memory::MemoryError::OutOfMemory) where the machine or the cgroup has not that much left.
    pub fn copy_of(batch: &RecordBatch, metadata: KeyValues) -> Result<Self, PlaneError> {
        crate::outgoing::batch_copied(batch, metadata)
    }

    /// The batch as arrow-rs arrays over the same memory; the lease lives as long as any of them.
    ///
    /// # Errors
    /// When the batch does not fit its schema. Offsets and the like are checked by their lengths, not value by value.
    pub fn to_arrow(&self) -> Result<RecordBatch, PlaneError> {
        let buffers = to_buffers(&self.body, &self.buffers);
        let dictionary = |index: usize| {
            let dictionary = self.dictionaries.get(index)?.as_ref()?;
            self.dictionary_values(index, dictionary).ok()
        };
        Ok(assemble(&self.schema.arrow, &self.header, buffers, &dictionary)?)
    }

    fn dictionary_values(&self, index: usize, dictionary: &Arc<Dictionary>) -> Result<ArrayData, PlaneError> {
        let Some(field) = self.schema.dictionaries.get(index) else { return Err(PlaneError::Closed) };
        let nested = |inner: usize| {
            let dictionary = self.dictionaries.get(inner)?.as_ref()?;
            self.dictionary_values(inner, dictionary).ok()
        };
        let buffers = to_buffers(&dictionary.body, &dictionary.buffers);
        let first = index.saturating_sub(dictionaries_inside(&field.value_type));
        Ok(assemble_values(&field.value_type, &dictionary.header, buffers, first, &nested)?)
    }
}

/// Dictionaries come depth first, those inside a dictionary's values before itself.
fn dictionaries_inside(values: &arrow_schema::DataType) -> usize {
    let field = arrow_schema::Field::new("values", values.clone(), true);
    shape_of(&arrow_schema::Schema::new(vec![field])).dictionaries
}

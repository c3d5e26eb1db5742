//! Headers to flatbuffers.

use arrow_ipc as ipc;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::{DataType, Schema};
use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, WIPOffset};

use super::{BatchHeader, Compression};

/// A bare `Message` flatbuffer of a schema; its dictionaries are numbered depth-first: 0, 1, 2, …
#[must_use]
pub fn encode_schema(schema: &Schema) -> Vec<u8> {
    let mut tracker = DictionaryTracker::new(false);
    IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &IpcWriteOptions::default())
        .ipc_message
}

/// The ids that [`encode_schema`] gives the dictionary-encoded fields of `schema`, depth-first: 0, 1, 2, …
#[must_use]
pub fn dictionary_ids_in_order(schema: &Schema) -> Vec<i64> {
    let count: usize = schema.fields().iter().map(|f| dictionaries_in(f.data_type())).sum();
    (0..count as i64).collect()
}

/// How many dictionary encodings a type holds, those inside dictionaries' values counted.
pub(crate) fn dictionaries_in(data_type: &DataType) -> usize {
    match data_type {
        DataType::Dictionary(_, values) => dictionaries_in(values) + 1,
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => dictionaries_in(f.data_type()),
        DataType::Struct(fields) => fields.iter().map(|f| dictionaries_in(f.data_type())).sum(),
        DataType::Union(fields, _) => fields.iter().map(|(_, f)| dictionaries_in(f.data_type())).sum(),
        DataType::RunEndEncoded(_, values) => dictionaries_in(values.data_type()),
        _ => 0,
    }
}

/// A bare `Message` flatbuffer of a batch.
#[must_use]
pub fn encode_batch(header: &BatchHeader, metadata: &[(String, String)]) -> Vec<u8> {
    HeaderEncoder::new().batch(header, metadata).to_vec()
}

/// A bare `Message` flatbuffer of a dictionary.
#[must_use]
pub fn encode_dictionary(id: i64, delta: bool, header: &BatchHeader) -> Vec<u8> {
    HeaderEncoder::new().dictionary(id, delta, header).to_vec()
}

/// Encodes headers into memory it uses again: for senders of many batches.
///
/// ```
/// use arrowlane_dissociated::{BatchHeader, HeaderEncoder, Limits, decode_message};
/// let mut encoder = HeaderEncoder::new();
/// let bytes = encoder.batch(&BatchHeader { rows: 3, ..BatchHeader::default() }, &[]);
/// decode_message(bytes, &Limits::default()).unwrap();
/// ```
#[derive(Default)]
pub struct HeaderEncoder {
    builder: FlatBufferBuilder<'static>,
    buffers: Vec<ipc::Buffer>,
    nodes: Vec<ipc::FieldNode>,
}

impl HeaderEncoder {
    /// An encoder with no memory yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The message of a batch; valid until the next call.
    pub fn batch(&mut self, header: &BatchHeader, metadata: &[(String, String)]) -> &[u8] {
        self.builder.reset();
        let table = self.table(header).as_union_value();
        self.message(ipc::MessageHeader::RecordBatch, table, header.body_length, metadata)
    }

    /// The message of a dictionary; valid until the next call.
    pub fn dictionary(&mut self, id: i64, delta: bool, header: &BatchHeader) -> &[u8] {
        self.builder.reset();
        let data = self.table(header);
        let mut builder = ipc::DictionaryBatchBuilder::new(&mut self.builder);
        builder.add_id(id);
        builder.add_data(data);
        builder.add_isDelta(delta);
        let table = builder.finish().as_union_value();
        self.message(ipc::MessageHeader::DictionaryBatch, table, header.body_length, &[])
    }

    fn table(&mut self, header: &BatchHeader) -> WIPOffset<ipc::RecordBatch<'static>> {
        // Lengths of memory that exists fit an i64.
        self.buffers.clear();
        self.buffers.extend(header.buffers.iter().map(|b| ipc::Buffer::new(b.offset as i64, b.length as i64)));
        self.nodes.clear();
        self.nodes.extend(header.nodes.iter().map(|n| ipc::FieldNode::new(n.length as i64, n.null_count as i64)));
        let fbb = &mut self.builder;
        let buffers = fbb.create_vector(&self.buffers);
        let nodes = fbb.create_vector(&self.nodes);
        let variadic = (!header.variadic.is_empty())
            .then(|| fbb.create_vector_from_iter(header.variadic.iter().map(|v| *v as i64)));
        let compression = header.compression.map(|compression| {
            let mut builder = ipc::BodyCompressionBuilder::new(fbb);
            builder.add_method(ipc::BodyCompressionMethod::BUFFER);
            builder.add_codec(match compression {
                Compression::Lz4Frame => ipc::CompressionType::LZ4_FRAME,
                Compression::Zstd => ipc::CompressionType::ZSTD,
            });
            builder.finish()
        });
        let mut builder = ipc::RecordBatchBuilder::new(fbb);
        builder.add_length(header.rows as i64);
        builder.add_nodes(nodes);
        builder.add_buffers(buffers);
        if let Some(compression) = compression {
            builder.add_compression(compression);
        }
        if let Some(variadic) = variadic {
            builder.add_variadicBufferCounts(variadic);
        }
        builder.finish()
    }

    fn message(
        &mut self,
        kind: ipc::MessageHeader,
        header: WIPOffset<UnionWIPOffset>,
        body_length: u64,
        metadata: &[(String, String)],
    ) -> &[u8] {
        let fbb = &mut self.builder;
        let metadata = (!metadata.is_empty()).then(|| {
            let pairs: Vec<_> = metadata
                .iter()
                .map(|(key, value)| {
                    let args =
                        ipc::KeyValueArgs { key: Some(fbb.create_string(key)), value: Some(fbb.create_string(value)) };
                    ipc::KeyValue::create(fbb, &args)
                })
                .collect();
            fbb.create_vector(&pairs)
        });
        let mut builder = ipc::MessageBuilder::new(fbb);
        builder.add_version(ipc::MetadataVersion::V5);
        builder.add_header_type(kind);
        builder.add_header(header);
        builder.add_bodyLength(body_length as i64);
        if let Some(metadata) = metadata {
            builder.add_custom_metadata(metadata);
        }
        let root = builder.finish();
        fbb.finish(root, None);
        fbb.finished_data()
    }
}

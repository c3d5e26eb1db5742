//! Bodies that other implementations compressed: arrow-rs' writer, and pyarrow where there is one.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;

use arrow_array::types::Int8Type;
use arrow_array::{Array, ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_ipc::CompressionType;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow_schema::Schema;
use arrowlane_dissociated::{
    BatchHeader, Decompression, Header, Limits, ProtocolError, assemble, assemble_values, decode_message,
};

/// The messages of an IPC stream: flatbuffer and body.
fn messages(mut stream: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = vec![];
    loop {
        let (head, rest) = stream.split_at(8);
        assert_eq!(head[..4], [0xff; 4]);
        let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        if length == 0 {
            return all;
        }
        let (flatbuffer, rest) = rest.split_at(length);
        let body = arrow_ipc::root_as_message(flatbuffer).unwrap().bodyLength() as usize;
        all.push((flatbuffer.to_vec(), rest[..body].to_vec()));
        stream = &rest[body..];
    }
}

fn plain(header: &BatchHeader, body: &[u8]) -> (BatchHeader, Vec<Buffer>) {
    let part = |index: usize| {
        let span = header.buffers[index];
        &body[span.offset as usize..(span.offset + span.length) as usize]
    };
    let plan = Decompression::plan(header, &Limits::default(), |index| part(index)[..8].try_into().unwrap());
    let plan = plan.unwrap().expect("compressed");
    let mut out = vec![];
    let header = plan
        .run(part, |bytes| {
            out.extend_from_slice(bytes);
            Ok::<_, ProtocolError>(())
        })
        .unwrap();
    let whole = Buffer::from(out);
    let cut = |span: &arrowlane_dissociated::Span| whole.slice_with_length(span.offset as usize, span.length as usize);
    let buffers = header.buffers.iter().map(cut).collect();
    (header, buffers)
}

/// What we read, checked against what arrow-rs reads. How many batches there were.
fn read(stream: &[u8]) -> usize {
    let wanted: Vec<RecordBatch> = StreamReader::try_new(stream, None).unwrap().map(Result::unwrap).collect();
    let (mut schema, mut fields) = (Arc::new(Schema::empty()), vec![]);
    let mut dictionaries: HashMap<i64, ArrayData> = HashMap::new();
    let mut batches = vec![];
    for (flatbuffer, body) in messages(stream) {
        match decode_message(&flatbuffer, &Limits::default()).unwrap().0 {
            Header::Schema(decoded) => (schema, fields) = (decoded.schema, decoded.dictionaries),
            Header::Dictionary { id, batch, .. } => {
                let field = fields.iter().find(|field| field.id == id).unwrap();
                let (header, buffers) = plain(&batch, &body);
                let values = assemble_values(&field.value_type, &header, buffers, 0, &|_| None).unwrap();
                dictionaries.insert(id, values);
            }
            Header::Batch(batch) => {
                let (header, buffers) = plain(&batch, &body);
                let values = |index: usize| dictionaries.get(&fields[index].id).cloned();
                batches.push(assemble(&schema, &header, buffers, &values).unwrap());
            }
        }
    }
    assert_eq!(batches, wanted);
    for column in batches.iter().flat_map(RecordBatch::columns) {
        column.to_data().validate_full().unwrap();
    }
    batches.len()
}

fn batch(rows: usize) -> RecordBatch {
    let text = |row: usize| (row % 4 != 1).then(|| format!("a text that repeats itself, number {}", row % 7));
    let dictionary: DictionaryArray<Int8Type> =
        (0..rows).map(|row| ["red", "green", "blue"].get(row % 5).copied()).collect();
    let scattered = |row: usize| (row as i64).wrapping_mul(0x9e37_79b9_7f4a_7c15u64 as i64);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("numbers", Arc::new(Int64Array::from_iter_values((0..rows).map(|row| row as i64 / 3)))),
        // No codec makes these shorter: they are stored as they are.
        ("scattered", Arc::new(Int64Array::from_iter_values((0..rows).map(scattered)))),
        ("texts", Arc::new((0..rows).map(text).collect::<StringArray>())),
        ("views", Arc::new((0..rows).map(text).collect::<StringViewArray>())),
        ("colours", Arc::new(dictionary)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

#[test]
fn what_arrow_rs_compresses_is_read() {
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::default().try_with_compression(Some(codec)).unwrap();
        let first = batch(50_000);
        let mut writer = StreamWriter::try_new_with_options(vec![], &first.schema(), options).unwrap();
        for batch in [&first, &first.slice(3, 1), &first.slice(0, 0)] {
            writer.write(batch).unwrap();
        }
        assert_eq!(read(&writer.into_inner().unwrap()), 3);
    }
}

const PYARROW: &str = "
import sys, random, pyarrow as pa
random.seed(1)
rows = 40_000
text = lambda row: None if row % 4 == 1 else f'a text that repeats itself, number {row % 7}'
batch = pa.record_batch({
    'numbers': pa.array([row // 3 for row in range(rows)], pa.int64()),
    'scattered': pa.array([random.getrandbits(63) for _ in range(rows)], pa.int64()),
    'nothing': pa.nulls(rows, pa.float64()),
    'texts': pa.array([text(row) for row in range(rows)]),
    'lists': pa.array([list(range(row % 5)) for row in range(rows)], pa.list_(pa.int16())),
    'colours': pa.array(['red', 'green', None, 'blue'] * (rows // 4)).dictionary_encode(),
})
options = pa.ipc.IpcWriteOptions(compression=sys.argv[1])
with pa.ipc.new_stream(sys.stdout.buffer, batch.schema, options=options) as writer:
    for part in [batch, batch.slice(7, 1), batch.slice(0, 0)]:
        writer.write_batch(part)
";

#[test]
fn what_pyarrow_compresses_is_read() {
    let Some(python) = std::env::var_os("ARROWLANE_PYTHON") else {
        let required = ["CI", "ARROWLANE_REQUIRE_PYARROW"].iter().any(|name| std::env::var_os(name).is_some());
        assert!(!required, "ARROWLANE_PYTHON must name a Python with pyarrow; `npm test` prepares one");
        println!("skipped: ARROWLANE_PYTHON is not set (a Python with pyarrow; `npm test` prepares one)");
        return;
    };
    for codec in ["lz4", "zstd"] {
        let output = Command::new(&python).args(["-c", PYARROW, codec]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(read(&output.stdout), 3, "{codec}");
    }
}

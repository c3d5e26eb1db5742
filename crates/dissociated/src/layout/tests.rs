use std::io::Cursor;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow_array::{DictionaryArray, StructArray, make_array, types::Int8Type};
use arrow_buffer::Buffer;
use arrow_data::ArrayData;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use proptest::prelude::*;

use super::samples::every_type;
use super::*;
use crate::header::{BatchHeader, Compression, Header, decode_message};
use crate::{Limits, ProtocolError, ReceivedBody, encode_batch, encode_dictionary, encode_schema};

/// A block of bytes that starts on 64, as a segment of shared memory does.
fn block(parts: &[&[u8]]) -> Buffer {
    let mut block = arrow_buffer::MutableBuffer::new(0);
    parts.iter().for_each(|p| block.extend_from_slice(p));
    block.into()
}

/// The buffers of a header, as slices of a packed body.
fn slices(header: &BatchHeader, body: &Buffer) -> Vec<Buffer> {
    let bytes = ReceivedBody::Packed(Bytes::copy_from_slice(body));
    let spans = bytes.spans(header).unwrap();
    spans
        .into_iter()
        .map(|span| match span {
            Some((offset, length)) => body.slice_with_length(offset as usize, length as usize),
            None => Buffer::from(Vec::<u8>::new()),
        })
        .collect()
}

/// Flattens, packs, sends the header through its flatbuffer, and assembles.
fn there_and_back(columns: &[ArrayData], align: usize) -> RecordBatch {
    let fields: Vec<Field> =
        columns.iter().enumerate().map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let flat = flatten(columns).unwrap();
    let header = header_of(&flat, align);
    assert_eq!(header.body_length, packed_size(&flat, align));
    assert!(header.buffers.iter().all(|b| b.offset % align as u64 == 0));
    let body = block(&packed_parts(&flat, align));
    assert_eq!(body.len() as u64, header.body_length);
    let (decoded, _) = decode_message(&encode_batch(&header, &[]), &Limits::default()).unwrap();
    let Header::Batch(decoded) = decoded else { panic!("not a batch") };
    assert_eq!(decoded, header);
    let dictionaries = flat.dictionaries;
    let dictionary = |index: usize| {
        let found = dictionaries.iter().find(|(i, _)| *i == index);
        found.map(|(_, values)| values.clone())
    };
    assemble(&schema, &decoded, slices(&decoded, &body), &dictionary).unwrap()
}

fn check(array: &ArrayRef, align: usize) {
    let back = there_and_back(&[array.to_data()], align);
    let data = back.column(0).to_data();
    data.validate_full().unwrap();
    assert_eq!(&data, &array.to_data(), "{}", array.data_type());
}

#[test]
fn every_type_comes_back_equal() {
    for rows in [0, 1, 8, 40] {
        for array in every_type(rows) {
            check(&array, 8);
            check(&array, 64);
        }
    }
}

#[test]
fn every_slice_of_every_type_comes_back_equal() {
    for array in every_type(40) {
        for (offset, length) in [(0, 7), (1, 9), (8, 16), (13, 27), (39, 1), (5, 0), (40, 0)] {
            let sliced = array.slice(offset, length);
            check(&sliced, 64);
            // A slice of a slice, and one whose children were not sliced with it, as the C interface gives them.
            check(&sliced.slice(length / 3, length / 2), 8);
            let data = array.to_data().slice(offset, length);
            let back = there_and_back(std::slice::from_ref(&data), 8);
            assert_eq!(&back.column(0).to_data(), &sliced.to_data(), "{}", array.data_type());
        }
    }
}

#[test]
fn a_struct_with_an_offset_and_unsliced_children_is_read_from_its_offset() {
    let child = Int64Array::from_iter_values(0..10).into_data();
    let fields = vec![Field::new("a", DataType::Int64, true)].into();
    let data = ArrayData::builder(DataType::Struct(fields)).len(4).offset(3).add_child_data(child).build().unwrap();
    let back = there_and_back(&[data], 8);
    let back = back.column(0).as_any().downcast_ref::<StructArray>().unwrap();
    assert_eq!(back.column(0).as_ref(), &Int64Array::from_iter_values(3..7));
}

#[test]
fn all_types_travel_in_one_batch() {
    let columns: Vec<ArrayData> = every_type(20).iter().map(|a| a.to_data()).collect();
    let back = there_and_back(&columns, 64);
    for (column, sent) in back.columns().iter().zip(&columns) {
        assert_eq!(&column.to_data(), sent);
    }
}

#[test]
fn what_needs_no_change_is_not_copied() {
    let numbers = Int64Array::from_iter_values(0..100);
    let text = StringArray::from_iter_values((0..100).map(|i| format!("{i}")));
    let flat = flatten(&[numbers.slice(10, 50).to_data(), text.slice(0, 50).to_data()]).unwrap();
    assert_eq!(flat.buffers[1].as_ptr(), numbers.values()[10..].as_ptr().cast());
    assert_eq!(flat.buffers[1].len(), 400, "only the slice travels");
    assert_eq!(flat.buffers[3].as_ptr(), text.value_offsets().as_ptr().cast());
    assert_eq!(flat.buffers[4].as_ptr(), text.value_data().as_ptr());

    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
    let flat = flatten(&[numbers.to_data()]).unwrap();
    let header = header_of(&flat, 64);
    let body = block(&packed_parts(&flat, 64));
    let batch = assemble(&schema, &header, slices(&header, &body), &|_| None).unwrap();
    assert_eq!(batch.column(0).to_data().buffers()[0].as_ptr(), body.as_ptr());
}

#[test]
fn of_a_slice_only_the_slice_travels() {
    let long = |i: i32| format!("a string that is no short view {i}");
    let views = StringViewArray::from_iter_values((0..1000).map(long));
    let text = StringArray::from_iter_values((0..1000).map(long));
    for array in [Arc::new(views) as ArrayRef, Arc::new(text)] {
        let sliced = array.slice(990, 2);
        let flat = flatten(&[sliced.to_data()]).unwrap();
        assert!(packed_size(&flat, 8) < 200, "{}", packed_size(&flat, 8));
    }
}

#[test]
fn misaligned_buffers_are_copied_and_read_right() {
    for array in every_type(20) {
        let flat = flatten(&[array.to_data()]).unwrap();
        let header = header_of(&flat, 8);
        let mut parts = packed_parts(&flat, 8);
        parts.insert(0, &[0]);
        let body = block(&parts).slice(1);
        let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
        let find = |i: usize| flat.dictionaries.iter().find(|d| d.0 == i).map(|d| d.1.clone());
        let back = assemble(&schema, &header, slices(&header, &body), &find).unwrap();
        assert_eq!(&back.column(0).to_data(), &array.to_data());
    }
}

/// Messages of an encapsulated stream: flatbuffer and body.
fn messages(stream: &[u8]) -> Vec<(Vec<u8>, Buffer)> {
    let mut rest = stream;
    let mut found = vec![];
    loop {
        assert_eq!(rest[..4], [0xff; 4]);
        let length = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
        if length == 0 {
            return found;
        }
        let flatbuffer = rest[8..8 + length].to_vec();
        let (header, _) = decode_message(&flatbuffer, &Limits::default()).unwrap();
        let body = header.body_length() as usize;
        rest = &rest[8 + length..];
        found.push((flatbuffer, block(&[&rest[..body]])));
        rest = &rest[body..];
    }
}

fn batch_of(arrays: Vec<ArrayRef>) -> RecordBatch {
    let fields: Vec<Field> =
        arrays.iter().enumerate().map(|(i, a)| Field::new(format!("c{i}"), a.data_type().clone(), true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

/// What a receiver does with messages, without sequence numbers.
fn read(messages: &[(Vec<u8>, Buffer)]) -> (SchemaRef, Vec<RecordBatch>) {
    let limits = Limits::default();
    let (Header::Schema(decoded), _) = decode_message(&messages[0].0, &limits).unwrap() else {
        panic!("no schema first")
    };
    let mut values = std::collections::HashMap::new();
    let mut batches = vec![];
    for (flatbuffer, body) in &messages[1..] {
        let by_index = |i: usize| values.get(&decoded.dictionaries[i].id).cloned();
        match decode_message(flatbuffer, &limits).unwrap().0 {
            Header::Dictionary { id, batch, .. } => {
                let at = decoded.dictionaries.iter().position(|d| d.id == id).unwrap();
                let value_type = &decoded.dictionaries[at].value_type;
                let first = at - crate::header::dictionaries_in(value_type);
                let buffers = slices(&batch, body);
                let array = assemble_values(value_type, &batch, buffers, first, &by_index).unwrap();
                values.insert(id, array);
            }
            Header::Batch(header) => {
                let buffers = slices(&header, body);
                batches.push(assemble(&decoded.schema, &header, buffers, &by_index).unwrap());
            }
            Header::Schema(_) => panic!("a second schema"),
        }
    }
    (decoded.schema, batches)
}

#[test]
fn what_arrow_ipc_writes_is_read() {
    for rows in [0, 20] {
        for array in every_type(rows) {
            let batch = batch_of(vec![array.clone(), array.slice(0, rows)]);
            let mut stream = vec![];
            let mut writer = StreamWriter::try_new(&mut stream, &batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            drop(writer);
            let (schema, batches) = read(&messages(&stream));
            assert_eq!(schema, batch.schema());
            assert_eq!(batches, [batch], "{}", array.data_type());
        }
    }
}

#[test]
fn what_is_written_arrow_ipc_reads() {
    for array in every_type(20) {
        let batch = batch_of(vec![array.slice(3, 11), array.slice(5, 11)]);
        let columns: Vec<_> = batch.columns().iter().map(|c| c.to_data()).collect();
        let flat = flatten(&columns).unwrap();
        let mut stream = vec![];
        let mut put = |flatbuffer: &[u8], parts: &[&[u8]]| {
            let padded = flatbuffer.len().next_multiple_of(8);
            stream.extend_from_slice(&[0xff; 4]);
            stream.extend_from_slice(&(padded as u32).to_le_bytes());
            stream.extend_from_slice(flatbuffer);
            stream.resize(stream.len() + padded - flatbuffer.len(), 0);
            parts.iter().for_each(|p| stream.extend_from_slice(p));
        };
        put(&encode_schema(&batch.schema()), &[]);
        for (index, values) in &flat.dictionaries {
            let values = flatten(std::slice::from_ref(values)).unwrap();
            let header = header_of(&values, 8);
            put(&encode_dictionary(*index as i64, false, &header), &packed_parts(&values, 8));
        }
        put(&encode_batch(&header_of(&flat, 8), &[]), &packed_parts(&flat, 8));
        put(&[], &[]);
        let reader = StreamReader::try_new(Cursor::new(stream), None).unwrap();
        assert_eq!(reader.schema(), batch.schema());
        let read: Vec<_> = reader.collect::<Result<_, _>>().unwrap();
        assert_eq!(read, [batch], "{}", array.data_type());
    }
}

#[test]
fn the_shape_of_a_schema_counts_what_flatten_makes() {
    for array in every_type(20) {
        let flat = flatten(&[array.to_data()]).unwrap();
        let schema = Schema::new(vec![Field::new("c", array.data_type().clone(), true)]);
        let shape = shape_of(&schema);
        let variadic: u64 = flat.variadic.iter().sum();
        assert_eq!(shape.nodes, flat.nodes.len());
        assert_eq!(shape.buffers + variadic as usize, flat.buffers.len());
        assert_eq!(shape.views, flat.variadic.len());
        assert_eq!(shape.dictionaries, flat.dictionaries.len());
        for (at, (index, _)) in flat.dictionaries.iter().enumerate() {
            assert_eq!(at, *index, "dictionaries come in depth-first order");
        }
    }
}

#[test]
fn a_dictionary_that_nothing_refers_to_may_be_missing_and_no_other() {
    let none: DictionaryArray<Int8Type> = vec![None::<&str>, None].into_iter().collect();
    let some: DictionaryArray<Int8Type> = vec![Some("a")].into_iter().collect();
    for (array, fine) in [(none, true), (some, false)] {
        let schema = Arc::new(Schema::new(vec![Field::new("d", array.data_type().clone(), true)]));
        let flat = flatten(&[array.to_data()]).unwrap();
        let result = assemble(&schema, &header_of(&flat, 8), flat.buffers, &|_| None);
        match fine {
            true => assert_eq!(result.unwrap().column(0).null_count(), 2),
            false => assert_eq!(result, Err(ProtocolError::MissingDictionary(0))),
        }
    }
}

#[test]
fn compressed_bodies_are_refused_by_name() {
    let schema = Arc::new(Schema::empty());
    let header = BatchHeader { compression: Some(Compression::Zstd), ..BatchHeader::default() };
    let error = assemble(&schema, &header, vec![], &|_| None).unwrap_err();
    assert_eq!(error.code(), "ERR_UNSUPPORTED");
}

#[test]
fn a_batch_without_columns_keeps_its_rows() {
    let header = BatchHeader { rows: 7, ..BatchHeader::default() };
    let batch = assemble(&Arc::new(Schema::empty()), &header, vec![], &|_| None).unwrap();
    assert_eq!(batch.num_rows(), 7);
}

#[test]
fn columns_of_different_lengths_are_refused() {
    let columns = [1, 2].map(|n| Int64Array::from_iter_values(0..n).into_data());
    assert!(flatten(&columns).is_err());
}

/// A number that is more often interesting than not.
fn hostile() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..30, Just(u64::MAX), Just(i64::MAX as u64), Just(u64::MAX / 16 + 1), Just(1 << 32),]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn a_hostile_header_over_hostile_bytes_never_panics(
        which in 0usize..100,
        changes in proptest::collection::vec((0usize..3, any::<prop::sample::Index>(), hostile()), 0..3),
        rows in prop_oneof![Just(12u64), hostile()],
        garbage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..6),
        shorten in proptest::option::of((any::<prop::sample::Index>(), 0usize..20)),
    ) {
        let arrays = every_type(12);
        let array = &arrays[which % arrays.len()];
        let flat = flatten(&[array.to_data()]).unwrap();
        let mut header = header_of(&flat, 8);
        header.rows = rows;
        for (kind, at, value) in changes {
            match kind {
                0 => { let at = at.index(header.nodes.len()); header.nodes[at].length = value; }
                1 => { let at = at.index(header.nodes.len()); header.nodes[at].null_count = value; }
                _ if !header.variadic.is_empty() => { let at = at.index(header.variadic.len()); header.variadic[at] = value; }
                _ => {}
            }
        }
        let mut buffers: Vec<Vec<u8>> = flat.buffers.iter().map(|b| b.to_vec()).collect();
        for (buffer, at, value) in garbage {
            if buffers.is_empty() { break; }
            let buffer = buffer.index(buffers.len());
            if !buffers[buffer].is_empty() {
                let at = at.index(buffers[buffer].len());
                buffers[buffer][at] = value;
            }
        }
        if let Some((buffer, length)) = shorten && !buffers.is_empty() {
            let buffer = buffer.index(buffers.len());
            buffers[buffer].truncate(length);
            header.buffers[buffer].length = buffers[buffer].len() as u64;
        }
        let buffers: Vec<Buffer> = buffers.into_iter().map(Buffer::from).collect();
        let schema = Arc::new(Schema::new(vec![Field::new("c", array.data_type().clone(), true)]));
        let find = |i: usize| flat.dictionaries.iter().find(|d| d.0 == i).map(|d| d.1.clone());
        if let Ok(batch) = assemble(&schema, &header, buffers, &find) {
            // Passing on what is structurally sound never panics either, whatever the values say.
            let data = batch.column(0).to_data();
            let _ = flatten(std::slice::from_ref(&data));
            let _ = flatten(&[data.slice(data.len() / 3, data.len() / 2)]);
            if data.validate_full().is_ok() && batch.num_rows() < 1000 {
                let _ = make_array(data).slice(0, 1.min(batch.num_rows()));
            }
        }
    }
}

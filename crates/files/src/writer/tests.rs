use std::sync::Arc;

use arrow_array::types::{Int8Type, Int32Type};
use arrow_array::{
    Array, ArrayRef, DictionaryArray, Int8Array, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions,
    RunArray, StringArray, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_ipc::writer::{DictionaryHandling, IpcWriteOptions};
use arrow_ipc::{CompressionType, MetadataVersion};
use arrow_schema::{DataType, Field};
use tempfile::TempDir;

use super::*;
use crate::samples::{batch, every_column, is_valid, words};
use crate::{Format, open};

const NAMES: [(&str, Format); 2] = [("t.arrow", Format::IpcFile), ("t.arrows", Format::IpcStream)];

fn write(folder: &TempDir, name: &str, batches: &[RecordBatch]) -> (PathBuf, WriteSummary) {
    let path = folder.path().join(name);
    let mut writer = Writer::create(&path, batches[0].schema()).unwrap();
    for batch in batches {
        writer.write(batch).unwrap();
    }
    let summary = writer.finish().unwrap();
    (path, summary)
}

fn read(path: &Path) -> Vec<RecordBatch> {
    let batches: Vec<_> = open(path).unwrap().map(|b| b.unwrap()).collect();
    assert!(batches.iter().flat_map(|b| b.columns()).all(is_valid));
    batches
}

#[test]
fn every_type_comes_back_equal_from_a_file_and_from_a_stream_sliced_and_empty_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, column) in every_column() {
        let whole = batch(vec![("c", column)]);
        let batches = [whole.clone(), whole.slice(1, 4), whole.slice(3, 0), whole.slice(2, 1), whole];
        for (file, format) in NAMES {
            let (path, summary) = write(&folder, file, &batches);
            let reader = open(&path).unwrap();
            assert_eq!((reader.format(), reader.schema()), (format, batches[0].schema()), "{name}");
            assert_eq!(reader.rows(), (format == Format::IpcFile).then_some(17), "{name}");
            assert_eq!(read(&path), batches, "{name} in {file}");
            assert_eq!((summary.rows, summary.batches), (17, 5));
            assert_eq!(summary.bytes, path.metadata().unwrap().len());
        }
    }
}

#[test]
fn dictionaries_that_change_pass_through_a_stream_and_are_unified_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let batches = [
        batch(vec![("d", words(&[Some("a"), Some("b"), None, Some("a")]))]),
        batch(vec![("d", words(&[Some("c"), Some("b")]))]),
        batch(vec![("d", words(&[None]))]),
        batch(vec![("d", words(&[Some("b"), Some("c"), Some("a"), Some("d")]))]),
    ];
    let dictionary = |b: &RecordBatch| b.column(0).to_data().child_data()[0].clone();

    let (path, _) = write(&folder, "t.arrows", &batches);
    let streamed = read(&path);
    assert_eq!(streamed, batches);
    for (have, want) in streamed.iter().zip(&batches) {
        assert_eq!(dictionary(have), dictionary(want), "the dictionary of each batch is as it was sent");
    }

    let (path, _) = write(&folder, "t.arrow", &batches);
    let unified = read(&path);
    assert_eq!(unified, batches);
    let all = StringArray::from(vec!["a", "b", "c", "d"]).into_data();
    assert!(unified.iter().all(|b| dictionary(b) == all), "all batches share the values in order of appearance");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file remains");
}

#[test]
fn nested_dictionaries_that_change_are_unified_too() {
    let folder = tempfile::tempdir().unwrap();
    for (name, column) in every_column() {
        if !unify::has_dictionaries(batch(vec![("c", column.clone())]).schema_ref()) {
            continue;
        }
        // The same column with its dictionaries in another order: reversed by way of take.
        let reversed = arrow_array::UInt32Array::from(vec![5, 4, 3, 2, 1, 0]);
        let back = arrow_select::take::take(&column, &reversed, None).unwrap();
        let batches = [batch(vec![("c", column)]), batch(vec![("c", back)])];
        let (path, _) = write(&folder, "t.arrow", &batches);
        assert_eq!(read(&path), batches, "{name}");
    }
}

#[test]
fn dictionary_values_may_repeat_and_may_be_null() {
    let folder = tempfile::tempdir().unwrap();
    let make = |keys: Vec<Option<i8>>, values: Vec<Option<&str>>| {
        let array: DictionaryArray<Int8Type> =
            DictionaryArray::new(Int8Array::from(keys), Arc::new(StringArray::from(values)));
        batch(vec![("d", Arc::new(array) as ArrayRef)])
    };
    let batches = [
        make(vec![Some(0), Some(1), Some(2), None], vec![Some("a"), Some("a"), None]),
        make(vec![Some(1), Some(0)], vec![None, Some("b")]),
        make(vec![None], vec![]),
    ];
    let (path, _) = write(&folder, "t.arrow", &batches);
    let text = |b: &RecordBatch| arrow_cast::cast(b.column(0), &DataType::Utf8).unwrap();
    for (have, want) in read(&path).iter().zip(&batches) {
        assert_eq!(&text(have), &text(want));
    }
}

#[test]
fn an_ordered_dictionary_that_grew_no_longer_claims_to_be_ordered() {
    let folder = tempfile::tempdir().unwrap();
    let first = batch(vec![("d", words(&[Some("b"), Some("c")]))]);
    let field = first.schema().field(0).clone().with_dict_is_ordered(true);
    let schema = Arc::new(Schema::new(vec![field]));
    for (second, ordered) in [("c", true), ("a", false)] {
        let path = folder.path().join("t.arrow");
        let mut writer = Writer::create(&path, Arc::clone(&schema)).unwrap();
        writer.write(&first).unwrap();
        writer.write(&batch(vec![("d", words(&[Some(second)]))])).unwrap();
        writer.finish().unwrap();
        assert_eq!(open(&path).unwrap().schema().field(0).dict_is_ordered(), Some(ordered));
    }
}

#[test]
fn more_values_than_the_index_type_counts_is_an_error_and_the_file_goes_on_without_that_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.arrow");
    let of = |range: std::ops::Range<u32>| {
        let text: Vec<String> = range.map(|n| n.to_string()).collect();
        batch(vec![("d", words(&text.iter().map(|s| Some(s.as_str())).collect::<Vec<_>>()))])
    };
    let (full, more) = (of(0..128), of(100..129));
    let mut writer = Writer::create(&path, full.schema()).unwrap();
    writer.write(&full).unwrap();
    let error = writer.write(&more).unwrap_err();
    assert!(matches!(&error, Error::DictionaryOverflow { values: 129, field, .. } if field == "d"), "{error}");
    writer.write(&full.slice(3, 5)).unwrap();
    assert_eq!(writer.finish().unwrap().batches, 2);
    assert_eq!(read(&path), [full.clone(), full.slice(3, 5)]);
}

#[test]
fn schema_metadata_field_metadata_and_batches_without_columns_survive() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = std::collections::HashMap::from([("k".to_owned(), "v".to_owned())]);
    let field = Field::new("d", words(&[]).data_type().clone(), true).with_metadata(metadata.clone());
    let schema = Arc::new(Schema::new_with_metadata(vec![field], metadata.clone()));
    let with = RecordBatch::try_new(Arc::clone(&schema), vec![words(&[Some("x")])]).unwrap();
    let options = RecordBatchOptions::new().with_row_count(Some(7));
    let empty = Arc::new(Schema::new_with_metadata(Vec::<Field>::new(), metadata));
    let without = RecordBatch::try_new_with_options(empty, vec![], &options).unwrap();
    for batch in [with, without] {
        for (name, _) in NAMES {
            let (path, _) = write(&folder, name, std::slice::from_ref(&batch));
            assert_eq!(read(&path), std::slice::from_ref(&batch));
            assert_eq!(open(&path).unwrap().schema(), batch.schema());
        }
    }
}

#[test]
fn no_batches_at_all_make_a_readable_file() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in NAMES {
        for column in [words(&[]), Arc::new(Int64Array::from(Vec::<i64>::new()))] {
            let path = folder.path().join(name);
            let schema = batch(vec![("c", column)]).schema();
            assert_eq!(Writer::create(&path, Arc::clone(&schema)).unwrap().finish().unwrap().rows, 0);
            assert_eq!(open(&path).unwrap().schema(), schema);
            assert!(read(&path).is_empty());
        }
    }
}

#[test]
fn a_batch_of_another_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (numbers, text) = (Arc::new(Int64Array::from(vec![1])), Arc::new(StringArray::from(vec!["1"])));
    let mut writer =
        Writer::create(&folder.path().join("t.arrow"), batch(vec![("a", numbers.clone())]).schema()).unwrap();
    for wrong in [
        batch(vec![("b", numbers.clone())]),
        batch(vec![("a", text)]),
        batch(vec![("a", numbers.clone()), ("b", numbers)]),
    ] {
        assert_eq!(writer.write(&wrong).unwrap_err().code(), "ERR_SCHEMA_MISMATCH");
    }
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a dropped writer leaves nothing");
}

#[test]
fn the_name_decides_the_format() {
    let format = |name| OutputFormat::from_path(Path::new(name));
    assert_eq!(format("a/b.arrow").unwrap(), OutputFormat::File);
    assert_eq!(format("b.arrows").unwrap(), OutputFormat::Stream);
    assert_eq!(format("-").unwrap(), OutputFormat::Stream);
    assert_eq!(format("b.csv").unwrap_err().code(), "ERR_UNKNOWN_OUTPUT");
    let schema = Arc::new(Schema::empty());
    let nowhere = Writer::create(Path::new("/nonexistent/folder/b.arrow"), schema).unwrap_err();
    assert!(matches!(&nowhere, Error::Io { path, .. } if path == "/nonexistent/folder/b.arrow"), "{nowhere}");
}

#[test]
fn compressed_bodies_and_delta_dictionaries_of_other_writers_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let text: Vec<String> = (0..500).map(|i| format!("text {}", i % 7)).collect();
    let long = batch(vec![("s", Arc::new(StringArray::from(text)) as ArrayRef)]);
    for codec in [CompressionType::LZ4_FRAME, CompressionType::ZSTD] {
        let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5).unwrap();
        let options = options.try_with_compression(Some(codec)).unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &long.schema(), options).unwrap();
        writer.write(&long).unwrap();
        writer.finish().unwrap();
        assert_eq!(read(&path), std::slice::from_ref(&long));
    }

    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let batches = [&["a", "b"][..], &["a", "b", "c"]]
        .map(|w| batch(vec![("d", words(&w.iter().map(|s| Some(*s)).collect::<Vec<_>>()))]));
    let file = File::create(&path).unwrap();
    let mut writer = StreamWriter::try_new_with_options(file, &batches[0].schema(), options).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.finish().unwrap();
    assert_eq!(read(&path), batches);
}

#[test]
fn run_end_encoding_survives_empty_slices_at_any_depth() {
    let folder = tempfile::tempdir().unwrap();
    let runs: RunArray<Int32Type> = ["a", "a", "b", "c", "c", "c"].into_iter().collect();
    let runs: ArrayRef = Arc::new(runs);
    let field = |array: &ArrayRef| Arc::new(Field::new("item", array.data_type().clone(), true));
    let offsets = OffsetBuffer::new(vec![0i32, 2, 2, 2, 6].into());
    let nulls = NullBuffer::from(vec![true, false, true, true]);
    let list: ArrayRef = Arc::new(ListArray::new(field(&runs), offsets, Arc::clone(&runs), Some(nulls)));
    let fields = vec![Field::new("r", runs.data_type().clone(), true)];
    let structure: ArrayRef = Arc::new(StructArray::new(fields.into(), vec![Arc::clone(&runs)], None));
    let dictionary: ArrayRef = Arc::new(DictionaryArray::new(
        Int8Array::from(vec![1, 3, 0]),
        Arc::new(StringArray::from(vec!["x", "y", "z", "w"])),
    ));
    let of_words: ArrayRef = Arc::new(RunArray::try_new(&Int32Array::from(vec![2, 3, 5]), &dictionary).unwrap());
    for column in [runs, list, structure, of_words] {
        let whole = batch(vec![("c", column)]);
        for start in 0..whole.num_rows() {
            for rows in 0..=whole.num_rows() - start {
                let batches = [whole.slice(start, rows)];
                for (name, _) in NAMES {
                    let (path, _) = write(&folder, name, &batches);
                    assert_eq!(read(&path), batches, "{start} {rows} {}", whole.schema());
                }
            }
        }
    }
}

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, StringArray};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::Writer;
use crate::samples::{batch, every_column, words};

fn sample() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
    let text: ArrayRef = Arc::new(StringArray::from_iter_values((0..100).map(|i| format!("row {i}"))));
    let dictionary = words(&(0..100).map(|i| Some(["a", "b", "c"][i % 3])).collect::<Vec<_>>());
    batch(vec![("n", numbers), ("s", text), ("d", dictionary)])
}

fn bytes_of(name: &str, batches: &[RecordBatch]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let mut writer = Writer::create(&path, batches[0].schema()).unwrap();
    batches.iter().for_each(|b| writer.write(b).unwrap());
    writer.finish().unwrap();
    std::fs::read(&path).unwrap()
}

#[test]
fn parquet_is_recognised_and_keeps_its_arrow_schema() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("called.arrow");
    let sample = sample();
    let mut writer = ArrowWriter::try_new(File::create(&path).unwrap(), sample.schema(), None).unwrap();
    (0..3).for_each(|_| writer.write(&sample).unwrap());
    writer.close().unwrap();
    let reader = open(&path).unwrap();
    assert_eq!((reader.format(), reader.rows(), reader.schema()), (Format::Parquet, Some(300), sample.schema()));
    let batches: Vec<_> = reader.map(|b| b.unwrap()).collect();
    assert_eq!(batches.iter().map(|b| b.num_rows()).sum::<usize>(), 300);
    assert_eq!(batches[0].slice(0, 100), sample);
}

#[test]
fn what_is_no_arrow_data_is_named_for_what_it_looks_like() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.arrow");
    for (bytes, expected) in [
        (&b""[..], "empty"),
        (b"id,name\n1,one\n", "id,name"),
        (b"PARE and more", "encrypted"),
        (&[0x89, 0x50, 0x4e, 0x47, 0], "89 50 4e 47"),
        (&[1, 2], "01 02"),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let error = open(&path).unwrap_err();
        assert_eq!(error.code(), "ERR_UNKNOWN_FORMAT");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(open(&folder.path().join("none")).unwrap_err().code(), "ERR_IO");
    assert_eq!(open(folder.path()).unwrap_err().code(), "ERR_IO");
}

#[test]
fn a_stream_cut_anywhere_but_between_messages_is_an_error() {
    let bytes = bytes_of("t.arrows", &[sample(), sample()]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let (mut whole, mut errors) = (0, 0);
    for length in (0..bytes.len()).step_by(37).chain(bytes.len() - 8..bytes.len()) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let outcome = open(&path).and_then(|reader| reader.collect::<Result<Vec<_>>>());
        match outcome {
            Ok(batches) => {
                assert!(batches.iter().all(|b| *b == sample()));
                whole += 1;
            }
            Err(_) => errors += 1,
        }
    }
    // Only the missing end-of-stream marker goes unnoticed, as the format wants it.
    assert!(whole <= 3 && errors > 50, "{whole} {errors}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = bytes_of("t.arrow", &[sample()]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    for length in (0..bytes.len()).step_by(53) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        assert!(open(&path).is_err(), "{length}");
    }
    // Truncated by somebody after it was opened: an error, where a mapping would be a crash.
    std::fs::write(&path, &bytes).unwrap();
    let reader = open(&path).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
    assert!(reader.collect::<Result<Vec<_>>>().is_err());
}

#[test]
fn no_damaged_byte_crashes_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let columns: Vec<_> = every_column();
    let everything = batch(columns.iter().map(|(n, a)| (n.as_str(), a.clone())).collect());
    for name in ["t.arrow", "t.arrows"] {
        let good = bytes_of(name, std::slice::from_ref(&everything));
        let mut seed = 7u64;
        for _ in 0..700 {
            let mut bad = good.clone();
            for _ in 0..3 {
                // A small generator of our own: the same damage in every run.
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let (at, value) = ((seed >> 20) as usize % bad.len(), (seed >> 56) as u8);
                bad[at] = if value % 3 == 0 { 0xff } else { value };
            }
            std::fs::write(&path, &bad).unwrap();
            // Either answer is right; a crash or a giant allocation is not.
            let _ = open(&path).map(|reader| reader.take(10).for_each(drop));
        }
    }
}

#[test]
fn lengths_that_lie_are_refused_before_anything_is_allocated() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t");
    let good = bytes_of("t.arrows", &[sample()]);
    // The length of the schema message, then as a stream in which the body length cannot be known beforehand.
    for lie in [i32::MAX, -1, 1 << 30] {
        let mut bad = good.clone();
        bad[4..8].copy_from_slice(&lie.to_le_bytes());
        std::fs::write(&path, &bad).unwrap();
        assert_eq!(open(&path).unwrap_err().code(), "ERR_DAMAGED_DATA");
        let input = Box::new(Cursor::new(bad));
        assert!(StreamSource::open(&path, input, None).is_err());
    }
}

#[cfg(unix)]
#[test]
fn a_stream_is_read_from_a_pipe_and_a_file_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (name, expected) in [("t.arrows", true), ("t.arrow", false)] {
        let bytes = bytes_of(name, &[sample(), sample()]);
        let to = pipe.clone();
        let writer = std::thread::spawn(move || {
            // The reader hangs up early on what it cannot read.
            let _ = std::fs::write(to, bytes);
        });
        let outcome = open(&pipe).and_then(|reader| reader.collect::<Result<Vec<_>>>());
        match outcome {
            Ok(batches) => assert!(expected && batches == [sample(), sample()]),
            Err(error) => assert!(!expected && error.to_string().contains("pipe"), "{error}"),
        }
        writer.join().unwrap();
    }
}

use std::io::Write;

use proptest::prelude::*;

use super::*;

const BOTH: [Compression; 2] = [Compression::Lz4Frame, Compression::Zstd];

fn encoded(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let data = match compression {
        Compression::Lz4Frame => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(vec![]);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zstd => zstd::bulk::compress(bytes, 1).unwrap(),
    };
    [&(bytes.len() as i64).to_le_bytes()[..], &data].concat()
}

fn stored(bytes: &[u8]) -> Vec<u8> {
    [&(-1i64).to_le_bytes()[..], bytes].concat()
}

/// A body of these buffers, each padded to 8, and its header.
fn body(compression: Compression, buffers: &[Vec<u8>]) -> (BatchHeader, Vec<u8>) {
    let mut body = vec![];
    let mut header = BatchHeader { compression: Some(compression), ..BatchHeader::default() };
    for buffer in buffers {
        header.buffers.push(Span { offset: body.len() as u64, length: buffer.len() as u64 });
        body.extend_from_slice(buffer);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    header.body_length = body.len() as u64;
    (header, body)
}

fn decoded(header: &BatchHeader, body: &[u8], limits: &Limits) -> Result<(BatchHeader, Vec<u8>)> {
    let part = |index: usize| {
        let Span { offset, length } = header.buffers[index];
        &body[offset as usize..(offset + length) as usize]
    };
    let plan = Decompression::plan(header, limits, |index| part(index)[..8].try_into().unwrap())?.expect("compressed");
    let expected = plan.header().clone();
    let mut plain = vec![];
    let header = plan.run(part, |bytes| {
        assert!(bytes.len() <= CHUNK);
        plain.extend_from_slice(bytes);
        // As whoever keeps the bytes would: never more than was planned.
        assert!(plain.len() as u64 <= expected.body_length);
        Ok::<_, ProtocolError>(())
    })?;
    assert_eq!(header, expected);
    assert_eq!(plain.len() as u64, header.body_length);
    Ok((header, plain))
}

fn refused(header: &BatchHeader, body: &[u8]) -> String {
    match decoded(header, body, &Limits::default()) {
        Ok((header, _)) => panic!("it was taken: {header:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_was_compressed_comes_out_each_buffer_at_a_multiple_of_64() {
    for compression in BOTH {
        let wanted = [vec![], vec![7; 3], (0..300_000u32).flat_map(u32::to_le_bytes).collect(), vec![], vec![9; 64]];
        let buffers = [
            vec![],
            encoded(compression, &wanted[1]),
            encoded(compression, &wanted[2]),
            encoded(compression, &[]),
            stored(&wanted[4]),
        ];
        let (header, bytes) = body(compression, &buffers);
        let (plain, out) = decoded(&header, &bytes, &Limits::default()).unwrap();
        assert_eq!((plain.compression, plain.buffers.len()), (None, 5));
        for (span, wanted) in plain.buffers.iter().zip(&wanted) {
            assert_eq!(span.offset % 64, 0);
            assert!(&out[span.offset as usize..][..span.length as usize] == wanted);
        }
    }
}

#[test]
fn a_length_that_is_announced_and_is_not_true_is_refused() {
    for compression in BOTH {
        let honest = encoded(compression, &[5; 100_000]);
        for (lie, why) in [
            (99_999i64, "more came out"),
            (100_001, "100000 bytes came out"),
            (0, "more came out"),
            (-2, "said to hold -2"),
            (i64::MIN, "said to hold"),
            (i64::MAX, "said to hold 9223372036854775807"),
        ] {
            let mut buffer = honest.clone();
            buffer[..8].copy_from_slice(&lie.to_le_bytes());
            let (header, bytes) = body(compression, &[buffer]);
            assert!(refused(&header, &bytes).contains(why), "{lie}: {}", refused(&header, &bytes));
        }
    }
}

#[test]
fn more_than_the_limit_is_refused_before_anything_is_decoded() {
    let limits = Limits { max_decompressed: 1 << 20, ..Limits::default() };
    for compression in BOTH {
        let at_most = encoded(compression, &vec![1; 1 << 19]);
        let (header, bytes) = body(compression, &[at_most.clone(), at_most.clone()]);
        assert!(decoded(&header, &bytes, &limits).is_ok());
        let (header, bytes) = body(compression, &[at_most.clone(), at_most, encoded(compression, &[1])]);
        let error = decoded(&header, &bytes, &limits).unwrap_err();
        assert!(matches!(error, ProtocolError::Limit { limit, .. } if limit == 1 << 20), "{error}");
    }
}

#[test]
fn bytes_that_no_encoder_wrote_are_refused() {
    for compression in BOTH {
        let honest = encoded(compression, &(0..50_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
        // The 4 bytes that end an LZ4 frame may be missing: what it holds is there.
        for length in [1, 7, 8, 9, 12, honest.len() / 2, honest.len() - 5] {
            let (header, bytes) = body(compression, &[honest[..length].to_vec()]);
            if length < 8 {
                let error = Decompression::plan(&header, &Limits::default(), |_| [0; 8]).unwrap_err();
                assert!(error.to_string().contains("8 say how long"), "{error}");
            } else {
                refused(&header, &bytes);
            }
        }
        let other = encoded(BOTH[usize::from(compression == BOTH[0])], &[1; 100]);
        let (header, bytes) = body(compression, &[other]);
        refused(&header, &bytes);
    }
}

#[test]
fn a_plain_body_needs_no_plan() {
    assert!(Decompression::plan(&BatchHeader::default(), &Limits::default(), |_| [0; 8]).unwrap().is_none());
}

proptest! {
    #[test]
    fn damaged_bodies_never_panic_and_never_give_more_than_was_planned(
        zstd in any::<bool>(),
        lengths in proptest::collection::vec(0usize..3000, 1..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let compression = BOTH[usize::from(zstd)];
        let buffers: Vec<_> =
            lengths.iter().map(|n| encoded(compression, &(0..*n).map(|i| ((i * i) >> 3) as u8).collect::<Vec<_>>())).collect();
        let (header, mut bytes) = body(compression, &buffers);
        for (at, value) in &damage {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        // `decoded` checks what comes out against what was planned.
        let limits = Limits { max_decompressed: 1 << 22, ..Limits::default() };
        let result = decoded(&header, &bytes, &limits);
        prop_assert!(!damage.is_empty() || result.is_ok());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        zstd in any::<bool>(), announced in 0i64..100_000, magic in any::<bool>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let compression = BOTH[usize::from(zstd)];
        let mut buffer = announced.to_le_bytes().to_vec();
        if magic {
            buffer.extend_from_slice(if zstd { &[0x28, 0xb5, 0x2f, 0xfd] } else { &[0x04, 0x22, 0x4d, 0x18] });
        }
        buffer.extend_from_slice(&bytes);
        let (header, bytes) = body(compression, &[buffer]);
        let _ = decoded(&header, &bytes, &Limits::default());
    }
}

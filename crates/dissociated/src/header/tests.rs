use std::collections::HashMap;
use std::sync::Arc;

use arrow_ipc as ipc;
use arrow_schema::{Field, Schema};
use flatbuffers::FlatBufferBuilder;
use proptest::prelude::*;

use super::*;
use crate::layout::samples::every_type;

fn decode(bytes: &[u8]) -> Result<(Header, KeyValues)> {
    decode_message(bytes, &Limits::default())
}

fn decoded_schema(schema: &Schema) -> Result<DecodedSchema> {
    match decode(&encode_schema(schema))?.0 {
        Header::Schema(decoded) => Ok(decoded),
        other => panic!("{other:?}"),
    }
}

fn all_types() -> Schema {
    let fields: Vec<Field> = every_type(2)
        .iter()
        .enumerate()
        .map(|(i, a)| Field::new(format!("c{i}"), a.data_type().clone(), i % 2 == 0))
        .collect();
    Schema::new(fields)
}

fn sample() -> BatchHeader {
    BatchHeader {
        rows: 3,
        nodes: vec![FieldNode { length: 3, null_count: 1 }, FieldNode { length: 9, null_count: 0 }],
        buffers: vec![Span { offset: 0, length: 1 }, Span { offset: 64, length: 24 }],
        variadic: vec![2, 0],
        compression: Some(Compression::Lz4Frame),
        body_length: 128,
    }
}

#[test]
fn a_schema_of_every_type_with_metadata_comes_back_equal() {
    let pairs = HashMap::from([("k".to_string(), "v".to_string())]);
    let extension = HashMap::from([("ARROW:extension:name".to_string(), "x.y".to_string())]);
    let mut fields = all_types().fields().to_vec();
    fields.push(Arc::new(Field::new("x", DataType::Utf8, false).with_metadata(extension)));
    let schema = Schema::new_with_metadata(fields, pairs);
    assert_eq!(*decoded_schema(&schema).unwrap().schema, schema);
}

#[test]
fn dictionaries_are_numbered_depth_first_those_inside_values_before_them() {
    let inner = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::Utf8));
    let fields = vec![Field::new("i", inner.clone(), true)].into();
    let values = DataType::Struct(fields);
    let outer = DataType::Dictionary(Box::new(DataType::UInt32), Box::new(values.clone()));
    let schema = Schema::new(vec![
        Field::new("a", outer, true).with_dict_is_ordered(true),
        Field::new_list("l", Field::new("item", inner, true), true),
    ]);
    let decoded = decoded_schema(&schema).unwrap();
    let ids: Vec<i64> = decoded.dictionaries.iter().map(|d| d.id).collect();
    assert_eq!(ids, [0, 1, 2]);
    assert_eq!(ids, dictionary_ids_in_order(&schema));
    assert_eq!(decoded.dictionaries[0].value_type, DataType::Utf8);
    assert_eq!(
        decoded.dictionaries[1],
        DictionaryField { id: 1, key_type: DataType::UInt32, value_type: values, ordered: true }
    );
    assert_eq!(*decoded.schema, schema);
}

#[test]
fn batch_and_dictionary_headers_come_back_equal_at_any_alignment() {
    let header = sample();
    let metadata = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
    let bytes = encode_batch(&header, &metadata);
    for shift in 0..9 {
        let mut moved = vec![0; shift];
        moved.extend_from_slice(&bytes);
        let (decoded, pairs) = decode(&moved[shift..]).unwrap();
        assert!(matches!(decoded, Header::Batch(d) if d == header));
        assert_eq!(pairs, metadata);
    }
    let (decoded, _) = decode(&encode_dictionary(-7, true, &header)).unwrap();
    assert!(matches!(decoded, Header::Dictionary { id: -7, delta: true, batch } if batch == header));
}

#[test]
fn an_encoder_used_again_encodes_the_same() {
    let mut encoder = HeaderEncoder::new();
    let first = encoder.batch(&sample(), &[]).to_vec();
    encoder.dictionary(1, false, &BatchHeader::default());
    assert_eq!(encoder.batch(&sample(), &[]), first);
}

#[test]
fn counts_lengths_and_depth_above_the_limits_are_refused() {
    let batch = encode_batch(&sample(), &[]);
    let schema = encode_schema(&all_types());
    let strict = Limits::default();
    for (limits, bytes) in [
        (Limits { max_metadata: 40, ..strict }, &batch),
        (Limits { max_pairs: 1, ..strict }, &batch),
        (Limits { max_fields: 1, ..strict }, &batch),
        (Limits { max_body: 127, ..strict }, &batch),
        (Limits { max_fields: 5, ..strict }, &schema),
        (Limits { max_nesting: 1, ..strict }, &schema),
    ] {
        let error = decode_message(bytes, &limits).unwrap_err();
        assert_eq!(error.code(), "ERR_LIMIT", "{error}");
    }
}

#[test]
fn negative_numbers_buffers_outside_the_body_and_too_many_nulls_are_refused() {
    let broken = |change: fn(&mut BatchHeader)| {
        let mut header = sample();
        change(&mut header);
        decode(&encode_batch(&header, &[])).unwrap_err()
    };
    broken(|h| h.rows = u64::MAX);
    broken(|h| h.body_length = u64::MAX);
    broken(|h| h.nodes[0].length = u64::MAX);
    broken(|h| h.nodes[0].null_count = 4);
    broken(|h| h.buffers[1].offset = u64::MAX);
    broken(|h| h.buffers[1].length = 65);
    broken(|h| h.buffers[1].offset = i64::MAX as u64);
    broken(|h| h.variadic[0] = u64::MAX);
}

/// A schema message of one field, whose type a test writes as it likes.
fn of_field(
    kind: ipc::Type,
    children: usize,
    build: impl FnOnce(&mut FlatBufferBuilder<'_>) -> flatbuffers::WIPOffset<flatbuffers::UnionWIPOffset>,
) -> Result<(Header, KeyValues)> {
    let mut fbb = FlatBufferBuilder::new();
    let children: Vec<_> = (0..children)
        .map(|_| {
            let null = ipc::NullBuilder::new(&mut fbb).finish().as_union_value();
            let mut field = ipc::FieldBuilder::new(&mut fbb);
            field.add_type_type(ipc::Type::Null);
            field.add_type_(null);
            field.finish()
        })
        .collect();
    let children = fbb.create_vector(&children);
    let parameters = build(&mut fbb);
    let mut field = ipc::FieldBuilder::new(&mut fbb);
    field.add_type_type(kind);
    field.add_type_(parameters);
    field.add_children(children);
    let field = field.finish();
    let fields = fbb.create_vector(&[field]);
    let mut schema = ipc::SchemaBuilder::new(&mut fbb);
    schema.add_fields(fields);
    let schema = schema.finish().as_union_value();
    let mut message = ipc::MessageBuilder::new(&mut fbb);
    message.add_version(MetadataVersion::V5);
    message.add_header_type(MessageHeader::Schema);
    message.add_header(schema);
    let root = message.finish();
    fbb.finish(root, None);
    decode(fbb.finished_data())
}

#[test]
fn types_that_cannot_be_are_refused_and_nothing_panics() {
    for bits in [0, 7, 128, -8] {
        let args = ipc::IntArgs { bitWidth: bits, is_signed: true };
        of_field(ipc::Type::Int, 0, |f| ipc::Int::create(f, &args).as_union_value()).unwrap_err();
    }
    for (bits, precision, scale) in [(128, 39, 0), (128, 0, 0), (12, 3, 0), (256, 300, 0), (64, 5, 900)] {
        let args = ipc::DecimalArgs { bitWidth: bits, precision, scale };
        of_field(ipc::Type::Decimal, 0, |f| ipc::Decimal::create(f, &args).as_union_value()).unwrap_err();
    }
    let size = ipc::FixedSizeBinaryArgs { byteWidth: -1 };
    of_field(ipc::Type::FixedSizeBinary, 0, |f| ipc::FixedSizeBinary::create(f, &size).as_union_value()).unwrap_err();
    let time = ipc::TimeArgs { unit: ipc::TimeUnit::NANOSECOND, bitWidth: 32 };
    of_field(ipc::Type::Time, 0, |f| ipc::Time::create(f, &time).as_union_value()).unwrap_err();
    let unit = ipc::DurationArgs { unit: ipc::TimeUnit(9) };
    of_field(ipc::Type::Duration, 0, |f| ipc::Duration::create(f, &unit).as_union_value()).unwrap_err();
    // Too few or too many children, and children of the wrong type.
    let list = |f: &mut FlatBufferBuilder<'_>| ipc::ListBuilder::new(f).finish().as_union_value();
    of_field(ipc::Type::List, 0, list).unwrap_err();
    of_field(ipc::Type::List, 2, list).unwrap_err();
    of_field(ipc::Type::List, 1, list).unwrap();
    of_field(ipc::Type::RunEndEncoded, 2, |f| ipc::RunEndEncodedBuilder::new(f).finish().as_union_value()).unwrap_err();
    of_field(ipc::Type::Map, 1, |f| ipc::MapBuilder::new(f).finish().as_union_value()).unwrap_err();
    // A union of more types than ids.
    let union = ipc::UnionArgs::default();
    of_field(ipc::Type::Union, 129, |f| ipc::Union::create(f, &union).as_union_value()).unwrap_err();
    of_field(ipc::Type::Union, 128, |f| ipc::Union::create(f, &union).as_union_value()).unwrap();
    for ids in [vec![0, 0], vec![0, 300], vec![-1, 0], vec![0]] {
        of_field(ipc::Type::Union, 2, |f| {
            let ids = f.create_vector(&ids);
            let mut union = ipc::UnionBuilder::new(f);
            union.add_typeIds(ids);
            union.finish().as_union_value()
        })
        .unwrap_err();
    }
    let unknown = of_field(ipc::Type(99), 0, list).unwrap_err();
    assert_eq!(unknown.code(), "ERR_UNSUPPORTED");
}

#[test]
fn a_field_nested_a_thousand_deep_is_an_error_and_no_stack_overflow() {
    let mut data_type = DataType::Int8;
    for _ in 0..1000 {
        data_type = DataType::List(Arc::new(Field::new("item", data_type, true)));
    }
    let error = decoded_schema(&Schema::new(vec![Field::new("deep", data_type, true)]));
    assert!(error.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn a_damaged_message_never_panics(
        which in 0usize..3,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = match which {
            0 => encode_schema(&all_types()),
            1 => encode_batch(&sample(), &[("k".into(), "v".into())]),
            _ => encode_dictionary(3, false, &sample()),
        };
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = decode(&bytes);
    }
}

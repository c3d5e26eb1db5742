//! Schemas across the border: arrow-rs's conversion, with the checks it lacks in front and its gaps filled behind.
//!
//! Gaps of arrow-rs 59 handled here: the conversion panics on a NULL or non-UTF-8 format, on non-UTF-8 names and on
//! missing children; it accepts types whose arrays then panic (a map that is not a struct of two, a float dictionary
//! key, negative widths); exporting a *field* of map type loses `ARROW_FLAG_MAP_KEYS_SORTED`; a time zone with a NUL
//! byte panics.

use std::ffi::CStr;

use arrow_schema::ffi::{FFI_ArrowSchema, Flags};
use arrow_schema::{DataType, FieldRef, Schema};

use crate::error::{Error, Result, check_address};

/// Deeper nesting than this is refused: conversion recurses, and a cycle must end.
pub(crate) const MAX_DEPTH: usize = 64;
/// More schema nodes than this are refused, for the same reason.
const MAX_NODES: usize = 1 << 20;
/// More key/value pairs on one field than this are refused: the count is allocated before the pairs are read.
const MAX_METADATA_PAIRS: i32 = 1 << 20;

/// Exports a schema as a struct type, its metadata on the top level.
///
/// Fails with `ERR_UNSUPPORTED_TYPE` if a name or time zone contains a NUL byte, which C strings cannot hold.
pub fn export_schema(schema: &Schema) -> Result<FFI_ArrowSchema> {
    for field in schema.fields() {
        check_exportable(field, 0)?;
    }
    let mut exported = FFI_ArrowSchema::try_from(schema)?;
    restore_map_flags(&mut exported, schema.fields().iter());
    Ok(exported)
}

/// Reads a schema from C structs, which are neither moved nor released.
///
/// # Safety
/// `schema` must be NULL or the address of an initialised struct whose non-NULL pointers are valid, as the C data
/// interface demands of producers.
pub unsafe fn import_schema(schema: *const FFI_ArrowSchema) -> Result<Schema> {
    check_address(schema, "schema")?;
    // SAFETY: not NULL and aligned; the caller vouches that it is initialised.
    let schema = unsafe { &*schema };
    check_node(schema, "schema", 0, &mut 0)?;
    let data_type = DataType::try_from(schema)?;
    check_type(&data_type, "schema")?;
    match data_type {
        DataType::Struct(fields) => Ok(Schema::new(fields).with_metadata(schema.metadata()?)),
        other => Err(Error::NotABatch { data_type: other.to_string() }),
    }
}

/// The nested fields of a type, in the order of the C children.
fn children(data_type: &DataType) -> Vec<&FieldRef> {
    match data_type {
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => vec![f],
        DataType::Struct(fields) => fields.iter().collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, f)| f).collect(),
        DataType::RunEndEncoded(ends, values) => vec![ends, values],
        _ => Vec::new(),
    }
}

fn check_exportable(field: &FieldRef, depth: usize) -> Result<()> {
    let fail = |problem: &str| Err(Error::Unexportable { field: field.name().clone(), problem: problem.to_owned() });
    if depth > MAX_DEPTH {
        return fail(&format!("it is nested deeper than {MAX_DEPTH} levels"));
    }
    if field.name().contains('\0') {
        return fail("its name contains a NUL byte, which a C string cannot hold; rename it");
    }
    let mut data_type = field.data_type();
    loop {
        if let DataType::Timestamp(_, Some(zone)) = data_type
            && zone.contains('\0')
        {
            return fail("its time zone contains a NUL byte, which a C string cannot hold");
        }
        for child in children(data_type) {
            check_exportable(child, depth + 1)?;
        }
        match data_type {
            DataType::Dictionary(_, values) => data_type = values,
            _ => return Ok(()),
        }
    }
}

/// arrow-rs sets the flags of a field over those of its type, and so forgets that a map's keys are sorted.
fn restore_map_flags<'a>(exported: &mut FFI_ArrowSchema, fields: impl Iterator<Item = &'a FieldRef>) {
    for (index, field) in fields.enumerate() {
        // SAFETY: arrow-rs just made this struct with one child for each field, in order, all owned by it.
        let child = unsafe { &mut **exported.children.add(index) };
        restore_map_flag(child, field.data_type());
    }
}

fn restore_map_flag(exported: &mut FFI_ArrowSchema, data_type: &DataType) {
    if let DataType::Map(_, true) = data_type {
        exported.flags |= Flags::MAP_KEYS_SORTED.bits();
    }
    if let DataType::Dictionary(_, values) = data_type {
        // SAFETY: arrow-rs exports the values' type of every dictionary type here; `exported` owns it.
        if let Some(dictionary) = unsafe { exported.dictionary.as_mut() } {
            restore_map_flag(dictionary, values);
        }
    }
    restore_map_flags(exported, children(data_type).into_iter());
}

/// Everything arrow-rs's conversion would panic on, or read beyond.
fn check_node(schema: &FFI_ArrowSchema, path: &str, depth: usize, nodes: &mut usize) -> Result<()> {
    *nodes += 1;
    if depth > MAX_DEPTH || *nodes > MAX_NODES {
        return Err(Error::invalid(
            path,
            format!("nested deeper than {MAX_DEPTH} levels, or more than {MAX_NODES} fields"),
        ));
    }
    if schema.release.is_none() {
        return Err(Error::Released { what: format!("schema at {path}") });
    }
    if schema.format.is_null() {
        return Err(Error::invalid(path, "the format string is NULL"));
    }
    // SAFETY: not NULL; the producer vouches that it ends with a NUL byte.
    let format = unsafe { CStr::from_ptr(schema.format) }
        .to_str()
        .map_err(|_| Error::invalid(path, "the format string is not UTF-8"))?;
    // SAFETY: as above, checked for NULL first.
    if !schema.name.is_null() && unsafe { CStr::from_ptr(schema.name) }.to_str().is_err() {
        return Err(Error::invalid(path, "the name is not UTF-8"));
    }
    check_metadata(schema, path)?;

    let expected = match format {
        "+s" => None,
        "+l" | "+L" | "+vl" | "+vL" | "+m" => Some(1),
        "+r" => Some(2),
        other if other.starts_with("+w:") => Some(1),
        other if other.starts_with("+ud:") || other.starts_with("+us:") => None,
        _ => Some(0),
    };
    if schema.n_children < 0 || expected.is_some_and(|n| n != schema.n_children) {
        return Err(Error::invalid(
            path,
            format!(
                "format {format:?} has {} children, expected {}",
                schema.n_children,
                expected.map_or("0 or more".to_owned(), |n: i64| n.to_string())
            ),
        ));
    }
    if schema.n_children > 0 && schema.children.is_null() {
        return Err(Error::invalid(
            path,
            format!("{} children are announced but `children` is NULL", schema.n_children),
        ));
    }
    for index in 0..schema.n_children as usize {
        // SAFETY: `children` is not NULL and the producer vouches for `n_children` entries.
        let child = unsafe { *schema.children.add(index) };
        let path = format!("{path}.{index}");
        // SAFETY: NULL is handled; otherwise the producer vouches for the struct.
        let child =
            unsafe { child.as_ref() }.ok_or_else(|| Error::invalid(&path, "the schema of this child is NULL"))?;
        check_node(child, &path, depth + 1, nodes)?;
    }
    // SAFETY: NULL is handled; otherwise the producer vouches for the struct.
    if let Some(dictionary) = unsafe { schema.dictionary.as_ref() } {
        check_node(dictionary, &format!("{path}.dictionary"), depth + 1, nodes)?;
    }
    Ok(())
}

fn check_metadata(schema: &FFI_ArrowSchema, path: &str) -> Result<()> {
    if schema.metadata.is_null() {
        return Ok(());
    }
    // SAFETY: not NULL, and metadata starts with its count.
    let pairs = unsafe { schema.metadata.cast::<i32>().read_unaligned() };
    if !(0..=MAX_METADATA_PAIRS).contains(&pairs) {
        return Err(Error::invalid(path, format!("{pairs} metadata pairs, expected 0 to {MAX_METADATA_PAIRS}")));
    }
    let mut position = 4_usize;
    for _ in 0..2 * i64::from(pairs) {
        // SAFETY: the producer vouches for the pairs it announces; each text starts with its length.
        let length = unsafe { schema.metadata.add(position).cast::<i32>().read_unaligned() };
        let length = usize::try_from(length)
            .map_err(|_| Error::invalid(path, format!("metadata text of negative length {length}")))?;
        position += 4 + length;
    }
    Ok(())
}

/// Refuses types that are well-formed strings but that no array can have; arrow-rs would panic on their arrays.
fn check_type(data_type: &DataType, path: &str) -> Result<()> {
    let fail = |problem: String| Err(Error::invalid(path, problem));
    match data_type {
        DataType::FixedSizeBinary(width) | DataType::FixedSizeList(_, width) if *width < 0 => {
            return fail(format!("{data_type} has a negative size"));
        }
        DataType::Decimal32(p, _) if !(1..=9).contains(p) => {
            return fail(format!("precision {p} of a 32-bit decimal, expected 1 to 9"));
        }
        DataType::Decimal64(p, _) if !(1..=18).contains(p) => {
            return fail(format!("precision {p} of a 64-bit decimal, expected 1 to 18"));
        }
        DataType::Decimal128(p, _) if !(1..=38).contains(p) => {
            return fail(format!("precision {p} of a 128-bit decimal, expected 1 to 38"));
        }
        DataType::Decimal256(p, _) if !(1..=76).contains(p) => {
            return fail(format!("precision {p} of a 256-bit decimal, expected 1 to 76"));
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields) if fields.len() == 2 => {}
            other => return fail(format!("map entries of type {other}, expected a struct of 2")),
        },
        DataType::RunEndEncoded(ends, _) if !DataType::is_run_ends_type(ends.data_type()) => {
            return fail(format!("run ends of type {}, expected int16, int32 or int64", ends.data_type()));
        }
        DataType::Dictionary(keys, values) => {
            if !DataType::is_dictionary_key_type(keys) {
                return fail(format!("dictionary indices of type {keys}, expected an integer"));
            }
            check_type(values, &format!("{path}.dictionary"))?;
        }
        _ => {}
    }
    for child in children(data_type) {
        check_type(child.data_type(), &format!("{path}.{}", child.name()))?;
    }
    Ok(())
}

//! Walking over a schema.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, UnionFields};

use crate::error::Result;

/// The types of the child arrays of an array of this type, in their order. A dictionary has none here: what is in
/// its values belongs to it.
pub(super) fn child_types(data_type: &DataType) -> Vec<&DataType> {
    match data_type {
        DataType::List(f)
        | DataType::LargeList(f)
        | DataType::ListView(f)
        | DataType::LargeListView(f)
        | DataType::FixedSizeList(f, _)
        | DataType::Map(f, _) => vec![f.data_type()],
        DataType::Struct(fields) => fields.iter().map(|f| f.data_type()).collect(),
        DataType::Union(fields, _) => fields.iter().map(|(_, f)| f.data_type()).collect(),
        DataType::RunEndEncoded(run_ends, values) => vec![run_ends.data_type(), values.data_type()],
        _ => Vec::new(),
    }
}

/// Rebuilds a field from its leaves up: `leaf` gives what replaces each field without children, depth first.
/// It is told the path of the field, as in "outer.inner".
pub(super) fn map_field(
    field: &FieldRef,
    parent: &str,
    leaf: &mut dyn FnMut(&Field, &str) -> Result<Field>,
) -> Result<FieldRef> {
    let path = if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
    let mut child = |f: &FieldRef| map_field(f, &path, leaf);
    let data_type = match field.data_type() {
        DataType::List(f) => DataType::List(child(f)?),
        DataType::LargeList(f) => DataType::LargeList(child(f)?),
        DataType::ListView(f) => DataType::ListView(child(f)?),
        DataType::LargeListView(f) => DataType::LargeListView(child(f)?),
        DataType::FixedSizeList(f, size) => DataType::FixedSizeList(child(f)?, *size),
        DataType::Map(f, sorted) => DataType::Map(child(f)?, *sorted),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(child).collect::<Result<_>>()?),
        DataType::RunEndEncoded(run_ends, values) => DataType::RunEndEncoded(child(run_ends)?, child(values)?),
        DataType::Union(fields, mode) => {
            let children = fields.iter().map(|(id, f)| Ok((id, child(f)?))).collect::<Result<UnionFields>>()?;
            DataType::Union(children, *mode)
        }
        _ => return leaf(field, &path).map(Arc::new),
    };
    Ok(Arc::new(field.as_ref().clone().with_data_type(data_type)))
}

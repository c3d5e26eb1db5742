//! One dictionary per column out of many: what an IPC file needs and a stream does not have.
//!
//! Two passes. On the way in every dictionary array, however deep, becomes an array of plain indices into a growing
//! unified dictionary ([`Unifier`]); on the way out the indices get that dictionary back ([`Unified`]).

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::error::{Error, Result};

mod dictionary;
mod shape;

use dictionary::GrowingDictionary;
use shape::{child_types, map_field};

/// Whether any field of a schema, at any depth, is dictionary-encoded.
pub(crate) fn has_dictionaries(schema: &Schema) -> bool {
    schema.fields().iter().any(|f| contains_dictionary(f.data_type()))
}

fn contains_dictionary(data_type: &DataType) -> bool {
    contains(data_type, &|t| matches!(t, DataType::Dictionary(_, _)))
}

/// Whether a type, or one within it, is wanted. What is in the values of a dictionary is not looked at.
pub(crate) fn contains(data_type: &DataType, wanted: &dyn Fn(&DataType) -> bool) -> bool {
    wanted(data_type) || child_types(data_type).into_iter().any(|t| contains(t, wanted))
}

/// The way in: takes dictionaries apart and collects their values.
pub(crate) struct Unifier {
    /// In the order in which a walk over the schema, depth first, meets them.
    dictionaries: Vec<GrowingDictionary>,
    schema: SchemaRef,
    index_schema: SchemaRef,
}

impl Unifier {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self> {
        let mut dictionaries = Vec::new();
        let fields = schema
            .fields()
            .iter()
            .map(|field| {
                map_field(field, "", &mut |field, path| match field.data_type() {
                    DataType::Dictionary(index, values) => {
                        dictionaries.push(GrowingDictionary::new(path, index, values)?);
                        Ok(field.clone().with_data_type(index.as_ref().clone()))
                    }
                    _ => Ok(field.clone()),
                })
            })
            .collect::<Result<Vec<FieldRef>>>()?;
        Ok(Self { dictionaries, schema: Arc::clone(schema), index_schema: Arc::new(Schema::new(fields)) })
    }

    /// The schema with every dictionary replaced by its index type.
    pub(crate) fn index_schema(&self) -> &Schema {
        &self.index_schema
    }

    /// A batch with every dictionary replaced by indices into the unified one, which grows as needed.
    pub(crate) fn split(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut next = 0;
        let dictionaries = &mut self.dictionaries;
        replace_columns(batch, &self.schema, &self.index_schema, &mut |data, _| {
            // The walk over the arrays meets the same dictionaries in the same order as the walk over the schema.
            let indices = dictionaries[next].indices(data);
            next += 1;
            indices
        })
    }

    /// Ends the first pass.
    pub(crate) fn finish(self, schema: &SchemaRef) -> Result<Unified> {
        let mut values = Vec::with_capacity(self.dictionaries.len());
        let mut keeps_order = Vec::with_capacity(self.dictionaries.len());
        for dictionary in self.dictionaries {
            keeps_order.push(!dictionary.grew_later());
            values.push(dictionary.finish()?);
        }
        let mut next = 0;
        let fields = schema
            .fields()
            .iter()
            .map(|field| {
                map_field(field, "", &mut |field: &Field, _| {
                    if !matches!(field.data_type(), DataType::Dictionary(_, _)) {
                        return Ok(field.clone());
                    }
                    let ordered = field.dict_is_ordered().unwrap_or(false) && keeps_order[next];
                    next += 1;
                    Ok(field.clone().with_dict_is_ordered(ordered))
                })
            })
            .collect::<Result<Vec<FieldRef>>>()?;
        let schema = Schema::new_with_metadata(fields, schema.metadata().clone());
        Ok(Unified { values, schema: Arc::new(schema) })
    }
}

/// The way out: the unified dictionaries, ready to be given back to their indices.
pub(crate) struct Unified {
    values: Vec<ArrayData>,
    schema: SchemaRef,
}

impl Unified {
    /// The schema of the result.
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Undoes [`Unifier::split`].
    pub(crate) fn join(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut next = 0;
        replace_columns(batch, &self.schema, &self.schema, &mut |indices, target| {
            let values = self.values[next].clone();
            next += 1;
            indices
                .into_builder()
                .data_type(target.clone())
                .child_data(vec![values])
                .build()
                .map_err(|e| Error::arrow("giving a column its unified dictionary", e))
        })
    }
}

/// What becomes of one dictionary array (or its indices): from its data and the type it is to have.
type Leaf<'a> = &'a mut dyn FnMut(ArrayData, &DataType) -> Result<ArrayData>;

/// Rebuilds a batch with every array replaced that stands where `shape` has a dictionary.
fn replace_columns(batch: &RecordBatch, shape: &Schema, target: &SchemaRef, leaf: Leaf<'_>) -> Result<RecordBatch> {
    let columns = batch
        .columns()
        .iter()
        .zip(shape.fields())
        .zip(target.fields())
        .map(|((column, shape), target)| {
            if !contains_dictionary(shape.data_type()) {
                return Ok(Arc::clone(column));
            }
            replace(column.to_data(), shape.data_type(), target.data_type(), leaf).map(make_array)
        })
        .collect::<Result<Vec<ArrayRef>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows())).with_match_field_names(false);
    RecordBatch::try_new_with_options(Arc::clone(target), columns, &options)
        .map_err(|e| Error::arrow("rebuilding a batch with unified dictionaries", e))
}

fn replace(data: ArrayData, shape: &DataType, target: &DataType, leaf: Leaf<'_>) -> Result<ArrayData> {
    if matches!(shape, DataType::Dictionary(_, _)) {
        return leaf(data, target);
    }
    if !contains_dictionary(shape) {
        return Ok(data);
    }
    let children = data
        .child_data()
        .iter()
        .zip(child_types(shape))
        .zip(child_types(target))
        .map(|((child, shape), target)| replace(child.clone(), shape, target, leaf))
        .collect::<Result<Vec<_>>>()?;
    data.into_builder()
        .data_type(target.clone())
        .child_data(children)
        .build()
        .map_err(|e| Error::arrow("rebuilding a nested column with unified dictionaries", e))
}

#[cfg(test)]
mod tests;

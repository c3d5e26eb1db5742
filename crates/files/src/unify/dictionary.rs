//! A dictionary that grows by the values it has not seen yet.

use std::collections::HashMap;

use arrow_array::types::{
    ArrowDictionaryKeyType, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, PrimitiveArray, UInt64Array, make_array, new_empty_array};
use arrow_buffer::ArrowNativeType;
use arrow_data::ArrayData;
use arrow_row::{RowConverter, SortField};
use arrow_schema::DataType;
use arrow_select::{concat::concat, take::take};

use crate::error::{Error, Result};

/// The unified dictionary of one field. Memory grows with its distinct values, not with the rows.
pub(super) struct GrowingDictionary {
    path: String,
    index_type: DataType,
    value_type: DataType,
    /// Turns any value into bytes that are equal exactly where the values are.
    rows: RowConverter,
    positions: HashMap<Box<[u8]>, usize>,
    /// What each source dictionary added.
    pieces: Vec<ArrayRef>,
    /// The last source dictionary and where its values went; batches mostly share one.
    last: Option<(ArrayData, Mapping)>,
}

enum Mapping {
    /// Every value already stands at its own position.
    Same,
    To(Vec<usize>),
}

impl GrowingDictionary {
    pub(super) fn new(path: &str, index_type: &DataType, value_type: &DataType) -> Result<Self> {
        let unsupported = |reason| Error::Unsupported {
            what: format!("the dictionary of {path}, with values of type {value_type},"),
            reason,
        };
        if matches!(value_type, DataType::Dictionary(_, _)) {
            return Err(unsupported("the format has no dictionaries of dictionaries".to_owned()));
        }
        let rows =
            RowConverter::new(vec![SortField::new(value_type.clone())]).map_err(|e| unsupported(e.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            index_type: index_type.clone(),
            value_type: value_type.clone(),
            rows,
            positions: HashMap::new(),
            pieces: Vec::new(),
            last: None,
        })
    }

    /// Whether a later dictionary added values to the first one that had any.
    pub(super) fn grew_later(&self) -> bool {
        self.pieces.len() > 1
    }

    /// The indices of a dictionary array, pointing into the unified dictionary.
    pub(super) fn indices(&mut self, array: ArrayData) -> Result<ArrayData> {
        let [values] = array.child_data() else {
            unreachable!("a dictionary array has exactly one child, checked when it was built")
        };
        let known = matches!(&self.last, Some((last, _)) if last.ptr_eq(values));
        if !known {
            let mapping = self.add(values)?;
            self.last = Some((values.clone(), mapping));
        }
        let indices = array.clone().into_builder().data_type(self.index_type.clone()).child_data(Vec::new());
        let indices = indices.build().map_err(|e| Error::arrow("taking the indices of a dictionary", e))?;
        match &self.last {
            Some((_, Mapping::To(positions))) => self.renumber(indices, positions),
            _ => Ok(indices),
        }
    }

    /// Adds the values that are new; says where each one stands.
    fn add(&mut self, values: &ArrayData) -> Result<Mapping> {
        let values = make_array(values.clone());
        let rows = self
            .rows
            .convert_columns(std::slice::from_ref(&values))
            .map_err(|e| Error::arrow(format!("comparing the dictionary values of {}", self.path), e))?;
        let known = self.positions.len();
        let mut new = Vec::new();
        let mut mapping = Vec::with_capacity(values.len());
        for (i, row) in rows.iter().enumerate() {
            let next = known + new.len();
            let position = match self.positions.get(row.as_ref()) {
                Some(position) => *position,
                None => {
                    self.positions.insert(row.as_ref().into(), next);
                    new.push(i as u64);
                    next
                }
            };
            mapping.push(position);
        }
        if !self.fits(known + new.len()) {
            let values = known + new.len();
            // As if this dictionary had never come.
            self.positions.retain(|_, position| *position < known);
            return Err(Error::DictionaryOverflow {
                field: self.path.clone(),
                values,
                index_type: self.index_type.clone(),
            });
        }
        if new.len() == values.len() && !new.is_empty() {
            self.pieces.push(values);
        } else if !new.is_empty() {
            let piece = take(&values, &UInt64Array::from(new), None)
                .map_err(|e| Error::arrow(format!("collecting the dictionary values of {}", self.path), e))?;
            self.pieces.push(piece);
        }
        let same = mapping.iter().enumerate().all(|(i, position)| i == *position);
        Ok(if same { Mapping::Same } else { Mapping::To(mapping) })
    }

    /// Whether the index type can count so many values.
    fn fits(&self, values: usize) -> bool {
        let largest: u64 = match self.index_type {
            DataType::Int8 => i8::MAX as u64,
            DataType::UInt8 => u64::from(u8::MAX),
            DataType::Int16 => i16::MAX as u64,
            DataType::UInt16 => u64::from(u16::MAX),
            DataType::Int32 => i32::MAX as u64,
            DataType::UInt32 => u64::from(u32::MAX),
            _ => i64::MAX as u64,
        };
        (values as u64).saturating_sub(1) <= largest
    }

    fn renumber(&self, indices: ArrayData, positions: &[usize]) -> Result<ArrayData> {
        match &self.index_type {
            DataType::Int8 => self.renumber_as::<Int8Type>(indices, positions),
            DataType::Int16 => self.renumber_as::<Int16Type>(indices, positions),
            DataType::Int32 => self.renumber_as::<Int32Type>(indices, positions),
            DataType::Int64 => self.renumber_as::<Int64Type>(indices, positions),
            DataType::UInt8 => self.renumber_as::<UInt8Type>(indices, positions),
            DataType::UInt16 => self.renumber_as::<UInt16Type>(indices, positions),
            DataType::UInt32 => self.renumber_as::<UInt32Type>(indices, positions),
            DataType::UInt64 => self.renumber_as::<UInt64Type>(indices, positions),
            other => Err(Error::Unsupported {
                what: format!("the dictionary of {}", self.path),
                reason: format!("its index type {other} is not an integer"),
            }),
        }
    }

    fn renumber_as<K: ArrowDictionaryKeyType>(&self, indices: ArrayData, positions: &[usize]) -> Result<ArrayData> {
        let indices = PrimitiveArray::<K>::from(indices);
        let renumbered: PrimitiveArray<K> = indices
            .iter()
            .map(|index| {
                let index = index?;
                let position = positions.get(index.as_usize()).copied();
                // Both hold for a valid array whose dictionary passed `fits`; a null in place of a crash otherwise
                // would be wrong data, so it is an error below.
                position.and_then(K::Native::from_usize)
            })
            .collect();
        if renumbered.null_count() != indices.null_count() {
            return Err(Error::SchemaMismatch {
                reason: format!("an index of {} lies outside its dictionary", self.path),
            });
        }
        Ok(renumbered.into_data())
    }

    /// The values, in the order in which they came.
    pub(super) fn finish(self) -> Result<ArrayData> {
        let pieces: Vec<&dyn Array> = self.pieces.iter().map(AsRef::as_ref).collect();
        if pieces.is_empty() {
            return Ok(new_empty_array(&self.value_type).into_data());
        }
        concat(&pieces)
            .map(|values| values.to_data())
            .map_err(|e| Error::arrow(format!("joining the dictionaries of {}", self.path), e))
    }
}

//! How many nodes and buffers a schema asks for.

use arrow_schema::{DataType, Schema, UnionMode};

use crate::header::{BatchHeader, dictionaries_in};
use crate::{ProtocolError, Result};

/// What every batch of a schema has in common; compute it once per schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shape {
    /// Arrays, nested ones counted.
    pub nodes: usize,
    /// Buffers, without the data buffers of views.
    pub buffers: usize,
    /// View arrays: each adds as many buffers as its variadic count says.
    pub views: usize,
    /// Dictionary encodings, those inside dictionaries' values counted.
    pub dictionaries: usize,
}

impl Shape {
    /// A cheap check of a header's counts, before anything is read.
    pub fn check(&self, header: &BatchHeader) -> Result<()> {
        let expect = |what, expected: u64, got: usize| {
            if expected == got as u64 {
                Ok(())
            } else {
                Err(ProtocolError::layout(what, format!("the header has {got}, the schema needs {expected}")))
            }
        };
        expect("field nodes", self.nodes as u64, header.nodes.len())?;
        expect("variadic counts", self.views as u64, header.variadic.len())?;
        let variadic = header.variadic.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        expect("buffers", variadic.saturating_add(self.buffers as u64), header.buffers.len())
    }

    pub(super) fn of(data_type: &DataType) -> Self {
        let mut shape = Self { dictionaries: dictionaries_in(data_type), ..Self::default() };
        shape.add(data_type);
        shape
    }

    fn add(&mut self, data_type: &DataType) {
        self.nodes += 1;
        match data_type {
            DataType::Null => {}
            DataType::Utf8 | DataType::Binary | DataType::LargeUtf8 | DataType::LargeBinary => {
                self.buffers += 3;
            }
            DataType::Utf8View | DataType::BinaryView => {
                self.buffers += 2;
                self.views += 1;
            }
            DataType::List(f) | DataType::LargeList(f) | DataType::Map(f, _) => {
                self.buffers += 2;
                self.add(f.data_type());
            }
            DataType::ListView(f) | DataType::LargeListView(f) => {
                self.buffers += 3;
                self.add(f.data_type());
            }
            DataType::FixedSizeList(f, _) => {
                self.buffers += 1;
                self.add(f.data_type());
            }
            DataType::Struct(fields) => {
                self.buffers += 1;
                fields.iter().for_each(|f| self.add(f.data_type()));
            }
            DataType::Union(fields, mode) => {
                self.buffers += match mode {
                    UnionMode::Sparse => 1,
                    UnionMode::Dense => 2,
                };
                fields.iter().for_each(|(_, f)| self.add(f.data_type()));
            }
            DataType::RunEndEncoded(ends, values) => {
                self.add(ends.data_type());
                self.add(values.data_type());
            }
            // Validity and values, or validity and keys.
            _ => self.buffers += 2,
        }
    }
}

/// The shape of a schema's batches.
#[must_use]
pub fn shape_of(schema: &Schema) -> Shape {
    schema.fields().iter().map(|f| Shape::of(f.data_type())).fold(Shape::default(), |a, b| Shape {
        nodes: a.nodes + b.nodes,
        buffers: a.buffers + b.buffers,
        views: a.views + b.views,
        dictionaries: a.dictionaries + b.dictionaries,
    })
}

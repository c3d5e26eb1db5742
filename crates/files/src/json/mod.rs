//! A schema as JSON, in the format of Arrow's integration tests.
//!
//! The same format `apache-arrow` prints and reads, so a schema crosses from Rust to TypeScript as one string.
//! Only schemas: data never travels as JSON.
//!
//! A dictionary-encoded field shows the type and the children of its *values*, and names the encoding beside
//! them. Dictionary ids are not kept: [`schema_to_json`] numbers them 0, 1, 2, … depth first, a field before the
//! fields within its values. The format has no word for a dictionary whose values are dictionaries again; such a
//! type is written as `{"name":"dictionary", …}`, which only [`schema_from_json`] understands.
//!
//! ```
//! use arrow_schema::{DataType, Field, Schema};
//! use arrowlane_files::json;
//!
//! let schema = Schema::new(vec![Field::new("t", DataType::Float32, true)]);
//! let value = json::schema_to_json(&schema);
//! assert_eq!(value["fields"][0]["type"]["precision"], "SINGLE");
//! assert_eq!(json::schema_from_json(&value)?, schema);
//! # Ok::<(), arrowlane_files::Error>(())
//! ```

mod decode;
mod encode;

pub use decode::schema_from_json;
pub use encode::schema_to_json;

#[cfg(test)]
mod tests;

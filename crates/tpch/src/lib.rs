//! TPC-H tables for tests and demonstrations, as a native Node addon of its own.
//!
//! To arrowlane it is somebody else's addon: it hands its batches over by the Arrow C Device Interface, into structs
//! the caller owns, and shares nothing else with it. `binding` is what JavaScript sees, `lineitem` the generator,
//! `q6` the arithmetic of query 6, kept in whole numbers.
//!
//! Deterministic: the same scale factor gives the same bytes on every machine. Strings are `Utf8View`, money is
//! `Decimal128(15, 2)`, dates are `Date32`.

// Nothing calls the exports in a test build, which no Node loads.
#[cfg(not(test))]
mod binding;
mod lineitem;
mod q6;

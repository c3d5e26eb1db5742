//! UCX as it is: the C functions and structs that `arrowlane-ucx` uses, and how the library is found and loaded.
//!
//! # Design
//! [`bindings`] is generated once from the headers of the newest release (`tools/bindgen-ucx.sh`) and committed; nothing is linked.
//! [`load`] opens the library when it is first needed. Older releases work with newer structs, because every struct of UCP has a mask that
//! says which of its fields count: zero the struct, and set only bits that the loaded release knows ([`Library::version`]).
//!
//! A process has one UCX. It is never closed: its own thread, and whatever it registered, live as long as the process.

#![cfg(target_os = "linux")]

#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]
pub mod bindings;
mod load;
mod pointer;

pub use load::{Library, LoadError, OLDEST, Search, Version, load, loaded};
pub use pointer::{Outcome, outcome};

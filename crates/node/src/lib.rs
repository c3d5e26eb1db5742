//! The Node-API binding: the only crate that knows Node.
//!
//! # Design
//! A [`lane::NativeLane`] is made once per environment (main thread or worker) by `ts/native`. It watches the plane's
//! one descriptor with a `uv_poll` handle on the environment's own loop, so a message from another process reaches
//! JavaScript with one wake-up and no thread of ours (but on Windows, [`wake`]). What happened is written into a `Float64Array` that both sides
//! know (the *mailbox*), and one call of JavaScript tells how many records there are.
//!
//! There is no logic here: JavaScript holds numbers (handles) that stand for Rust values in tables of the environment.
//! Nothing in this crate is reachable from two threads, except what [`cell::Cell`] guards.

#![cfg(any(unix, windows))]
#![cfg_attr(test, allow(dead_code, reason = "nothing is registered with Node in tests"))]
#![allow(missing_docs, reason = "the public documentation is that of the TypeScript API")]

mod arrays;
mod authenticate;
mod call;
mod calls;
mod cell;
mod error;
mod events;
mod exchange;
mod files;
mod flight;
mod flight_info;
mod forward;
mod held;
mod host;
mod interchange;
mod lane;
#[cfg(windows)]
mod pinned;
mod policy;
mod publish;
mod pulse;
mod remote;
mod report;
mod scratch;
mod sending;
mod serve;
mod sharing;
mod subscribe;
mod table;
mod topics;
mod transports;
#[cfg(unix)]
mod uv;
mod wake;

//! One suite per trait, run by every implementation; and connections that misbehave, for tests of what stands on them.
//!
//! # Design
//! A suite is a list of promises. An implementation says how to make what is tested, and gets one test per promise
//! ([`delivery_suite!`]; [`transport_suite!`] where memory is lent). The promises are those of the trait's documentation and no others: what a suite asks for, users
//! of the trait may rely on.
//!
//! | module        | what it is |
//! |---------------|------------|
//! | [`transport`] | the suite for [`Endpoint`](arrowlane_transport::Endpoint) |
//! | [`faulty`]    | an endpoint that delays messages, splits bursts, and drops its connection at a message |
//! | [`relay`]     | between two processes' sockets: passes bytes on in pieces of any size, and cuts at any byte |
//!
//! This crate is for tests: it panics where a promise is broken.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod faulty;
pub mod relay;
pub mod transport;

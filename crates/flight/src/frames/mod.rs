//! The bytes of the calls that carry data: gRPC's framing around `FlightData`.
//!
//! tonic encodes a message into one buffer and collects a message in one buffer. For bodies of megabytes that is a copy on either side,
//! and bytes at an address that no array can be built over. So the three calls with bodies are framed here: what is sent is a list of
//! pieces, the body's own memory among them; what arrives is put straight to where it stays, aligned to 64 bytes.

mod incoming;
mod outgoing;
mod stream;

pub use incoming::Message;
pub(crate) use incoming::{Decoder, Malformed, MessageLimits};
pub(crate) use outgoing::{frames_of, put_result};
pub(crate) use stream::{Messages, Stopped, unary};

/// Field numbers of `FlightData`; the first is also `app_metadata` of a `PutResult`.
mod field {
    pub const DESCRIPTOR: u32 = 1;
    pub const HEADER: u32 = 2;
    pub const APP_METADATA: u32 = 3;
    pub const BODY: u32 = 1000;
}

/// gRPC's prefix: whether compressed, and the length.
const PREFIX: usize = 5;

/// The most that a message can have: what other implementations of protobuf read.
pub(crate) const MAX_MESSAGE: usize = i32::MAX as usize;

//! Arrow Flight: the control plane, and the data plane for whoever has no other.
//!
//! # Design
//! A [`Server`] answers for a [`Catalog`]: it lists datasets, describes them, mints tickets with data URIs beside them, and sends the data
//! itself to anyone who redeems a ticket with `DoGet`. A [`Client`] does the same calls against any Flight server. Both run on
//! a [`Runtime`] of their own, two threads that exist as long as one of them does.
//!
//! Calls that carry data do not go through the generated code: [`frames`] puts bodies on the wire from where they lie, and what arrives
//! to where it stays. Everything else is arrow-flight's service on tonic.
//!
//! # Trust
//! Every byte that comes in is hostile: messages have limits before memory is taken for them, connections that say nothing end, and
//! batches that are handed on were checked value by value ([`BatchDecoder`]).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod auth;
mod catalog;
mod client;
mod counted;
mod decode;
mod encode;
mod endpoint;
mod error;
mod frames;
mod info;
mod location;
mod runtime;
mod server;
mod shelf;

pub use auth::{Authenticate, BoxFuture, Credentials, Denied};
pub use catalog::{Caller, Catalog, CatalogError, Description, Identity, Locations, Minted, Part, Sink, Snapshot};
pub use client::{CallOptions, Client, ClientOptions, ClientTls, Conversation, Get};
pub use counted::ByteCounts;
pub use decode::BatchDecoder;
pub use encode::{Batches, Encoder};
pub use endpoint::GrpcEndpoint;
pub use error::{FlightError, Result};
pub use frames::Message;
pub use info::{Descriptor, Endpoint, Info, Shape};
pub use location::{ControlUri, LOCATIONS_HEADER, Location, METADATA_ONLY_HEADER, REUSE_CONNECTION};
pub use runtime::Runtime;
pub use server::{Incoming, Server, ServerOptions, ServerTls};
pub use shelf::{Exchanger, Live, Shelf};
pub use tokio_util::sync::CancellationToken as Cancellation;

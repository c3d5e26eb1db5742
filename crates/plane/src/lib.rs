//! The plane: the Dissociated IPC protocol put on transports.
//!
//! # Design
//! A [`Lane`] belongs to one event loop. It gathers every descriptor of its publishers and subscriptions under one
//! ([`Lane::descriptor`]); when that polls readable, the loop calls [`Lane::turn`] and gets [`Event`]s. Before it goes
//! to sleep, the loop calls [`Lane::idle`], which sends what was gathered during the turn: `free_data`, credits, and
//! batches that followed a first one. No thread is started for any of this, so a batch goes from the sender's call to
//! the receiver's loop with one wake-up.
//!
//! A received [`Batch`] is a set of spans in the producer's memory, held under a lease. The lease ends exactly once,
//! when the last reference to the batch's [`Body`] is dropped, on whatever thread that happens: pages that this process
//! wrote are thrown away, and the addresses go back in a `free_data` message.

#![cfg(any(unix, windows))]

mod batch;
mod body;
mod copied;
mod error;
mod lane;
mod link;
mod memory;
mod native_lane;
mod outgoing;
mod publisher;
mod pulse;
mod recycle;
mod retries;
pub mod server;
pub mod sharing;
mod subscription;
mod ticket;
mod topic;
mod topics;
mod writable;

pub use batch::{Batch, BatchSchema, Dictionary};
pub use body::{Body, HostRange, Placed, identity_of};
pub use copied::copied_bytes;
pub use error::PlaneError;
pub use lane::{Event, Lane};
pub use memory::{Memory, Relayed};
pub use native_lane::NativeLane;
pub use outgoing::{Outgoing, OutgoingDictionary};
pub use publisher::{
    ConnectionId, LeaseStatistics, Lending, MAX_QUEUED_BATCHES, Overflow, PackOutcome, Part, Permits, Policy, Prepared,
    Publisher, PublisherOptions, PublisherStatistics, Queue, Request, SendOutcome, Standing, SubscriberStatistics,
};
pub use pulse::Pulse;
pub use subscription::{Figures, Subscription, SubscriptionOptions, SubscriptionStatistics, Target};
pub use topic::bodies_alone;
pub use topics::{TopicReport, TopicState, ask_topic, topic_files};

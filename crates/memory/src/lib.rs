//! Where bytes live: regions, shared segments, pools of page-bounded blocks, and the limits they keep.
//!
//! # Design
//! A [`Region`] is a span of memory of one [`Kind`]; cloning it shares its owner. A [`Pool`] holds regions ("segments",
//! numbered from 1) of one kind and cuts them into [`Block`]s. A block returns to its pool exactly once, when it is dropped,
//! from any thread. Callers see kinds only through `Region` and `Block`, so kinds that come later change nothing for them.
//!
//! Two rules carry the promise "never wrong data":
//! * **Blocks start and end on a page and two live blocks never share one.** A consumer maps a segment privately; a page
//!   that it wrote to stops following the producer, so a shared page would show it stale bytes of the neighbour.
//! * **Memory is looked for before it is taken.** The pool's limit, the cgroup and the available memory are read before a
//!   segment is created and again while it is filled: a missing page is an error, never SIGBUS or the OOM killer.
//!
//! ```
//! use arrowlane_memory::{AllocateError, Kind, Pool, PoolConfig};
//!
//! let pool = Pool::new(PoolConfig { kind: Kind::Heap, limit: 1 << 20, segment: 1 << 18, max_segments: 8 })?;
//! let block = loop {
//!     match pool.try_allocate(10_000) {
//!         Ok(block) => break block,
//!         Err(AllocateError::NeedsGrowth) => pool.grow(10_000)?, // off the event loop: this may take milliseconds
//!         Err(other) => return Err(other.into()),
//!     }
//! };
//! assert_eq!(block.len(), 10_000);
//! drop(block);
//! assert_eq!(pool.statistics().used, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod counters;
mod error;
mod growing;
pub mod limits;
mod page;
mod pool;
mod region;
#[cfg(target_os = "linux")]
pub mod shared;
#[cfg(not(target_os = "linux"))]
#[path = "shared/unsupported.rs"]
pub mod shared;
mod span;
#[cfg(target_os = "linux")]
mod spares;

pub use error::{AllocateError, Limit, MemoryError};
pub use growing::{Arrived, Growing};
pub use page::page_size;
pub use pool::{Block, DEFAULT_SEGMENT, Pool, PoolConfig, PoolStatistics};
pub use region::{Kind, Region};

/// The result of an operation on memory.
pub type Result<T, E = MemoryError> = std::result::Result<T, E>;

//! What this machine and process have, for `doctor` and for tests that look for leaks.

use arrowlane_memory::{counters, limits};
use arrowlane_plane::Lending;
use arrowlane_transport::shm::Folder;
use napi_derive::napi;

use crate::lane::NativeLane;

#[napi(object)]
pub struct NativeCounters {
    /// Segments that this process made, mappings it has of others', blocks in use.
    pub segments: f64,
    pub mappings: f64,
    pub blocks: f64,
    /// Bodies that came inside their message, whole or in part.
    pub arrivals: f64,
    /// Exported C structs that were not released yet.
    pub exports: f64,
    /// Batches that JavaScript has handles of, in this environment.
    pub batches: f64,
}

#[napi(object)]
pub struct NativeReport {
    /// The folder of sockets, or why it cannot be used.
    pub folder: Option<String>,
    pub folder_problem: Option<String>,
    /// Bytes that may still be taken; absent where the system does not say.
    pub memory_available: Option<f64>,
    pub cgroup_headroom: Option<f64>,
    /// Why no shared segment could be made, sealed and mapped; absent when that works.
    pub shared_memory_problem: Option<String>,
    /// Why publishers of this process send bodies through their sockets; absent when they lend them.
    pub inline_reason: Option<String>,
    /// Why there can be no publisher in this process, as far as memory is concerned.
    pub lending_problem: Option<String>,
    /// How the pages that a consumer wrote to are found: `PAGEMAP_SCAN`, `/proc/self/pagemap` or `none`.
    pub written_pages: Option<String>,
    /// Version of the native part.
    pub version: String,
    /// Whether the native part was built with debug assertions: several times slower than a release build.
    pub debug_build: bool,
    /// The UCX library that `ucx:` uses, release and file; or what is missing.
    pub ucx: Option<String>,
    pub ucx_problem: Option<String>,
    /// Why the event loop itself cannot watch; absent when it can.
    pub libuv_problem: Option<String>,
}

#[napi]
impl NativeLane {
    #[napi]
    pub fn counters(&self) -> NativeCounters {
        let memory = counters::snapshot();
        NativeCounters {
            segments: memory.segments as f64,
            mappings: memory.mappings as f64,
            blocks: memory.blocks as f64,
            arrivals: memory.arrivals as f64,
            exports: arrowlane_arrow_c::live_exports() as f64,
            batches: self.host.tables.borrow().batches.len() as f64,
        }
    }

    /// Bytes of bodies that native code copied in this process so far.
    #[napi]
    pub fn copied_bytes(&self) -> f64 {
        arrowlane_plane::copied_bytes() as f64
    }

    #[napi]
    pub fn report(&self) -> NativeReport {
        let folder = Folder::open_default();
        let headroom = limits::headroom();
        let memory = arrowlane_memory::shared::probe();
        let (inline_reason, lending_problem) = match Lending::of_this_process() {
            Ok(Lending::Lent) => (None, None),
            Ok(Lending::Inline { reason }) => (Some(reason), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let ucx = crate::transports::probe_ucx();
        NativeReport {
            folder: folder.as_ref().ok().map(|f| f.path().display().to_string()),
            folder_problem: folder.err().map(|e| e.to_string()),
            memory_available: headroom.available.map(|bytes| bytes as f64),
            cgroup_headroom: headroom.cgroup.map(|bytes| bytes as f64),
            shared_memory_problem: memory.as_ref().err().map(ToString::to_string),
            inline_reason,
            lending_problem,
            written_pages: memory.ok().map(str::to_owned),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            ucx: ucx.as_ref().ok().cloned(),
            ucx_problem: ucx.err(),
            libuv_problem: crate::wake::Wake::problem(),
        }
    }
}

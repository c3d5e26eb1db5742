//! What the process has once: UCX's contexts.

use std::{
    ffi::{CStr, CString},
    net::IpAddr,
    ptr::{null, null_mut},
    sync::Arc,
};

use arrowlane_transport::TransportError;
use arrowlane_ucx_sys::{Library, bindings as ucx};
use parking_lot::Mutex;

use crate::result::check;

/// Which interfaces of the machine a context uses. Every worker opens a socket that listens on each of them, so what is meant for this machine
/// alone has a context of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine only.
    Loopback,
    /// Whatever `UCX_NET_DEVICES` says; by default all.
    Network,
}

impl Reach {
    pub(crate) fn of(address: IpAddr) -> Self {
        if address.is_loopback() { Self::Loopback } else { Self::Network }
    }
}

/// How messages go that are too long for one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Long {
    /// Announced first, then written to where the peer wants them. Releases do not understand each other's announcements (1.13's hold keys that 1.22 cannot
    /// read, and either breaks off), so this is for peers with the same one.
    Announced,
    /// In many pieces, which the peer gathers: every release can.
    Pieces,
}

/// Which of the machine's devices a connection may use. Both sides have to mean the same: others do not come together, and a client with 1.13
/// that means one is aborted by a server that means all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Devices {
    /// The one that it was made on. Releases before 1.14 cannot read the list of devices of later ones, so this is for peers that agreed on it: the
    /// server's URI says [`DEVICES`], the client's id has [`ONE_DEVICE`].
    One,
    /// All: what UCX does unless it is told otherwise, and so everybody else.
    All,
}

/// The parameter of a URI by which a server says that it understands connections over one device; and its value.
pub(crate) const DEVICES: (&str, &str) = ("devices", "one");
/// The bit of a client's id by which it says that it makes such a connection.
const ONE_DEVICE: u64 = 1 << 39;
/// The variable that has the last word.
const ALL_DEVICES: &str = "UCX_CM_USE_ALL_DEVICES";

impl Devices {
    /// What a client means by its id.
    pub(crate) fn of(client: Option<u64>) -> Self {
        let ours = client.filter(|id| id >> 40 == OURS);
        if ours.is_some_and(|id| id & ONE_DEVICE != 0) { Self::One } else { Self::All }
    }

    /// What the environment says, where it says something.
    fn or_environment(self) -> Self {
        match std::env::var(ALL_DEVICES).as_deref() {
            Ok("n" | "no" | "off" | "0" | "N" | "No" | "NO") => Self::One,
            Ok(_) => Self::All,
            Err(_) => self,
        }
    }
}

/// How the ids of our clients begin.
const OURS: u64 = 0x61_6C_75;

/// UCX with its configuration, and without connections.
pub(crate) struct Context {
    pub(crate) library: &'static Library,
    pub(crate) raw: ucx::ucp_context_h,
    pub(crate) reach: Reach,
    pub(crate) devices: Devices,
}

// SAFETY: it is made with `mt_workers_shared`: its workers may be made, used and destroyed on different threads at a time.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// What clients say of themselves when they connect: who speaks here, over which devices, and which release.
    pub(crate) fn client_id(&self) -> u64 {
        let one = if self.devices == Devices::One { ONE_DEVICE } else { 0 };
        one | self.release()
    }

    /// Whether a client has this release.
    pub(crate) fn is_release_of(&self, client: u64) -> bool {
        client & !ONE_DEVICE == self.release()
    }

    fn release(&self) -> u64 {
        let version = self.library.version();
        (OURS << 40) | (u64::from(version.major) << 20) | u64::from(version.minor)
    }

    /// The process's context of a kind; made when it is first asked for, and kept.
    pub(crate) fn shared(
        library: &'static Library,
        reach: Reach,
        long: Long,
        devices: Devices,
    ) -> Result<Arc<Self>, TransportError> {
        static CONTEXTS: Mutex<[Option<Arc<Context>>; 8]> = Mutex::new([const { None }; 8]);
        let devices = devices.or_environment();
        let mut contexts = CONTEXTS.lock();
        let kind = [devices == Devices::All, reach == Reach::Network, long == Long::Pieces];
        let slot = &mut contexts[kind.into_iter().fold(0, |slot, half| 2 * slot + usize::from(half))];
        if let Some(context) = slot {
            return Ok(Arc::clone(context));
        }
        let context = Arc::new(Self::new(library, reach, long, devices)?);
        *slot = Some(Arc::clone(&context));
        Ok(context)
    }

    fn new(library: &'static Library, reach: Reach, long: Long, devices: Devices) -> Result<Self, TransportError> {
        let mut config = null_mut();
        // SAFETY: no prefix, no file: the environment is read and a configuration is written to `config`.
        let status = unsafe { (library.ucp.ucp_config_read)(null(), null(), &mut config) };
        check(library, "reading the configuration of UCX", status)?;
        let config = Config { library, raw: config };
        // Its shared memory costs ten descriptors a worker, and is not used where the death of peers is to be noticed.
        config.prefer("UCX_TLS", c"TLS", c"^sm")?;
        if devices == Devices::One {
            config.prefer(ALL_DEVICES, c"CM_USE_ALL_DEVICES", c"n")?;
        }
        // The newer way to choose how messages go costs 0.4 s and 1.3 MB for each connection in 1.22, and gains nothing over TCP.
        config.prefer("UCX_PROTO_ENABLE", c"PROTO_ENABLE", c"n")?;
        let long_from = match long {
            Long::Pieces => c"inf",
            // Announcing takes a message there and back: measured over TCP, that is quicker than another copy from about here on.
            Long::Announced => c"96k",
        };
        config.prefer("UCX_RNDV_THRESH", c"RNDV_THRESH", long_from)?;
        if reach == Reach::Loopback {
            config.set(c"NET_DEVICES", &loopback_device())?;
        }
        // SAFETY: all zeros is a valid value of this C struct; the mask says which fields count.
        let mut params: ucx::ucp_params_t = unsafe { std::mem::zeroed() };
        params.field_mask = u64::from(ucx::UCP_PARAM_FIELD_FEATURES | ucx::UCP_PARAM_FIELD_MT_WORKERS_SHARED);
        params.features = u64::from(ucx::UCP_FEATURE_TAG | ucx::UCP_FEATURE_AM | ucx::UCP_FEATURE_WAKEUP);
        params.mt_workers_shared = 1;
        let mut raw = null_mut();
        let (major, minor) = library.interface();
        // SAFETY: both structs live through the call, and fields beyond the mask are not looked at.
        let status = unsafe { (library.ucp.ucp_init_version)(major, minor, &params, config.raw, &mut raw) };
        check(library, "starting UCX", status)?;
        Ok(Self { library, raw, reach, devices })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: workers keep their context alive, so there are none.
        unsafe { (self.library.ucp.ucp_cleanup)(self.raw) };
    }
}

struct Config {
    library: &'static Library,
    raw: *mut ucx::ucp_config_t,
}

impl Config {
    /// Sets what the user has not.
    fn prefer(&self, variable: &str, name: &CStr, value: &CStr) -> Result<(), TransportError> {
        if std::env::var_os(variable).is_some() { Ok(()) } else { self.set(name, value) }
    }

    fn set(&self, name: &CStr, value: &CStr) -> Result<(), TransportError> {
        // SAFETY: the configuration is alive, and both strings are copied.
        let status = unsafe { (self.library.ucp.ucp_config_modify)(self.raw, name.as_ptr(), value.as_ptr()) };
        check(self.library, "configuring UCX", status)
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: it came from ucp_config_read and is released once.
        unsafe { (self.library.ucp.ucp_config_release)(self.raw) };
    }
}

/// The name of the machine's loopback interface: `lo`, but for containers that named it otherwise.
fn loopback_device() -> CString {
    const IFF_LOOPBACK: u32 = 8;
    let entries = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let is_loopback = |entry: &std::fs::DirEntry| {
        let flags = std::fs::read_to_string(entry.path().join("flags")).ok();
        let flags = flags.and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
        flags.is_some_and(|flags| flags & IFF_LOOPBACK != 0)
    };
    let found = entries.into_iter().find(is_loopback).and_then(|entry| entry.file_name().into_string().ok());
    found.and_then(|name| CString::new(name).ok()).unwrap_or_else(|| c"lo".into())
}

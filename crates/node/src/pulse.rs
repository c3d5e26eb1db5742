//! Eight bytes through the lane's own poll handle: the floor that `bench handoff` measures itself against.

use std::path::Path;

use arrowlane_plane::Pulse;
use napi_derive::napi;

use crate::{
    error::{Result, plane, stale},
    lane::NativeLane,
};

#[napi]
impl NativeLane {
    /// Listens at a path, or connects to it; records carry what arrives.
    #[napi]
    pub fn pulse_open(&self, path: String, listen: bool) -> Result<u32> {
        let pulse = Pulse::open(Path::new(&path), listen, &self.host.lane).map_err(plane)?;
        let id = pulse.id();
        self.host.tables.borrow_mut().pulses.insert(id, pulse);
        Ok(id)
    }

    #[napi]
    pub fn pulse_send(&self, pulse: u32, value: f64) -> Result<()> {
        let tables = self.host.tables.borrow();
        tables.pulses.get(&pulse).ok_or_else(|| stale("pulse"))?.send(value).map_err(plane)
    }

    #[napi]
    pub fn pulse_close(&self, pulse: u32) {
        let removed = self.host.tables.borrow_mut().pulses.remove(&pulse);
        drop(removed);
    }
}

//! A message and its body into an endpoint: lent, sent behind it, or nothing.

use arrowlane_dissociated::{BatchHeader, Body, Pair, Sender};
use arrowlane_memory::Pool;
use arrowlane_transport::Endpoint;

use super::handed_on;
use crate::{
    Memory, PlaneError,
    publisher::{ledger::Lent, lending},
};

pub(super) fn put(
    sender: &mut Sender<Lent>,
    endpoint: &mut dyn Endpoint,
    pool: &Pool,
    lend: impl FnOnce(&Memory) -> Lent,
    flatbuffer: &[u8],
    pairs: &[Pair],
    memory: Option<&Memory>,
) -> Result<(), PlaneError> {
    let Some(memory) = memory else {
        put_nothing(sender, endpoint, flatbuffer);
        return Ok(());
    };
    match memory {
        Memory::Block(block) => endpoint.lend(pool, block)?,
        Memory::Relayed(relayed) => relayed.segments.iter().try_for_each(|s| endpoint.lend_on(s.number, &s.mapping))?,
    }
    let keep = lend(memory);
    let total = pairs.iter().map(|p| p.length).sum();
    sender.message(flatbuffer, Body::Pairs { total, pairs, keep: &keep }, endpoint);
    Ok(())
}

/// Whether the subscriber can be lent this. What is somebody else's is lent to those alone that keep it as it is if this process
/// dies; the others are sent it, which is never wrong.
pub(super) fn may_lend(endpoint: &mut dyn Endpoint, memory: Option<&Memory>) -> bool {
    !memory.is_some_and(Memory::is_relayed) || endpoint.lends_on()
}

/// As [`put`], with the body behind its message: from the block into the socket.
pub(super) fn put_inline(
    sender: &mut Sender<Lent>,
    endpoint: &mut dyn Endpoint,
    lend: impl FnOnce(&Memory) -> Lent,
    flatbuffer: &[u8],
    header: &BatchHeader,
    memory: Option<&Memory>,
) -> Result<(), PlaneError> {
    let length = lending::packed_header(header).body_length;
    let Some(memory) = memory.filter(|_| length > 0) else {
        put_nothing(sender, endpoint, flatbuffer);
        return Ok(());
    };
    let lent = lend(memory);
    let parts = match memory {
        Memory::Block(_) => lending::parts(header, &lent)?,
        Memory::Relayed(relayed) => handed_on::parts(relayed, &lent),
    };
    let tag = sender.before_body(flatbuffer, length, endpoint);
    endpoint.body(tag, parts);
    Ok(())
}

pub(super) fn put_nothing(sender: &mut Sender<Lent>, endpoint: &mut dyn Endpoint, flatbuffer: &[u8]) {
    if sender.is_extended() {
        sender.message(flatbuffer, Body::None, endpoint);
        // Counted as one byte by both sides: otherwise no credit would ever say that it was taken.
        sender.count(1);
    } else {
        // It waits for a body, though there is nothing in it.
        sender.message(flatbuffer, Body::Packed { parts: &[], length: 0 }, endpoint);
    }
}

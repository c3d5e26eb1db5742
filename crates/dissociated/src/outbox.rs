//! Where messages leave the state machine.

/// Takes what a [`Sender`](crate::Sender) or [`Receiver`](crate::Receiver) wants sent.
///
/// A transport's endpoint implements it by appending frames. The parts of one call are one message, back to back; they
/// are borrowed for the call only, so copy them or send them before returning. Neither call can fail: an endpoint that
/// lost its peer drops the message and reports the loss in its own way.
pub trait Outbox {
    /// One message of the metadata stream.
    fn metadata(&mut self, parts: &[&[u8]]);
    /// One tagged message.
    fn tagged(&mut self, tag: u64, parts: &[&[u8]]);
}

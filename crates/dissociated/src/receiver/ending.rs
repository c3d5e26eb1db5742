//! What is wrong with a stream that its sender ended.

use super::{Receiver, State};
use crate::ProtocolError;

impl Receiver {
    /// As [`missing`](Self::missing), of a stream that the sender said was over: then it did not die before it had sent everything, but
    /// left something out. `None` where the end did not come.
    #[must_use]
    pub fn left_out(&self) -> Option<ProtocolError> {
        matches!(self.state, State::Ending(_)).then(|| self.missing()).flatten()
    }
}

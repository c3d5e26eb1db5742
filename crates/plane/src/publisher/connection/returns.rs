//! What one subscriber notes as free.

use arrowlane_memory::shared::Overrun;
use arrowlane_transport::TransportError;

use super::Connection;
use crate::{PlaneError, publisher::talk::Phase};

impl Connection {
    /// Takes back what the subscriber noted, and forgets what it has taken in. Whether there was anything.
    pub(in crate::publisher) fn collect(&mut self) -> Result<bool, PlaneError> {
        if self.orphaned {
            // Its descriptor says so as well, when the loop comes past.
            self.receive()?;
        }
        let mut any = false;
        if let (Some(returns), Phase::Streaming(sender) | Phase::Ended(sender)) =
            (&mut self.returns, &mut self.talk.phase)
        {
            while let Some(address) = returns.take().map_err(overrun)? {
                sender.free(address)?;
                any = true;
            }
        }
        if let Phase::Streaming(sender) = &self.talk.phase {
            let consumed = sender.consumed_bytes();
            while self.window.front().is_some_and(|end| *end <= consumed) {
                self.window.pop_front();
            }
        }
        Ok(any)
    }

    /// Asks the subscriber to say when it notes something, or no more. One that gets nothing more, for whom something may be
    /// kept back, or that holds what is somebody else's (who may be waiting for it) always does.
    pub(in crate::publisher) fn ask(&mut self, asked: bool) {
        let always = !self.takes_part() || self.may_lose() || self.holds_relayed();
        if let Some(returns) = &mut self.returns {
            returns.ask(asked || always);
        }
    }
}

fn overrun(Overrun(count): Overrun) -> PlaneError {
    TransportError::Framing(format!("a subscriber claims to have noted {count} returns at once")).into()
}

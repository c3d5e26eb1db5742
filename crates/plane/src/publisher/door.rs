//! Where subscribers come in.

use arrowlane_transport::{Endpoint, Listener, TransportError, system::Alarm};
use rustix::io::Errno;

/// A listener, and a descriptor in reserve.
///
/// Where the process has no descriptors left, a connection can be neither taken nor turned away, and its listener stays
/// readable: the event loop would spin. The descriptor in reserve is given up for the moment that turning it away takes;
/// the subscriber sees a connection that closed without a greeting, and tries again.
pub(crate) struct Door {
    listener: Box<dyn Listener>,
    key: u64,
    reserve: Option<Alarm>,
}

impl Door {
    /// A listener that is watched under `key`.
    pub(crate) fn new(listener: Box<dyn Listener>, key: u64) -> Self {
        Self { listener, key, reserve: reserve() }
    }

    /// Its key in the lane's reactor.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    pub(crate) fn listener(&self) -> &dyn Listener {
        &*self.listener
    }

    /// The next one that waits. Strangers, and those for whom there is no descriptor, are turned away.
    pub(crate) fn accept(&mut self, topic: &str) -> Option<Box<dyn Endpoint>> {
        loop {
            match self.listener.accept() {
                Ok(accepted) => return accepted,
                Err(error) if no_descriptors(&error) => {
                    tracing::warn!(topic, %error, "a connection was turned away");
                    self.reserve.take()?;
                    let turned_away = self.listener.accept();
                    let nobody = matches!(turned_away, Ok(None));
                    drop(turned_away);
                    self.reserve = reserve();
                    if nobody {
                        return None;
                    }
                }
                Err(error) => {
                    tracing::warn!(topic, %error, "a connection was not accepted");
                    return None;
                }
            }
        }
    }
}

fn reserve() -> Option<Alarm> {
    Alarm::new().ok()
}

fn no_descriptors(error: &TransportError) -> bool {
    let TransportError::Io { source, .. } = error else { return false };
    let errno = source.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE)) || is_full(errno)
}

/// Whether all processes together have no descriptors left.
#[cfg(unix)]
fn is_full(errno: Option<Errno>) -> bool {
    errno == Some(Errno::NFILE)
}

#[cfg(windows)]
fn is_full(errno: Option<Errno>) -> bool {
    errno == Some(Errno::NOBUFS)
}

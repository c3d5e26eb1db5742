//! The publisher's socket.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::{
    io::Errno,
    net::{bind, connect, listen},
    process::geteuid,
};

use super::{Folder, ShmEndpoint, endpoint::Side};
use crate::{
    Endpoint, Listener, TransportError,
    system::{self, accept_stream, peer_of},
};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 256;

/// A listening unix socket with a name in a [`Folder`]. The name is removed on drop.
///
/// A visible name always listens: the socket is bound under a temporary name and renamed once it does. So a refused
/// connection means that the owner is dead, and its name may be taken over.
pub struct ShmListener {
    socket: OwnedFd,
    folder: Arc<Folder>,
    file: String,
    identity: (u64, u64),
}

impl ShmListener {
    /// Listens under `name`.
    ///
    /// # Errors
    /// [`TransportError::Taken`] when a live process listens there. What a dead one left is taken over.
    pub fn bind(folder: Arc<Folder>, name: &str) -> Result<Self, TransportError> {
        let file = Folder::file_name(name)?;
        let socket = stream_socket()?;
        let mut random = [0u8; 8];
        getrandom::fill(&mut random).map_err(|e| TransportError::io("getrandom", std::io::Error::other(e)))?;
        let temporary = format!(".{:016x}", u64::from_ne_bytes(random));
        let lock = folder.lock()?;
        lock.sweep();
        match probe(&folder, &file) {
            Ok(_) | Err(TransportError::Busy(_)) => return Err(TransportError::Taken(name.into())),
            Err(TransportError::NotFound(_)) => lock.remove(&file)?,
            Err(error) => return Err(error),
        }
        bind(&socket, &folder.address(&temporary)?).map_err(|e| TransportError::io("bind", e))?;
        let named = listen(&socket, BACKLOG)
            .map_err(|e| TransportError::io("listen", e))
            .and_then(|()| lock.rename(&temporary, &file));
        if let Err(error) = named {
            let _ = lock.remove(&temporary); // the first error is the one to report
            return Err(error);
        }
        let identity =
            lock.identity(&file).ok_or_else(|| TransportError::io("stat", std::io::Error::from(Errno::NOENT)))?;
        drop(lock);
        Ok(Self { socket, folder, file, identity })
    }

    /// The path of the socket.
    pub fn path(&self) -> std::path::PathBuf {
        self.folder.path().join(&self.file)
    }

    /// The next connection, or `None` when nobody waits. A peer of another user is turned away and reported.
    pub fn accept(&self) -> Result<Option<ShmEndpoint>, TransportError> {
        loop {
            match accept_stream(&self.socket) {
                Ok(socket) => return ShmEndpoint::new(socket, Side::Server).map(Some),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(TransportError::io("accept", error)),
            }
        }
    }

    /// Connects to a listener by name.
    ///
    /// # Errors
    /// [`TransportError::NotFound`] when nobody listens there; a name that a dead process left is removed.
    /// [`TransportError::Busy`] when the listener's queue is full. [`TransportError::OtherUser`].
    pub fn connect(folder: &Folder, name: &str) -> Result<ShmEndpoint, TransportError> {
        let file = Folder::file_name(name)?;
        Self::connect_file(folder, &file).map_err(|error| match error {
            TransportError::NotFound(_) => TransportError::NotFound(name.into()),
            other => other,
        })
    }

    /// Connects to a listener by the name of its file ([`Folder::files`]).
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_file(folder: &Folder, file: &str) -> Result<ShmEndpoint, TransportError> {
        match probe(folder, file) {
            Ok(socket) => ShmEndpoint::new(socket, Side::Client),
            Err(TransportError::NotFound(_)) => {
                // Whoever holds the lock may take its time, and an event loop waits for nobody: then the file stays.
                if let Some(lock) = folder.try_lock()?
                    && lock.identity(file).is_some()
                {
                    // Under the lock nobody makes or takes over names: refused now means dead.
                    match probe(folder, file) {
                        Ok(socket) => return ShmEndpoint::new(socket, Side::Client),
                        Err(TransportError::NotFound(_)) => lock.remove(file)?,
                        Err(error) => return Err(error),
                    }
                }
                Err(TransportError::NotFound(file.into()))
            }
            Err(error) => Err(error),
        }
    }
}

impl Listener for ShmListener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn address(&self) -> String {
        format!("shm://{}", self.path().display())
    }

    fn accept(&mut self) -> Result<Option<Box<dyn Endpoint>>, TransportError> {
        Ok(Self::accept(self)?.map(|endpoint| Box::new(endpoint) as _))
    }
}

impl Drop for ShmListener {
    fn drop(&mut self) {
        let Some(lock) = self.folder.lock_soon() else { return };
        if lock.identity(&self.file) == Some(self.identity) {
            let _ = lock.remove(&self.file); // a name left behind is taken over by whoever needs it next
        }
    }
}

fn probe(folder: &Folder, file: &str) -> Result<OwnedFd, TransportError> {
    let socket = stream_socket()?;
    loop {
        match connect(&socket, &folder.address(file)?) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Err(TransportError::NotFound(file.into())),
            Err(Errno::AGAIN) => return Err(TransportError::Busy(file.into())),
            Err(error) => return Err(TransportError::io("connect", error)),
        }
    }
}

fn stream_socket() -> Result<OwnedFd, TransportError> {
    system::stream_socket().map_err(|e| TransportError::io("socket", e))
}

/// Refuses a peer of another user; the process at the other end, where the system says.
pub(super) fn check_peer(socket: impl AsFd) -> Result<Option<u32>, TransportError> {
    let (peer, pid) = peer_of(socket)?;
    let own = geteuid().as_raw();
    if peer == own { Ok(pid) } else { Err(TransportError::OtherUser { peer, own }) }
}

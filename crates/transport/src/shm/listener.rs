//! The publisher's socket.

use std::{io, sync::Arc};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    io::Errno,
};

use super::{Folder, ShmEndpoint, endpoint::Side, uri_path};
use crate::{
    Endpoint, Listener, TransportError,
    system::{self, accept_stream, connect_stream, own_user, peer_of},
};

/// A listening unix socket with a name in a [`Folder`]. The name is removed on drop.
///
/// A visible name always listens, at least for whoever has the folder's lock. So a refused connection means that the owner is
/// dead, and its name may be taken over.
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
        let lock = folder.lock()?;
        lock.sweep();
        match probe(&folder, &file) {
            Ok(_) | Err(TransportError::Busy(_)) => return Err(TransportError::Taken(name.into())),
            Err(TransportError::NotFound(_)) => lock.remove(&file)?,
            Err(error) => return Err(error),
        }
        lock.listen(&socket, &file)?;
        let identity =
            lock.identity(&file).ok_or_else(|| TransportError::io("stat", io::Error::from(io::ErrorKind::NotFound)))?;
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

    /// Removes a socket whose listener is dead; waits some milliseconds for the folder where others use it. Whether there is none any more.
    pub fn clear(folder: &Folder, file: &str) -> Result<bool, TransportError> {
        let Some(lock) = folder.lock_soon() else { return Ok(false) };
        if lock.identity(file).is_none() {
            return Ok(true);
        }
        match probe(folder, file) {
            Err(TransportError::NotFound(_)) => lock.remove(file).map(|()| true),
            _ => Ok(false),
        }
    }
}

impl Listener for ShmListener {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn address(&self) -> String {
        format!("shm://{}", uri_path(&self.path()))
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
        match connect_stream(&socket, &folder.address(file)?) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(error) if folder.is_absent(file, error) => return Err(TransportError::NotFound(file.into())),
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
    let own = own_user()?;
    if peer == own { Ok(pid) } else { Err(TransportError::OtherUser { peer: peer.to_string(), own: own.to_string() }) }
}

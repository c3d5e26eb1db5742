//! Between two sockets: bytes in pieces of any size, cut off at any byte.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
        SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
        socket_with,
    },
};

/// A listening socket whose connections are passed on to another socket's, descriptors included.
///
/// Nothing moves but in [`turn`](Relay::turn): the test decides when, and how many bytes at a time.
pub struct Relay {
    listener: OwnedFd,
    to: std::path::PathBuf,
    connections: Vec<Connection>,
    forwarded: usize,
}

struct Connection {
    client: Way,
    server: Way,
}

/// Bytes from one socket on their way to the other.
struct Way {
    socket: OwnedFd,
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    ended: bool,
}

fn stream() -> OwnedFd {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).expect("a socket")
}

impl Relay {
    /// Listens at `at` and passes on to `to`.
    pub fn listen(at: &Path, to: &Path) -> Self {
        let listener = stream();
        bind(&listener, &SocketAddrUnix::new(at).expect("a short path")).expect("bind");
        listen(&listener, 16).expect("listen");
        Self { listener, to: to.to_owned(), connections: Vec::new(), forwarded: 0 }
    }

    /// Takes new connections and moves at most `piece` bytes each way over each. Returns how many bytes moved.
    pub fn turn(&mut self, piece: usize) -> usize {
        while let Ok(client) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let server = stream();
            connect(&server, &SocketAddrUnix::new(&*self.to).expect("a short path")).expect("connect");
            self.connections.push(Connection { client: Way::new(client), server: Way::new(server) });
        }
        let mut moved = 0;
        self.connections.retain_mut(|Connection { client, server }| {
            moved += client.move_to(server, piece) + server.move_to(client, piece);
            // Bytes that one side sent before it ended are still passed on.
            let over = |from: &Way| from.ended && from.bytes.is_empty();
            !over(client) && !over(server)
        });
        self.forwarded += moved;
        moved
    }

    /// Closes every connection, in the middle of whatever was on its way.
    pub fn cut(&mut self) {
        self.connections.clear();
    }

    /// Connections that stand.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Bytes passed on so far, both ways, over all connections.
    pub fn forwarded(&self) -> usize {
        self.forwarded
    }
}

impl Way {
    fn new(socket: OwnedFd) -> Self {
        Self { socket, bytes: Vec::new(), descriptors: Vec::new(), ended: false }
    }

    fn move_to(&mut self, other: &Way, piece: usize) -> usize {
        if self.bytes.is_empty() && !self.ended {
            self.read(piece);
        }
        if self.bytes.is_empty() {
            return 0;
        }
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        if !descriptors.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&other.socket, &[IoSlice::new(&self.bytes)], &mut control, flags) {
            Ok(sent) => {
                self.bytes.drain(..sent);
                self.descriptors.clear();
                sent
            }
            Err(Errno::AGAIN) => 0,
            Err(_) => {
                // Nobody is there to read it.
                self.bytes.clear();
                self.ended = true;
                0
            }
        }
    }

    fn read(&mut self, piece: usize) {
        self.bytes.resize(piece, 0);
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut self.bytes)], &mut control, flags);
        match received {
            Ok(received) => {
                self.bytes.truncate(received.bytes);
                self.ended = received.bytes == 0;
                for message in control.drain() {
                    if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                        self.descriptors.extend(descriptors);
                    }
                }
            }
            Err(Errno::AGAIN) => self.bytes.clear(),
            Err(_) => {
                self.bytes.clear();
                self.ended = true;
            }
        }
    }
}

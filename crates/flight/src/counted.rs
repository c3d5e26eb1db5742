//! A socket that counts, that can be cut off, and that does not wait for ever for a peer's first byte.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;

/// The length of what every HTTP/2 client says first.
const PREFACE: u64 = 24;

/// Bytes that went through sockets, TLS and HTTP/2 included. Cloning shares the counts.
#[derive(Clone, Debug, Default)]
pub struct ByteCounts(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
}

impl ByteCounts {
    /// Bytes that were read.
    pub fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// Bytes that were written.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }
}

/// Where a connection comes from, as calls find it among their extensions.
#[derive(Clone, Debug)]
pub(crate) struct Peer(pub Option<SocketAddr>);

pub(crate) struct Counted {
    stream: TcpStream,
    counts: ByteCounts,
    /// Completes when the connection is to end whatever it is doing.
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Runs until the preface was read.
    silence: Option<Pin<Box<Sleep>>>,
    heard: u64,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Counted {
    /// A server's side. `permit` counts the connection as long as it exists.
    pub fn accepted(
        stream: TcpStream,
        counts: ByteCounts,
        cut: &CancellationToken,
        silence: Duration,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut io = Self::connected(stream, counts, cut);
        io.silence = Some(Box::pin(sleep(silence)));
        io._permit = Some(permit);
        io
    }

    /// A client's side.
    pub fn connected(stream: TcpStream, counts: ByteCounts, cut: &CancellationToken) -> Self {
        let cut = Box::pin(cut.clone().cancelled_owned());
        Self { stream, counts, cut, silence: None, heard: 0, _permit: None }
    }
}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        if io.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut io.stream).poll_read(cx, buffer) {
            let read = (buffer.filled().len() - before) as u64;
            io.counts.0.received.fetch_add(read, Ordering::Relaxed);
            io.heard = io.heard.saturating_add(read);
            if io.heard >= PREFACE {
                io.silence = None;
            }
            return Poll::Ready(result);
        }
        if let Some(silence) = &mut io.silence {
            ready!(silence.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client said nothing")));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let result = ready!(Pin::new(&mut io.stream).poll_write(cx, bytes));
        Poll::Ready(io.wrote(result))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let result = ready!(Pin::new(&mut io.stream).poll_write_vectored(cx, pieces));
        Poll::Ready(io.wrote(result))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Counted {
    fn wrote(&self, result: io::Result<usize>) -> io::Result<usize> {
        if let Ok(bytes) = result {
            self.counts.0.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        result
    }
}

impl Connected for Counted {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        Peer(self.stream.peer_addr().ok())
    }
}

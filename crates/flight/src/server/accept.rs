//! Connections as they come.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::ServerOptions;
use crate::ByteCounts;
use crate::counted::Counted;

/// How long to wait when the system has no descriptor for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Connections, one after the other, for ever. One too many is closed; what goes wrong with one does not end the rest.
pub(super) fn connections(
    listener: TcpListener,
    counts: ByteCounts,
    cut: CancellationToken,
    options: &ServerOptions,
) -> impl Stream<Item = io::Result<Counted>> + use<> {
    let room = Arc::new(Semaphore::new(options.max_connections));
    let silence = options.silence;
    unfold(listener, move |listener| {
        let (counts, cut, room) = (counts.clone(), cut.clone(), Arc::clone(&room));
        async move {
            loop {
                match listener.accept().await {
                    Err(_) => tokio::time::sleep(PAUSE).await,
                    Ok((stream, _)) => {
                        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
                        // Without it, what is written last waits for the peer's acknowledgement.
                        let _ = stream.set_nodelay(true);
                        let io = Counted::accepted(stream, counts, &cut, silence, permit);
                        return Some((Ok(io), listener));
                    }
                }
            }
        }
    })
}

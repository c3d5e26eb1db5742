//! A Flight service over a catalog.

mod accept;
mod calls;
mod control;
mod get;
mod held;
mod incoming;
mod tokens;
mod upload;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use self::calls::Calls;
use self::control::Control;
pub use self::incoming::Incoming;
use self::tokens::Tokens;
use crate::frames::MessageLimits;
use crate::{Authenticate, ByteCounts, Catalog, ControlUri, FlightError, Locations, Result, Runtime};

/// A stream's and a connection's window: what may be under way to us unread. Enough for 10 Gbit/s over 6 ms.
pub(crate) const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 64 << 20;
/// The frames that we take. Each costs a system call and a wake-up on either side; beyond this nothing was gained.
pub(crate) const FRAME: u32 = 1 << 20;

/// Longest ticket, descriptor or other request of a control call.
const MAX_REQUEST: usize = 1 << 20;

/// How long anything may take until its answer begins: a request that never becomes whole ends with it.
const ANSWER: Duration = Duration::from_secs(60);

/// What a server does, and for whom.
#[derive(Clone)]
pub struct ServerOptions {
    /// Whether `DoGet` sends data. Without, Flight is control alone.
    pub inline: bool,
    /// Which data URIs callers get who do not say which they want (see [`LOCATIONS_HEADER`](crate::LOCATIONS_HEADER)).
    pub locations: Locations,
    /// Who decides who a caller is; `None` lets everybody in.
    pub authenticate: Option<Arc<dyn Authenticate>>,
    /// Needed for `grpc+tls:` addresses.
    pub tls: Option<ServerTls>,
    /// Longest message that is taken from a client, in bytes; at most 2 GiB.
    pub max_message: usize,
    /// Most connections at once; more are closed when they come.
    pub max_connections: usize,
    /// How long a new connection may say nothing, and a call that was begun may lack its first message.
    pub silence: Duration,
    /// How long a caller may read nothing of a stream before its snapshot is let go, and the call with it.
    pub stall: Duration,
    /// How often an idle connection is asked whether it is still there, and how long an answer may take.
    pub keep_alive: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            inline: true,
            locations: Locations::Inline,
            authenticate: None,
            tls: None,
            max_message: MessageLimits::default().message,
            max_connections: 1024,
            silence: Duration::from_secs(10),
            stall: Duration::from_secs(600),
            keep_alive: Duration::from_secs(30),
        }
    }
}

/// A server's certificate. All in PEM.
#[derive(Clone)]
pub struct ServerTls {
    /// The certificate and those between it and the root.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// Roots that clients' certificates must come from; `None` asks clients for none.
    pub client_roots: Option<Vec<u8>>,
}

/// A running Flight service.
///
/// Serves until it is [closed](Self::close) or dropped; dropping cuts all connections. Any thread may use it.
pub struct Server {
    uri: String,
    counts: ByteCounts,
    /// No new connections, and calls that run may end.
    stop: CancellationToken,
    /// Every connection ends now.
    cut: CancellationToken,
    task: parking_lot::Mutex<Option<tokio::task::JoinHandle<()>>>,
    runtime: Runtime,
}

/// What all calls of a server have in common.
pub(crate) struct Shared {
    pub catalog: Arc<dyn Catalog>,
    pub options: ServerOptions,
    pub tokens: Tokens,
}

impl Shared {
    pub fn limits(&self) -> MessageLimits {
        let default = MessageLimits::default();
        MessageLimits { message: self.options.max_message.min(default.message), ..default }
    }
}

impl Server {
    /// Starts to serve `catalog` at `grpc+tcp://host:port`, `grpc://…` or `grpc+tls://…`. Port 0 lets the system choose. Blocks for as
    /// long as the host's name takes to be found.
    ///
    /// # Errors
    /// An address that is none or cannot be bound, TLS without a certificate or with one that cannot be read.
    pub fn bind(uri: &str, catalog: Arc<dyn Catalog>, options: ServerOptions) -> Result<Self> {
        let address = ControlUri::parse(uri)?;
        let failed = |reason: String| FlightError::Bind { uri: uri.to_owned(), reason };
        let tls = match (address.tls, &options.tls) {
            (true, Some(tls)) => Some(tls_config(tls)),
            (true, None) => return Err(failed("TLS needs a certificate and its key".into())),
            (false, Some(_)) => return Err(failed("there is a certificate, but the address says grpc+tcp".into())),
            (false, None) => None,
        };
        let runtime = Runtime::shared()?;
        let _inside = runtime.handle().enter();
        let listener = TcpListener::bind(address.authority()).map_err(|error| failed(error.to_string()))?;
        listener.set_nonblocking(true).map_err(|error| failed(error.to_string()))?;
        let bound = listener.local_addr().map_err(|error| failed(error.to_string()))?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| failed(error.to_string()))?;

        let (counts, stop, cut) = (ByteCounts::default(), CancellationToken::new(), CancellationToken::new());
        let incoming = accept::connections(listener, counts.clone(), cut.clone(), &options);
        let keep_alive = Some(options.keep_alive);
        let mut builder = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .timeout(ANSWER)
            .max_concurrent_streams(256)
            .http2_max_header_list_size(64 << 10)
            .http2_keepalive_interval(keep_alive)
            .http2_keepalive_timeout(keep_alive);
        if let Some(tls) = tls {
            builder = builder.tls_config(tls.timeout(options.silence)).map_err(|error| failed(causes(&error)))?;
        }
        let shared = Arc::new(Shared { catalog, tokens: Tokens::default(), options });
        let control = FlightServiceServer::new(Control(Arc::clone(&shared)))
            .max_decoding_message_size(MAX_REQUEST)
            .max_encoding_message_size(crate::frames::MAX_MESSAGE);
        let router = builder.add_service(Calls { shared, control });
        let stopped = stop.clone().cancelled_owned();
        let task = runtime.spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!(error = causes(&error), "a Flight server ended");
            }
        });
        let uri = ControlUri { port: bound.port(), ..address }.to_string();
        Ok(Self { uri, counts, stop, cut, task: parking_lot::Mutex::new(Some(task)), runtime })
    }

    /// The address that clients connect to, with the port that was bound.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Bytes that went over this server's connections, all together.
    pub fn counts(&self) -> ByteCounts {
        self.counts.clone()
    }

    /// The threads that it runs on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Takes no more connections and calls, lets those that run come to their end for `grace`, and then cuts them off.
    pub async fn close(&self, grace: Duration) {
        self.stop.cancel();
        let task = self.task.lock().take();
        let Some(mut task) = task else { return };
        let (runtime, cut) = (self.runtime.clone(), self.cut.clone());
        // On the runtime, whatever thread this is called from: its clock is there.
        let closing = self.runtime.spawn(async move {
            let _alive = runtime;
            if tokio::time::timeout(grace, &mut task).await.is_err() {
                cut.cancel();
                if tokio::time::timeout(Duration::from_secs(5), &mut task).await.is_err() {
                    task.abort();
                }
            }
        });
        let _ = closing.await;
        self.cut.cancel();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        self.cut.cancel();
    }
}

fn tls_config(tls: &ServerTls) -> ServerTlsConfig {
    let config = ServerTlsConfig::new().identity(Identity::from_pem(&tls.certificate, &tls.key));
    match &tls.client_roots {
        Some(roots) => config.client_ca_root(Certificate::from_pem(roots)),
        None => config,
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    crate::error::with_causes(&error.to_string(), error)
}

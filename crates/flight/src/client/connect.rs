//! A channel, and who speaks through it.

use arrow_flight::{BasicAuth, HandshakeRequest};
use bytes::Bytes;
use futures_util::stream;
use http::Uri;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request};

use super::call::Call;
use super::{CallOptions, Client, ClientOptions, Failure};
use crate::counted::Counted;
use crate::server::{FRAME, STREAM_WINDOW};
use crate::{ByteCounts, ControlUri, Credentials, FlightError, Result};

/// What may be under way unread over all streams: so much that those that nobody reads do not stop the others.
const CONNECTION_WINDOW: u32 = 1 << 30;

/// A channel whose bytes are counted. It is made again when it breaks.
pub(super) async fn channel(uri: &str, options: &ClientOptions, counts: ByteCounts) -> Result<Channel, Failure> {
    let address = ControlUri::parse(uri)?;
    let failed = |error: &dyn std::error::Error| FlightError::Connect {
        uri: uri.to_owned(),
        reason: crate::error::with_causes(&error.to_string(), error),
    };
    let scheme = if address.tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", address.authority()))
        .map_err(|error| failed(&error))?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .http2_max_header_list_size(64 << 10)
        .http2_keep_alive_interval(std::time::Duration::from_secs(30))
        .keep_alive_timeout(std::time::Duration::from_secs(20));
    if address.tls {
        endpoint = endpoint.tls_config(tls(options, &address)).map_err(|error| failed(&error))?;
    }
    let authority = address.authority();
    let connector = tower::service_fn(move |_: Uri| {
        let (authority, counts) = (authority.clone(), counts.clone());
        async move {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(Counted::connected(stream, counts, &CancellationToken::new())))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(|error| failed(&error).into())
}

fn tls(options: &ClientOptions, address: &ControlUri) -> ClientTlsConfig {
    let tls = &options.tls;
    let mut config = match &tls.roots {
        Some(roots) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(roots)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    if let Some((certificate, key)) = &tls.identity {
        config = config.identity(Identity::from_pem(certificate, key));
    }
    let host = address.host.trim_matches(['[', ']']);
    config.domain_name(tls.name.as_deref().unwrap_or(host))
}

/// What to present with every call: a token, or the credentials themselves where the service has no handshake.
pub(super) async fn authorize(
    client: &Client,
    credentials: &Credentials,
    options: &CallOptions,
) -> Result<Option<AsciiMetadataValue>> {
    let Some(own) = credentials.header() else { return Ok(None) };
    let own = secret(own)?;
    let Credentials::Basic { user, password } = credentials else { return Ok(Some(own)) };
    let call = Call::begin("Handshake", options, client.options.deadline);
    let answer = call
        .run(async {
            let basic = BasicAuth { username: user.clone(), password: password.clone() };
            let message = HandshakeRequest { protocol_version: 0, payload: Bytes::from(basic.encode_to_vec()) };
            let mut request: Request<_> = client.request(&call, stream::iter([message]))?;
            request.metadata_mut().insert("authorization", own.clone());
            let response = client.control.clone().handshake(request).await?;
            let header = response.metadata().get("authorization").cloned();
            let first = response.into_inner().message().await?;
            Ok((header, first.map(|message| message.payload).unwrap_or_default()))
        })
        .await;
    match answer {
        Ok((Some(header), _)) => Ok(Some(header)),
        // The older handshake: the token is in the message, and travels as a bearer token with us.
        Ok((None, payload)) if !payload.is_empty() => match std::str::from_utf8(&payload) {
            Ok(token) => secret(format!("Bearer {token}")).map(Some),
            Err(_) => Ok(Some(own)),
        },
        Ok(_) => Ok(Some(own)),
        Err(FlightError::Status { code: Code::Unimplemented, .. }) => Ok(Some(own)),
        Err(error) => Err(error),
    }
}

fn secret(text: String) -> Result<AsciiMetadataValue> {
    let wrong = |_| FlightError::Setting("the credentials do not fit into a request header".to_owned());
    let mut value = AsciiMetadataValue::try_from(text).map_err(wrong)?;
    value.set_sensitive(true);
    Ok(value)
}

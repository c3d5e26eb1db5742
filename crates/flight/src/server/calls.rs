//! Every call, on its way to what answers it.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use http::{HeaderMap, Request, Response};
use tokio::time::{Instant, timeout};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::NamedService;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Code, Status};

use super::control::Control;
use super::{Shared, get, upload};
use crate::auth::Credentials;
use crate::counted::Peer;
use crate::location::{LOCATIONS_HEADER, METADATA_ONLY_HEADER};
use crate::{Authenticate, BoxFuture, Caller, Denied, Identity, Locations};

/// How long the hook may think about a caller.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service: finds out who calls, answers calls with bodies itself, and leaves the others to the generated code.
#[derive(Clone)]
pub(super) struct Calls {
    pub shared: Arc<Shared>,
    pub control: FlightServiceServer<Control>,
}

impl NamedService for Calls {
    const NAME: &'static str = <FlightServiceServer<Control> as NamedService>::NAME;
}

impl Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await.unwrap_or_else(|status| status.into_http())) })
    }
}

impl Calls {
    async fn answer(mut self, mut request: Request<Body>) -> Result<Response<Body>, Status> {
        let deadline = deadline_of(request.headers())?;
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let mut caller = Caller {
            identity: None,
            address: peer_of(&request),
            locations: self.locations(request.headers())?,
            metadata_only: request.headers().contains_key(METADATA_ONLY_HEADER),
        };
        // A handshake is how one becomes somebody.
        if method != "Handshake" {
            caller.identity = self.shared.identify(request.headers(), &caller).await?;
        }
        match method.as_str() {
            "DoGet" => get::answer(self.shared, caller, request.into_body(), deadline).await,
            "DoPut" => upload::put(self.shared, caller, request.into_body(), deadline),
            "DoExchange" => upload::exchange(self.shared, caller, request.into_body(), deadline),
            _ => {
                request.extensions_mut().insert(caller);
                match self.control.call(request).await {
                    Ok(response) => Ok(response),
                    Err(never) => match never {},
                }
            }
        }
    }

    fn locations(&self, headers: &HeaderMap) -> Result<Locations, Status> {
        match headers.get(LOCATIONS_HEADER).map(|value| value.as_bytes()) {
            None => Ok(self.shared.options.locations),
            Some(b"0") => Ok(Locations::Inline),
            Some(b"1") => Ok(Locations::Combined),
            Some(b"split") => Ok(Locations::Split),
            Some(_) => Err(Status::invalid_argument(format!("{LOCATIONS_HEADER} is none of 0, 1 and split"))),
        }
    }
}

impl Shared {
    /// Who the headers say the caller is. `None` where nobody is asked.
    pub async fn identify(&self, headers: &HeaderMap, caller: &Caller) -> Result<Option<Identity>, Status> {
        let Some(hook) = &self.options.authenticate else { return Ok(None) };
        let credentials = Credentials::of(headers).map_err(refused)?;
        if let Credentials::Bearer(token) = &credentials
            && let Some(identity) = self.tokens.find(token)
        {
            return Ok(Some(identity));
        }
        ask(&**hook, credentials, caller).await.map(Some)
    }
}

/// Asks the hook, for as long as that makes sense.
pub(super) async fn ask(
    hook: &dyn Authenticate,
    credentials: Credentials,
    caller: &Caller,
) -> Result<Identity, Status> {
    match timeout(PATIENCE, hook.authenticate(credentials, caller.address)).await {
        Ok(answer) => answer.map_err(refused),
        Err(_) => Err(Status::unavailable("the server did not decide in time who the caller is; try again")),
    }
}

fn refused(denied: Denied) -> Status {
    Status::new(Code::Unauthenticated, denied.0)
}

fn peer_of(request: &Request<Body>) -> Option<std::net::SocketAddr> {
    let extensions = request.extensions();
    let tls = || extensions.get::<TlsConnectInfo<Peer>>().map(|info| info.get_ref());
    extensions.get::<Peer>().or_else(tls).and_then(|peer| peer.0)
}

/// When the caller stops waiting, where it says so (`grpc-timeout`: up to eight digits and a unit).
fn deadline_of(headers: &HeaderMap) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get("grpc-timeout") else { return Ok(None) };
    let wrong =
        || Status::invalid_argument("grpc-timeout is not a number of up to 8 digits and one of H, M, S, m, u, n");
    let text = value.to_str().map_err(|_| wrong())?;
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let duration = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return Err(wrong()),
    };
    // One so far away that the clock cannot say it is none.
    Ok(Instant::now().checked_add(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            deadline_of(&headers)
        };
        for text in ["1H", "99999999S", "1m", "20u", "1n"] {
            assert!(of(text).unwrap().is_some(), "{text}");
        }
        for text in ["", "1", "S", "-1S", "123456789S", "1x", "1 S"] {
            assert!(of(text).is_err(), "{text:?}");
        }
    }
}

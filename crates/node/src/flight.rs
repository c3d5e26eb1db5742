//! Flight, as JavaScript drives it: a service beside a data server, and clients.

use std::{sync::Arc, time::Duration};

use arrowlane_files::json::schema_to_json;
use arrowlane_flight::{
    Client, ClientOptions, ClientTls, Credentials, Denied, Descriptor, GrpcEndpoint, Identity, Locations,
    Server as Service, ServerOptions, ServerTls, Shelf,
};
use arrowlane_plane::server::DatasetOptions;
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;
use serde_json::Value;

use crate::{
    authenticate::{Hook, Question},
    call::{NativeCancellation, promised},
    error::{CodedError, Result, coded, node, plane, stale},
    exchange::{Begun, exchanger},
    flight_info::describe,
    remote::{ConnectTask, NativeConnection},
    serve::{NativeDataset, NativeDatasetOptions, NativeServer, NativeText, options_of},
    transports::Tls,
};

type Outcome<T> = std::result::Result<T, CodedError>;

pub(crate) fn flight(error: arrowlane_flight::FlightError) -> CodedError {
    coded(error.code(), &error)
}

/// How a Flight service behaves. Certificates are PEM.
#[napi(object)]
pub struct NativeControlOptions {
    pub inline: bool,
    /// Which data URIs those get who do not ask: `none`, `combined` or `split`.
    pub locations: String,
    /// How uploads are kept; absent: none are taken.
    pub uploads: Option<NativeDatasetOptions>,
    pub certificate: Option<String>,
    pub key: Option<String>,
    pub client_roots: Option<String>,
}

/// A Flight service that runs.
#[napi]
pub struct NativeControl {
    service: Arc<Service>,
}

/// A service that was started, or why there is none.
#[napi]
pub struct NativeControlResult {
    started: Option<Outcome<Service>>,
}

#[napi]
impl NativeControlResult {
    /// The service. Throws what went wrong.
    #[napi]
    pub fn get(&mut self) -> Result<NativeControl> {
        let started = self.started.take().unwrap_or_else(|| Err(stale("service")))?;
        Ok(NativeControl { service: Arc::new(started) })
    }
}

pub struct BindTask {
    uri: String,
    shelf: Option<Shelf>,
    options: Option<ServerOptions>,
}

impl<'task> ScopedTask<'task> for BindTask {
    type Output = Outcome<Service>;
    type JsValue = NativeControlResult;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        let (Some(shelf), Some(options)) = (self.shelf.take(), self.options.take()) else {
            return Ok(Err(stale("service")));
        };
        Ok(Service::bind(&self.uri, Arc::new(shelf), options).map_err(flight))
    }

    fn resolve(&mut self, _env: &'task Env, started: Self::Output) -> napi::Result<NativeControlResult> {
        Ok(NativeControlResult { started: Some(started) })
    }
}

fn locations(name: &str) -> Locations {
    match name {
        "combined" => Locations::Combined,
        "split" => Locations::Split,
        _ => Locations::Inline,
    }
}

#[napi]
impl NativeServer {
    /// Starts a Flight service for what this server offers. `authenticate` is asked who callers are; `answer` has the answer. `exchange` is
    /// told of exchanges; `answerExchange` answers.
    #[napi(
        ts_args_type = "uri: string, options: NativeControlOptions, authenticate?: (question: number, kind: string, first: string, second: string, peer: string) => void, exchange?: (exchange: number, name: string, identity: string, peer: string) => void",
        ts_return_type = "Promise<NativeControlResult>"
    )]
    pub fn control(
        &self,
        uri: String,
        options: NativeControlOptions,
        authenticate: Option<Function<'_, Question, ()>>,
        exchange: Option<Function<'_, Begun, ()>>,
    ) -> Result<AsyncTask<BindTask>> {
        let asked = authenticate.map(|ask| ask.build_threadsafe_function().weak::<true>().build());
        let asked = asked.transpose().map_err(node)?;
        let hook = asked.map(|asked| Arc::new(Hook { asked, pending: Arc::clone(&self.pending) }) as _);
        let bytes = |pem: Option<String>| pem.map(String::into_bytes);
        let tls = match (bytes(options.certificate), bytes(options.key)) {
            (Some(certificate), Some(key)) => {
                Some(ServerTls { certificate, key, client_roots: bytes(options.client_roots) })
            }
            _ => None,
        };
        let uploads: Option<DatasetOptions> = options.uploads.map(options_of);
        let exchanger = exchanger(exchange, &self.exchanges)?;
        let shelf = Shelf::new(Arc::clone(&self.server), uploads).with_exchanger(exchanger);
        let options = ServerOptions {
            inline: options.inline,
            locations: locations(&options.locations),
            tls,
            authenticate: hook,
            ..ServerOptions::default()
        };
        Ok(AsyncTask::new(BindTask { uri, shelf: Some(shelf), options: Some(options) }))
    }

    /// The answer to a question about a caller: who it is, or else what the caller is told.
    #[napi]
    pub fn answer(&self, question: u32, identity: Option<String>, refusal: Option<String>) {
        let refused = || Denied(refusal.unwrap_or_else(|| "these credentials are not accepted".into()));
        self.pending.answer(question, identity.map(Identity::from).ok_or_else(refused));
    }
}

#[napi]
impl NativeControl {
    #[napi(getter)]
    pub fn uri(&self) -> String {
        self.service.uri().to_owned()
    }

    /// Bytes that went over its connections: received, sent.
    #[napi]
    pub fn counts(&self) -> Vec<f64> {
        let counts = self.service.counts();
        vec![counts.received() as f64, counts.sent() as f64]
    }

    /// Takes nothing new, and lets what runs end for so many milliseconds.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn close<'env>(&self, env: &'env Env, grace: f64) -> Result<Object<'env>> {
        let service = Arc::clone(&self.service);
        let grace = Duration::from_secs_f64(grace.max(0.0) / 1000.0);
        let close = move || async move {
            service.close(grace).await;
            Ok(String::new())
        };
        promised(env, close, NativeText::of)
    }
}

/// How a client connects. Certificates are PEM; times are milliseconds.
#[napi(object)]
pub struct NativeClientOptions {
    pub bearer: Option<String>,
    pub user: Option<String>,
    pub password: Option<String>,
    /// Name, value, name, value….
    pub headers: Vec<String>,
    pub locations: String,
    pub deadline: f64,
    pub roots: Option<String>,
    pub server_name: Option<String>,
    pub certificate: Option<String>,
    pub key: Option<String>,
}

/// A connection to a Flight service.
#[napi]
pub struct NativeClient {
    pub(crate) client: Client,
}

/// A client that was connected, or why not.
#[napi]
pub struct NativeClientResult {
    client: Option<Outcome<Client>>,
}

#[napi]
impl NativeClientResult {
    /// The client. Throws what went wrong.
    #[napi]
    pub fn get(&mut self) -> Result<NativeClient> {
        Ok(NativeClient { client: self.client.take().unwrap_or_else(|| Err(stale("client")))? })
    }
}

/// Connects to a Flight service.
#[napi(ts_return_type = "Promise<NativeClientResult>")]
pub fn connect_flight<'env>(
    env: &'env Env,
    uri: String,
    options: NativeClientOptions,
    cancel: &NativeCancellation,
) -> Result<Object<'env>> {
    let bytes = |pem: Option<String>| pem.map(String::into_bytes);
    let credentials = match (options.bearer, options.user) {
        (Some(token), _) => Credentials::Bearer(token),
        (None, Some(user)) => Credentials::Basic { user, password: options.password.unwrap_or_default() },
        (None, None) => Credentials::None,
    };
    let identity = match (bytes(options.certificate), bytes(options.key)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => None,
    };
    let mut texts = options.headers.into_iter();
    let mut headers = Vec::new();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        headers.push((name, value));
    }
    let options = ClientOptions {
        tls: ClientTls { roots: bytes(options.roots), name: options.server_name, identity },
        credentials,
        headers,
        locations: locations(&options.locations),
        deadline: Duration::from_secs_f64(options.deadline.max(1.0) / 1000.0),
        ..ClientOptions::default()
    };
    let call = cancel.options();
    let connect = move || async move { Client::connect(&uri, options, &call).await.map_err(flight) };
    promised(env, connect, |client| NativeClientResult { client: Some(client) })
}

pub(crate) fn descriptor(path: Option<Vec<String>>, command: Option<Uint8Array>) -> Descriptor {
    match command {
        Some(command) => Descriptor::Command(command.to_vec().into()),
        None => Descriptor::Path(path.unwrap_or_default()),
    }
}

#[napi]
impl NativeClient {
    /// All that the service lists, as JSON.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn list<'env>(&self, env: &'env Env, cancel: &NativeCancellation) -> Result<Object<'env>> {
        let (client, options) = (self.client.clone(), cancel.options());
        let list = move || async move {
            let infos = client.list(&options).await.map_err(flight)?;
            Ok(Value::from(infos.iter().map(describe).collect::<Vec<_>>()).to_string())
        };
        promised(env, list, NativeText::of)
    }

    /// Where something is, and with which ticket it is read, as JSON; `poll`: asks until that is known as a whole.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn info<'env>(
        &self,
        env: &'env Env,
        path: Option<Vec<String>>,
        command: Option<Uint8Array>,
        poll: bool,
        cancel: &NativeCancellation,
    ) -> Result<Object<'env>> {
        let (client, options, descriptor) = (self.client.clone(), cancel.options(), descriptor(path, command));
        let ask = move || async move {
            let info =
                if poll { client.poll(&descriptor, &options).await } else { client.info(&descriptor, &options).await };
            Ok(describe(&info.map_err(flight)?).to_string())
        };
        promised(env, ask, NativeText::of)
    }

    /// The schema of something, as JSON.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn schema<'env>(
        &self,
        env: &'env Env,
        path: Option<Vec<String>>,
        command: Option<Uint8Array>,
        cancel: &NativeCancellation,
    ) -> Result<Object<'env>> {
        let (client, options, descriptor) = (self.client.clone(), cancel.options(), descriptor(path, command));
        let ask = move || async move {
            let schema = client.schema(&descriptor, &options).await.map_err(flight)?;
            Ok(schema_to_json(&schema).to_string())
        };
        promised(env, ask, NativeText::of)
    }

    /// A stream of `DoGet`, to subscribe over; the ticket begins it.
    #[napi]
    pub fn open_stream(&self) -> Result<NativeConnection> {
        let endpoint = GrpcEndpoint::new(self.client.clone(), false).map_err(|error| plane(error.into()))?;
        Ok(NativeConnection::of(Box::new(endpoint)))
    }

    /// A stream whose metadata comes by `DoGet`, and whose bodies from a data URI, to subscribe over.
    #[napi(ts_return_type = "Promise<NativeConnection>")]
    pub fn open_split(
        &self,
        data: String,
        roots: Option<String>,
        server_name: Option<String>,
    ) -> AsyncTask<ConnectTask> {
        let tls = Tls { identity: None, roots, server_name };
        ConnectTask::beside(self.client.clone(), data, tls)
    }

    /// Uploads a dataset under a name; the object is empty then.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn put<'env>(
        &self,
        env: &'env Env,
        path: Vec<String>,
        dataset: &mut NativeDataset,
        cancel: &NativeCancellation,
    ) -> Result<Object<'env>> {
        let (client, options, dataset) = (self.client.clone(), cancel.options(), dataset.finished()?);
        let put = move || async move {
            let descriptor = Descriptor::Path(path);
            let schema = Arc::clone(dataset.schema());
            let mut upload = client.put(&descriptor, schema, &options).await.map_err(flight)?;
            for index in 0..dataset.batches() {
                let batch = dataset.batch(index).map_err(plane)?;
                upload.send(&batch, bytes::Bytes::new()).await.map_err(flight)?;
            }
            upload.finish().await.map_err(flight)?;
            Ok(String::new())
        };
        promised(env, put, NativeText::of)
    }

    /// Bytes that went over its connections: received, sent.
    #[napi]
    pub fn counts(&self) -> Vec<f64> {
        let counts = self.client.counts();
        vec![counts.received() as f64, counts.sent() as f64]
    }
}

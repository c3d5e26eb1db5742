//! Subscriptions to what a server has, as JavaScript drives them.

use std::sync::Arc;

use arrowlane_dissociated::DataUri;
use arrowlane_flight::{Client, GrpcEndpoint};
use arrowlane_plane::{NativeLane as Native, PlaneError, Subscription, bodies_alone};
use arrowlane_transport::{Endpoint, Split};
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    error::{Result, plane},
    held::Terms,
    lane::NativeLane,
    policy::NativeSubscriptionOptions,
    transports::{self, Tls},
};

type Connected = std::result::Result<Box<dyn Endpoint>, PlaneError>;

/// A connection that nobody reads yet, or why there is none.
#[napi]
pub struct NativeConnection {
    endpoint: Option<Connected>,
}

impl NativeConnection {
    pub(crate) fn of(endpoint: Box<dyn Endpoint>) -> Self {
        Self { endpoint: Some(Ok(endpoint)) }
    }
}

#[napi]
impl NativeConnection {
    /// Closes it, unless somebody subscribed over it.
    #[napi]
    pub fn close(&mut self) {
        self.endpoint = None;
    }
}

/// Connects off the loop: a name may have to be resolved.
pub struct ConnectTask {
    /// One; or where metadata and where bodies come from.
    uris: Vec<String>,
    tls: Tls,
    /// Metadata comes by this one's `DoGet`; the one URI is where bodies come from.
    control: Option<Client>,
    connected: Option<Connected>,
}

impl ConnectTask {
    /// Metadata by `DoGet`, bodies from a data URI.
    pub(crate) fn beside(control: Client, data: String, tls: Tls) -> AsyncTask<Self> {
        AsyncTask::new(Self { uris: vec![data], tls, control: Some(control), connected: None })
    }

    fn connect(&self) -> Connected {
        type Told = (Box<dyn Endpoint>, DataUri);
        let told = |uri: &DataUri| Ok::<Told, PlaneError>((transports::connect(uri, &self.tls)?, uri.clone()));
        if let (Some(control), [data]) = (&self.control, &self.uris[..]) {
            let metadata = GrpcEndpoint::new(control.clone(), true)?;
            let metadata: Told = (Box::new(metadata), DataUri::parse(GrpcEndpoint::GREETING)?);
            return Ok(Box::new(Split::client_told(metadata, told(&bodies_alone(&DataUri::parse(data)?)?)?)?));
        }
        match &self.uris[..] {
            [uri] => transports::connect(&DataUri::parse(uri)?, &self.tls),
            [metadata, data] => {
                let [metadata, data] = [DataUri::parse(metadata)?, DataUri::parse(data)?];
                Ok(Box::new(Split::client_told(told(&metadata)?, told(&data)?)?))
            }
            _ => Err(PlaneError::Closed),
        }
    }
}

impl<'task> ScopedTask<'task> for ConnectTask {
    type Output = ();
    type JsValue = NativeConnection;

    fn compute(&mut self) -> napi::Result<()> {
        self.connected = Some(self.connect());
        Ok(())
    }

    fn resolve(&mut self, _env: &'task Env, (): ()) -> napi::Result<NativeConnection> {
        Ok(NativeConnection { endpoint: self.connected.take() })
    }
}

#[napi]
impl NativeLane {
    /// First half of subscribing at a data URI, or at one for metadata and one for bodies: what may block.
    #[napi(ts_return_type = "Promise<NativeConnection>")]
    pub fn open_connection(
        &self,
        uris: Vec<String>,
        roots: Option<String>,
        server_name: Option<String>,
    ) -> AsyncTask<ConnectTask> {
        let tls = Tls { identity: None, roots, server_name };
        AsyncTask::new(ConnectTask { uris, tls, control: None, connected: None })
    }

    /// Second half: asks for what `ticket` stands for. A record says when it was asked; `name` is for messages.
    #[napi]
    pub fn subscribe_over(
        &self,
        connection: &mut NativeConnection,
        ticket: Uint8Array,
        name: String,
        options: NativeSubscriptionOptions,
    ) -> Result<u32> {
        let endpoint = connection.endpoint.take().unwrap_or(Err(PlaneError::Closed)).map_err(plane)?;
        let terms = Terms::of(&name, &options);
        let home = &self.host.lane;
        // What is in shared memory is read where it is needed; the network goes on while JavaScript is busy.
        let native = Native::shared().map_err(plane)?;
        let remote = endpoint.is_remote();
        let lane = if remote { native.lane() } else { home };
        let subscription = Subscription::with_ticket(name, ticket.to_vec(), options.into_options(), home, lane);
        let id = subscription.id();
        let mut tables = self.host.tables.borrow_mut();
        tables.subscriptions.insert(id, Arc::clone(&subscription));
        tables.terms.extend(terms.map(|terms| (id, terms)));
        drop(tables);
        if let Err(error) = subscription.attach(endpoint) {
            self.close_subscription(id);
            return Err(plane(error));
        }
        if !remote {
            native.watch_over(&subscription);
        }
        Ok(id)
    }
}

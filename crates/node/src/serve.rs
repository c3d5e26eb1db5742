//! Servers, as JavaScript drives them.

use std::{path::Path, sync::Arc, time::Duration};

use arrowlane_dissociated::KeyValues;
use arrowlane_files::json::schema_to_json;
use arrowlane_plane::{
    PlaneError, Queue,
    server::{Dataset, DatasetBuilder, DatasetOptions, Offer, Server},
};
use napi::{Env, ScopedTask, bindgen_prelude::*};
use napi_derive::napi;

use crate::{
    authenticate::Pending,
    error::{CodedError, Result, coded, plane, stale},
    exchange::Exchanges,
    lane::NativeLane,
    transports::{self, Tls},
};

type Outcome<T> = std::result::Result<T, CodedError>;

/// What a dataset may take; how far each client may lag behind.
#[napi(object)]
#[derive(Clone)]
pub struct NativeDatasetOptions {
    pub name: String,
    pub memory: f64,
    pub queue_batches: f64,
    pub queue_bytes: f64,
}

/// What is offered under a name. A topic has no schema until somebody sends, and never more than that.
#[napi(object)]
pub struct NativeOffer {
    pub name: String,
    pub topic: bool,
    pub schema: Option<String>,
    pub rows: Option<f64>,
    pub bytes: Option<f64>,
    pub batches: Option<f64>,
}

/// A ticket, for how many milliseconds it is good, and where it is redeemed in halves.
#[napi(object)]
pub struct NativeTicket {
    pub ticket: String,
    pub life: f64,
    /// The URIs of metadata and of data for two connections; empty where there is only one way.
    pub halves: Vec<String>,
}

/// Offers datasets and topics; `plane::server`.
#[napi]
pub struct NativeServer {
    pub(crate) server: Arc<Server>,
    /// What JavaScript was asked about callers of Flight.
    pub(crate) pending: Arc<Pending>,
    /// What it was told of exchanges.
    pub(crate) exchanges: Arc<Exchanges>,
}

/// A dataset that is put together, or was.
#[napi]
pub struct NativeDataset {
    state: State,
}

enum State {
    Begun(Option<Outcome<DatasetBuilder>>),
    Finished(Arc<Dataset>),
}

/// What a task came to, for the loop to fetch.
#[napi]
pub struct NativeText {
    text: Option<Outcome<String>>,
}

impl NativeText {
    pub(crate) fn of(text: Outcome<String>) -> Self {
        Self { text: Some(text) }
    }
}

impl NativeDataset {
    /// What it became, once: it is not to live until JavaScript's object is collected.
    pub(crate) fn finished(&mut self) -> Result<Arc<Dataset>> {
        match std::mem::replace(&mut self.state, State::Begun(None)) {
            State::Finished(dataset) => Ok(dataset),
            begun @ State::Begun(_) => {
                self.state = begun;
                Err(stale("finished dataset"))
            }
        }
    }
}

#[napi]
impl NativeText {
    /// The text. Throws what went wrong.
    #[napi]
    pub fn get(&mut self) -> Result<String> {
        self.text.take().unwrap_or_else(|| Err(stale("answer")))
    }
}

pub struct ListenTask {
    server: Arc<Server>,
    address: String,
    tls: Tls,
}

impl<'task> ScopedTask<'task> for ListenTask {
    type Output = Outcome<String>;
    type JsValue = NativeText;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(transports::listen(&self.address, &self.tls)
            .and_then(|listener| self.server.listen(listener))
            .map_err(plane))
    }

    fn resolve(&mut self, _env: &'task Env, text: Self::Output) -> napi::Result<NativeText> {
        Ok(NativeText::of(text))
    }
}

pub struct BeginTask {
    server: Arc<Server>,
    options: NativeDatasetOptions,
}

impl<'task> ScopedTask<'task> for BeginTask {
    type Output = Outcome<DatasetBuilder>;
    type JsValue = NativeDataset;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(self.server.dataset(options_of(self.options.clone())).map_err(plane))
    }

    fn resolve(&mut self, _env: &'task Env, begun: Self::Output) -> napi::Result<NativeDataset> {
        Ok(NativeDataset { state: State::Begun(Some(begun)) })
    }
}

pub struct PutFileTask {
    server: Arc<Server>,
    options: NativeDatasetOptions,
    path: String,
}

impl PutFileTask {
    /// The file is copied: a mapping of it would end this process when somebody cuts it short.
    fn put(&self) -> Outcome<()> {
        let refused = |error: arrowlane_files::Error| coded(error.code(), &error);
        let reader = arrowlane_files::open(Path::new(&self.path)).map_err(refused)?;
        let mut builder = self.server.dataset(options_of(self.options.clone())).map_err(plane)?;
        builder.expect(&reader.schema()).map_err(plane)?;
        for batch in reader {
            builder.push(&batch.map_err(refused)?, KeyValues::new()).map_err(plane)?;
        }
        let dataset = builder.finish().map_err(plane)?;
        self.server.put(&self.options.name, Offer::Dataset(dataset));
        Ok(())
    }
}

impl<'task> ScopedTask<'task> for PutFileTask {
    type Output = Outcome<()>;
    type JsValue = NativeText;

    fn compute(&mut self) -> napi::Result<Self::Output> {
        Ok(self.put())
    }

    fn resolve(&mut self, _env: &'task Env, put: Self::Output) -> napi::Result<NativeText> {
        Ok(NativeText::of(put.map(|()| String::new())))
    }
}

pub(crate) fn options_of(options: NativeDatasetOptions) -> DatasetOptions {
    let NativeDatasetOptions { name, memory, queue_batches, queue_bytes } = options;
    let queue = Queue { batches: queue_batches as usize, bytes: queue_bytes as u64 };
    DatasetOptions { name, memory: memory as u64, queue }
}

#[napi]
impl NativeServer {
    /// Its tickets are good for so many milliseconds.
    #[napi(constructor)]
    pub fn new(ticket_life: f64) -> Result<Self> {
        let server = Server::new(Duration::from_secs_f64(ticket_life.max(1.0) / 1000.0)).map_err(plane)?;
        Ok(Self { server: Arc::new(server), pending: Arc::default(), exchanges: Arc::default() })
    }

    /// Lets in whoever comes to an address; resolves to the URI by which they do. Certificate and key are for `tls=1`.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn listen(&self, address: String, certificate: Option<String>, key: Option<String>) -> AsyncTask<ListenTask> {
        let tls = Tls { identity: certificate.zip(key), ..Tls::default() };
        AsyncTask::new(ListenTask { server: Arc::clone(&self.server), address, tls })
    }

    #[napi]
    pub fn uris(&self) -> Vec<String> {
        self.server.uris()
    }

    /// Begins a dataset; `NativeLane.openDataset` makes it something to send to.
    #[napi(ts_return_type = "Promise<NativeDataset>")]
    pub fn begin(&self, options: NativeDatasetOptions) -> AsyncTask<BeginTask> {
        AsyncTask::new(BeginTask { server: Arc::clone(&self.server), options })
    }

    /// Offers a finished dataset under a name; the object is empty then.
    #[napi]
    pub fn put(&self, name: String, dataset: &mut NativeDataset) -> Result<()> {
        self.server.put(&name, Offer::Dataset(dataset.finished()?));
        Ok(())
    }

    /// Reads a file and offers what is in it.
    #[napi(ts_return_type = "Promise<NativeText>")]
    pub fn put_file(&self, path: String, options: NativeDatasetOptions) -> AsyncTask<PutFileTask> {
        AsyncTask::new(PutFileTask { server: Arc::clone(&self.server), options, path })
    }

    /// Offers a publisher's topic under a name; with its schema, where that is known already.
    #[napi]
    pub fn put_topic(&self, name: String, lane: &NativeLane, publisher: u32, schema: Option<u32>) -> Result<()> {
        let publisher = lane.publisher(publisher)?;
        if let Some(schema) = schema {
            publisher.expect(&lane.schema(schema)?).map_err(plane)?;
        }
        self.server.put(&name, Offer::Topic(publisher));
        Ok(())
    }

    /// Whether it was offered.
    #[napi]
    pub fn remove(&self, name: String) -> bool {
        self.server.remove(&name)
    }

    #[napi]
    pub fn offers(&self) -> Vec<NativeOffer> {
        let describe = |(name, offer): (String, Offer)| match offer {
            Offer::Dataset(dataset) => NativeOffer {
                name,
                topic: false,
                schema: Some(schema_to_json(dataset.schema()).to_string()),
                rows: Some(dataset.rows() as f64),
                bytes: Some(dataset.bytes() as f64),
                batches: Some(dataset.batches() as f64),
            },
            Offer::Topic(publisher) => {
                let schema = publisher.schema().map(|schema| schema_to_json(&schema).to_string());
                NativeOffer { name, topic: true, schema, rows: None, bytes: None, batches: None }
            }
        };
        self.server.offers().into_iter().map(describe).collect()
    }

    /// A ticket for what a name stands for now; nothing when nothing has that name.
    #[napi]
    pub fn mint(&self, name: String) -> Result<Option<NativeTicket>> {
        let minted = self.server.mint(&name, None).map_err(plane)?;
        let halves = match self.server.offer(&name) {
            Some(Offer::Dataset(_)) => self.server.halves().map(Vec::from).unwrap_or_default(),
            _ => Vec::new(),
        };
        Ok(minted.map(|m| NativeTicket { ticket: m.ticket, life: m.life.as_secs_f64() * 1000.0, halves }))
    }

    #[napi]
    pub fn close(&self) {
        self.server.close();
    }
}

#[napi]
impl NativeLane {
    /// Makes a dataset that was begun something to send to: the number of a publisher whose batches it keeps.
    #[napi]
    pub fn open_dataset(&self, dataset: &mut NativeDataset) -> Result<u32> {
        let State::Begun(begun) = &mut dataset.state else { return Err(stale("dataset that was begun")) };
        let builder = begun.take().unwrap_or_else(|| Err(plane(PlaneError::Closed)))?;
        let id = builder.publisher().id();
        let mut tables = self.host.tables.borrow_mut();
        tables.publishers.insert(id, Arc::clone(builder.publisher()));
        tables.datasets.insert(id, builder);
        Ok(id)
    }

    /// Says what the schema is, of a dataset that may turn out to have no batches.
    #[napi]
    pub fn expect_schema(&self, dataset: u32, schema: u32) -> Result<()> {
        let schema = self.schema(schema)?;
        let mut tables = self.host.tables.borrow_mut();
        let builder = tables.datasets.get_mut(&dataset).ok_or_else(|| stale("dataset"))?;
        builder.expect(&schema.arrow).map_err(plane)
    }

    /// What was sent to it is complete.
    #[napi]
    pub fn finish_dataset(&self, dataset: u32) -> Result<NativeDataset> {
        let removed = self.take_dataset(dataset);
        let finished = removed.ok_or_else(|| stale("dataset"))?.finish().map_err(plane)?;
        Ok(NativeDataset { state: State::Finished(finished) })
    }

    /// Gives up a dataset.
    #[napi]
    pub fn drop_dataset(&self, dataset: u32) {
        drop(self.take_dataset(dataset));
    }

    fn take_dataset(&self, dataset: u32) -> Option<DatasetBuilder> {
        let mut tables = self.host.tables.borrow_mut();
        tables.publishers.remove(&dataset);
        tables.datasets.remove(&dataset)
    }
}

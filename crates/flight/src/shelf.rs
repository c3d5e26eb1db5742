//! The datasets of a data server, as Flight offers them.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use arrowlane_plane::{
    PlaneError, Publisher,
    server::{Dataset, DatasetBuilder, DatasetOptions, Followed, Following, Offer, Refused, Server},
};
use bytes::Bytes;

use crate::{
    Caller, Cancellation, Catalog, CatalogError, Description, Encoder, GrpcEndpoint, Incoming, Locations, Minted, Part,
    Sink, Snapshot,
};

/// What a [`Server`] offers, for a Flight service beside it. Tickets are the data server's own, so a ticket of `GetFlightInfo`
/// is taken at every data URI, and by `DoGet`.
pub struct Shelf {
    server: Arc<Server>,
    /// How uploads are kept; `None` takes none.
    uploads: Option<DatasetOptions>,
    exchanger: Option<Box<dyn Exchanger>>,
}

/// Who answers in exchanges.
pub trait Exchanger: Send + Sync + 'static {
    /// Answers what a client sends: the publisher of the answers, which has one subscriber. May block, until there is one.
    ///
    /// # Errors
    /// What the client is told.
    fn answer(&self, name: &str, caller: &Caller, incoming: GrpcEndpoint) -> Result<Arc<Publisher>, CatalogError>;
}

impl Shelf {
    /// For that server. Uploads (`DoPut`) are kept as `uploads` says, each under the name that its client gives.
    pub fn new(server: Arc<Server>, uploads: Option<DatasetOptions>) -> Self {
        Self { server, uploads, exchanger: None }
    }

    /// With somebody who answers in exchanges (`DoExchange`).
    pub fn with_exchanger(self, exchanger: Option<Box<dyn Exchanger>>) -> Self {
        Self { exchanger, ..self }
    }

    fn offer(&self, name: &str) -> Result<Offer, CatalogError> {
        self.server.offer(name).ok_or_else(|| CatalogError::NotFound(format!("there is no dataset {name:?}")))
    }
}

fn describe(offer: &Offer) -> Description {
    match offer {
        Offer::Dataset(dataset) => Description {
            schema: Arc::clone(dataset.schema()),
            rows: Some(dataset.rows()),
            bytes: Some(dataset.bytes()),
            ordered: true,
        },
        Offer::Topic(publisher) => Description {
            schema: publisher.schema().unwrap_or_else(|| Arc::new(Schema::empty())),
            rows: None,
            bytes: None,
            ordered: true,
        },
    }
}

fn failed(error: PlaneError) -> CatalogError {
    match error.code() {
        "ERR_OUT_OF_MEMORY" => CatalogError::Exhausted(error.to_string()),
        "ERR_SCHEMA_MISMATCH" | "ERR_ARROW" => CatalogError::Invalid(error.to_string()),
        _ => CatalogError::Failed(error.to_string()),
    }
}

impl Catalog for Shelf {
    fn list(&self, _caller: &Caller) -> Result<Vec<String>, CatalogError> {
        Ok(self.server.offers().into_iter().map(|(name, _)| name).collect())
    }

    fn describe(&self, name: &str, _caller: &Caller) -> Result<Description, CatalogError> {
        self.offer(name).map(|offer| describe(&offer))
    }

    fn mint(&self, name: &str, caller: &Caller) -> Result<Minted, CatalogError> {
        let description = self.describe(name, caller)?;
        let minted = self.server.mint(name, caller.identity.as_deref()).map_err(failed)?;
        let minted = minted.ok_or_else(|| CatalogError::NotFound(format!("there is no dataset {name:?}")))?;
        let locations = match caller.locations {
            Locations::Inline => Vec::new(),
            Locations::Combined => self.server.uris(),
            Locations::Split => self.server.halves().map_err(failed)?.into(),
        };
        let expires = SystemTime::now().checked_add(minted.life);
        Ok(Minted { description, ticket: Bytes::from(minted.ticket), expires, locations })
    }

    fn redeem(&self, ticket: &[u8], caller: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        match self.server.redeem(ticket, caller.identity.as_deref()) {
            Ok(Offer::Dataset(dataset)) => Ok(Box::new(Reading::of(dataset, caller.metadata_only))),
            Ok(Offer::Topic(_)) if caller.metadata_only => Err(CatalogError::Unsupported(
                "what is made for each client anew comes with its metadata: ask for it at one of its data URIs".into(),
            )),
            Ok(Offer::Topic(publisher)) => {
                let schema = publisher.schema().ok_or_else(|| {
                    CatalogError::Unsupported(
                        "nothing was ever sent on this topic, so its schema is not known yet: subscribe at one of its data \
                         URIs"
                            .into(),
                    )
                })?;
                let following = self.server.follow(ticket).map_err(failed)?;
                Ok(Box::new(Live { following, encoder: Encoder::new(schema), first: None, ready: VecDeque::new() }))
            }
            Err(error @ Refused::Unknown) => Err(CatalogError::NotFound(error.to_string())),
            Err(error @ Refused::Stolen) => Err(CatalogError::NotPermitted(error.to_string())),
        }
    }

    fn exchange(&self, name: &str, incoming: Incoming, caller: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        let Some(exchanger) = &self.exchanger else {
            return Err(CatalogError::Unsupported("this server exchanges nothing".into()));
        };
        let given_up = incoming.given_up().clone();
        let incoming = incoming.into_endpoint().map_err(|error| CatalogError::Exhausted(error.to_string()))?;
        let publisher = exchanger.answer(name, caller, incoming)?;
        Ok(Box::new(Live::of(&self.server, &publisher, &given_up)?))
    }

    fn put(&self, name: &str, schema: SchemaRef, _caller: &Caller) -> Result<Box<dyn Sink>, CatalogError> {
        let Some(uploads) = &self.uploads else {
            return Err(CatalogError::NotPermitted("this server takes no uploads".into()));
        };
        let options = DatasetOptions { name: name.to_owned(), ..uploads.clone() };
        let mut builder = self.server.dataset(options).map_err(failed)?;
        builder.expect(&schema).map_err(failed)?;
        Ok(Box::new(Upload { server: Arc::clone(&self.server), name: name.to_owned(), builder }))
    }
}

/// A dataset on its way to one client.
struct Reading {
    dataset: Arc<Dataset>,
    metadata_only: bool,
    next: usize,
    ready: VecDeque<Part>,
}

impl Reading {
    fn of(dataset: Arc<Dataset>, metadata_only: bool) -> Self {
        Self { dataset, metadata_only, next: 0, ready: VecDeque::new() }
    }
}

impl Snapshot for Reading {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.dataset.schema())
    }

    fn next(&mut self) -> Result<Option<Part>, CatalogError> {
        if self.ready.is_empty() && self.next < self.dataset.batches() {
            for message in self.dataset.messages(self.next).map_err(failed)? {
                let body = if self.metadata_only { Vec::new() } else { message.body };
                self.ready.push_back(Part { header: message.header.into(), body, app_metadata: Bytes::new() });
            }
            self.next += 1;
        }
        Ok(self.ready.pop_front())
    }

    fn blocks(&self) -> bool {
        false
    }
}

/// So long a live stream is waited for at a time.
const LOOK: Duration = Duration::from_millis(500);

/// A topic, or batches that are made anew for each client, on their way to one.
pub struct Live {
    following: Following,
    encoder: Encoder,
    /// What was read to learn the schema.
    first: Option<Followed>,
    ready: VecDeque<Part>,
}

impl Live {
    /// What a publisher sends to one subscriber more. **Blocks** until its schema is known, or `given_up`.
    ///
    /// # Errors
    /// What ended the stream before that.
    pub fn of(server: &Server, publisher: &Arc<Publisher>, given_up: &Cancellation) -> Result<Self, CatalogError> {
        let ticket = server.stand(publisher).map_err(failed)?.ticket;
        let following = server.follow(ticket.as_bytes()).map_err(failed)?;
        let (mut first, mut schema) = (None, publisher.schema());
        while schema.is_none() && first.is_none() {
            if given_up.is_cancelled() {
                return Err(CatalogError::Failed("nobody waits for the answer".into()));
            }
            first = match following.next(LOOK).map_err(failed)? {
                Followed::Nothing => None,
                next => Some(next),
            };
            schema = match &first {
                Some(Followed::Batch(batch)) => Some(Arc::clone(&batch.schema.arrow)),
                _ => publisher.schema(),
            };
        }
        let encoder = Encoder::new(schema.unwrap_or_else(|| Arc::new(Schema::empty())));
        Ok(Self { following, encoder, first, ready: VecDeque::new() })
    }
}

impl Snapshot for Live {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.encoder.stream_schema())
    }

    fn next(&mut self) -> Result<Option<Part>, CatalogError> {
        if let Some(part) = self.ready.pop_front() {
            return Ok(Some(part));
        }
        let next = match self.first.take() {
            Some(first) => first,
            None => self.following.next(LOOK).map_err(failed)?,
        };
        match next {
            Followed::Batch(batch) => {
                let arrays = batch.to_arrow().map_err(failed)?;
                let parts = self.encoder.batch_with(&arrays, &batch.metadata);
                self.ready.extend(parts.map_err(|error| CatalogError::Failed(error.to_string()))?);
                Ok(self.ready.pop_front())
            }
            Followed::Nothing => Ok(Some(Part::default())),
            Followed::Ended => Ok(None),
        }
    }
}

/// A dataset on its way from a client.
struct Upload {
    server: Arc<Server>,
    name: String,
    builder: DatasetBuilder,
}

impl Sink for Upload {
    fn batch(&mut self, batch: RecordBatch, _app_metadata: Bytes) -> Result<Option<Bytes>, CatalogError> {
        self.builder.push(&batch, Vec::new()).map_err(failed)?;
        Ok(None)
    }

    fn finish(self: Box<Self>) -> Result<Option<Bytes>, CatalogError> {
        let Self { server, name, builder } = *self;
        server.put(&name, Offer::Dataset(builder.finish().map_err(failed)?));
        Ok(None)
    }
}

//! A catalog in memory, and data to put into it.
#![allow(dead_code, clippy::unwrap_used, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use arrow_array::types::Int8Type;
use arrow_array::{ArrayRef, DictionaryArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::SchemaRef;
use arrowlane_flight::{
    Authenticate, Batches, BoxFuture, Caller, Catalog, CatalogError, Credentials, Denied, Description, Identity,
    Incoming, Locations, Minted, Part, Sink, Snapshot,
};
use bytes::Bytes;
use parking_lot::Mutex;

/// Datasets in memory. Tickets are 128 random bits, for one caller.
#[derive(Default)]
pub struct Memory {
    datasets: Arc<Mutex<HashMap<String, Dataset>>>,
    tickets: Mutex<HashMap<Vec<u8>, Ticket>>,
    /// How long tickets are good for; `None` for ever.
    pub lifetime: Option<Duration>,
    /// Snapshots that exist now.
    pub open: Arc<AtomicUsize>,
    /// Uploads that were neither finished nor dropped.
    pub uploads: Arc<AtomicUsize>,
}

#[derive(Clone)]
pub struct Dataset {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// How often all of them are sent.
    pub times: usize,
}

struct Ticket {
    dataset: Dataset,
    identity: Option<Identity>,
    expires: Option<SystemTime>,
}

impl Memory {
    pub fn with(datasets: impl IntoIterator<Item = (&'static str, Vec<RecordBatch>)>) -> Arc<Self> {
        let memory = Self::default();
        for (name, batches) in datasets {
            memory.add(name, batches, 1);
        }
        Arc::new(memory)
    }

    pub fn add(&self, name: &str, batches: Vec<RecordBatch>, times: usize) {
        let schema = batches[0].schema();
        self.datasets.lock().insert(name.to_owned(), Dataset { schema, batches, times });
    }

    pub fn get(&self, name: &str) -> Option<Dataset> {
        self.datasets.lock().get(name).cloned()
    }

    fn find(&self, name: &str) -> Result<Dataset, CatalogError> {
        self.get(name).ok_or_else(|| CatalogError::NotFound(format!("there is no dataset {name:?}")))
    }
}

fn describe(dataset: &Dataset) -> Description {
    let sum = |of: fn(&RecordBatch) -> usize| (dataset.batches.iter().map(of).sum::<usize>() * dataset.times) as u64;
    Description {
        schema: Arc::clone(&dataset.schema),
        rows: Some(sum(RecordBatch::num_rows)),
        bytes: Some(sum(RecordBatch::get_array_memory_size)),
        ordered: true,
    }
}

impl Catalog for Memory {
    fn list(&self, _: &Caller) -> Result<Vec<String>, CatalogError> {
        let mut names: Vec<_> = self.datasets.lock().keys().cloned().collect();
        names.sort();
        Ok(names)
    }

    fn describe(&self, name: &str, _: &Caller) -> Result<Description, CatalogError> {
        self.find(name).map(|dataset| describe(&dataset))
    }

    fn mint(&self, name: &str, caller: &Caller) -> Result<Minted, CatalogError> {
        let dataset = self.find(name)?;
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| CatalogError::Failed(error.to_string()))?;
        let ticket = format!("{:032x}", u128::from_be_bytes(bits)).into_bytes();
        let expires = self.lifetime.map(|lifetime| SystemTime::now() + lifetime);
        let description = describe(&dataset);
        let entry = Ticket { dataset, identity: caller.identity.clone(), expires };
        self.tickets.lock().insert(ticket.clone(), entry);
        let locations = match caller.locations {
            Locations::Split => ["ucx://127.0.0.1:1?want_data=1", "ucx://127.0.0.1:1?want_data=2&free_data=3"],
            _ => ["tcp://127.0.0.1:1?want_data=1", "ucx://127.0.0.1:1?want_data=2"],
        };
        let locations = locations.iter().map(ToString::to_string).collect();
        Ok(Minted { description, ticket: ticket.into(), expires, locations })
    }

    fn redeem(&self, ticket: &[u8], caller: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        let unknown =
            || CatalogError::NotFound("no such ticket: it was never minted, is over, or is somebody else's".into());
        let tickets = self.tickets.lock();
        let found = tickets.get(ticket).ok_or_else(unknown)?;
        if found.identity != caller.identity || found.expires.is_some_and(|end| end <= SystemTime::now()) {
            return Err(unknown());
        }
        let Dataset { schema, batches, times } = found.dataset.clone();
        let all = (0..times).flat_map(move |_| batches.clone()).map(Ok);
        self.open.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.open));
        Ok(Box::new(Counted {
            inner: Batches::new(schema, all, false),
            metadata_only: caller.metadata_only,
            _open: open,
        }))
    }

    fn put(&self, name: &str, schema: SchemaRef, _: &Caller) -> Result<Box<dyn Sink>, CatalogError> {
        if name == "forbidden" {
            return Err(CatalogError::NotPermitted("nobody may replace that".into()));
        }
        self.uploads.fetch_add(1, Ordering::SeqCst);
        let open = Open(Arc::clone(&self.uploads));
        let dataset = Dataset { schema, batches: Vec::new(), times: 1 };
        Ok(Box::new(Upload { name: name.to_owned(), dataset, into: Arc::clone(&self.datasets), _open: open }))
    }

    fn exchange(&self, name: &str, mut incoming: Incoming, _: &Caller) -> Result<Box<dyn Snapshot>, CatalogError> {
        if name != "echo" {
            return Err(CatalogError::Unsupported(format!("there is no exchange {name:?}")));
        }
        let schema = Arc::clone(incoming.schema());
        let (mut last, mut again) = (Some(RecordBatch::new_empty(Arc::clone(&schema))), None);
        let answers = std::iter::from_fn(move || {
            let next = match again.take() {
                Some(batch) => Ok(Some(batch)),
                None => incoming.next_batch().inspect(|batch| again = batch.clone()),
            };
            next.map(|batch| batch.or_else(|| last.take())).transpose()
        });
        Ok(Box::new(Batches::new(schema, answers, true)))
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Counted<S> {
    inner: S,
    metadata_only: bool,
    _open: Open,
}

impl<S: Snapshot> Snapshot for Counted<S> {
    fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    fn next(&mut self) -> Result<Option<Part>, CatalogError> {
        let part = self.inner.next()?;
        Ok(part.map(|part| if self.metadata_only { Part { body: Vec::new(), ..part } } else { part }))
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }
}

struct Upload {
    name: String,
    dataset: Dataset,
    into: Arc<Mutex<HashMap<String, Dataset>>>,
    _open: Open,
}

impl Sink for Upload {
    fn batch(&mut self, batch: RecordBatch, app_metadata: Bytes) -> Result<Option<Bytes>, CatalogError> {
        self.dataset.batches.push(batch);
        Ok((!app_metadata.is_empty()).then_some(app_metadata))
    }

    fn finish(self: Box<Self>) -> Result<Option<Bytes>, CatalogError> {
        let rows: usize = self.dataset.batches.iter().map(RecordBatch::num_rows).sum();
        self.into.lock().insert(self.name, self.dataset);
        Ok(Some(Bytes::from(rows.to_string())))
    }
}

/// Knows ada, whose password is lovelace, and the bearer of "secret", who is grace.
pub struct Guard;

impl Authenticate for Guard {
    fn authenticate<'a>(
        &'a self,
        credentials: Credentials,
        _: Option<std::net::SocketAddr>,
    ) -> BoxFuture<'a, Result<Identity, Denied>> {
        Box::pin(async move {
            // As a hook in another thread: the answer comes later.
            tokio::task::yield_now().await;
            match credentials {
                Credentials::Basic { user, password } if user == "ada" && password == "lovelace" => Ok(user.into()),
                Credentials::Bearer(token) if token == "secret" => Ok("grace".into()),
                _ => Err(Denied("who are you?".into())),
            }
        })
    }
}

/// Numbers and text with nulls in three batches, the middle one empty.
pub fn numbers() -> Vec<RecordBatch> {
    let batch = |range: std::ops::Range<i64>| {
        let id: ArrayRef = Arc::new(Int64Array::from_iter(range.clone().map(|n| (n % 7 != 0).then_some(n))));
        let half: ArrayRef = Arc::new(Float64Array::from_iter_values(range.clone().map(|n| n as f64 / 2.0)));
        let name: ArrayRef = Arc::new(StringArray::from_iter(range.map(|n| (n % 5 != 0).then(|| format!("row {n}")))));
        RecordBatch::try_from_iter_with_nullable([("id", id, true), ("half", half, false), ("name", name, true)])
            .unwrap()
    };
    vec![batch(0..1000), batch(0..0), batch(1000..1003)]
}

/// A dictionary column; the second batch has the dictionary of the first, the third another.
pub fn words() -> Vec<RecordBatch> {
    let batch = |column: DictionaryArray<Int8Type>| {
        RecordBatch::try_from_iter_with_nullable([("word", Arc::new(column) as ArrayRef, true)]).unwrap()
    };
    let first: DictionaryArray<Int8Type> = ["a", "b", "a", "c"].into_iter().collect();
    let second: DictionaryArray<Int8Type> = ["x", "y", "x"].into_iter().collect();
    vec![batch(first.clone()), batch(first), batch(second)]
}

/// One batch of `bytes` in four columns.
pub fn large(bytes: usize) -> RecordBatch {
    let rows = bytes as i64 / 32;
    let column = |seed: i64| Arc::new(Int64Array::from_iter_values((0..rows).map(|n| n * 31 + seed))) as ArrayRef;
    RecordBatch::try_from_iter([("a", column(0)), ("b", column(1)), ("c", column(2)), ("d", column(3))]).unwrap()
}

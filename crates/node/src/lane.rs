//! The class that JavaScript makes once per environment, and what concerns batches alone.

use std::{rc::Rc, sync::Arc};

use arrow_array::RecordBatch;
use arrowlane_files::json::schema_to_json;
use arrowlane_plane::{Batch, BatchSchema, Body, HostRange, Placed};
use napi::{Env, bindgen_prelude::*, sys};
use napi_derive::napi;

use crate::{
    arrays,
    cell::{Cell, Keep},
    error::{Result, node, plane, stale},
    events::{batch_record, schema_handle},
    host::{Entry, Host},
};

/// One environment's lane.
#[napi]
pub struct NativeLane {
    pub(crate) host: Rc<Host>,
}

/// A JavaScript value of the current scope.
pub struct Raw(pub sys::napi_value);

impl ToNapiValue for Raw {
    unsafe fn to_napi_value(_env: sys::napi_env, value: Self) -> napi::Result<sys::napi_value> {
        Ok(value.0)
    }
}

impl TypeName for Raw {
    fn type_name() -> &'static str {
        "unknown"
    }
    fn value_type() -> ValueType {
        ValueType::Unknown
    }
}

#[napi]
impl NativeLane {
    /// `callback(count)` is called with the number of records in `mailbox`. `scratch` carries numbers of single calls.
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        callback: Function<'_, f64, ()>,
        mailbox: Unknown<'_>,
        scratch: Unknown<'_>,
        threadsafe: bool,
    ) -> Result<Self> {
        let host = Host::start(env.raw(), callback.raw(), mailbox.raw(), scratch.raw(), threadsafe)
            .map_err(|reason| napi::Error::new("ERR_RUNTIME".to_owned(), reason))?;
        Ok(Self { host })
    }

    /// Another, longer scratch array.
    #[napi]
    pub fn replace_scratch(&self, env: &Env, scratch: Unknown<'_>) -> Result<()> {
        self.host
            .scratch
            .replace(env.raw(), scratch.raw())
            .map_err(|reason| napi::Error::new("ERR_INTERNAL".to_owned(), reason))
    }

    /// Whether the event loop itself watches. Otherwise `idle()` is to be called some time after anything was done.
    #[napi(getter)]
    pub fn on_loop(&self) -> bool {
        self.host.is_on_loop()
    }

    #[napi]
    pub fn idle(&self) {
        self.host.idle();
    }

    #[napi]
    pub fn hold(&self) {
        self.host.hold();
    }

    #[napi]
    pub fn let_go(&self) {
        self.host.let_go();
    }

    /// Code and message of a failure that was announced; once.
    #[napi]
    pub fn take_error(&self, id: u32) -> Vec<String> {
        self.host.tables.borrow_mut().errors.remove(&id).map(|(code, text)| vec![code, text]).unwrap_or_default()
    }

    /// A schema as JSON (Arrow's integration format).
    #[napi]
    pub fn schema_json(&self, schema: u32) -> Result<String> {
        Ok(schema_to_json(&self.schema(schema)?.arrow).to_string())
    }

    /// The number of a schema given as JSON.
    #[napi]
    pub fn register_schema(&self, json: String) -> Result<u32> {
        let invalid = |e: &dyn std::error::Error| crate::error::coded("ERR_SCHEMA", e);
        let value = serde_json::from_str(&json).map_err(|e| invalid(&e))?;
        let schema = arrowlane_files::json::schema_from_json(&value).map_err(|e| invalid(&e))?;
        let schema = BatchSchema::new(Arc::new(schema)).map_err(plane)?;
        Ok(schema_handle(&mut self.host.tables.borrow_mut(), None, &schema))
    }

    /// The keys of the dictionaries that a batch refers to, into the scratch array: one per dictionary-encoded field,
    /// 0 where there is none. The same values have the same key.
    #[napi]
    pub fn dictionary_keys(&self, batch: u32) -> Result<u32> {
        let batch = self.batch(batch)?;
        let key =
            |d: &Option<Arc<arrowlane_plane::Dictionary>>| d.as_ref().map_or(0.0, |d| Arc::as_ptr(d) as usize as f64);
        let keys: Vec<f64> = batch.dictionaries.iter().map(key).collect();
        self.host.scratch.write(0, &keys);
        Ok(keys.len() as u32)
    }

    /// As `open`, for the values of one dictionary. The handle that owns the buffers is the last number of the scratch
    /// array.
    #[napi(ts_return_type = "ArrayBuffer | ArrayBuffer[] | number")]
    pub fn open_dictionary(&self, env: &Env, batch: u32, index: u32) -> Result<Raw> {
        let batch = self.batch(batch)?;
        let found = batch.dictionaries.get(index as usize).and_then(Option::as_ref);
        let dictionary = found.ok_or_else(|| stale("dictionary"))?;
        if let Some(missing) = self.write_layout(&dictionary.header, &dictionary.buffers) {
            return number(env, missing);
        }
        let (value, cells) = self.buffers_of(&dictionary.body, Entry::None)?;
        let handle = self.host.tables.borrow_mut().dictionary_cells.insert(cells);
        self.host.scratch.write(self.host.scratch.len() - 1, &[f64::from(handle)]);
        Ok(value)
    }

    /// Lets go of a dictionary's buffers after detaching them.
    #[napi]
    pub fn close_dictionary(&self, env: &Env, handle: u32, buffers: Vec<ArrayBuffer<'_>>) -> Result<()> {
        for buffer in &buffers {
            detach_value(env, buffer)?;
        }
        let cells = self.host.tables.borrow_mut().dictionary_cells.remove(handle);
        cells.iter().flatten().for_each(Cell::release);
        Ok(())
    }

    /// Ends this environment's hold on a batch: its buffers are detached.
    #[napi]
    pub fn dispose(&self, env: &Env, batch: u32, buffers: Vec<ArrayBuffer<'_>>) -> Result<()> {
        for buffer in &buffers {
            detach_value(env, buffer)?;
        }
        self.forget(batch);
        Ok(())
    }

    fn forget(&self, batch: u32) {
        let entry = self.host.tables.borrow_mut().batches.remove(batch);
        if let Some(entry) = entry {
            entry.cells.iter().for_each(Cell::release);
        }
    }

    /// JavaScript's handle was collected: buffers that are still referred to keep the batch.
    #[napi]
    pub fn abandon(&self, batch: u32) {
        let entry = self.host.tables.borrow_mut().batches.remove(batch);
        drop(entry);
    }

    /// Key/values sent with a batch: key, value, key, value….
    #[napi]
    pub fn metadata(&self, batch: u32) -> Result<Vec<String>> {
        let batch = self.batch(batch)?;
        Ok(batch.metadata.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect())
    }

    /// Lets go of a dictionary that was collected: buffers that are still referred to keep it.
    #[napi]
    pub fn abandon_dictionary(&self, handle: u32) {
        let cells = self.host.tables.borrow_mut().dictionary_cells.remove(handle);
        drop(cells);
    }

    /// Which shared memory a batch lies in, the same in every process: device, inode and offset; empty elsewhere.
    #[napi]
    pub fn location(&self, batch: u32) -> Result<Vec<BigInt>> {
        let batch = self.batch(batch)?;
        let location = batch.body.location();
        Ok(location.map(|l| l.map(BigInt::from).to_vec()).unwrap_or_default())
    }

    /// The addresses of a batch's ranges.
    #[napi]
    pub fn addresses(&self, batch: u32) -> Result<Vec<BigInt>> {
        let batch = self.batch(batch)?;
        Ok(batch.body.ranges().iter().map(|r| BigInt::from(r.pointer.as_ptr() as u64)).collect())
    }

    /// Copies rows and columns of a batch into memory of this process; the record of the copy is in the scratch array.
    #[napi]
    pub fn copy(&self, batch: u32, offset: f64, length: f64, columns: Option<Vec<u32>>) -> Result<()> {
        let original = self.batch(batch)?;
        let arrow = self.part(batch, offset, length, columns)?;
        let copy = Batch::copy_of(&arrow, original.metadata.clone()).map_err(plane)?;
        self.put_batch(Arc::new(copy));
        Ok(())
    }
}

/// What is called in other ways than as a method of JavaScript's.
impl NativeLane {
    /// Writes the batch's layout into the scratch array and returns its `ArrayBuffer`s: one as itself, several (or
    /// none) as an array. A number says how long the scratch array would have to be.
    ///
    /// Layout: nodes, (length, null count)…, buffers, (range, offset, length)…, variadic counts, count….
    pub(crate) fn open(&self, env: &Env, batch: u32) -> Result<sys::napi_value> {
        let mut opened = self.batch(batch)?;
        if !opened.body.is_writable() {
            // JavaScript would end the process by writing there: it gets a copy.
            let copy = Batch::copy_of(&opened.to_arrow().map_err(plane)?, opened.metadata.clone()).map_err(plane)?;
            opened = Arc::new(copy);
            if let Some(entry) = self.host.tables.borrow_mut().batches.get_mut(batch) {
                entry.batch = Arc::clone(&opened);
            }
        }
        if let Some(missing) = self.write_layout(&opened.header, &opened.buffers) {
            return number(env, missing).map(|n| n.0);
        }
        let (value, cells) = self.buffers_of(&opened.body, Entry::Batch(batch))?;
        if let Some(entry) = self.host.tables.borrow_mut().batches.get_mut(batch) {
            entry.cells = cells;
        }
        Ok(value.0)
    }

    /// Ends this environment's hold on a batch: its one buffer is detached.
    pub(crate) fn dispose1(&self, env: &Env, batch: u32, buffer: sys::napi_value) -> Result<()> {
        arrays::detach(env, buffer)?;
        self.forget(batch);
        Ok(())
    }

    pub(crate) fn put_batch(&self, batch: Arc<Batch>) {
        let record = batch_record(&mut self.host.tables.borrow_mut(), None, batch);
        self.host.scratch.write(0, &record);
    }

    pub(crate) fn batch(&self, batch: u32) -> Result<Arc<Batch>> {
        let tables = self.host.tables.borrow();
        tables.batches.get(batch).map(|e| Arc::clone(&e.batch)).ok_or_else(|| stale("batch"))
    }

    pub(crate) fn schema(&self, schema: u32) -> Result<Arc<BatchSchema>> {
        self.host.tables.borrow().schemas.get(schema as usize).cloned().ok_or_else(|| stale("schema"))
    }

    /// Rows `offset..offset + length` of some columns of a batch, as arrow-rs arrays over the same memory.
    pub(crate) fn part(&self, batch: u32, offset: f64, length: f64, columns: Option<Vec<u32>>) -> Result<RecordBatch> {
        let batch = self.batch(batch)?.to_arrow().map_err(plane)?;
        let (offset, length) = (offset as usize, length as usize);
        let batch = match columns {
            Some(columns) => {
                let columns: Vec<usize> = columns.into_iter().map(|c| c as usize).collect();
                batch.project(&columns).map_err(|e| crate::error::coded("ERR_ARROW", &e))?
            }
            None => batch,
        };
        if offset.checked_add(length).is_none_or(|end| end > batch.num_rows()) {
            return Err(stale("rows"));
        }
        Ok(if length == batch.num_rows() { batch } else { batch.slice(offset, length) })
    }

    fn write_layout(&self, header: &arrowlane_dissociated::BatchHeader, placed: &[Placed]) -> Option<f64> {
        let length = 4 + 2 * header.nodes.len() + 3 * placed.len() + header.variadic.len();
        // One number is left free at the end: `open_dictionary` puts a handle there.
        if length >= self.host.scratch.len() {
            return Some(length as f64);
        }
        let mut numbers = Vec::with_capacity(length);
        numbers.push(header.nodes.len() as f64);
        numbers.extend(header.nodes.iter().flat_map(|n| [n.length as f64, n.null_count as f64]));
        numbers.push(placed.len() as f64);
        numbers.extend(placed.iter().flat_map(|p| [f64::from(p.range), p.offset as f64, p.length as f64]));
        numbers.push(header.variadic.len() as f64);
        numbers.extend(header.variadic.iter().map(|n| *n as f64));
        self.host.scratch.write(0, &numbers);
        None
    }

    fn buffers_of(&self, body: &Arc<Body>, entry: Entry) -> Result<(Raw, Vec<Cell>)> {
        body.may_be_written();
        let external = |range: &HostRange| {
            arrays::external(&self.host, range.pointer, range.length, Keep::Body(Arc::clone(body)), entry)
        };
        if let [only] = body.ranges() {
            let (value, cell) = external(only)?;
            return Ok((Raw(value), vec![cell]));
        }
        let (values, cells): (Vec<_>, Vec<_>) =
            body.ranges().iter().map(external).collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let (env, mut array) = (self.host.env(), std::ptr::null_mut());
        // SAFETY: plain Node-API calls on the current environment with values of the current scope.
        unsafe {
            sys::napi_create_array_with_length(env, values.len(), &mut array);
            for (index, value) in values.into_iter().enumerate() {
                sys::napi_set_element(env, array, index as u32, value);
            }
        }
        Ok((Raw(array), cells))
    }
}

pub(crate) fn detach_value(env: &Env, buffer: &ArrayBuffer<'_>) -> Result<()> {
    arrays::detach(env, buffer.raw())
}

pub(crate) fn number(env: &Env, number: f64) -> Result<Raw> {
    let mut value = std::ptr::null_mut();
    // SAFETY: a plain Node-API call on the current environment.
    let status = unsafe { sys::napi_create_double(env.raw(), number, &mut value) };
    napi::check_status!(status).map_err(node)?;
    Ok(Raw(value))
}

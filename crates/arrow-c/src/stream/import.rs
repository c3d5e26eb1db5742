//! A C stream as a `RecordBatchReader`.

use std::ffi::{CStr, c_char, c_int};
use std::sync::Arc;

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, SchemaRef};

use crate::abi::{DeviceType, FFI_ArrowDeviceArray, FFI_ArrowDeviceArrayStream};
use crate::error::{Error, Result, check_address};
use crate::import::{Checks, check_host, import_columns};
use crate::schema::import_schema;

/// Reads batches from a C stream. Owns the stream and releases it when dropped, or at the first error or the end.
#[derive(Debug)]
pub struct StreamReader {
    source: Option<Source>,
    schema: SchemaRef,
    checks: Checks,
}

/// Imports a device stream, moving it out of the caller's struct. Only the CPU so far.
///
/// If the stream is refused (NULL, released, another device) it is untouched; if its producer fails to give a schema,
/// it is released.
///
/// # Safety
/// `stream` must be NULL (an error) or the address of an initialised struct that the caller owns; the arrays it yields
/// must satisfy [`import_batch_with`](crate::import_batch_with).
pub unsafe fn import_reader(stream: *mut FFI_ArrowDeviceArrayStream, checks: Checks) -> Result<StreamReader> {
    check_address(stream, "stream")?;
    // SAFETY: not NULL and aligned; the caller vouches that it is initialised.
    let device = unsafe {
        check_callbacks((*stream).is_released(), (*stream).get_schema.is_some() && (*stream).get_next.is_some())?;
        (*stream).device_type
    };
    if device != DeviceType::CPU {
        return Err(Error::Device { device, id: -1 });
    }
    // SAFETY: the caller gives up the struct.
    let source = Source::Device(unsafe { FFI_ArrowDeviceArrayStream::from_raw(stream) });
    StreamReader::new(source, checks)
}

/// [`import_reader`] for the plain C stream interface.
///
/// # Safety
/// As [`import_reader`].
pub unsafe fn import_reader_host(stream: *mut FFI_ArrowArrayStream, checks: Checks) -> Result<StreamReader> {
    check_address(stream, "stream")?;
    // SAFETY: not NULL and aligned; the caller vouches that it is initialised and gives it up.
    let source = unsafe {
        check_callbacks((*stream).release.is_none(), (*stream).get_schema.is_some() && (*stream).get_next.is_some())?;
        Source::Host(FFI_ArrowArrayStream::from_raw(stream))
    };
    StreamReader::new(source, checks)
}

fn check_callbacks(released: bool, complete: bool) -> Result<()> {
    if released {
        Err(Error::Released { what: "stream".to_owned() })
    } else if !complete {
        Err(Error::invalid("stream", "get_schema or get_next is NULL"))
    } else {
        Ok(())
    }
}

#[derive(Debug)]
enum Source {
    Device(FFI_ArrowDeviceArrayStream),
    Host(FFI_ArrowArrayStream),
}

impl Source {
    fn get_schema(&mut self, out: &mut FFI_ArrowSchema) -> c_int {
        // SAFETY (both): the stream is owned and unreleased, the callbacks were checked, `out` is released.
        match self {
            // SAFETY: as above.
            Self::Device(s) => s.get_schema.map_or(libc::EINVAL, |f| unsafe { f(s, out) }),
            // SAFETY: as above.
            Self::Host(s) => s.get_schema.map_or(libc::EINVAL, |f| unsafe { f(s, out) }),
        }
    }

    fn get_next(&mut self, out: &mut FFI_ArrowDeviceArray) -> c_int {
        match self {
            // SAFETY: as in `get_schema`.
            Self::Device(s) => s.get_next.map_or(libc::EINVAL, |f| unsafe { f(s, out) }),
            // SAFETY: as in `get_schema`; `out` describes the CPU already.
            Self::Host(s) => s.get_next.map_or(libc::EINVAL, |f| unsafe { f(s, &mut out.array) }),
        }
    }

    /// What the producer says about the errno it returned.
    fn failure(&mut self, code: c_int) -> Error {
        let text: *const c_char = match self {
            // SAFETY: as in `get_schema`.
            Self::Device(s) => s.get_last_error.map_or(std::ptr::null(), |f| unsafe { f(s) }),
            // SAFETY: as in `get_schema`.
            Self::Host(s) => s.get_last_error.map_or(std::ptr::null(), |f| unsafe { f(s) }),
        };
        let message = if text.is_null() {
            "no message".to_owned()
        } else {
            // SAFETY: not NULL; the producer vouches for a C string that lasts until the next call.
            unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
        };
        Error::Producer { code, message }
    }
}

impl StreamReader {
    fn new(mut source: Source, checks: Checks) -> Result<Self> {
        let mut schema = FFI_ArrowSchema::empty();
        match source.get_schema(&mut schema) {
            0 => {}
            code => return Err(source.failure(code)),
        }
        // SAFETY: written by the producer just now, owned here, and released when dropped.
        let schema = Arc::new(unsafe { import_schema(&schema) }?);
        Ok(Self { source: Some(source), schema, checks })
    }

    fn pull(&mut self) -> Result<Option<RecordBatch>> {
        let Some(source) = self.source.as_mut() else {
            return Ok(None);
        };
        let mut array = FFI_ArrowDeviceArray::empty();
        match source.get_next(&mut array) {
            0 => {}
            code => return Err(source.failure(code)),
        }
        if array.is_released() {
            return Ok(None);
        }
        check_host(&array)?;
        // SAFETY: written by the producer just now and owned here; the contract of the import covers its contents.
        unsafe { import_columns(&mut array.array, self.schema.clone(), self.checks) }.map(Some)
    }
}

impl Iterator for StreamReader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let pulled = self.pull();
        if !matches!(pulled, Ok(Some(_))) {
            self.source = None;
        }
        pulled.map_err(ArrowError::from).transpose()
    }
}

impl RecordBatchReader for StreamReader {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

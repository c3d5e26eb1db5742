//! A `RecordBatchReader` as a C stream.

use std::ffi::{CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_array::RecordBatchReader;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ArrowError;
use arrow_schema::ffi::FFI_ArrowSchema;

use crate::abi::{DeviceType, FFI_ArrowDeviceArray, FFI_ArrowDeviceArrayStream};
use crate::export::export_columns;
use crate::schema::export_schema;

/// Exports a reader as a device stream on the CPU. The stream owns the reader; releasing it drops the reader.
///
/// Batches already pulled stay valid after the stream is released. A reader's error becomes an errno and
/// `get_last_error`; a reader's panic becomes EIO and ends the stream.
pub fn export_reader(reader: Box<dyn RecordBatchReader + Send>) -> FFI_ArrowDeviceArrayStream {
    FFI_ArrowDeviceArrayStream {
        device_type: DeviceType::CPU,
        get_schema: Some(device_schema),
        get_next: Some(device_next),
        get_last_error: Some(device_error),
        release: Some(device_release),
        private_data: Producer::leak(reader),
    }
}

/// [`export_reader`] for the plain C stream interface.
pub fn export_reader_host(reader: Box<dyn RecordBatchReader + Send>) -> FFI_ArrowArrayStream {
    FFI_ArrowArrayStream {
        get_schema: Some(host_schema),
        get_next: Some(host_next),
        get_last_error: Some(host_error),
        release: Some(host_release),
        private_data: Producer::leak(reader),
    }
}

/// What a stream's callbacks share.
struct Producer {
    /// `None` after a panic: the reader's state cannot be trusted any more.
    reader: Option<Box<dyn RecordBatchReader + Send>>,
    last_error: Option<CString>,
}

impl Producer {
    fn leak(reader: Box<dyn RecordBatchReader + Send>) -> *mut c_void {
        Box::into_raw(Box::new(Self { reader: Some(reader), last_error: None })).cast()
    }

    fn fail(&mut self, errno: c_int, message: &str) -> c_int {
        let message = message.replace('\0', "\u{fffd}");
        self.last_error = CString::new(message).ok();
        errno
    }

    /// Runs `work` on the reader: its result, or the errno to return.
    fn with_reader<T>(
        &mut self,
        work: impl FnOnce(&mut dyn RecordBatchReader) -> Result<T, ArrowError>,
    ) -> Result<T, c_int> {
        self.last_error = None;
        let Some(reader) = self.reader.as_deref_mut() else {
            return Err(self.fail(libc::EIO, "the reader behind this stream panicked before"));
        };
        match catch_unwind(AssertUnwindSafe(|| work(reader))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.fail(errno(&error), &error.to_string())),
            Err(_) => {
                self.reader = None;
                Err(self.fail(libc::EIO, "the reader behind this stream panicked"))
            }
        }
    }

    fn schema(&mut self) -> Result<FFI_ArrowSchema, c_int> {
        self.with_reader(|reader| Ok(export_schema(&reader.schema())?))
    }

    /// The next batch, or a released array at the end.
    fn next(&mut self) -> Result<FFI_ArrowArray, c_int> {
        self.with_reader(|reader| match reader.next() {
            None => Ok(FFI_ArrowArray::empty()),
            Some(batch) => Ok(export_columns(&batch?)),
        })
    }

    fn error(&self) -> *const c_char {
        self.last_error.as_ref().map_or(std::ptr::null(), |error| error.as_ptr())
    }
}

fn errno(error: &ArrowError) -> c_int {
    match error {
        ArrowError::NotYetImplemented(_) => libc::ENOSYS,
        ArrowError::MemoryError(_) => libc::ENOMEM,
        ArrowError::IoError(..) => libc::EIO,
        _ => libc::EINVAL,
    }
}

/// Writes a callback's result to its out pointer and returns its errno.
///
/// # Safety
/// `out` is valid for writes; what was there is not released, as the interface says.
unsafe fn answer<T>(result: Result<T, c_int>, out: *mut T) -> c_int {
    match result {
        Ok(value) => {
            // SAFETY: the caller vouches for `out`.
            unsafe { out.write(value) };
            0
        }
        Err(errno) => errno,
    }
}

/// The callbacks of one kind of stream; `$wrap` turns a host array into what `get_next` writes.
macro_rules! callbacks {
    ($stream:ty, $array:ty, $wrap:path, $schema:ident, $next:ident, $error:ident, $release:ident) => {
        unsafe extern "C" fn $schema(stream: *mut $stream, out: *mut FFI_ArrowSchema) -> c_int {
            // SAFETY: the consumer passes the unreleased stream it was given and a place to write to, one call at a
            // time; `private_data` is the producer leaked at export.
            unsafe {
                let producer = &mut *(*stream).private_data.cast::<Producer>();
                answer(producer.schema(), out)
            }
        }

        unsafe extern "C" fn $next(stream: *mut $stream, out: *mut $array) -> c_int {
            // SAFETY: as above.
            unsafe {
                let producer = &mut *(*stream).private_data.cast::<Producer>();
                answer(producer.next().map($wrap), out)
            }
        }

        unsafe extern "C" fn $error(stream: *mut $stream) -> *const c_char {
            // SAFETY: as above.
            unsafe { (*(*stream).private_data.cast::<Producer>()).error() }
        }

        unsafe extern "C" fn $release(stream: *mut $stream) {
            // SAFETY: as above, or NULL, or released before; in the latter cases there is nothing to do.
            unsafe {
                if let Some(stream) = stream.as_mut()
                    && stream.release.take().is_some()
                {
                    drop(Box::from_raw(stream.private_data.cast::<Producer>()));
                    stream.private_data = std::ptr::null_mut();
                }
            }
        }
    };
}

callbacks!(
    FFI_ArrowDeviceArrayStream,
    FFI_ArrowDeviceArray,
    FFI_ArrowDeviceArray::host,
    device_schema,
    device_next,
    device_error,
    device_release
);
callbacks!(
    FFI_ArrowArrayStream,
    FFI_ArrowArray,
    std::convert::identity,
    host_schema,
    host_next,
    host_error,
    host_release
);

//! Batches out: C structs that own the batch's buffers until a consumer releases them.
//!
//! arrow-rs has `FFI_ArrowArray::new`; this module builds the structs itself because a consumer may read the first
//! offset of an empty array (arrow-rs hands out a dangling pointer there), because leaks are counted here, and because
//! the validity of a slice is only copied when its bits cannot be addressed as they are.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow_array::RecordBatch;
use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBuffer, ScalarBuffer};
use arrow_data::ffi::FFI_ArrowArray;
use arrow_data::{ArrayData, layout};
use arrow_schema::DataType;
use arrow_schema::ffi::FFI_ArrowSchema;

use crate::abi::FFI_ArrowDeviceArray;
use crate::error::{Result, check_address};
use crate::schema::export_schema;

/// Exports a batch as a struct array in ordinary memory, with its schema.
///
/// The buffers are shared, not copied: their owners live until `release` is called on the array (or the struct is
/// dropped), once, on any thread. The schema owns nothing of the batch. Fails, before anything is shared, if a name
/// cannot be written as a C string.
pub fn export_batch(batch: &RecordBatch) -> Result<(FFI_ArrowDeviceArray, FFI_ArrowSchema)> {
    let (array, schema) = export_batch_host(batch)?;
    Ok((FFI_ArrowDeviceArray::host(array), schema))
}

/// [`export_batch`] for consumers of the plain C data interface, without the device members.
pub fn export_batch_host(batch: &RecordBatch) -> Result<(FFI_ArrowArray, FFI_ArrowSchema)> {
    let schema = export_schema(batch.schema_ref())?;
    Ok((export_columns(batch), schema))
}

/// Exports a batch into structs that the caller provides, as C consumers expect.
///
/// On failure nothing is written.
///
/// # Safety
/// `array` and `schema` must each be NULL (an error) or valid for writes of their struct. What was there is neither
/// read nor released: it may be uninitialised.
pub unsafe fn export_batch_into(
    batch: &RecordBatch,
    array: *mut FFI_ArrowDeviceArray,
    schema: *mut FFI_ArrowSchema,
) -> Result<()> {
    check_address(array, "array")?;
    check_address(schema, "schema")?;
    let (exported_array, exported_schema) = export_batch(batch)?;
    // SAFETY: not NULL and aligned; the caller vouches that they are valid for writes.
    unsafe {
        array.write(exported_array);
        schema.write(exported_schema);
    }
    Ok(())
}

/// How many exported array structs of this process (children and dictionaries included) are not yet released.
///
/// For leak tests and diagnostics; it is back at its old value once every consumer has released what it was given.
pub fn live_exports() -> usize {
    LIVE.load(Ordering::Acquire)
}

/// Struct nodes alive; see [`live_exports`].
static LIVE: AtomicUsize = AtomicUsize::new(0);

/// What the pointer of an empty buffer points to: consumers may read one offset of an array without values.
#[repr(align(64))]
struct Zeros([u8; 64]);
static ZEROS: Zeros = Zeros([0; 64]);

/// The batch's columns as the children of a struct array: offset 0 and no validity, which is what pyarrow accepts as
/// a record batch.
pub(crate) fn export_columns(batch: &RecordBatch) -> FFI_ArrowArray {
    let children = batch.columns().iter().map(|column| export_data(&column.to_data())).collect();
    Node { length: batch.num_rows(), offset: 0, null_count: 0, buffers: vec![None], children, dictionary: None }
        .into_array()
}

/// One array with everything below it.
fn export_data(data: &ArrayData) -> FFI_ArrowArray {
    let layout = layout(data.data_type());
    let mut buffers = Vec::with_capacity(data.buffers().len() + 2);
    if layout.can_contain_null_mask {
        buffers.push(data.nulls().map(|nulls| validity_at(nulls, data.offset())));
    }
    buffers.extend(data.buffers().iter().cloned().map(Some));
    if layout.variadic {
        let sizes: Vec<i64> = data.buffers()[1..].iter().map(|b| b.len() as i64).collect();
        buffers.push(Some(ScalarBuffer::from(sizes).into_inner()));
    }
    let (children, dictionary) = match data.data_type() {
        DataType::Dictionary(..) => (Vec::new(), data.child_data().first().map(export_data)),
        _ => (data.child_data().iter().map(export_data).collect(), None),
    };
    Node {
        length: data.len(),
        offset: data.offset(),
        null_count: match data.data_type() {
            DataType::Null => data.len(),
            _ => data.null_count(),
        },
        buffers,
        children,
        dictionary,
    }
    .into_array()
}

/// The validity bitmap so that bit `offset` is the first value's: shared where the bits allow it, else copied.
fn validity_at(nulls: &NullBuffer, offset: usize) -> Buffer {
    if nulls.offset() == offset {
        nulls.buffer().clone()
    } else if offset == 0 {
        nulls.inner().sliced()
    } else {
        let mut bits = BooleanBufferBuilder::new(offset + nulls.len());
        bits.append_n(offset, false);
        bits.append_buffer(nulls.inner());
        bits.finish().into_inner()
    }
}

/// A C struct before it is one.
struct Node {
    length: usize,
    offset: usize,
    null_count: usize,
    buffers: Vec<Option<Buffer>>,
    children: Vec<FFI_ArrowArray>,
    dictionary: Option<FFI_ArrowArray>,
}

/// What an exported struct owns; freed by [`release`].
struct Private {
    /// Keeps the memory alive; consumers see only `pointers`.
    _buffers: Vec<Option<Buffer>>,
    pointers: Box<[*const c_void]>,
    children: Box<[*mut FFI_ArrowArray]>,
    dictionary: *mut FFI_ArrowArray,
}

impl Node {
    fn into_array(self) -> FFI_ArrowArray {
        let pointers = self
            .buffers
            .iter()
            .map(|buffer| match buffer {
                None => std::ptr::null(),
                Some(buffer) if buffer.is_empty() => ZEROS.0.as_ptr().cast(),
                Some(buffer) => buffer.as_ptr().cast(),
            })
            .collect();
        let leak = |array: FFI_ArrowArray| Box::into_raw(Box::new(array));
        let mut private = Box::new(Private {
            _buffers: self.buffers,
            pointers,
            children: self.children.into_iter().map(leak).collect(),
            dictionary: self.dictionary.map_or(std::ptr::null_mut(), leak),
        });
        LIVE.fetch_add(1, Ordering::AcqRel);
        FFI_ArrowArray {
            length: self.length as i64,
            null_count: self.null_count as i64,
            offset: self.offset as i64,
            n_buffers: private.pointers.len() as i64,
            n_children: private.children.len() as i64,
            buffers: private.pointers.as_mut_ptr(),
            children: private.children.as_mut_ptr(),
            dictionary: private.dictionary,
            release: Some(release),
            private_data: Box::into_raw(private).cast(),
        }
    }
}

/// The release callback: frees what the struct owns, children that were not moved out included.
unsafe extern "C" fn release(array: *mut FFI_ArrowArray) {
    // SAFETY: consumers call this with the struct they were given, or a bitwise move of it; NULL is ignored.
    let Some(array) = (unsafe { array.as_mut() }) else {
        return;
    };
    if array.release.take().is_none() {
        return;
    }
    // SAFETY: `private_data` is the box leaked by `into_array`; `release` was not NULL, so nobody freed it yet.
    let private = unsafe { Box::from_raw(array.private_data.cast::<Private>()) };
    array.private_data = std::ptr::null_mut();
    for child in private.children.iter().chain(std::iter::once(&private.dictionary)).filter(|child| !child.is_null()) {
        // SAFETY: leaked by `into_array`; dropping it releases the child unless a consumer moved it out.
        drop(unsafe { Box::from_raw(*child) });
    }
    drop(private);
    LIVE.fetch_sub(1, Ordering::AcqRel);
}

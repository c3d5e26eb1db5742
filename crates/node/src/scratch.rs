//! Numbers that JavaScript and Rust both see.

use std::{cell::Cell as StdCell, ptr};

use napi::sys;

/// A `Float64Array` that JavaScript made and never detaches. Written and read on the environment's thread only, never
/// while JavaScript runs.
pub struct Scratch(StdCell<Array>);

#[derive(Clone, Copy)]
struct Array {
    data: *mut f64,
    length: usize,
    /// Keeps the array; given back when it is replaced, or with the environment.
    reference: sys::napi_ref,
}

impl Scratch {
    /// Takes hold of an array.
    ///
    /// # Errors
    /// When it is something else.
    pub fn of(env: sys::napi_env, value: sys::napi_value) -> Result<Self, String> {
        let (mut kind, mut length, mut data, mut reference) = (0, 0, ptr::null_mut(), ptr::null_mut());
        // SAFETY: plain Node-API calls with a value of the current scope; a wrong type gives a status.
        let status = unsafe {
            sys::napi_get_typedarray_info(
                env,
                value,
                &mut kind,
                &mut length,
                &mut data,
                ptr::null_mut(),
                ptr::null_mut(),
            )
        };
        if status != sys::Status::napi_ok || kind != sys::TypedarrayType::float64_array {
            return Err("a Float64Array was expected".into());
        }
        // SAFETY: as above; the reference keeps the array's memory where it is.
        unsafe { sys::napi_create_reference(env, value, 1, &mut reference) };
        Ok(Self(StdCell::new(Array { data: data.cast(), length, reference })))
    }

    /// Takes hold of another array instead.
    ///
    /// # Errors
    /// As [`of`](Self::of); then the old one stays.
    pub fn replace(&self, env: sys::napi_env, value: sys::napi_value) -> Result<(), String> {
        let old = self.0.replace(Self::of(env, value)?.0.get());
        // SAFETY: the reference was made by `of` and is used no more.
        unsafe { sys::napi_delete_reference(env, old.reference) };
        Ok(())
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.0.get().length
    }

    /// Writes numbers. `false` when they do not fit, and then nothing is written.
    pub fn write(&self, at: usize, numbers: &[f64]) -> bool {
        if at.checked_add(numbers.len()).is_none_or(|end| end > self.len()) {
            return false;
        }
        // SAFETY: the span lies inside the array, which the reference keeps in place; nobody else accesses it now.
        unsafe { ptr::copy_nonoverlapping(numbers.as_ptr(), self.0.get().data.add(at), numbers.len()) };
        true
    }

    /// Reads one number; 0 beyond the end.
    pub fn read(&self, at: usize) -> f64 {
        // SAFETY: as for `write`.
        if at < self.len() { unsafe { *self.0.get().data.add(at) } } else { 0.0 }
    }
}

/// Reads numbers one after the other.
pub struct Cursor<'a> {
    scratch: &'a Scratch,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn at(scratch: &'a Scratch, at: usize) -> Self {
        Self { scratch, at }
    }

    pub fn next(&mut self) -> u64 {
        let number = self.scratch.read(self.at);
        self.at += 1;
        number as u64 // saturates; negative and NaN become 0
    }

    /// A count of things that take at least one number each: never more than there are.
    pub fn count(&mut self) -> usize {
        (self.next() as usize).min(self.scratch.len())
    }
}

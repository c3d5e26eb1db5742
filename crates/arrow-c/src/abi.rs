//! The structs of the C Device interface, byte for byte, and their ownership.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::mem::{offset_of, size_of};

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;

/// Where the memory of an array lives (`ArrowDeviceType`; the numbers are DLPack's).
///
/// A newtype and not an enum: a producer may send a number that this version does not know, and that must not be
/// undefined behaviour.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceType(pub i32);

impl DeviceType {
    /// Ordinary memory.
    pub const CPU: Self = Self(1);
    /// CUDA device memory.
    pub const CUDA: Self = Self(2);
    /// CUDA host memory, pinned by cudaMallocHost.
    pub const CUDA_HOST: Self = Self(3);
    /// OpenCL.
    pub const OPENCL: Self = Self(4);
    /// Vulkan buffer.
    pub const VULKAN: Self = Self(7);
    /// Metal, for Apple GPUs.
    pub const METAL: Self = Self(8);
    /// Verilog simulator buffer.
    pub const VPI: Self = Self(9);
    /// ROCm device memory.
    pub const ROCM: Self = Self(10);
    /// ROCm host memory, pinned.
    pub const ROCM_HOST: Self = Self(11);
    /// Reserved for tests of new devices.
    pub const EXT_DEV: Self = Self(12);
    /// CUDA managed memory, from cudaMallocManaged.
    pub const CUDA_MANAGED: Self = Self(13);
    /// Unified shared memory on a oneAPI device.
    pub const ONEAPI: Self = Self(14);
    /// WebGPU buffer.
    pub const WEBGPU: Self = Self(15);
    /// Qualcomm Hexagon DSP.
    pub const HEXAGON: Self = Self(16);

    /// The specification's name, or `None` for a number it does not list.
    pub fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::CPU => "CPU",
            Self::CUDA => "CUDA",
            Self::CUDA_HOST => "CUDA_HOST",
            Self::OPENCL => "OPENCL",
            Self::VULKAN => "VULKAN",
            Self::METAL => "METAL",
            Self::VPI => "VPI",
            Self::ROCM => "ROCM",
            Self::ROCM_HOST => "ROCM_HOST",
            Self::EXT_DEV => "EXT_DEV",
            Self::CUDA_MANAGED => "CUDA_MANAGED",
            Self::ONEAPI => "ONEAPI",
            Self::WEBGPU => "WEBGPU",
            Self::HEXAGON => "HEXAGON",
            _ => return None,
        })
    }
}

impl fmt::Display for DeviceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "unknown device type {}", self.0),
        }
    }
}

/// `struct ArrowDeviceArray`: an array, the device its buffers are on, and the event to wait for. 128 bytes.
///
/// Owns the array: dropping it calls `array.release` if that was not called or moved out before. The event belongs to
/// the array's private data and lives as long.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct FFI_ArrowDeviceArray {
    /// The array; its buffer pointers are pointers of the device.
    pub array: FFI_ArrowArray,
    /// Which device of its type; -1 where that means nothing (CPU).
    pub device_id: i64,
    /// The kind of device.
    pub device_type: DeviceType,
    /// A pointer to the device's kind of event (for CUDA: `cudaEvent_t*`), or NULL when there is nothing to wait for.
    pub sync_event: *mut c_void,
    /// Zero.
    pub reserved: [i64; 3],
}

// The layout is the contract with every other implementation.
const _: () = {
    assert!(size_of::<FFI_ArrowArray>() == 80);
    assert!(size_of::<FFI_ArrowSchema>() == 72);
    assert!(size_of::<FFI_ArrowDeviceArray>() == 128);
    assert!(offset_of!(FFI_ArrowDeviceArray, array) == 0);
    assert!(offset_of!(FFI_ArrowDeviceArray, device_id) == 80);
    assert!(offset_of!(FFI_ArrowDeviceArray, device_type) == 88);
    assert!(offset_of!(FFI_ArrowDeviceArray, sync_event) == 96);
    assert!(offset_of!(FFI_ArrowDeviceArray, reserved) == 104);
    assert!(size_of::<FFI_ArrowDeviceArrayStream>() == 48);
    assert!(offset_of!(FFI_ArrowDeviceArrayStream, get_schema) == 8);
    assert!(offset_of!(FFI_ArrowDeviceArrayStream, private_data) == 40);
};

// SAFETY: the specification demands that a released struct may be released on any thread; `sync_event` is only an
// address here and is never dereferenced by this crate.
unsafe impl Send for FFI_ArrowDeviceArray {}
// SAFETY: shared references only read plain fields.
unsafe impl Sync for FFI_ArrowDeviceArray {}

impl FFI_ArrowDeviceArray {
    /// A released array on the CPU: what a stream's end looks like, and room for a producer to write into.
    pub fn empty() -> Self {
        Self::host(FFI_ArrowArray::empty())
    }

    /// Wraps an array in ordinary memory.
    pub fn host(array: FFI_ArrowArray) -> Self {
        Self { array, device_id: -1, device_type: DeviceType::CPU, sync_event: std::ptr::null_mut(), reserved: [0; 3] }
    }

    /// Whether the array was released or moved out.
    pub fn is_released(&self) -> bool {
        self.array.is_released()
    }

    /// Moves the struct out of `source` and marks `source` released, as the specification describes a move.
    ///
    /// # Safety
    /// `source` must be valid for reads and writes, aligned, and hold an initialised struct.
    pub unsafe fn from_raw(source: *mut Self) -> Self {
        // SAFETY: the caller vouches for `source`; the bitwise move is the one the specification defines.
        unsafe {
            let moved = std::ptr::read(source);
            std::ptr::addr_of_mut!((*source).array.release).write(None);
            moved
        }
    }

    /// Takes the host array out, leaving this struct released.
    pub(crate) fn take_array(&mut self) -> FFI_ArrowArray {
        std::mem::replace(&mut self.array, FFI_ArrowArray::empty())
    }
}

/// `struct ArrowDeviceArrayStream`: a pull stream of arrays that are all on one kind of device.
///
/// Owns the producer: dropping it calls `release` if that was not called or moved out before. Not thread-safe: one
/// caller at a time, though not always the same thread.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct FFI_ArrowDeviceArrayStream {
    /// The kind of device all arrays of the stream are on.
    pub device_type: DeviceType,
    /// Writes the schema; 0 or an errno.
    pub get_schema: Option<unsafe extern "C" fn(*mut Self, out: *mut FFI_ArrowSchema) -> c_int>,
    /// Writes the next array, or a released one at the end; 0 or an errno.
    pub get_next: Option<unsafe extern "C" fn(*mut Self, out: *mut FFI_ArrowDeviceArray) -> c_int>,
    /// The text of the last error, valid until the next call; may be NULL.
    pub get_last_error: Option<unsafe extern "C" fn(*mut Self) -> *const c_char>,
    /// Frees the producer.
    pub release: Option<unsafe extern "C" fn(*mut Self)>,
    /// The producer's own.
    pub private_data: *mut c_void,
}

// SAFETY: the specification lets a stream be used and released from any thread, one at a time; `&mut` sees to the latter.
unsafe impl Send for FFI_ArrowDeviceArrayStream {}

impl FFI_ArrowDeviceArrayStream {
    /// A released stream, for a producer to write into.
    pub fn empty() -> Self {
        Self {
            device_type: DeviceType::CPU,
            get_schema: None,
            get_next: None,
            get_last_error: None,
            release: None,
            private_data: std::ptr::null_mut(),
        }
    }

    /// Whether the stream was released or moved out.
    pub fn is_released(&self) -> bool {
        self.release.is_none()
    }

    /// Moves the struct out of `source` and marks `source` released.
    ///
    /// # Safety
    /// `source` must be valid for reads and writes, aligned, and hold an initialised struct.
    pub unsafe fn from_raw(source: *mut Self) -> Self {
        // SAFETY: the caller vouches for `source`.
        unsafe { std::ptr::replace(source, Self::empty()) }
    }
}

impl Drop for FFI_ArrowDeviceArrayStream {
    fn drop(&mut self) {
        if let Some(release) = self.release {
            // SAFETY: not released before, and this struct is the only owner; release sets `release` to NULL.
            unsafe { release(self) }
        }
    }
}

/// Writes a released array over whatever is at `out`: what a caller may safely hand to a producer or to `release`.
///
/// # Safety
/// `out` must be valid for writes and aligned. What was there is neither read nor released.
pub unsafe fn null_out_array(out: *mut FFI_ArrowDeviceArray) {
    // SAFETY: the caller vouches for `out`.
    unsafe { out.write(FFI_ArrowDeviceArray::empty()) }
}

/// Writes a released schema over whatever is at `out`.
///
/// # Safety
/// `out` must be valid for writes and aligned. What was there is neither read nor released.
pub unsafe fn null_out_schema(out: *mut FFI_ArrowSchema) {
    // SAFETY: the caller vouches for `out`.
    unsafe { out.write(FFI_ArrowSchema::empty()) }
}

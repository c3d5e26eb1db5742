//! Whether memory of somebody else's can be shown to JavaScript, which has no read-only buffers: a write into a page
//! without write permission would end the process.

use std::ops::Range;

use crate::HostRange;

/// Whether every byte of the ranges lies in pages that this process may write. `false` where that cannot be found out.
pub(crate) fn all_writable(ranges: &[HostRange]) -> bool {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return false };
    let writable = joined(&maps);
    ranges.iter().all(|range| {
        let start = range.pointer.as_ptr() as usize;
        writable.iter().any(|area| area.start <= start && start + range.length <= area.end)
    })
}

/// Writable areas of `/proc/self/maps`, adjacent ones put together.
fn joined(maps: &str) -> Vec<Range<usize>> {
    let mut areas: Vec<Range<usize>> = Vec::new();
    for line in maps.lines() {
        let Some((span, rest)) = line.split_once(' ') else { continue };
        let Some((start, end)) = span.split_once('-') else { continue };
        let (Ok(start), Ok(end)) = (usize::from_str_radix(start, 16), usize::from_str_radix(end, 16)) else { continue };
        if !rest.starts_with("rw") {
            continue;
        }
        match areas.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => areas.push(start..end),
        }
    }
    areas
}

#[cfg(test)]
mod tests {
    use std::ptr::NonNull;

    use super::*;

    #[test]
    fn the_heap_is_writable_and_constants_are_not() {
        static CONSTANT: [u8; 64] = [7; 64];
        let heap = vec![0u8; 64];
        let range = |bytes: &[u8]| HostRange { pointer: NonNull::from(bytes).cast(), length: bytes.len() };
        assert!(all_writable(&[range(&heap)]));
        assert!(!all_writable(&[range(&heap), range(&CONSTANT)]));
    }

    #[test]
    fn adjacent_areas_count_as_one() {
        let maps = "1000-2000 rw-p 0 00:00 0\n2000-3000 rw-s 0 00:00 0 /x y\n3000-4000 r--p 0 00:00 0\nbad\n";
        assert_eq!(joined(maps).as_slice(), std::slice::from_ref(&(0x1000..0x3000)));
    }
}

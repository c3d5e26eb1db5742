//! What the control groups around this process still allow, versions 1 and 2.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// A v1 group without a limit shows a number near 2⁶³ (rounded down to pages), a v2 group the word `max`.
const UNLIMITED: u64 = 1 << 62;

/// The file names of one cgroup version.
struct Version {
    limits: &'static [&'static str],
    usage: &'static str,
    /// The line of `memory.stat` with file cache that the kernel drops before it kills anybody.
    reclaimable: &'static str,
}

/// `memory.high` counts too: above it the kernel does not kill, but stalls the process without end.
const V2: Version =
    Version { limits: &["memory.max", "memory.high"], usage: "memory.current", reclaimable: "inactive_file" };
const V1: Version =
    Version { limits: &["memory.limit_in_bytes"], usage: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };

/// The least headroom of this process's group and all groups around it; `None` if none has a limit.
pub(super) fn headroom(root: &Path) -> Option<u64> {
    let membership = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).ok()?;
    let mut least = None;
    for line in membership.lines() {
        // hierarchy-ID:controllers:path
        let mut fields = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let (version, controller) = match (id, controllers) {
            ("0", "") => (&V2, None),
            (_, list) if list.split(',').any(|name| name == "memory") => (&V1, Some("memory")),
            _ => continue,
        };
        if let Some(mount) = mounts.lines().filter_map(Mount::parse).find(|mount| mount.is(controller)) {
            least = smaller(least, version.least_up_to(root, &mount, path));
        }
    }
    least
}

/// One line of mountinfo, as far as it matters here.
struct Mount<'a> {
    /// The group that is visible at `point`.
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, _source, options) = (right.next()?, right.next()?, right.next().unwrap_or(""));
        Some(Mount { root, point, kind, options })
    }

    fn is(&self, controller: Option<&str>) -> bool {
        match controller {
            None => self.kind == "cgroup2",
            Some(name) => self.kind == "cgroup" && self.options.split(',').any(|option| option == name),
        }
    }

    /// Where the group `path` is, below the mount point. A group that is not visible there (it lies outside the container's
    /// view) is taken for the mount point itself: the nearest group that can be read.
    fn relative(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        if path.components().any(|part| part == Component::ParentDir) {
            return PathBuf::new();
        }
        path.strip_prefix(self.root).map(Path::to_path_buf).unwrap_or_default()
    }
}

impl Version {
    /// The least headroom from the group `path` up to the mount point.
    fn least_up_to(&self, root: &Path, mount: &Mount<'_>, path: &str) -> Option<u64> {
        let top = root.join(mount.point.trim_start_matches('/'));
        let relative = mount.relative(path);
        relative.ancestors().fold(None, |least, level| smaller(least, self.at(&top.join(level))))
    }

    /// The headroom of the group in this folder; `None` without a limit.
    fn at(&self, folder: &Path) -> Option<u64> {
        let limit = self.limits.iter().filter_map(|name| number(&folder.join(name))).min()?;
        if limit >= UNLIMITED {
            return None;
        }
        // A group with a limit and no readable usage is taken for full of nothing: the limit itself is the best known bound.
        let usage = number(&folder.join(self.usage)).unwrap_or(0);
        let working = usage.saturating_sub(self.reclaimable(folder).unwrap_or(0));
        Some(limit.saturating_sub(working))
    }

    fn reclaimable(&self, folder: &Path) -> Option<u64> {
        let text = fs::read_to_string(folder.join("memory.stat")).ok()?;
        text.lines().find_map(|line| line.strip_prefix(self.reclaimable)?.strip_prefix(' ')?.trim().parse().ok())
    }
}

/// The number in a file; `None` for `max`, nonsense, or no file.
fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn smaller(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine made of files: `(path, text)`.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const V2_MOUNT: (&str, &str) = ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");

    #[test]
    fn nested_v2_groups_count_with_their_file_cache_taken_off() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/outer/inner\n"),
            V2_MOUNT,
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "700\n"),
            ("sys/fs/cgroup/outer/memory.max", "1000\n"),
            ("sys/fs/cgroup/outer/memory.current", "900\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 300\ninactive_file_other 7\n"),
        ]);
        assert_eq!(headroom(root.path()), Some(400));
    }

    #[test]
    fn memory_high_counts_and_use_above_the_limit_leaves_nothing() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/g\n"),
            V2_MOUNT,
            ("sys/fs/cgroup/g/memory.max", "1000\n"),
            ("sys/fs/cgroup/g/memory.high", "500\n"),
            ("sys/fs/cgroup/g/memory.current", "600\n"),
        ]);
        assert_eq!(headroom(root.path()), Some(0));
    }

    #[test]
    fn v1_groups_are_found_under_a_containers_mount_root() {
        let root = machine(&[
            ("proc/self/cgroup", "4:memory:/docker/abc/job\n0::/\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 36 31 0:33 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n"),
            ("sys/fs/cgroup/memory/memory.stat", "total_inactive_file 100\n"),
        ]);
        assert_eq!(headroom(root.path()), Some(600));
    }

    #[test]
    fn a_group_outside_the_view_is_read_at_the_mount_point() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/../../elsewhere\n"),
            V2_MOUNT,
            ("sys/fs/cgroup/memory.max", "64\n"),
            ("sys/fs/cgroup/memory.current", "4\n"),
        ]);
        assert_eq!(headroom(root.path()), Some(60));
    }

    #[test]
    fn no_limit_no_files_and_nonsense_mean_no_bound() {
        assert_eq!(headroom(machine(&[]).path()), None);
        let nonsense = machine(&[("proc/self/cgroup", "::\n0:\nx\n0::/g\n"), ("proc/self/mountinfo", "x - y\n - \n")]);
        assert_eq!(headroom(nonsense.path()), None);
        let unlimited = machine(&[
            ("proc/self/cgroup", "0::/g\n"),
            V2_MOUNT,
            ("sys/fs/cgroup/g/memory.max", "max\n"),
            ("sys/fs/cgroup/g/memory.current", "5\n"),
        ]);
        assert_eq!(headroom(unlimited.path()), None);
    }
}

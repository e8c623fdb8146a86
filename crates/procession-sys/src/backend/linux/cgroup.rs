//! What control groups grant this process, in both versions of them.
//!
//! Everything is read below a given root, so that tests can make the files up. What cannot be read or understood grants all:
//! a process must run wherever it is put.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// How many processors' time the group of this process and all groups above it grant, rounded up; `None` without a limit.
///
/// # Source
///
/// The kernel's `admin-guide/cgroup-v2.rst`, `cpu.max`; `scheduler/sched-bwc.rst`, "Management".
pub(super) fn processors(root: &Path) -> Option<usize> {
    let system = System::read(root);
    let new = system.own_folders(Version::Two, "cpu").into_iter();
    let new = new.flat_map(Folders::upwards).filter_map(|folder| {
        let text = read(&folder.join("cpu.max"))?;
        let (quota, period) = text.split_once(' ')?;
        ratio(quota, period)
    });
    let old = system.own_folders(Version::One, "cpu").into_iter();
    let old = old.flat_map(Folders::upwards).filter_map(|folder| {
        let quota = read(&folder.join("cpu.cfs_quota_us"))?;
        let period = read(&folder.join("cpu.cfs_period_us"))?;
        ratio(&quota, &period)
    });
    new.chain(old).min()
}

/// How many processes of this process's group the system has killed for want of memory.
///
/// # Source
///
/// The kernel's `admin-guide/cgroup-v2.rst`, `memory.events`; `cgroup-v1/memory.rst`, "OOM Control".
pub(super) fn oom_kills(root: &Path) -> Option<u64> {
    let system = System::read(root);
    let files = [(Version::Two, "memory.events"), (Version::One, "memory.oom_control")];
    files.into_iter().find_map(|(version, file)| {
        system.own_folders(version, "memory").into_iter().find_map(|folders| {
            let text = read(&folders.own.join(file))?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        })
    })
}

/// How many bytes of memory the group of this process and all groups above it grant; `None` without a limit.
///
/// # Source
///
/// The kernel's `admin-guide/cgroup-v2.rst`, `memory.max`; `cgroup-v1/memory.rst`, `memory.limit_in_bytes`.
pub(super) fn memory(root: &Path) -> Option<u64> {
    let system = System::read(root);
    let files = [(Version::Two, "memory.max"), (Version::One, "memory.limit_in_bytes")];
    let limits = files.into_iter().flat_map(|(version, file)| {
        let folders = system.own_folders(version, "memory").into_iter().flat_map(Folders::upwards);
        folders
            .filter_map(|folder| read(&folder.join(file))?.trim().parse().ok())
            .collect::<Vec<_>>()
    });
    limits.min()
}

/// `quota / period` rounded up; `None` for `max` and -1, which are no limits.
fn ratio(quota: &str, period: &str) -> Option<usize> {
    let quota: u64 = quota.trim().parse().ok()?;
    let period: u64 = period.trim().parse().ok().filter(|period| *period > 0)?;
    usize::try_from(quota.div_ceil(period)).ok()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    /// A hierarchy of its own for each controller, or a few of them.
    One,
    /// One hierarchy for all controllers.
    Two,
}

/// The folder of this process's group, and the highest one of the hierarchy that is visible.
#[derive(Debug, PartialEq, Eq)]
struct Folders {
    own: PathBuf,
    highest: PathBuf,
}

impl Folders {
    /// The own folder and those above it.
    fn upwards(self) -> Vec<PathBuf> {
        let above = self.own.ancestors().take_while(|folder| folder.starts_with(&self.highest));
        above.map(Path::to_path_buf).collect()
    }
}

/// In which groups this process is, and where they are mounted.
struct System<'a> {
    root: &'a Path,
    groups: Vec<u8>,
    mounts: Vec<u8>,
}

impl<'a> System<'a> {
    fn read(root: &'a Path) -> Self {
        let file = |name| std::fs::read(root.join("proc/self").join(name)).unwrap_or_default();
        Self { root, groups: file("cgroup"), mounts: file("mountinfo") }
    }

    /// Where this process's group in the hierarchy of `controller` is mounted; more than once, perhaps.
    ///
    /// # Source
    ///
    /// `cgroups(7)`, `/proc/[pid]/cgroup`; `proc_pid_mountinfo(5)`; `cgroup_namespaces(7)`.
    fn own_folders(&self, version: Version, controller: &str) -> Vec<Folders> {
        let mut groups = lines(&self.groups);
        let Some(group) = groups.find_map(|line| group_in(line, version, controller)) else {
            return Vec::new();
        };
        let mounts = lines(&self.mounts).filter_map(|line| mount_in(line, version, controller));
        let folders = mounts.filter_map(|mount| {
            // What lies outside of what is mounted is not visible; nor is it outside of the namespace, where the path
            // begins with `..`.
            let below = group.strip_prefix(&mount.root).ok()?;
            let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
            let highest = self.root.join(mount.point.strip_prefix("/").ok()?);
            is_plain.then(|| Folders { own: highest.join(below), highest })
        });
        folders.collect()
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
}

/// The path in a line `hierarchy:controllers:path`, if it is about this hierarchy.
fn group_in(line: &[u8], version: Version, controller: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, |byte| *byte == b':');
    let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let is_it = match version {
        Version::One => names(controllers, controller),
        Version::Two => number == b"0" && controllers.is_empty(),
    };
    is_it.then(|| OsStr::from_bytes(path).into())
}

/// A mounted hierarchy.
struct Mount {
    /// The group that is mounted.
    root: PathBuf,
    /// Where it is mounted.
    point: PathBuf,
}

/// The mount in a line `id parent device root point options tags.. - type source options`, if it is of this hierarchy.
fn mount_in(line: &[u8], version: Version, controller: &str) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    // Any number of tags stands before the dash, none of which is one.
    let dash = 6 + fields.get(6..)?.iter().position(|field| *field == b"-")?;
    let (kind, options) = (*fields.get(dash + 1)?, *fields.get(dash + 3)?);
    let is_it = match version {
        Version::One => kind == b"cgroup" && names(options, controller),
        Version::Two => kind == b"cgroup2",
    };
    is_it.then(|| Mount { root: unescaped(fields[3]), point: unescaped(fields[4]) })
}

/// Whether `wanted` is one of the names in `list`, which commas separate.
fn names(list: &[u8], wanted: &str) -> bool {
    list.split(|byte| *byte == b',').any(|name| name == wanted.as_bytes())
}

/// A path as it is: white space and backslashes are written as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::new();
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        path.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    OsStr::from_bytes(&path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that stands for the whole file system; removed in the end.
    struct Root(PathBuf);

    impl Root {
        /// A system with these groups and mounts; of a mount: group, folder, type and options.
        fn new(groups: &str, mounts: &[[&str; 4]]) -> Self {
            use crate::prim::{AtomicU32, Ordering};
            static NEXT: AtomicU32 = AtomicU32::new(0);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("procession-sys-cgroup-{}-{number}", std::process::id());
            let root = Self(std::env::temp_dir().join(name));
            let lines = mounts.iter().map(|[group, folder, kind, options]| {
                format!("31 23 0:28 {group} {folder} rw,relatime shared:7 master:1 - {kind} x rw,{options}\n")
            });
            let other = "25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\nnonsense\n".to_owned();
            root.file("proc/self/mountinfo", &lines.fold(other, |text, line| text + &line));
            root.file("proc/self/cgroup", groups);
            root
        }

        fn file(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn processors(&self) -> Option<usize> {
            processors(&self.0)
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).unwrap();
        }
    }

    const TWO: [&str; 4] = ["/", "/sys/fs/cgroup", "cgroup2", "nsdelegate"];

    fn version_two() -> Root {
        Root::new("0::/a/b\n", &[TWO])
    }

    #[test]
    fn no_groups_grant_all() {
        let nowhere = std::env::temp_dir().join("procession-sys-which-is-not-there");
        assert_eq!((processors(&nowhere), oom_kills(&nowhere)), (None, None));
        assert_eq!(Root::new("", &[]).processors(), None);
        assert_eq!(Root::new("0::/a/b\n", &[]).processors(), None);
        assert_eq!(version_two().processors(), None);
    }

    #[test]
    fn quotas_are_rounded_up() {
        for (text, granted) in [
            ("max 100000\n", None),
            ("100000 100000\n", Some(1)),
            ("100001 100000\n", Some(2)),
            ("1000 100000\n", Some(1)),
            ("350000 100000\n", Some(4)),
            ("50000 10000\n", Some(5)),
            ("18446744073709551615 1\n", Some(usize::MAX)),
            ("1 0\n", None),
            ("nonsense\n", None),
            ("", None),
        ] {
            let root = version_two();
            root.file("sys/fs/cgroup/a/b/cpu.max", text);
            assert_eq!(root.processors(), granted, "{text}");
        }
    }

    #[test]
    fn the_least_of_all_groups_above_counts() {
        let root = version_two();
        root.file("sys/fs/cgroup/a/b/cpu.max", "800000 100000\n");
        root.file("sys/fs/cgroup/a/c/cpu.max", "100000 100000\n");
        root.file("sys/fs/cpu.max", "100000 100000\n");
        assert_eq!(root.processors(), Some(8));
        root.file("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
        assert_eq!(root.processors(), Some(3));
        root.file("sys/fs/cgroup/cpu.max", "200000 100000\n");
        assert_eq!(root.processors(), Some(2));
        root.file("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
        root.file("sys/fs/cgroup/a/cpu.max", "max 100000\n");
        assert_eq!(root.processors(), Some(2));
    }

    #[test]
    fn the_first_version_is_read_where_it_is_mounted() {
        let mounts = [
            ["/", "/sys/fs/cgroup/cpu,cpuacct", "cgroup", "cpu,cpuacct"],
            ["/", "/sys/fs/cgroup/cpuset", "cgroup", "cpuset"],
            ["/", "/sys/fs/cgroup/unified", "cgroup2", "x"],
        ];
        let root = Root::new("4:cpuset:/c\n3:cpu,cpuacct:/a/b\n1:name=x:/\n0::/\n", &mounts);
        let set = |folder: &str, quota: &str| {
            let folder = format!("sys/fs/cgroup/{folder}");
            root.file(&format!("{folder}/cpu.cfs_quota_us"), quota);
            root.file(&format!("{folder}/cpu.cfs_period_us"), "100000\n");
        };
        set("cpu,cpuacct", "-1\n");
        set("cpu,cpuacct/a/b", "-1\n");
        set("cpuset/c", "100000\n");
        set("cpuset/a/b", "100000\n");
        assert_eq!(root.processors(), None);
        set("cpu,cpuacct/a/b", "450000\n");
        assert_eq!(root.processors(), Some(5));
        set("cpu,cpuacct/a", "250000\n");
        assert_eq!(root.processors(), Some(3));
        // Where both versions limit, both do.
        root.file("sys/fs/cgroup/unified/cpu.max", "150000 100000\n");
        assert_eq!(root.processors(), Some(2));
    }

    #[test]
    fn a_container_sees_its_own_groups_only() {
        let mount = ["/docker/17", "/sys/fs/cgroup", "cgroup2", "x"];
        let root = Root::new("0::/docker/17/a\n", &[mount]);
        root.file("sys/fs/cgroup/a/cpu.max", "300000 100000\n");
        root.file("sys/fs/cgroup/cpu.max", "200000 100000\n");
        root.file("sys/fs/cgroup/docker/17/a/cpu.max", "100000 100000\n");
        assert_eq!(root.processors(), Some(2));
        // Its group is not below the one that is mounted, though its name begins alike.
        for group in ["/docker/177", "/docker", "/", "/../17", "/docker/17/../18"] {
            let root = Root::new(&format!("0::{group}\n"), &[mount]);
            root.file("sys/fs/cgroup/cpu.max", "200000 100000\n");
            root.file("sys/fs/cgroup/7/cpu.max", "200000 100000\n");
            assert_eq!(root.processors(), None, "{group}");
        }
    }

    #[test]
    fn of_several_mounts_each_is_read() {
        let inner = ["/a", "/inner", "cgroup2", "x"];
        let root = Root::new("0::/a/b\n", &[inner, TWO]);
        root.file("inner/b/cpu.max", "300000 100000\n");
        assert_eq!(root.processors(), Some(3));
        root.file("sys/fs/cgroup/cpu.max", "200000 100000\n");
        assert_eq!(root.processors(), Some(2));
    }

    #[test]
    fn names_with_spaces_and_colons_are_read() {
        let mount = ["/a\\040b", "/sys\\134\\011x", "cgroup2", "x"];
        let root = Root::new("0::/a b/c:d\n", &[mount]);
        root.file("sys\\\tx/c:d/cpu.max", "300000 100000\n");
        assert_eq!(root.processors(), Some(3));
        assert_eq!(unescaped(b"a\\04"), Path::new("a\\04"));
        assert_eq!(unescaped(b"a\\999"), Path::new("a\\999"));
        assert_eq!(unescaped(b"\\134040"), Path::new("\\040"));
    }

    #[test]
    fn kills_are_counted_in_both_versions() {
        let root = version_two();
        assert_eq!(oom_kills(&root.0), None);
        let events = "low 0\nhigh 0\nmax 9\noom 4\noom_kill 3\noom_group_kill 1\n";
        root.file("sys/fs/cgroup/a/b/memory.events", events);
        assert_eq!(oom_kills(&root.0), Some(3));

        let mounts = [["/", "/m", "cgroup", "memory"], ["/", "/u", "cgroup2", "x"]];
        let root = Root::new("4:memory:/a\n0::/\n", &mounts);
        root.file("m/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n");
        root.file("m/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 8\n");
        assert_eq!(oom_kills(&root.0), Some(7));
        // Before Linux 4.13 the line is missing.
        root.file("m/a/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n");
        assert_eq!(oom_kills(&root.0), None);
    }

    #[test]
    fn the_smallest_limit_of_memory_counts() {
        let mounts = [["/", "/m", "cgroup", "memory"], ["/", "/u", "cgroup2", "x"]];
        let root = Root::new("4:memory:/a\n0::/b\n", &mounts);
        assert_eq!(memory(&root.0), None);
        root.file("u/memory.max", "max\n");
        assert_eq!(memory(&root.0), None);
        root.file("u/b/memory.max", "4096000\n");
        root.file("m/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory(&root.0), Some(4_096_000));
        root.file("m/a/memory.limit_in_bytes", "8192\n");
        assert_eq!(memory(&root.0), Some(8192));
    }
}

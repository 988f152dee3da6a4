//! Small file systems for the data of boxes: in memory, in a mount namespace of their own, so that nobody else sees them and nothing is left of them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Some small file systems, for as long as this lives.
pub(crate) struct SmallDisks {
    /// Holds the namespace until its standard input ends.
    keeper: Child,
    as_root: bool,
}

impl SmallDisks {
    /// Puts a file system with room for `bytes` at each of these folders; nothing where that is not allowed, which is said aloud.
    pub(crate) fn mount(folders: &[PathBuf], bytes: u64) -> Option<Self> {
        let as_root = rustix::process::geteuid().is_root();
        let mut command = Command::new("unshare");
        if !as_root {
            command.args(["--user", "--map-root-user"]);
        }
        let script = r#"for folder; do mount -t tmpfs -o "size=$SIZE" tmpfs "$folder" || exit; done; echo ready; read -r _"#;
        command.args(["--mount", "sh", "-c", script, "sh"]).args(folders).env("SIZE", bytes.to_string());
        for folder in folders {
            fs::create_dir_all(folder).expect("a folder to put it at");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let why = match command.spawn() {
            Err(error) => format!("`unshare` cannot be run: {error}"),
            Ok(mut keeper) => {
                let mut said = String::new();
                let _ = BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut said);
                if said == "ready\n" {
                    return Some(Self { keeper, as_root });
                }
                let _ = keeper.wait();
                let mut why = String::new();
                let _ = keeper.stderr.take().expect("piped").read_to_string(&mut why);
                why.trim().to_owned()
            }
        };
        // Not by a macro, whose output a passing test would keep to itself.
        let said = format!(
            "\nSKIPPED: no small file systems for this user, so no disk is filled; try as root: {why}\n"
        );
        std::io::stderr().write_all(said.as_bytes()).expect("standard error is open");
        None
    }

    /// The beginning of a command that runs `program` in `folder`, where it sees the file systems. It ends as that program does.
    pub(crate) fn command(&self, folder: &Path, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.keeper.id().to_string(), "--mount"]);
        if !self.as_root {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.args(["sh", "-c", r#"cd "$1" && shift && exec "$@""#, "sh"]).arg(folder).arg(program);
        command
    }

    /// Fills the file system at `folder` until `left_bytes` are left.
    pub(crate) fn fill(&self, folder: &Path, left_bytes: u64) {
        let inside = self.seen_from_outside(folder);
        let free = rustix::fs::statvfs(&inside).expect("a file system");
        let bytes = (free.f_bavail * free.f_frsize).saturating_sub(left_bytes);
        let filler = File::create(inside.join(FILLER)).expect("created");
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1))
            .expect("there is room");
    }

    /// Takes away what the file system at `folder` was filled with.
    pub(crate) fn make_room(&self, folder: &Path) {
        fs::remove_file(self.seen_from_outside(folder).join(FILLER)).expect("it was filled");
    }

    /// Lets nobody write to what lies at `folder`, or everybody again.
    pub(crate) fn set_read_only(&self, folder: &Path, read_only: bool) {
        let how = if read_only { "remount,bind,ro" } else { "remount,bind,rw" };
        let done = self.command(Path::new("/"), "mount").args(["-o", how]).arg(folder).output();
        let done = done.expect("mount runs");
        assert!(done.status.success(), "{how}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The path by which processes outside of the namespace reach what lies inside.
    fn seen_from_outside(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(path.strip_prefix("/").expect("an absolute path"))
    }
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// What fills a file system.
const FILLER: &str = "filler";

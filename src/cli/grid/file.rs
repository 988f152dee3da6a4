//! Configuration files.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::agent::Registry;
use crate::config::{self, Configuration, Finding, Format};

/// The longest file that is read: whatever is longer is surely no configuration.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Why a file gives no configuration. The file, or its name, is at fault.
#[derive(Debug, Error)]
pub(in crate::cli) enum FileError {
    /// It cannot be read, or is no text.
    #[error("cannot read the configuration {}: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// There are mistakes in it.
    #[error("the configuration {} has mistakes\n{}", path.display(), lines(path, findings).join("\n"))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// The mistakes, in the order of the text.
        findings: Vec<Finding>,
    },
}

/// Each mistake as `FILE:line:column: field: what`.
pub(super) fn lines(path: &Path, findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{}:{finding}", path.display())).collect()
}

/// Reads and checks the configuration in the file `path`.
pub(super) fn read(path: &Path, registry: &Registry) -> Result<Configuration, FileError> {
    read_as(path, |text, format| config::read(text, format, registry))
}

/// Reads the file `path`, and what `check` makes of its text.
pub(in crate::cli) fn read_as<T>(
    path: &Path,
    check: impl FnOnce(&str, Format) -> Result<T, Vec<Finding>>,
) -> Result<T, FileError> {
    let unreadable = |why: String| FileError::Unreadable { path: path.to_owned(), why };
    let file = fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has more than {FILE_BYTES_MAX} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = error.as_bytes()[..error.utf8_error().valid_up_to()].split(|byte| *byte == b'\n').count();
        unreadable(format!("line {line} is not UTF-8"))
    })?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    check(&text, Format::of_file_name(&name))
        .map_err(|findings| FileError::Mistakes { path: path.to_owned(), findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_told_with_its_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("grid.json");
        let error = |path: &Path| read(path, &Registry::builtin()).expect_err("wrong").to_string();
        assert!(error(&path).contains("No such file"), "{}", error(&path));
        assert!(error(folder.path()).contains("directory"), "{}", error(folder.path()));
        fs::write(&path, b"{\n\"a\xff").expect("written");
        assert!(error(&path).ends_with("line 2 is not UTF-8"), "{}", error(&path));
        fs::write(&path, "{\n 1}").expect("written");
        let place = format!("\n{}:2:2: no JSON: ", path.display());
        assert!(error(&path).contains(&place), "{}", error(&path));
    }
}

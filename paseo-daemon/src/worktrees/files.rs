//! Files and directories, in the words of an answer when they cannot be dealt with.

use std::io::ErrorKind;
use std::path::Path;

use paseo_sdk::error::{ApiError, Code};

/// Returns the names in a directory, in order; none when there is no such directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>, ApiError> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", directory, &error)),
    };
    let mut names = entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed("read", directory, &error))?;
    names.sort();
    Ok(names)
}

/// Removes a file, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_file(path)).map_err(|error| failed("remove", path, &error))
}

/// Removes a directory that is empty, if it is there.
pub(super) fn remove_dir(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_dir(path)).map_err(|error| failed("remove", path, &error))
}

/// Removes a directory with all that is in it, if it is there.
pub(super) fn remove_dir_all(path: &Path) -> Result<(), ApiError> {
    gone(std::fs::remove_dir_all(path)).map_err(|error| failed("remove", path, &error))
}

/// Removes a directory with all that is in it, if it is there, also where this user's own directories may not be written.
pub(super) fn remove_by_force(path: &Path) -> Result<(), ApiError> {
    use std::os::unix::fs::PermissionsExt as _;
    if std::fs::remove_dir_all(path).is_ok() {
        return Ok(());
    }
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        // Those of others stay as they are, and in the way.
        let _ = std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700));
        let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
        let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        directories.extend(below.map(|entry| entry.path()));
    }
    remove_dir_all(path)
}

fn gone(result: std::io::Result<()>) -> std::io::Result<()> {
    result.or_else(|error| if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Says that a file could not be dealt with. A disk that is full or may not be written is the user's to mend.
pub(super) fn failed(what: &str, path: &Path, error: &std::io::Error) -> ApiError {
    let message = format!("cannot {what} {}: {error}", path.display());
    mend(ApiError::new(code_of(error.kind()), message), error.kind())
}

/// Returns how an answer calls what the system said.
pub(super) fn code_of(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::StorageFull
        | ErrorKind::QuotaExceeded
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// Says with an error what a person can do about what the system said.
pub(super) fn mend(error: ApiError, kind: ErrorKind) -> ApiError {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => error.hint("make room on the disk, then try again"),
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            error.hint("let your user read and write there, then try again")
        }
        _ => error,
    }
}

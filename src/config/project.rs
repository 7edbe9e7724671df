//! Which folder is the project.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The file that makes a folder a project.
pub const PROJECT_FILE: &str = "alluvial.toml";

/// The project's folder: the one that was named, else `from` or its nearest parent with an `alluvial.toml`.
///
/// # Errors
/// `config.no_project`, with what to do.
pub fn discover(named: Option<&Path>, from: &Path) -> Result<PathBuf> {
    if let Some(named) = named {
        let folder = from.join(named);
        if folder.join(PROJECT_FILE).is_file() {
            return Ok(folder);
        }
        let message = format!("`{}` has no `{PROJECT_FILE}`", named.display());
        let hint = format!("start a project there with `alluvial init {}`", named.display());
        return Err(Error::not_found("config.no_project", message).with_hint(hint));
    }
    match from.ancestors().find(|folder| folder.join(PROJECT_FILE).is_file()) {
        Some(found) => Ok(found.to_owned()),
        None => {
            let message = format!("neither this folder nor one above it has an `{PROJECT_FILE}`");
            let hint = "start a project with `alluvial init DIR`, or name one with `--project DIR`";
            Err(Error::not_found("config.no_project", message).with_hint(hint))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_parent_wins() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("sql/segments");
        std::fs::create_dir_all(&inner).unwrap();
        assert_eq!(discover(None, &inner).unwrap_err().code(), "config.no_project");
        std::fs::write(root.path().join(PROJECT_FILE), "").unwrap();
        assert_eq!(discover(None, &inner).unwrap(), root.path());
        assert_eq!(discover(Some(Path::new("../..")), &inner).unwrap(), inner.join("../.."));
        let error = discover(Some(Path::new("shop")), root.path()).unwrap_err();
        assert_eq!(error.hint(), Some("start a project there with `alluvial init shop`"));
    }
}

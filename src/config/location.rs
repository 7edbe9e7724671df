//! Where the lake and the landed tables are.

use std::path::{Component, Path, PathBuf};

use url::Url;

use crate::error::{Error, Result};

/// The URL schemes of the stores that Alluvial can open.
pub const SCHEMES: &[&str] = &["file", "memory", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss"];

/// The lake's URL from what was written: a URL of a known scheme, or a folder, which is relative to `base`.
///
/// # Errors
/// `config.bad_url` for a scheme that no store has; `config.secret_in_url` for a URL that carries credentials.
pub fn lake_url(written: &str, base: &Path) -> Result<Url> {
    if let Some(url) = parse_url(written)? {
        return Ok(url);
    }
    let folder = normal(&base.join(written));
    Url::from_directory_path(&folder)
        .map_err(|()| Error::definition("config.bad_url", format!("`{written}` is not a folder or a URL")))
}

/// Where a landed table's files are: a URL as written, or an absolute path; either may hold `*` and `**`.
///
/// # Errors
/// As [`lake_url`].
pub fn files(written: &str, base: &Path) -> Result<String> {
    if parse_url(written)?.is_some() {
        return Ok(written.to_owned());
    }
    let path = normal(&base.join(written));
    // `normal` drops a trailing slash, which says that a folder is meant.
    let slash = if written.ends_with('/') { "/" } else { "" };
    Ok(format!("{}{slash}", path.display()))
}

fn parse_url(written: &str) -> Result<Option<Url>> {
    let Some((scheme, _)) = written.split_once("://") else { return Ok(None) };
    if !SCHEMES.contains(&scheme) {
        let message = format!("no store has URLs that begin with `{scheme}://`");
        let hint = "write a folder, or a URL of `s3://`, `gs://`, `az://`, `file://` or `memory://`";
        return Err(Error::definition("config.bad_url", message).with_hint(hint));
    }
    let url = Url::parse(written).map_err(|error| {
        Error::definition("config.bad_url", format!("the URL cannot be read: {error}"))
            .with_hint("write it as `s3://bucket/prefix`")
    })?;
    if url.password().is_some() || url.query().is_some() {
        let message = "a URL must not carry credentials or parameters";
        let hint = "set the clouds' usual variables in the environment, and change a secret that was committed";
        return Err(Error::definition("config.secret_in_url", message).with_hint(hint));
    }
    if matches!(scheme, "s3" | "s3a" | "gs" | "az" | "azure" | "abfs" | "abfss")
        && url.host_str().unwrap_or_default().is_empty()
    {
        return Err(Error::definition("config.bad_url", format!("the URL names no bucket or container: `{written}`"))
            .with_hint(format!("write `{scheme}://bucket/prefix`")));
    }
    Ok(Some(url))
}

/// The path without `.` and `..`, which may not exist yet and so cannot be asked of the file system.
fn normal(path: &Path) -> PathBuf {
    let mut parts = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_relative_to_the_project() {
        let base = Path::new("/shop");
        assert_eq!(lake_url("lake", base).unwrap().as_str(), "file:///shop/lake/");
        assert_eq!(lake_url("../my lake", base).unwrap().as_str(), "file:///my%20lake/");
        assert_eq!(lake_url("s3://bucket/prefix", base).unwrap().as_str(), "s3://bucket/prefix");
        assert_eq!(lake_url("memory:///", base).unwrap().scheme(), "memory");
        assert_eq!(files("data/**/*.parquet", base).unwrap(), "/shop/data/**/*.parquet");
        assert_eq!(files("./data/", base).unwrap(), "/shop/data/");
        assert_eq!(files("gs://b/x/*.parquet", base).unwrap(), "gs://b/x/*.parquet");
    }

    #[test]
    fn bad_urls_are_refused_without_repeating_secrets() {
        let code = |written: &str| lake_url(written, Path::new("/shop")).unwrap_err().code();
        assert_eq!(code("ftp://host/lake"), "config.bad_url");
        assert_eq!(code("s3:///prefix"), "config.bad_url");
        assert_eq!(code("s3://key:canary@bucket/x"), "config.secret_in_url");
        let error = lake_url("az://container/x?sig=canary", Path::new("/shop")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}

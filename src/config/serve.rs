//! Where `alluvial serve` listens, and what one client may ask of it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use super::document::Section;
use super::quantity::{parse_duration, parse_size};
use crate::error::{Error, Result};

/// Where a door is found: an address, or nowhere.
pub type Listen = Option<SocketAddr>;

/// The settings of `[serve]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeSettings {
    /// The Postgres door (`127.0.0.1:5432`).
    pub postgres: Listen,
    /// The Flight SQL door (`127.0.0.1:32010`).
    pub flight: Listen,
    /// `/healthz`, `/metrics`, the API and links (`127.0.0.1:8080`).
    pub http: Listen,
    /// Where people reach `http` from outside, for links; where it listens, if it is not given.
    pub public_url: Option<Url>,
    /// The certificates for TLS, the server's own first, as a PEM file.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, as a PEM file.
    pub tls_key: Option<PathBuf>,
    /// Connections at once, of both doors together (200).
    pub max_connections: usize,
    /// How long one statement may take from its arrival to its last row (5 minutes); a session may ask for less.
    pub statement_timeout: Duration,
    /// Rows that one statement may give; none is without limit.
    pub max_rows: Option<u64>,
    /// Bytes of one statement's text (1 MiB).
    pub max_statement: u64,
    /// How long running statements may go on once the server is told to stop (30 seconds).
    pub stop_within: Duration,
}

impl Default for ServeSettings {
    fn default() -> Self {
        let local = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        Self {
            postgres: local(5432),
            flight: local(32010),
            http: local(8080),
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            max_connections: 200,
            statement_timeout: Duration::from_secs(300),
            max_rows: None,
            max_statement: 1 << 20,
            stop_within: Duration::from_secs(30),
        }
    }
}

impl ServeSettings {
    /// Where people reach the HTTP door, without a slash at the end; none where it is off.
    pub fn address(&self) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(url.as_str().trim_end_matches('/').to_owned());
        }
        let scheme = if self.tls_certificate.is_some() { "https" } else { "http" };
        self.http.map(|address| format!("{scheme}://{address}"))
    }

    pub(super) fn read(mut section: Section<'_>, root: &Path) -> Self {
        let mut read = Self::default();
        for (key, listen) in [("postgres", &mut read.postgres), ("flight", &mut read.flight), ("http", &mut read.http)]
        {
            if let Some(written) = section.parsed(key, parse_listen) {
                *listen = written;
            }
        }
        read.public_url = section.parsed("public_url", parse_public_url);
        let certificate = section.text("tls_certificate");
        let key = section.text("tls_key");
        match (&certificate, &key) {
            (Some(_), None) => section.missing("tls_key", "name the PEM file with the certificate's private key"),
            (None, Some(_)) => section.missing("tls_certificate", "name the PEM file with the server's certificate"),
            _ => {}
        }
        read.tls_certificate = certificate.map(|path| root.join(path.value));
        read.tls_key = key.map(|path| root.join(path.value));
        let count = section.integer("max_connections", 1..=100_000).and_then(|count| usize::try_from(count).ok());
        read.max_connections = count.unwrap_or(read.max_connections);
        read.statement_timeout = section.parsed("statement_timeout", parse_duration).unwrap_or(read.statement_timeout);
        read.stop_within = section.parsed("stop_within", parse_duration).unwrap_or(read.stop_within);
        read.max_rows = section.integer("max_rows", 1..=i64::MAX).and_then(|rows| u64::try_from(rows).ok());
        read.max_statement = section.parsed("max_statement", parse_size).unwrap_or(read.max_statement);
        section.finish();
        read
    }
}

fn parse_public_url(text: &str) -> Result<Url> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.filter(|url| url.query().is_none() && url.fragment().is_none()).ok_or_else(|| {
        Error::definition("config.bad_public_url", format!("`{text}` is not where a browser could go"))
            .with_hint("write `public_url = \"https://alluvial.example.com\"`")
    })
}

/// Reads where a door listens: `address:port` (0 is any free port), or `off`.
///
/// # Errors
/// `config.bad_listen` for anything else.
pub fn parse_listen(text: &str) -> Result<Listen> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let found = match text.strip_prefix("localhost:") {
        Some(port) => port.parse().ok().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port))),
        None => text.parse().ok(),
    };
    found.map(Some).ok_or_else(|| {
        Error::definition("config.bad_listen", format!("`{text}` is no address to listen on"))
            .with_hint("write an address and a port, such as `127.0.0.1:5432` or `0.0.0.0:5432`, or `off`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_has_an_address_or_is_off() {
        assert_eq!(parse_listen("off").unwrap(), None);
        assert_eq!(parse_listen("localhost:0").unwrap().unwrap().to_string(), "127.0.0.1:0");
        assert_eq!(parse_listen("[::1]:5432").unwrap().unwrap().to_string(), "[::1]:5432");
        assert_eq!(parse_listen("5432").unwrap_err().code(), "config.bad_listen");
    }
}

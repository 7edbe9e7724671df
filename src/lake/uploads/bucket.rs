//! A bucket whose uploads can be listed, and the requests that the library of the stores does not know.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::gcp::GcpCredentialProvider;
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, HeaderValue};

use super::{Upload, answer};
use crate::error::{Error, Kind, Result};
use crate::lake::{Lake, failure};

/// What the errors of this file are about.
const PLACE: &str = "uploads of the bucket";
/// How long a request that is refused for the moment is tried again, as the library does with all others.
const PATIENCE: Duration = Duration::from_secs(180);
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// How requests are signed.
pub(super) enum Signed {
    Not,
    Amazon { credentials: AwsCredentialProvider, region: String, payer: bool },
    Google(GcpCredentialProvider),
}

/// A bucket whose uploads can be listed.
pub(in crate::lake) struct Bucket {
    /// Where the bucket is asked.
    pub(super) url: String,
    /// What comes before the slash and the key of an object.
    pub(super) objects: String,
    pub(super) signed: Signed,
    pub(super) limits: ClientOptions,
    pub(super) connector: Arc<dyn HttpConnector>,
    pub(super) store: Arc<dyn MultipartStore>,
    /// What one needs to be allowed to list uploads, their parts, and to abort them.
    pub(super) permissions: [&'static str; 3],
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bucket").field("url", &self.url).finish_non_exhaustive()
    }
}

/// Percent-encoded as signatures are computed: everything but letters, digits and `-._~` (and `/` in a key).
pub(super) fn encoded(text: &str, is_key: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            b'/' if is_key => encoded.push('/'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

impl Bucket {
    pub(super) fn connect(&self) -> Result<HttpClient> {
        self.connector.connect(&self.limits).map_err(|error| failure(error, PLACE))
    }

    async fn request(&self, url: &str) -> Result<HttpRequest> {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = url.parse().map_err(|error| {
            Error::definition("lake.options", format!("`{}` is no address of a bucket: {error}", self.url))
        })?;
        match &self.signed {
            Signed::Not => {}
            Signed::Amazon { credentials, region, payer } => {
                let credential = credentials.get_credential().await.map_err(|error| failure(error, PLACE))?;
                AwsAuthorizer::new(&credential, "s3", region).with_request_payer(*payer).authorize(&mut request, None);
            }
            Signed::Google(credentials) => {
                let credential = credentials.get_credential().await.map_err(|error| failure(error, PLACE))?;
                let bearer = HeaderValue::from_str(&format!("Bearer {}", credential.bearer));
                let mut bearer =
                    bearer.map_err(|_| Error::storage("lake.denied", "the token is no header").in_file(PLACE))?;
                bearer.set_sensitive(true);
                request.headers_mut().insert("authorization", bearer);
            }
        }
        Ok(request)
    }

    /// What a GET answers; one that is refused for the moment is sent again.
    async fn ask(&self, lake: &Lake, http: &HttpClient, url: &str) -> Result<Bytes> {
        let (mut wait, mut waited) = (FIRST_WAIT, Duration::ZERO);
        loop {
            let answer = http.execute(self.request(url).await?).await;
            lake.inner.store.answered(());
            let (error, is_passing) = match answer {
                Ok(answer) => {
                    let status = answer.status();
                    match answer.into_body().bytes().await {
                        Ok(body) if status.is_success() => return Ok(body),
                        Ok(body) => refused(status.as_u16(), &body),
                        Err(error) => lost(&error),
                    }
                }
                Err(error) => lost(&error),
            };
            if !is_passing || waited >= PATIENCE {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            waited += wait;
            wait = LONGEST_WAIT.min(wait * 2);
        }
    }

    /// The uploads whose key begins with `prefix`.
    pub(super) async fn begun(&self, lake: &Lake, prefix: &str) -> Result<Vec<answer::Begun>> {
        let http = self.connect()?;
        let mut begun = Vec::new();
        let mut after: Option<answer::Marker> = None;
        loop {
            let mut url = format!("{}?uploads&prefix={}", self.url, encoded(prefix, false));
            if let Some(marker) = &after {
                url.push_str(&format!("&key-marker={}", encoded(&marker.key, false)));
                if !marker.id.is_empty() {
                    url.push_str(&format!("&upload-id-marker={}", encoded(&marker.id, false)));
                }
            }
            let page = answer::uploads(&self.ask(lake, &http, &url).await?).map_err(unreadable)?;
            begun.extend(page.uploads);
            match page.next {
                None => return Ok(begun),
                Some(next) if after.as_ref() == Some(&next) => return Err(unreadable("its pages do not end")),
                next => after = next,
            }
        }
    }

    /// The bytes that were sent of an upload.
    pub(super) async fn bytes(&self, lake: &Lake, http: &HttpClient, upload: &Upload) -> Result<u64> {
        let object = format!("{}/{}", self.objects, encoded(&upload.key, true));
        let (mut bytes, mut after) = (0_u64, None);
        loop {
            let mut url = format!("{object}?uploadId={}", encoded(&upload.id, false));
            if let Some(number) = after {
                url.push_str(&format!("&part-number-marker={number}"));
            }
            let parts = answer::parts(&self.ask(lake, http, &url).await?).map_err(unreadable)?;
            bytes = bytes.saturating_add(parts.bytes);
            match parts.next {
                None => return Ok(bytes),
                next if next <= after => return Err(unreadable("its pages do not end")),
                next => after = next,
            }
        }
    }
}

/// A refusal, and whether it may pass.
fn refused(status: u16, body: &[u8]) -> (Error, bool) {
    let said = match answer::code(body) {
        Some(code) => format!("the store answers {status} {code}"),
        None => format!("the store answers {status}"),
    };
    let (kind, code) = match status {
        401 | 403 => (Kind::Storage, "lake.denied"),
        404 => (Kind::NotFound, "lake.not_found"),
        429 | 500 | 502..=599 => (Kind::Transient, "lake.store"),
        // 501 is of a store that lists no uploads.
        _ => (Kind::Storage, "lake.store"),
    };
    (Error::new(kind, code, said).in_file(PLACE), kind == Kind::Transient)
}

/// An answer that did not come, and whether it may come yet.
fn lost(error: &HttpError) -> (Error, bool) {
    let kind = error.kind();
    let is_passing = matches!(
        kind,
        HttpErrorKind::Connect | HttpErrorKind::Request | HttpErrorKind::Timeout | HttpErrorKind::Interrupted
    );
    (Error::new(Kind::Transient, "lake.store", error.to_string()).in_file(PLACE), is_passing)
}

fn unreadable(why: &'static str) -> Error {
    Error::storage("lake.store", format!("the store's answer cannot be read: {why}")).in_file(PLACE)
}

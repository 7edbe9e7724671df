//! An audience as the body of an answer.
//!
//! A few exports are computed at a time, whoever asks; each goes to a spool and is read from there at its client's pace. An
//! answer begins once the ledger has the delivery. A client that goes away stops what is still computed for it.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::problem::Problem;
use super::spool::{Follower, Spool, spool};
use crate::audience::format::{Encoding, Format};
use crate::audience::{Codec, Destination, Report, Request, Steps, Tap, export};
use crate::error::{Error, Kind};
use crate::lake::forgotten;
use crate::serve::fault::Fault;
use crate::serve::running::Running;
use crate::serve::session::Session;
use crate::serve::shared::Core;
use crate::snapshot::setup::Project;

/// Blocks of bytes between an export and its spool.
const WAITING: usize = 4;

/// What downloads share.
pub(super) struct Downloads {
    /// Answers that are being sent at once.
    sending: Arc<Semaphore>,
    /// The project, opened anew once somebody was forgotten since it was.
    project: Mutex<Arc<Project>>,
}

impl Downloads {
    pub(super) fn new(core: &Core) -> Self {
        Self {
            sending: Arc::new(Semaphore::new(core.settings.max_connections)),
            project: Mutex::new(Arc::clone(&core.project)),
        }
    }

    /// The project, knowing everybody who is forgotten by now.
    async fn project(&self) -> crate::error::Result<Arc<Project>> {
        let mut project = self.project.lock().await;
        match forgotten::unchanged(&project.lake, project.forgotten.objects()).await {
            Ok(()) => {}
            Err(error) if error.code() == "lake.forgotten_since" => {
                let key = project.key().unwrap_or_default();
                let anew = Project::over(project.settings.clone(), project.lake.clone(), key, &project.cloud);
                *project = Arc::new(Box::pin(anew).await?);
            }
            Err(error) => return Err(error),
        }
        Ok(Arc::clone(&project))
    }

    /// Delivers an audience: an answer whose body it is. `way` is what the ledger has as its destination.
    ///
    /// # Errors
    /// Those of the export, before its first byte; 503 where too many are being sent, or the server is stopping.
    pub(super) async fn answer(
        &self,
        session: &Arc<Session>,
        request: Request,
        way: String,
        codec: Codec,
    ) -> Result<Response, Problem> {
        let core = &session.core;
        if core.project.key().is_none() {
            return Err(Problem::unavailable(
                "serve.read_only",
                "the server was started without writing, and every delivery is recorded",
            ));
        }
        let format = Format::load(&core.project.engine, &request.format)?;
        let codec = if format.encoding == Encoding::Parquet { Codec::None } else { codec };
        let sending = Arc::clone(&self.sending).try_acquire_owned().map_err(|_| {
            core.metrics.refused(crate::serve::metrics::Door::Http);
            Problem::unavailable("serve.busy", "as many audiences are being sent as may be")
                .hint("try again in a moment, or raise `[serve] max_connections` in alluvial.toml")
        })?;
        let mut running = session.begin_download();
        let computing = Arc::clone(&core.lanes.turns);
        let slot = running.on(async { computing.acquire_owned().await.map_err(|_| Fault::stopped()) }).await?;
        let project = Box::pin(self.project()).await?;
        let (writer, reader) = spool(core.project.engine.scratch_folder()).map_err(Error::from)?;
        let (here, gone) = oneshot::channel();
        let (told, begun) = oneshot::channel();
        let making = Making { project, request, way, codec, at: core.clock.now(), writer, told, slot };
        core.lanes.spawn(move || making.until(gone));
        let lost = |_| Fault::new("XX000", "the request failed, and not by its own fault");
        let report = running.on(async { begun.await.map_err(lost) }).await??;
        running.gives(report.counts.written);
        let body = Sending { running, reader, _session: Arc::clone(session), _here: here, _sending: sending };
        Ok(response(&report, &format, codec, body))
    }
}

/// An export that is computed.
struct Making {
    project: Arc<Project>,
    request: Request,
    way: String,
    codec: Codec,
    at: chrono::DateTime<chrono::Utc>,
    writer: Spool,
    told: oneshot::Sender<Result<Report, Problem>>,
    slot: OwnedSemaphorePermit,
}

impl Making {
    /// Computes it, unless whoever asked goes away before.
    async fn until(self, gone: oneshot::Receiver<()>) {
        let Self { project, request, way, codec, at, mut writer, told, slot } = self;
        let (bytes, mut receiver) = mpsc::channel(WAITING);
        let mut told = Told(Some(told));
        let making = async {
            let destination = Destination::Stream(Tap { bytes, codec, shown: way });
            let made = Box::pin(export(&project, &request, &[], &destination, at, &mut told)).await;
            drop(destination);
            made
        };
        let keeping = async {
            while let Some(bytes) = receiver.recv().await {
                writer.write(&bytes)?;
            }
            Ok::<_, std::io::Error>(writer)
        };
        let both = async { tokio::join!(making, keeping) };
        tokio::select! {
            (made, kept) = both => match (made, kept) {
                (Ok(_), Ok(writer)) => writer.end(),
                (Err(error), _) => {
                    tracing::warn!(code = error.code(), kind = ?error.kind(), "an audience could not be delivered");
                    told.fail(error);
                }
                (Ok(_), Err(error)) => {
                    tracing::warn!("an audience could not be kept to be sent: {}", error.kind());
                    told.fail(Error::from(error));
                }
            },
            _ = gone => tracing::debug!("whoever asked for an audience went away"),
        }
        drop(slot);
    }
}

/// Tells how an export begins, once.
struct Told(Option<oneshot::Sender<Result<Report, Problem>>>);

impl Told {
    fn fail(&mut self, error: Error) {
        if let Some(told) = self.0.take() {
            let _gone = told.send(Err(error.into()));
        }
    }
}

impl Steps for Told {
    fn begin(&mut self, _step: &'static str) {}
    fn expect(&mut self, _rows: u64) {}
    fn rows(&mut self, _rows: u64) {}

    fn recorded(&mut self, report: &Report) {
        if let Some(told) = self.0.take() {
            let _gone = told.send(Ok(report.clone()));
        }
    }
}

/// An answer that is being sent.
struct Sending {
    running: Running,
    reader: Follower,
    /// Let go, it would end what runs under it.
    _session: Arc<Session>,
    /// Let go, it says that the client is gone.
    _here: oneshot::Sender<()>,
    _sending: OwnedSemaphorePermit,
}

impl Sending {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        let reader = &mut self.reader;
        let next = async {
            reader
                .next()
                .await
                .map_err(|error| Fault::from(Error::new(Kind::Transient, "serve.spool", error.to_string())))
        };
        self.running.on(next).await
    }
}

fn response(report: &Report, format: &Format, codec: Codec, sending: Sending) -> Response {
    let stream = futures::stream::unfold(Some(sending), |sending| async move {
        let mut sending = sending?;
        match sending.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(sending))),
            Ok(None) => None,
            // The answer ends without its end: no client can take it for whole.
            Err(fault) => Some((Err(fault), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    let kind = content_type(format);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, private"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Authorization"));
    match codec {
        Codec::None => {}
        Codec::Gzip => drop(headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"))),
        Codec::Zstd => drop(headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("zstd"))),
    }
    let name = format!("attachment; filename=\"{}\"", file_name(&report.segments.join("-"), Some(report), format));
    let id = report.export_id.clone().unwrap_or_default();
    let described = format!("</api/v1/exports/{id}>; rel=\"describedby\"");
    for (header, value) in [
        (header::CONTENT_DISPOSITION, name),
        (header::HeaderName::from_static("alluvial-export-id"), id),
        (header::HeaderName::from_static("alluvial-as-of"), report.as_of.to_string()),
        (header::LINK, described),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(header, value);
        }
    }
    *response.status_mut() = StatusCode::OK;
    response
}

/// The media type of a format.
pub(super) fn content_type(format: &Format) -> &'static str {
    match format.encoding {
        Encoding::Csv => "text/csv; charset=utf-8; header=present",
        Encoding::Jsonl => "application/x-ndjson",
        Encoding::Parquet => "application/vnd.apache.parquet",
    }
}

/// The name that a browser saves a file by.
pub(super) fn file_name(whose: &str, report: Option<&Report>, format: &Format) -> String {
    let ending = match format.encoding {
        Encoding::Csv => "csv",
        Encoding::Jsonl => "jsonl",
        Encoding::Parquet => "parquet",
    };
    let day = report.map(|report| format!("-{}", report.as_of)).unwrap_or_default();
    format!("{whose}{day}.{ending}")
}

/// How a client wants its bytes compressed: of what it takes as gladly, the better.
pub(super) fn accepted(headers: &HeaderMap) -> Codec {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let mut weights = [(Codec::Zstd, None), (Codec::Gzip, None), (Codec::None, None)];
    let mut any = None;
    for part in values.flat_map(|value| value.split(',')) {
        let mut pieces = part.split(';').map(str::trim);
        let name = pieces.next().unwrap_or_default().to_ascii_lowercase();
        let weight = pieces.find_map(|piece| piece.strip_prefix("q=").or_else(|| piece.strip_prefix("Q=")));
        let weight = weight.map_or(1.0, |weight| weight.trim().parse::<f32>().unwrap_or(0.0));
        let codec = match name.as_str() {
            "zstd" => Codec::Zstd,
            "gzip" | "x-gzip" => Codec::Gzip,
            "identity" => Codec::None,
            "*" => {
                any = Some(weight);
                continue;
            }
            _ => continue,
        };
        for (known, found) in &mut weights {
            if *known == codec {
                *found = Some(weight);
            }
        }
    }
    let mut best = (Codec::None, 0.0);
    for (codec, weight) in weights {
        // What is not named is not taken, but for plain bytes, which always are.
        let fallback = if codec == Codec::None { Some(any.unwrap_or(0.001)) } else { any };
        let weight = weight.or(fallback).unwrap_or(0.0);
        if weight > best.1 {
            best = (codec, weight);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_compressed_as_the_client_likes_it() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            accepted(&headers)
        };
        assert_eq!(accepted(&HeaderMap::new()), Codec::None);
        assert_eq!(of("deflate, gzip, br, zstd"), Codec::Zstd);
        assert_eq!(of("gzip, deflate"), Codec::Gzip);
        assert_eq!(of("gzip;q=1.0, zstd;q=0.5"), Codec::Gzip);
        assert_eq!(of("gzip;q=0, identity"), Codec::None);
        assert_eq!(of("identity;q=1, gzip;q=0.5"), Codec::None);
        assert_eq!(of("br"), Codec::None);
        assert_eq!(of("*"), Codec::Zstd);
    }
}

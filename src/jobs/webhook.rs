//! Alerts, delivered: one POST, signed, to an address that is not inside.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use url::{Host, Url};

use super::alert::Alert;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// How alerts are delivered.
#[derive(Debug, Clone)]
pub struct Webhooks {
    /// What they are signed with; without it they are not signed.
    pub key: Option<Secret>,
    /// Whether receivers at loopback, private and link-local addresses are allowed.
    pub allow_private: bool,
}

impl Webhooks {
    /// Posts an alert. The header `Idempotency-Key` is the alert's key; `Alluvial-Signature: t=…,v1=…` is the HMAC-SHA-256
    /// of the seconds, a dot and the body.
    ///
    /// # Errors
    /// `alert.private_address`, `alert.unresolved`, and `alert.refused` with what the receiver said.
    pub async fn send(&self, url: &Url, alert: &Alert, now: DateTime<Utc>) -> Result<()> {
        let host = url.host_str().unwrap_or_default().to_owned();
        let addresses = self.addresses(url).await?;
        let body = alert.body()?;
        // Neither a redirect nor a second look-up may lead elsewhere than was looked at.
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .resolve_to_addrs(&host, &addresses)
            .build()
            .map_err(|error| refused(&host, &error.without_url().to_string()))?;
        let mut request = client
            .post(url.clone())
            .header("Content-Type", "application/json")
            .header("User-Agent", concat!("alluvial/", env!("CARGO_PKG_VERSION")))
            .header("Idempotency-Key", &alert.key);
        if let Some(key) = &self.key {
            request = request.header("Alluvial-Signature", signature(key.reveal().as_bytes(), now.timestamp(), &body)?);
        }
        // The URL may hold a secret of its receiver's.
        let answer = request.body(body).send().await.map_err(|error| refused(&host, &cause(&error.without_url())))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(refused(&host, &format!("it answered {}", answer.status())))
    }

    /// Where the receiver is.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>> {
        let port = url.port_or_known_default().unwrap_or(443);
        let host = url.host_str().unwrap_or_default();
        let found: Vec<SocketAddr> = match url.host() {
            Some(Host::Ipv4(ip)) => vec![SocketAddr::new(IpAddr::V4(ip), port)],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::new(IpAddr::V6(ip), port)],
            _ => tokio::net::lookup_host((host, port)).await.map(Iterator::collect).unwrap_or_default(),
        };
        if found.is_empty() {
            return Err(Error::new(Kind::Transient, "alert.unresolved", format!("`{host}` has no address")));
        }
        if !self.allow_private && found.iter().any(|address| is_inside(address.ip())) {
            return Err(Error::definition(
                "alert.private_address",
                format!("the webhook at `{host}` is at an address inside, where alerts do not go"),
            )
            .with_hint("set `[alerts] allow_private_addresses = true` if it is yours"));
        }
        Ok(found)
    }
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

fn refused(host: &str, why: &str) -> Error {
    Error::new(Kind::Transient, "alert.refused", format!("the webhook at `{host}` did not take the alert: {why}"))
}

/// `t=<seconds>,v1=<hex>`.
fn signature(key: &[u8], seconds: i64, body: &[u8]) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .map_err(|_| Error::internal("alert.key", "the key of alerts cannot be used"))?;
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    Ok(format!("t={seconds},v1={}", hex::encode(mac.finalize().into_bytes())))
}

/// Whether an address is of this machine, this network, or nobody's.
fn is_inside(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            ip.is_loopback()
                || ip.is_private()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || a == 0
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (b == 18 || b == 19))
                || a >= 240
        }
        IpAddr::V6(ip) => {
            if let Some(four) = ip.to_ipv4_mapped() {
                return is_inside(IpAddr::V4(four));
            }
            let [first, second, ..] = ip.segments();
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_multicast()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
                // What is translated to an IPv4 address may be translated to one inside.
                || (first == 0x64 && second == 0xff9b)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::parse_date;
    use crate::jobs::alert::Event;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    fn alert() -> Alert {
        let day = parse_date("2026-11-19").unwrap();
        Alert::about(Event::RunFailed, "nightly", day, "", "no orders are landed", DateTime::UNIX_EPOCH)
    }

    /// A receiver that answers once, and what it got.
    async fn receiver(status: &'static str) -> (Url, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/hook?token=canary", listener.local_addr().unwrap())).unwrap();
        let got = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut got = Vec::new();
            let mut buffer = [0; 4_096];
            while !got.ends_with(b"}") {
                let read = stream.read(&mut buffer).await.unwrap();
                got.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            String::from_utf8(got).unwrap()
        });
        (url, got)
    }

    #[tokio::test]
    async fn an_alert_is_posted_and_signed() {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let (url, got) = receiver("204 No Content").await;
        let webhooks = Webhooks { key: Some(Secret::new("s3cret")), allow_private: true };
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        webhooks.send(&url, &alert(), now).await.unwrap();
        let got = got.await.unwrap();
        let (head, body) = got.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /hook?token=canary"), "{head}");
        assert!(head.contains("idempotency-key: run.failed-nightly-2026-11-19"), "{head}");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(format!("1700000000.{body}").as_bytes());
        let expected = format!("alluvial-signature: t=1700000000,v1={}", hex::encode(mac.finalize().into_bytes()));
        assert!(head.contains(&expected), "{head}");
        assert!(body.contains("\"event\":\"run.failed\""), "{body}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_the_url() {
        let _first = rustls::crypto::ring::default_provider().install_default();
        let (url, _got) = receiver("500 Oops").await;
        let webhooks = Webhooks { key: None, allow_private: true };
        let error = webhooks.send(&url, &alert(), DateTime::UNIX_EPOCH).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Transient, "alert.refused"));
        assert!(error.to_string().contains("500") && !error.to_string().contains("canary"), "{error}");
        let inside = Webhooks { key: None, allow_private: false };
        let error = inside.send(&url, &alert(), DateTime::UNIX_EPOCH).await.unwrap_err();
        assert_eq!(error.code(), "alert.private_address");
        let named = Url::parse("http://localhost:9/").unwrap();
        assert_eq!(
            inside.send(&named, &alert(), DateTime::UNIX_EPOCH).await.unwrap_err().code(),
            "alert.private_address"
        );
    }

    #[test]
    fn addresses_inside_are_known() {
        let inside = |text: &str| is_inside(text.parse().unwrap());
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "255.255.255.255",
            "224.0.0.1",
        ] {
            assert!(inside(text), "{text}");
        }
        for text in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
            assert!(!inside(text), "{text}");
        }
    }
}

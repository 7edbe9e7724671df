//! The stores of clouds, opened as the library of the stores does it, and where their buckets are asked.

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::ReqwestConnector;
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::multipart::MultipartStore;
use object_store::{ClientOptions, ObjectStore};
use url::Url;

use super::bucket::{Bucket, Signed, encoded};

/// Opens the store of a cloud's URL, and what lists its uploads where it has such a thing. Options that no cloud knows are
/// left out.
pub(in crate::lake) fn open(
    url: &Url,
    options: impl Iterator<Item = (String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Option<Bucket>)> {
    match url.scheme() {
        "s3" | "s3a" => amazon(url, options),
        "gs" => google(url, options),
        _ => Ok((Arc::from(object_store::parse_url_opts(url, options)?.0), None)),
    }
}

fn amazon(
    url: &Url,
    options: impl Iterator<Item = (String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Option<Bucket>)> {
    let mut builder = AmazonS3Builder::new().with_url(url.as_str());
    let mut limits = ClientOptions::new();
    for (name, value) in options {
        let Ok(key) = name.parse::<AmazonS3ConfigKey>() else { continue };
        if let AmazonS3ConfigKey::Client(key) = key {
            limits = limits.with_config(key, value.clone());
        }
        builder = builder.with_config(key, value);
    }
    let set = |key| builder.get_config_value(&key);
    let is_on = |key| is_on(builder.get_config_value(&key));
    let region = set(AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".to_owned());
    let endpoint = set(AmazonS3ConfigKey::S3Endpoint).or_else(|| set(AmazonS3ConfigKey::Endpoint));
    let virtual_hosted = is_on(AmazonS3ConfigKey::VirtualHostedStyleRequest);
    let (express, unsigned) = (is_on(AmazonS3ConfigKey::S3Express), is_on(AmazonS3ConfigKey::SkipSignature));
    let payer = is_on(AmazonS3ConfigKey::RequestPayer);
    let store = Arc::new(builder.build()?);
    if express {
        // Directory buckets have addresses and sessions of their own, which the library keeps to itself.
        return Ok((store, None));
    }
    let (url, objects) = addresses(endpoint, url.host_str().unwrap_or_default(), &region, virtual_hosted);
    let signed = match unsigned {
        true => Signed::Not,
        false => Signed::Amazon { credentials: Arc::clone(store.credentials()), region, payer },
    };
    let bucket = Bucket {
        url,
        objects,
        signed,
        limits,
        connector: Arc::new(ReqwestConnector::default()),
        store: Arc::clone(&store) as Arc<dyn MultipartStore>,
        permissions: ["s3:ListBucketMultipartUploads", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"],
    };
    Ok((store, Some(bucket)))
}

/// Where the library finds a bucket of S3, and what its objects' addresses begin with. An endpoint that is given must hold the
/// bucket where it is virtual-hosted.
fn addresses(endpoint: Option<String>, bucket: &str, region: &str, virtual_hosted: bool) -> (String, String) {
    let objects = match (endpoint, virtual_hosted) {
        (Some(endpoint), true) => endpoint.trim_end_matches('/').to_owned(),
        (Some(endpoint), false) => format!("{}/{bucket}", endpoint.trim_end_matches('/')),
        (None, true) => format!("https://{bucket}.s3.{region}.amazonaws.com"),
        (None, false) => format!("https://s3.{region}.amazonaws.com/{bucket}"),
    };
    (if virtual_hosted { format!("{objects}/") } else { objects.clone() }, objects)
}

fn google(
    url: &Url,
    options: impl Iterator<Item = (String, String)>,
) -> object_store::Result<(Arc<dyn ObjectStore>, Option<Bucket>)> {
    let mut builder = GoogleCloudStorageBuilder::new().with_url(url.as_str());
    // As the library has it.
    let mut limits = ClientOptions::new().with_allow_http(true);
    for (name, value) in options {
        let Ok(key) = name.parse::<GoogleConfigKey>() else { continue };
        if let GoogleConfigKey::Client(key) = key {
            limits = limits.with_config(key, value.clone());
        }
        builder = builder.with_config(key, value);
    }
    let set = |key| builder.get_config_value(&key);
    let account = set(GoogleConfigKey::ServiceAccountKey)
        .or_else(|| std::fs::read_to_string(set(GoogleConfigKey::ServiceAccount)?).ok());
    let base = set(GoogleConfigKey::BaseUrl)
        .or_else(|| {
            let account: serde_json::Value = serde_json::from_str(&account?).ok()?;
            Some(account.get("gcs_base_url")?.as_str()?.to_owned())
        })
        .unwrap_or_else(|| "https://storage.googleapis.com".to_owned());
    let unsigned = is_on(set(GoogleConfigKey::SkipSignature));
    let store = Arc::new(builder.build()?);
    let url = format!("{base}/{}", encoded(url.host_str().unwrap_or_default(), false));
    let bucket = Bucket {
        objects: url.clone(),
        url,
        signed: if unsigned { Signed::Not } else { Signed::Google(Arc::clone(store.credentials())) },
        limits,
        connector: Arc::new(ReqwestConnector::default()),
        store: Arc::clone(&store) as Arc<dyn MultipartStore>,
        permissions: [
            "storage.multipartUploads.list",
            "storage.multipartUploads.listParts",
            "storage.multipartUploads.abort",
        ],
    };
    Ok((store, Some(bucket)))
}

/// What the library reads as yes; anything else that is set has been refused by it.
fn is_on(value: Option<String>) -> bool {
    value.is_some_and(|value| ["1", "true", "on", "yes", "y"].contains(&value.to_ascii_lowercase().as_str()))
}

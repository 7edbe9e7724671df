//! Uploads to a bucket that a killed writer began: told by the doctor, aborted by upkeep.

use std::net::SocketAddr;
use std::sync::LazyLock;

use chrono::{TimeDelta, Utc};
use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use tokio::runtime::{Builder, Runtime};

use super::Bucket;
use crate::emulators::{Emulator, google_variables, s3_variables, started};
use crate::proxy::{Proxy, Rules};

/// Awaits what a store is asked beside the binary. One runtime for all: a connection that is kept does not outlive its own.
fn awaited<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());
    RUNTIME.block_on(future)
}

/// Uploads are begun at two keys below the lake and at one outside, and the writer dies.
fn begin_uploads(store: &dyn MultipartStore) -> Vec<(Path, String)> {
    let keys = ["shop/tables/orders/as_of=2026-03-01/a&b <c>.parquet", "shop/x", "shop-two/x"];
    awaited(async {
        let mut begun = Vec::new();
        for key in keys {
            let path = Path::parse(key).unwrap();
            let id = store.create_multipart(&path).await.unwrap();
            store.put_part(&path, &id, 0, vec![7; 1_000].into()).await.unwrap();
            begun.push((path, id));
        }
        begun
    })
}

/// Which of them are still there, that a part can be sent to them.
fn left(store: &dyn MultipartStore, begun: &[(Path, String)]) -> Vec<bool> {
    awaited(async {
        let mut left = Vec::new();
        for (path, id) in begun {
            left.push(store.put_part(path, id, 1, vec![8; 10].into()).await.is_ok());
        }
        left
    })
}

/// The present, by which the store dates uploads, and two days later.
#[expect(clippy::disallowed_methods, reason = "the store dates uploads by the present time")]
fn today_and_later() -> [String; 2] {
    [Utc::now(), Utc::now() + TimeDelta::days(2)].map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
}

/// The doctor tells of uploads below the lake; upkeep aborts those of the day before yesterday, and no other.
fn unfinished_uploads_go(bucket: &Bucket, store: &dyn MultipartStore) {
    let [now, later] = today_and_later();
    let said = bucket.ran(&now, &["doctor", "--format", "csv"]);
    assert!(said.contains("unfinished uploads,ok,none"), "{said}");
    let begun = begin_uploads(store);
    assert!(bucket.ran(&now, &["vacuum", "--format", "csv"]).contains("unfinished uploads,0,"));
    let said = bucket.ran(&now, &["doctor", "--format", "csv"]);
    assert!(said.contains("unfinished uploads,look,\"2 with 2.0 kB, the oldest begun on 2"), "{said}");
    assert_eq!(left(store, &begun), [true, true, true], "they may be of a run");
    let said = bucket.ran(&later, &["vacuum", "--format", "csv"]);
    assert!(said.contains("unfinished uploads,2,"), "{said}");
    assert_eq!(left(store, &begun), [false, false, true], "the one outside is not the lake's");
    assert!(bucket.ran(&later, &["vacuum", "--format", "csv"]).contains("unfinished uploads,0,"));
    let said = bucket.ran(&later, &["doctor", "--format", "csv"]);
    assert!(said.contains("unfinished uploads,ok,none") && said.contains("lifecycle rules,ok,"), "{said}");
}

/// Where an upload is gone, the emulator answers as one does that may work later.
fn impatient() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}

fn s3_store(at: SocketAddr) -> impl MultipartStore {
    let builder = s3_variables(at).into_iter().fold(AmazonS3Builder::new(), |builder, (name, value)| {
        builder.with_config(name.to_ascii_lowercase().parse().unwrap(), value)
    });
    builder.with_bucket_name("lake").with_retry(impatient()).build().unwrap()
}

#[test]
fn unfinished_uploads_on_s3_are_told_and_aborted() {
    let emulator = started!(Emulator::s3());
    unfinished_uploads_go(&Bucket::near("s3://lake/shop", s3_variables(emulator.at)), &s3_store(emulator.at));
}

#[test]
fn unfinished_uploads_on_google_cloud_are_told_and_aborted() {
    let (_emulator, proxy) = started!(Emulator::google());
    let builder =
        google_variables(proxy.at).into_iter().fold(GoogleCloudStorageBuilder::new(), |builder, (name, value)| {
            builder.with_config(name.to_ascii_lowercase().parse().unwrap(), value)
        });
    let store = builder.with_bucket_name("lake").with_retry(impatient()).build().unwrap();
    unfinished_uploads_go(&Bucket::near("gs://lake/shop", google_variables(proxy.at)), &store);
}

/// Who may not list uploads, or not abort them, is told so, and everything else is done.
#[test]
fn what_is_not_permitted_of_uploads_is_told_and_nothing_fails() {
    let emulator = started!(Emulator::s3());
    let proxy = Proxy::before(emulator.at, Rules { denied: Some(("GET ", "?uploads")), ..Rules::default() });
    let bucket = Bucket::near("s3://lake/shop", s3_variables(proxy.at));
    let store = s3_store(emulator.at);
    let begun = begin_uploads(&store);
    let [_, later] = today_and_later();
    let done = bucket.run(&later, &["vacuum"]);
    assert_eq!(done.code, 0, "{}", done.shown());
    assert!(done.stderr.contains("allow `s3:ListBucketMultipartUploads`"), "{}", done.shown());
    let said = bucket.ran(&later, &["doctor", "--format", "csv"]);
    assert!(said.contains("unfinished uploads,look,") && said.contains("s3:ListBucketMultipartUploads"), "{said}");
    assert!(said.contains("put-bucket-lifecycle-configuration"), "{said}");
    proxy.rules.lock().unwrap().denied = Some(("DELETE ", "uploadId="));
    let done = bucket.run(&later, &["vacuum"]);
    assert_eq!(done.code, 0, "{}", done.shown());
    assert!(done.stderr.contains("allow `s3:AbortMultipartUpload`"), "{}", done.shown());
    assert_eq!(left(&store, &begun), [true, true, true]);
    proxy.rules.lock().unwrap().denied = None;
    assert!(bucket.ran(&later, &["vacuum", "--format", "csv"]).contains("unfinished uploads,2,"));
}

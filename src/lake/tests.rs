//! The lake: opening, the probe, objects and the key.

use super::key::KEY;
use super::testing::{self, Fault, FaultyStore};
use super::*;

fn open(url: &str, base: &FsPath) -> Result<Lake> {
    Lake::open(url, &BTreeMap::new(), base)
}

#[test]
fn urls_say_where_a_lake_is() {
    let base = tempfile::tempdir().unwrap();
    let real = base.path().canonicalize().unwrap();
    let relative = open("data/lake", base.path()).unwrap();
    assert_eq!(relative.place(), format!("{}/data/lake/", real.display()));
    assert_eq!(open("./data/../data/lake/", base.path()).unwrap().url(), relative.url());
    let absolute = real.join("data/lake");
    assert_eq!(open(&absolute.display().to_string(), FsPath::new("/elsewhere")).unwrap().url(), relative.url());
    assert_eq!(open(relative.url().as_str(), FsPath::new("/")).unwrap().url(), relative.url());
    assert_eq!(relative.store_url().as_str(), "file:///");
    let path = relative.path("tables/x/as_of=2026-11-19");
    assert_eq!(relative.below(&path).as_deref(), Some("tables/x/as_of=2026-11-19"));

    let memory = open("memory://shop", base.path()).unwrap();
    assert_eq!(memory.url().as_str(), "memory:///shop/");
    for bad in ["", "ftp://host/lake", "http://host/lake", "file://host/lake", "s3:///lake"] {
        let error = open(bad, base.path()).unwrap_err();
        assert!(["lake.url", "lake.options"].contains(&error.code()), "{bad}: {error}");
    }
}

#[test]
fn clouds_take_their_own_variables_only() {
    let options: BTreeMap<String, String> = [
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "eu-north-1"),
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "c2VjcmV0"),
        // Not variables of a cloud: they must not become settings of one.
        ("BUCKET", "other"),
        ("TOKEN", "other"),
        ("TIMEOUT", "not a duration"),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let s3 = Lake::open("s3://shop/lake", &options, FsPath::new("/")).unwrap();
    assert_eq!(s3.path("tables").as_ref(), "lake/tables");
    assert_eq!(s3.store_url().as_str(), "s3://shop/");
    let azure = Lake::open("az://shop/lake", &options, FsPath::new("/")).unwrap();
    assert_eq!(azure.path("tables").as_ref(), "lake/tables");
    let store = format!("{:?}", s3.store());
    assert!(store.contains("eu-north-1") && !store.contains("other"), "{store}");
}

#[tokio::test]
async fn folders_with_odd_names_work() {
    let base = tempfile::tempdir().unwrap();
    for name in ["with space", "blåbær", "50% off", "a#1", "plus+and&"] {
        let lake = open(name, base.path()).unwrap();
        lake.probe().await.unwrap();
        lake.put("tables/x/a.json", "1").await.unwrap();
        assert_eq!(lake.list("tables").await.unwrap()[0].path, "tables/x/a.json", "{name}");
        assert!(base.path().join(name).join("tables/x/a.json").exists(), "{name}");
        assert_eq!(open(lake.url().as_str(), FsPath::new("/")).unwrap().get("tables/x/a.json").await.unwrap(), "1");
    }
}

#[tokio::test]
async fn a_good_store_passes_and_is_left_clean() {
    let base = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&base), testing::memory()] {
        lake.probe().await.unwrap();
        assert_eq!(lake.list("").await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let base = tempfile::tempdir().unwrap();
    std::fs::write(base.path().join("file"), "not a folder").unwrap();
    for place in ["file", "file/below", "/proc/lake"] {
        let error = open(place, base.path()).unwrap().probe().await.unwrap_err();
        assert_eq!((error.code(), error.kind()), ("lake.not_writable", Kind::Storage), "{place}: {error}");
        assert!(error.message().contains(place) && error.hint().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_store_that_lies_is_refused() {
    for fault in [Fault::Unconditional, Fault::BlindListing] {
        let (lake, _) = testing::faulty(FaultyStore::new(Arc::new(InMemory::new()), fault));
        let error = lake.probe().await.unwrap_err();
        assert_eq!(error.code(), "lake.lies", "{fault:?}: {error}");
    }
    let (lake, _) = testing::faulty(FaultyStore::new(Arc::new(InMemory::new()), Fault::LostRequest));
    let error = lake.probe().await.unwrap_err();
    assert_eq!((error.code(), error.kind()), ("lake.not_writable", Kind::Transient));
}

#[tokio::test]
async fn objects_are_created_once_listed_in_order_and_removed() {
    let base = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&base), testing::memory()] {
        assert_eq!(lake.put_new("state/b", "1").await.unwrap(), Created::Ours);
        assert_eq!(lake.put_new("state/b", "2").await.unwrap(), Created::Taken);
        lake.put("state/a/deep", "3").await.unwrap();
        let listed: Vec<_> = lake.list("state").await.unwrap().into_iter().map(|o| (o.path, o.size)).collect();
        assert_eq!(listed, [("state/a/deep".to_owned(), 1), ("state/b".to_owned(), 1)]);
        assert_eq!(lake.list("nothing").await.unwrap(), []);
        assert!(lake.exists("state/b").await.unwrap() && !lake.exists("state/c").await.unwrap());
        assert_eq!(lake.get("state/b").await.unwrap(), "1");
        assert_eq!(lake.get("state/c").await.unwrap_err().code(), "lake.not_found");
        lake.delete("state/b").await.unwrap();
        lake.delete("state/b").await.unwrap();
        assert_eq!(lake.find("state/b").await.unwrap(), None);
    }
}

#[tokio::test]
async fn the_key_is_made_once_and_everybody_has_the_same() {
    let base = tempfile::tempdir().unwrap();
    for lake in [testing::folder(&base), testing::memory()] {
        let racers = (0..8).map(|_| lake.lake_key(None));
        let keys: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_ne!(keys[0], [0; 32]);
        assert_ne!(keys[0], testing::memory().lake_key(None).await.unwrap());
        assert_eq!(lake.lake_key(Some(&hex::encode(keys[0]))).await.unwrap(), keys[0]);
        let other = lake.lake_key(Some(&"00".repeat(32))).await.unwrap_err();
        assert_eq!(other.code(), "lake.key_changed");
    }
}

#[tokio::test]
async fn a_configured_key_is_never_stored_and_must_stay() {
    let lake = testing::memory();
    let key = "5a".repeat(32);
    assert_eq!(lake.lake_key(Some(&key)).await.unwrap(), [0x5a; 32]);
    assert!(!lake.exists(KEY).await.unwrap());
    assert_eq!(lake.lake_key(None).await.unwrap_err().code(), "lake.key_missing");
    for bad in ["short", &"zz".repeat(32), &"00".repeat(33)] {
        let error = lake.lake_key(Some(bad)).await.unwrap_err();
        assert_eq!(error.code(), "lake.key_format");
        assert!(!error.to_string().contains(bad));
    }
}

#[test]
fn a_full_disk_is_told_as_one_inside_another_librarys_error() {
    let full = || object_store::Error::Generic {
        store: "local folder",
        source: Box::new(std::io::Error::from(std::io::ErrorKind::StorageFull)),
    };
    let of_delta = deltalake_core::DeltaTableError::ObjectStore { source: full() };
    for error in [failure(full(), "tables/a"), wrapped(of_delta, (Kind::Transient, "lake.commit"), "tables/a")] {
        assert_eq!((error.kind(), error.code()), (Kind::Resources, "lake.full"), "{error}");
        assert_eq!(error.place().file.as_deref(), Some("tables/a"));
    }
}

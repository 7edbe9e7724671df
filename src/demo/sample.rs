//! The sample shop of the repository, `data/sample`: the demo shop, committed.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use object_store::ObjectStoreExt;
use object_store::memory::InMemory;

use super::*;

fn folder() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("data/sample")
}

/// The sample's files by their path below [`folder`].
async fn generated() -> BTreeMap<String, Vec<u8>> {
    let last_day = crate::calendar::parse_date("2026-11-18").unwrap();
    let zone = Zone::parse("Europe/Copenhagen").unwrap();
    let options = Options { days: 420, layout: Layout::Compact, ..Options::new(400, last_day, zone, "DKK") };
    let store = Arc::new(InMemory::new());
    generate(&options, Arc::clone(&store) as Arc<dyn ObjectStore>, &Path::default(), &mut |_| {}).await.unwrap();
    let mut files = BTreeMap::new();
    let found: Vec<_> = store.list(None).try_collect().await.unwrap();
    for file in found {
        let bytes = store.get(&file.location).await.unwrap().bytes().await.unwrap();
        files.insert(file.location.to_string(), bytes.to_vec());
    }
    files
}

fn committed() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                let name = path.strip_prefix(folder()).unwrap().to_string_lossy().replace('\\', "/");
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

#[tokio::test]
async fn the_committed_sample_is_what_the_demo_lands() {
    let (committed, generated) = (committed(), generated().await);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&committed), names(&generated));
    for (name, bytes) in &generated {
        assert!(committed[name] == *bytes, "{name} differs: see data/sample/README.md on how to write it anew");
    }
    let size: usize = committed.values().map(Vec::len).sum();
    assert!(size < 600_000, "the sample has {size} bytes");
}

#[tokio::test]
#[ignore = "writes data/sample anew"]
async fn write_the_sample() {
    for table in Table::ALL {
        let old = folder().join(table.name());
        if old.exists() {
            std::fs::remove_dir_all(old).unwrap();
        }
    }
    for (name, bytes) in generated().await {
        let path = folder().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

//! What goes wrong around a run that is well written: readers, rivals, full disks, slow stores. Each has a short form here,
//! and a long one by a variable of the environment.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use alluvial::calendar::{Clock, parse_date};
use alluvial::config::{Environment, Overrides, Settings};
use alluvial::jobs::definition::Job;
use alluvial::jobs::meter::Unwatched;
use alluvial::jobs::report::RunStatus;
use alluvial::jobs::run::{Request, run, run_id};
use alluvial::lake::Lake;
use alluvial::lake::snapshots::Snapshots;
use alluvial::snapshot::reading::Reading;
use alluvial::snapshot::setup::Project;
use async_trait::async_trait;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path as StorePath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult, UploadPart,
};
use serde_json::Value;

use crate::harness::times;
use crate::landing_files::{TinyShop, copy};
use crate::serving::{Serving, rows, user};

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";

async fn open(shop: &TinyShop) -> Project {
    let root = shop.folder.path();
    let settings = Settings::load(root, &Environment::of(root, []), &Overrides::default()).unwrap();
    Box::pin(Project::open(settings, &std::collections::BTreeMap::new(), false)).await.unwrap()
}

/// How many orders `c` has by four tables of a day, and whether all of them are of one day.
const LOOK: &str = "SELECT concat_ws(' ', p.n, o.n, l.n, z.n, \
      CASE WHEN p.as_of = l.as_of AND p.as_of = z.as_of AND p.as_of = m.as_of THEN p.as_of END) AS seen FROM \
    (SELECT as_of, number_of_orders AS n FROM customer_profile_latest WHERE customer_id = 'c') p, \
    (SELECT count(*) AS n FROM orders WHERE customer_id = 'c') o, \
    (SELECT as_of, CAST(spend AS BIGINT) AS n FROM lifecycle_latest WHERE customer_id = 'c') l, \
    (SELECT as_of, orders_30d AS n FROM segment_sizes_latest WHERE segment = 'only-c') z, \
    (SELECT as_of FROM segment_members_latest WHERE segment = 'only-c') m";

/// Checks that what a look gave is of one publish, and of none before the last look's.
fn is_whole(seen: &str, newest: &mut (String, u64)) {
    let words: Vec<&str> = seen.split(' ').collect();
    let [p, o, l, z, as_of] = words.as_slice() else { panic!("days are mixed: {seen}") };
    assert!([o, l, z].iter().all(|number| *number == p), "days are mixed: {seen}");
    let now = ((*as_of).to_owned(), p.parse().unwrap());
    assert!(now >= *newest, "{seen} after {newest:?}");
    *newest = now;
}

/// Eight clients read while days are published, one after the other and one over the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_see_one_day_at_a_time_and_none_older() {
    // More of them with `ALLUVIAL_TEST_PUBLISHES=50 cargo test readers_see_one_day`.
    let publishes = times("ALLUVIAL_TEST_PUBLISHES", 4);
    let shop = TinyShop::new();
    shop.segment("only-c", "customer_id = 'c'");
    // Every publish brings an order more; every other one is of a new day.
    let publish = |shop: &TinyShop, number: usize| {
        let day = parse_date(D1).unwrap() + chrono::TimeDelta::days(i64::try_from(number / 2).unwrap());
        let line = format!("order_id,ordered_at,total,customer_id\nc{number},2026-02-25T10:00:00Z,1.00,c");
        shop.land(&format!("orders/c{number}"), &line);
        shop.night(&day.to_string());
    };
    publish(&shop, 0);
    let server = Serving::start(&shop);
    let secret = user(&shop, "reader", &[]);
    let (over, looks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut readers = Vec::new();
    for _ in 0..6 {
        let client = server.connect("reader", &secret).await;
        let (over, looks) = (Arc::clone(&over), Arc::clone(&looks));
        readers.push(tokio::spawn(async move {
            let mut newest = (String::new(), 0);
            while !over.load(Ordering::SeqCst) {
                is_whole(&rows(&client, LOOK).await[0], &mut newest);
                looks.fetch_add(1, Ordering::SeqCst);
            }
            newest
        }));
    }
    let project = Arc::new(open(&shop).await);
    for _ in 0..2 {
        let (over, looks, project) = (Arc::clone(&over), Arc::clone(&looks), Arc::clone(&project));
        readers.push(tokio::spawn(async move {
            let mut newest = (String::new(), 0);
            while !over.load(Ordering::SeqCst) {
                let reading = Box::pin(Reading::open(&project)).await.unwrap();
                is_whole(&Box::pin(reading.texts(LOOK)).await.unwrap()[0], &mut newest);
                looks.fetch_add(1, Ordering::SeqCst);
            }
            newest
        }));
    }
    for number in 1..publishes {
        // The runs are other processes; this thread only waits for them.
        tokio::task::block_in_place(|| publish(&shop, number));
        let before = looks.load(Ordering::SeqCst);
        while looks.load(Ordering::SeqCst) < before + 16 && !readers.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    over.store(true, Ordering::SeqCst);
    for reader in readers {
        assert_eq!(reader.await.unwrap().1, publishes as u64, "the last one was seen");
    }
    let looks = looks.load(Ordering::SeqCst);
    assert!(looks >= 16 * (publishes - 1), "{looks} looks");
    println!("{looks} looks of 8 clients over {publishes} publishes");
}

fn spawn(shop: &TinyShop, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_alluvial"))
        .args(arguments)
        .current_dir(shop.folder.path())
        .env_clear()
        .env("ALLUVIAL_NOW", "2026-04-01T10:00:00Z")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Every row of a table's newest version, as another Delta reader counts them.
async fn counted_elsewhere(shop: &TinyShop, table: &str, as_of: &str) -> u64 {
    let url = url::Url::from_directory_path(shop.folder.path().join("lake/tables").join(table)).unwrap();
    let delta = Box::pin(deltalake_core::open_table(url)).await.unwrap();
    let project = open(shop).await;
    let session = project.engine.session();
    session.register_table("theirs", delta.table_provider().await.unwrap()).unwrap();
    let sql = format!("SELECT count(*) FROM theirs WHERE as_of = DATE '{as_of}'");
    let frame = Box::pin(session.sql(&sql)).await.unwrap();
    let batches = Box::pin(frame.collect()).await.unwrap();
    let count = batches[0].column(0);
    let count = arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(count);
    u64::try_from(count.value(0)).unwrap()
}

/// A shop, the variables of both processes, and what each of them is to do.
type Race<'a> = (TinyShop, &'a [(&'a str, &'a str)], [&'a [&'a str]; 2]);

/// Two processes at once: the first night of a lake, one day, two days of which one goes on from the other, and a day beside
/// its own segments. Nothing is published twice, and what loses says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_runs_at_once_nothing_is_published_twice() {
    // More of them with `ALLUVIAL_TEST_RACES=200 cargo test of_two_runs_at_once`.
    let races = times("ALLUVIAL_TEST_RACES", 6);
    // As long as it is there, every shop after a night has the same key, and so the same guests.
    let shop = TinyShop::after_a_night();
    shop.night(D2);
    let expected = [D1, D2].map(|day| shop.bytes(day));
    let first = TinyShop::new().with("ALLUVIAL_LAKE_KEY", KEY);
    first.night(D1);
    let first = first.bytes(D1);
    let mut lost = 0;
    for race in 0..races {
        let (shop, variables, rivals): Race<'_> = match race % 4 {
            0 => (
                TinyShop::new().with("ALLUVIAL_LAKE_KEY", KEY),
                &[("ALLUVIAL_LAKE_KEY", KEY)],
                [&["run", "nightly", "--as-of", D1]; 2],
            ),
            1 => (TinyShop::after_a_night(), &[], [&["run", "nightly", "--as-of", D2]; 2]),
            2 => {
                let one = &["run", "nightly", "--as-of", D1, "--force"];
                (TinyShop::after_a_night(), &[], [one, &["run", "nightly", "--as-of", D2]])
            }
            _ => {
                let segments = &["run", "--as-of", D1, "--only", "segments", "--force"];
                (TinyShop::after_a_night(), &[], [segments, &["run", "nightly", "--as-of", D1, "--force"]])
            }
        };
        // The one that is shorter begins later, by more and more.
        let one = spawn(&shop, rivals[1], variables);
        std::thread::sleep(Duration::from_millis((race as u64 * 37) % 400));
        let other = spawn(&shop, rivals[0], variables);
        let ended = [one, other].map(|child| child.wait_with_output().unwrap());
        assert!(ended.iter().any(|ended| ended.status.success()), "race {race}: {}", said(&ended[0]));
        for ended in ended.iter().filter(|ended| !ended.status.success()) {
            let said = said(ended);
            let losing = ["snapshot.superseded", "lake.day_changed", "lake.previous_changed"];
            assert!(losing.iter().any(|code| said.contains(code)), "race {race}: {said}");
            lost += 1;
        }
        let days = shop.rows("SELECT as_of, count(*) FROM snapshots GROUP BY as_of ORDER BY 1");
        assert!(days.iter().all(|day| day.ends_with(" 1")), "race {race}: {days:?}");
        for day in &days {
            let day = day.split(' ').next().unwrap();
            let expected = match (race % 4, day) {
                (0, _) => &first,
                (_, D1) => &expected[0],
                _ => &expected[1],
            };
            assert_eq!(&shop.bytes(day), expected, "race {race}");
            for table in ["customer_profile", "segment_members", "segment_sizes"] {
                let rows: u64 = shop.manifest(day)["tables"][table]["files"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|file| file["rows"].as_u64().unwrap())
                    .sum();
                assert_eq!(counted_elsewhere(&shop, table, day).await, rows, "race {race}: {table} of {day}");
            }
        }
        // Whoever lost is run again, and the lake is in order.
        for arguments in rivals {
            let ended = spawn(&shop, arguments, variables).wait_with_output().unwrap();
            assert!(ended.status.success(), "race {race}: {}", said(&ended));
        }
        assert_eq!(shop.run(&["doctor", "--all"]).code, 0, "race {race}");
    }
    println!("{races} races, {lost} lost");
}

/// A lake key: guests have the same ids in every lake that has it.
const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn said(ended: &Output) -> String {
    String::from_utf8(ended.stderr.clone()).unwrap()
}

/// A small disk of its own.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one; none where that is not allowed.
    fn mount(at: PathBuf, kilobytes: u64) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let size = format!("size={kilobytes}k");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|mounted| mounted.status.success()).then_some(Self { at })
    }

    fn resize(&self, kilobytes: u64) {
        let size = format!("remount,size={kilobytes}k");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.at).status().unwrap().success());
    }

    /// Kilobytes that are used.
    fn used(&self) -> u64 {
        let told = Command::new("df").args(["-k", "--output=used"]).arg(&self.at).output().unwrap();
        String::from_utf8(told.stdout).unwrap().lines().last().unwrap().trim().parse().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A shop that is published, with its lake on a small disk.
fn on_a_small_disk(published: &TinyShop, kilobytes: u64) -> Option<(TinyShop, SmallDisk)> {
    let shop = TinyShop::empty();
    for folder in ["jobs", "sql"] {
        copy(&published.folder.path().join(folder), &shop.folder.path().join(folder));
    }
    let disk = SmallDisk::mount(shop.folder.path().join("lake"), kilobytes)?;
    copy(&published.folder.path().join("lake"), &disk.at);
    Some((shop, disk))
}

/// Nothing but words for people on stderr, and nothing of the program's insides.
fn is_clean(said: &str, code: &str) {
    assert!(said.contains(&format!("error[{code}]")) && said.contains("help: "), "{said}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
}

#[test]
fn a_full_disk_is_a_clear_error_and_the_next_run_works() {
    // More of them with `ALLUVIAL_TEST_DISKS=50 cargo test a_full_disk`.
    let disks = times("ALLUVIAL_TEST_DISKS", 5) as u64;
    let published = TinyShop::after_a_night();
    let Some((shop, disk)) = on_a_small_disk(&published, 64 << 10) else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let before = disk.used();
    shop.night(D2);
    let (needed, expected) = (disk.used() - before, [D1, D2].map(|day| shop.bytes(day)));
    let buyers = shop.members("buyers", D1);
    drop((disk, shop));
    let mut full = 0;
    for number in 0..disks {
        let (shop, disk) = on_a_small_disk(&published, before + 4 + needed * number / disks).unwrap();
        let ended = spawn(&shop, &["run", "nightly", "--as-of", D2], &[]).wait_with_output().unwrap();
        // What only has to be there for a moment may fit, and be gone before the end.
        if !ended.status.success() {
            let said = said(&ended);
            is_clean(&said, "lake.full");
            full += 1;
            assert_eq!(shop.bytes(D1), expected[0]);
            assert_eq!(shop.members("buyers", D1), buyers);
            // What is missing at last may be room for the record alone.
            let is_published = said.contains(&format!("the run for {D2} succeeded, and could not be recorded"));
            let newest = if is_published { D2 } else { D1 };
            assert_eq!(shop.one("SELECT max(as_of) FROM snapshots"), newest, "disk {number}: {said}");
        }
        disk.resize(64 << 10);
        let next = shop.run(&["run", "nightly", "--as-of", D2]);
        assert_eq!(next.code, 0, "disk {number}: {}", next.stderr);
        assert_eq!([D1, D2].map(|day| shop.bytes(day)), expected, "disk {number}");
        assert_eq!(shop.run(&["doctor"]).code, 0, "disk {number}");
    }
    assert!(full * 10 >= disks * 8, "{full} of {disks} were full: the others test nothing");
    println!("{disks} disks, {full} of them too small");
}

/// By `tests/bench/profile.py --memory-limit 1GB` a shop of which 4 GB pass by keeps to a fourth of that. Here it is what a night
/// has freed that counts: it must not stay with the process.
#[test]
fn a_night_of_little_memory_keeps_to_it() {
    let shop = TinyShop::empty().with("ALLUVIAL_ENGINE__MEMORY_LIMIT", "128MB").with("ALLUVIAL_ENGINE__THREADS", "2");
    let made = shop.run(&["demo", "--customers", "12000", "--days", "365", "--until", D1]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let ran = shop.run(&["run", "nightly", "--as-of", D1, "--format", "json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let peaks: Vec<u64> = steps.iter().filter_map(|step| step["peak_rss_mb"].as_u64()).collect();
    if cfg!(target_os = "linux") {
        assert_eq!(peaks.len(), steps.len());
    }
    assert!(peaks.iter().all(|peak| *peak <= 128 * 5 / 4 + 300), "{peaks:?} MB");
}

#[test]
fn a_full_spill_disk_is_a_clear_error_too() {
    let shop = TinyShop::after_a_night();
    let Some(disk) = SmallDisk::mount(shop.folder.path().join("spill"), 8) else {
        eprintln!("skipped: no file system may be mounted here");
        return;
    };
    let spill = disk.at.display().to_string();
    let ended = spawn(&shop, &["run", "nightly", "--as-of", D2], &[("TMPDIR", &spill)]).wait_with_output().unwrap();
    assert!(!ended.status.success());
    is_clean(&said(&ended), "engine.disk_full");
    assert_eq!(shop.one("SELECT max(as_of) FROM snapshots"), D1);
    disk.resize(64 << 10);
    let ended = spawn(&shop, &["run", "nightly", "--as-of", D2], &[("TMPDIR", &spill)]).wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", said(&ended));
    assert_eq!(shop.one("SELECT max(as_of) FROM snapshots"), D2);
}

/// A store that answers every request late.
#[derive(Debug)]
struct SlowStore {
    inner: Arc<InMemory>,
    answers_after: Duration,
    asked: AtomicUsize,
}

impl SlowStore {
    async fn wait(&self) {
        self.asked.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.answers_after).await;
    }

    fn slowly(
        &self,
        stream: BoxStream<'static, StoreResult<ObjectMeta>>,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let wait = self.answers_after;
        tokio::time::sleep(wait).map(|()| stream).flatten_stream().boxed()
    }
}

impl std::fmt::Display for SlowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SlowStore")
    }
}

#[async_trait]
impl ObjectStore for SlowStore {
    async fn put_opts(&self, location: &StorePath, payload: PutPayload, options: PutOptions) -> StoreResult<PutResult> {
        self.wait().await;
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &StorePath,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        self.wait().await;
        let upload = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(SlowUpload { upload, answers_after: self.answers_after }))
    }

    async fn get_opts(&self, location: &StorePath, options: GetOptions) -> StoreResult<GetResult> {
        self.wait().await;
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<StorePath>>,
    ) -> BoxStream<'static, StoreResult<StorePath>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&StorePath>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.slowly(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&StorePath>,
        offset: &StorePath,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.slowly(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&StorePath>) -> StoreResult<ListResult> {
        self.wait().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &StorePath, to: &StorePath, options: CopyOptions) -> StoreResult<()> {
        self.wait().await;
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct SlowUpload {
    upload: Box<dyn MultipartUpload>,
    answers_after: Duration,
}

#[async_trait]
impl MultipartUpload for SlowUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (wait, part) = (self.answers_after, self.upload.put_part(data));
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            part.await
        })
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        tokio::time::sleep(self.answers_after).await;
        self.upload.complete().await
    }

    async fn abort(&mut self) -> StoreResult<()> {
        self.upload.abort().await
    }
}

/// A night of a project whose lake is that store, and the sizes and sums of what it publishes.
async fn night_in(settings: Settings, store: Arc<dyn ObjectStore>, as_of: &str, careful: bool) -> (Project, Value) {
    let job = Job::load(&settings, "nightly").unwrap();
    let lake = Lake::over(&url::Url::parse("memory:///slow/").unwrap(), store).unwrap();
    let none = std::collections::BTreeMap::new();
    let mut project = Box::pin(Project::over(settings, lake.clone(), b"a lake's key", &none)).await.unwrap();
    if careful {
        project.engine.be_careful();
    }
    let as_of = parse_date(as_of).unwrap();
    let now = (as_of + chrono::TimeDelta::days(31)).and_hms_opt(10, 0, 0).unwrap().and_utc();
    let request = Request { as_of, force: false, run_id: run_id(now), partial: None };
    let report = Box::pin(run(&project, &job, &request, Clock::Fixed(now), &Unwatched)).await.unwrap();
    assert_eq!(report.status, RunStatus::Succeeded);
    let snapshots = Box::pin(Snapshots::read(&lake)).await.unwrap();
    let manifest = Box::pin(snapshots.manifest(snapshots.latest().unwrap())).await.unwrap();
    Box::pin(manifest.verify(&lake)).await.unwrap();
    let files = manifest.tables.iter().map(|(name, table)| {
        let files = table.files.iter().map(|file| (file.size, file.crc32c)).collect::<Vec<_>>();
        (name.clone(), serde_json::json!(files))
    });
    let files = files.collect::<serde_json::Map<_, _>>().into();
    (project, files)
}

/// What a night publishes, over a store that answers so late.
async fn night_over(answers_after: Duration) -> (Value, usize, u64) {
    let shop = TinyShop::new();
    let inner = Arc::new(InMemory::new());
    for file in shop.files("lake") {
        let bytes = std::fs::read(shop.folder.path().join("lake").join(&file)).unwrap();
        inner.put(&StorePath::from(format!("slow/{file}")), bytes.into()).await.unwrap();
    }
    let store = Arc::new(SlowStore { inner, answers_after, asked: AtomicUsize::new(0) });
    let root = shop.folder.path();
    let settings = Settings::load(root, &Environment::of(root, []), &Overrides::default()).unwrap();
    let (project, files) = night_in(settings, Arc::clone(&store) as Arc<dyn ObjectStore>, D1, false).await;
    (files, store.asked.load(Ordering::SeqCst), project.answers())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_slow_store_a_night_is_the_same_night() {
    let (fast, _, _) = night_over(Duration::ZERO).await;
    let (slow, asked, answers) = night_over(Duration::from_millis(20)).await;
    assert_eq!(slow, fast);
    // What the watchdog goes by: every request that was answered is a sign of life.
    assert!(answers >= asked as u64, "{answers} answers to {asked} requests");
}

/// What follows a night that stood still goes by other plans, and publishes the same: the sample shop, with its segments.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_careful_night_is_the_same_night() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut nights = Vec::new();
    for careful in [false, true] {
        let settings = Settings::load(root, &Environment::of(root, []), &Overrides::default()).unwrap();
        let (_, files) = night_in(settings, Arc::new(InMemory::new()), "2026-11-18", careful).await;
        assert!(files["segment_members"].as_array().is_some_and(|files| !files.is_empty()), "{files}");
        nights.push(files);
    }
    assert_eq!(nights[0], nights[1]);
}

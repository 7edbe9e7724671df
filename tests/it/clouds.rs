//! The whole of it on object stores: S3, Azure and Google Cloud Storage, each an emulator on loopback.

mod uploads;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::emulators::{Emulator, azure_variables, google_variables, s3_variables, started};
use crate::harness::{Ran, times};
use crate::landing_files::{NIGHTLY, TinyShop};
use crate::proxy::{Lost, Proxy, Rules};

const DAYS: [&str; 3] = ["2026-03-01", "2026-03-02", "2026-03-03"];

/// The tiny shop with its lake in a bucket: its files are landed there by `land`.
struct Bucket {
    shop: TinyShop,
    variables: Vec<(String, String)>,
}

impl Bucket {
    fn new(url: &str, variables: Vec<(String, String)>) -> Self {
        let mut variables = variables;
        variables.push(("ALLUVIAL_LAKE__URL".to_owned(), url.to_owned()));
        // Keyed hashes are part of what is written, so both lakes have one key.
        variables.push(("ALLUVIAL_LAKE_KEY".to_owned(), "0123456789abcdef".repeat(4)));
        let bucket = Self { shop: TinyShop::new(), variables };
        for table in ["customers", "orders", "order_items"] {
            let file = bucket.shop.landed(&format!("{table}/all")).display().to_string();
            bucket.ran("2026-04-01T05:00:00Z", &["land", table, &file]);
        }
        std::fs::remove_dir_all(bucket.shop.folder.path().join("lake")).unwrap();
        bucket
    }

    /// The shop with its landed files beside it, and only what is published in a bucket.
    fn near(url: &str, variables: Vec<(String, String)>) -> Self {
        let mut variables = variables;
        variables.push(("ALLUVIAL_LAKE__URL".to_owned(), url.to_owned()));
        variables.push(("ALLUVIAL_LAKE_KEY".to_owned(), "0123456789abcdef".repeat(4)));
        let bucket = Self { shop: TinyShop::new(), variables };
        let place = |table: &str| format!("[tables.{table}]\nurl = \"lake/landing/{table}/*.parquet\"\n");
        bucket.shop.settings(&["customers", "orders", "order_items"].map(place).concat());
        bucket
    }

    fn run(&self, now: &str, arguments: &[&str]) -> Ran {
        let mut variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        variables.push(("ALLUVIAL_NOW", now));
        self.shop.folder.run_with(arguments, &variables)
    }

    /// Runs a command that must succeed, and gives what it printed.
    fn ran(&self, now: &str, arguments: &[&str]) -> String {
        let ran = self.run(now, arguments);
        assert_eq!(ran.code, 0, "{}", ran.shown());
        ran.stdout
    }

    fn night(&self, day: &str) -> Value {
        let shown = self.ran("2026-04-01T06:00:00Z", &["run", "nightly", "--as-of", day, "--format", "json"]);
        serde_json::from_str(&shown).unwrap()
    }

    fn spawn(&self, now: &str, arguments: &[&str]) -> std::process::Child {
        Command::new(env!("CARGO_BIN_EXE_alluvial"))
            .args(arguments)
            .current_dir(self.shop.folder.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("ALLUVIAL_NOW", now)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn rows(&self, sql: &str) -> String {
        self.ran("2026-04-01T07:00:00Z", &["query", sql, "--format", "csv"])
    }

    /// What is published, without what tells of the run.
    fn published(&self) -> String {
        self.rows(
            "SELECT 'day' AS what, concat_ws(' ', as_of, previous_as_of, stale, row_counts, definition_hash) AS rows FROM snapshots \
             UNION ALL SELECT 'profile', concat_ws(' ', as_of, customer_id, number_of_orders, amount_spent, \
             last_order_date) FROM customer_profile \
             UNION ALL SELECT 'contact', concat_ws(' ', customer_id, email, phone, email_consent) FROM customer_contacts \
             UNION ALL SELECT 'order', concat_ws(' ', order_id, customer_id, net_amount, is_counted) FROM orders \
             UNION ALL SELECT 'stage', concat_ws(' ', as_of, customer_id, stage) FROM lifecycle \
             UNION ALL SELECT 'member', concat_ws(' ', as_of, segment, customer_id) FROM segment_members \
             UNION ALL SELECT 'change', concat_ws(' ', as_of, segment, customer_id, change, cause) FROM segment_changes \
             UNION ALL SELECT 'size', concat_ws(' ', as_of, segment, members, amount_spent) FROM segment_sizes \
             UNION ALL SELECT 'run', concat_ws(' ', job, as_of, status, attempt) FROM job_runs ORDER BY 1, 2",
        )
    }
}

/// Three nights, and the last of them once more; what is published before and after that.
fn nights(bucket: &Bucket) -> [String; 2] {
    for day in DAYS {
        assert_eq!(bucket.night(day)["status"], "succeeded");
    }
    let before = bucket.published();
    bucket.ran("2026-04-01T08:00:00Z", &["run", "nightly", "--as-of", DAYS[2], "--force"]);
    [before, bucket.published()]
}

/// The same on a disk.
fn on_disk() -> &'static [String; 2] {
    static ON_DISK: LazyLock<[String; 2]> = LazyLock::new(|| {
        let folder = tempfile::tempdir().unwrap();
        nights(&Bucket::new(&folder.path().display().to_string(), Vec::new()))
    });
    &ON_DISK
}

/// Nights, upkeep, the doctor and an export, as on a disk.
fn nights_as_on_disk(bucket: &Bucket) {
    let here = nights(bucket);
    assert!(here[0].lines().filter(|line| line.starts_with("member,")).count() > 10, "{}", here[0]);
    assert_eq!(&here, on_disk());
    bucket.ran("2026-04-09T06:00:00Z", &["vacuum"]);
    assert_eq!(bucket.published(), here[1], "upkeep takes nothing that is published");
    let said = bucket.ran("2026-04-09T06:00:00Z", &["doctor"]);
    assert!(said.contains("lifecycle rules"), "{said}");
    let exported = bucket.ran("2026-04-09T07:00:00Z", &["export", "buyers", "--format", "jsonl", "--to", "-"]);
    assert!(exported.contains("\"a\""), "{exported}");
}

#[test]
fn nights_on_s3_are_those_on_disk() {
    let emulator = started!(Emulator::s3());
    nights_as_on_disk(&Bucket::new("s3://lake/shop", s3_variables(emulator.at)));
}

#[test]
fn nights_on_azure_are_those_on_disk() {
    let emulator = started!(Emulator::azure());
    nights_as_on_disk(&Bucket::new("az://lake/shop", azure_variables(emulator.at)));
}

#[test]
fn nights_on_google_cloud_are_those_on_disk() {
    let (_emulator, proxy) = started!(Emulator::google());
    nights_as_on_disk(&Bucket::new("gs://lake/shop", google_variables(proxy.at)));
}

/// Two schedulers see the same three nights owed: each is published once, and recorded once.
#[test]
fn two_schedulers_on_one_bucket_publish_each_night_once() {
    let emulator = started!(Emulator::s3());
    // More of them with `ALLUVIAL_TEST_RACES=200 cargo test two_schedulers_on_one_bucket`.
    let races = times("ALLUVIAL_TEST_RACES", 1);
    for race in 0..races {
        let bucket = Bucket::near(&format!("s3://lake/race-{race}"), s3_variables(emulator.at));
        bucket
            .shop
            .folder
            .write("jobs/nightly.toml", &format!("schedule = \"0 4 * * *\"\ntimezone = \"UTC\"\n{NIGHTLY}"));
        bucket.ran("2026-03-01T12:00:00Z", &["scheduler", "--once"]);
        let now = "2026-03-04T12:00:00Z";
        let both = [(); 2].map(|()| bucket.spawn(now, &["scheduler", "--once"]));
        for child in both {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // One that found the other at work may have left the rest to it, and then nothing is owed any more.
        bucket.ran("2026-03-04T12:30:00Z", &["scheduler", "--once"]);
        let days = bucket.rows("SELECT as_of, count(*) AS rows FROM snapshots GROUP BY 1 ORDER BY 1");
        assert_eq!(days, "as_of,rows\n2026-03-01,1\n2026-03-02,1\n2026-03-03,1\n");
        let runs = bucket
            .rows("SELECT as_of, count(*) AS rows FROM job_runs WHERE status = 'succeeded' GROUP BY 1 ORDER BY 1");
        assert_eq!(runs, days, "each night was computed once");
        let twice = "SELECT as_of, customer_id FROM customer_profile GROUP BY 1, 2 HAVING count(*) > 1";
        assert_eq!(bucket.rows(twice), "as_of,customer_id\n");
    }
}

/// The sample's night through fifty milliseconds a request: what it costs is counted, and stays what it is.
#[test]
fn a_night_far_from_its_bucket_asks_little() {
    let emulator = started!(Emulator::s3());
    let proxy = Proxy::before(emulator.at, Rules { delay: Duration::from_millis(50), ..Rules::default() });
    let bucket = Bucket::new("s3://lake/shop", s3_variables(proxy.at));
    let mut told = Vec::new();
    for day in DAYS {
        proxy.requests();
        let began = Instant::now();
        bucket.night(day);
        told.push((proxy.requests(), began.elapsed().as_secs_f64()));
    }
    eprintln!("requests and seconds of three nights at 50 ms: {told:?}");
    assert!(told.iter().all(|(requests, _)| *requests < MOST_REQUESTS), "{told:?}");
    proxy.requests();
    bucket.shop.folder.write("jobs/nightly.toml", &format!("schedule = \"0 4 * * *\"\ntimezone = \"UTC\"\n{NIGHTLY}"));
    bucket.ran("2026-03-04T12:00:00Z", &["scheduler", "--once"]);
    proxy.requests();
    bucket.ran("2026-03-04T12:01:00Z", &["scheduler", "--once"]);
    let idle = proxy.requests();
    eprintln!("requests of a round in which nothing is due: {idle}");
    assert!(idle < 30, "{idle} requests where nothing is due");
}

/// Requests of one night: about fifteen a table, most of them Delta Lake's looking at its own log.
const MOST_REQUESTS: u64 = 350;

/// Writes whose answers are lost, each in its turn: a run that says it succeeded has published, and nothing is there
/// twice.
#[test]
fn a_lost_answer_is_neither_a_failure_nor_a_double() {
    let emulator = started!(Emulator::s3());
    // Every write with `ALLUVIAL_TEST_ANSWERS=1`; every so many by default.
    let step = times("ALLUVIAL_TEST_ANSWERS", 31);
    let expected = {
        let bucket = Bucket::near("s3://lake/whole", s3_variables(emulator.at));
        bucket.night(DAYS[0]);
        bucket.published()
    };
    for (turn, how) in [Lost::Closed, Lost::Reset, Lost::ServerError, Lost::Hangs].into_iter().enumerate() {
        let mut write = turn * step / 4;
        loop {
            let proxy = Proxy::before(emulator.at, Rules::default());
            let mut bucket = Bucket::near(&format!("s3://lake/lost-{turn}-{write}"), s3_variables(proxy.at));
            bucket.variables.push(("AWS_TIMEOUT".to_owned(), "5s".to_owned()));
            let ran = {
                let mut rules = proxy.rules.lock().unwrap();
                rules.writes.clear();
                rules.lose = Some((write, how));
                drop(rules);
                bucket.run("2026-04-01T06:00:00Z", &["run", "nightly", "--as-of", DAYS[0]])
            };
            let lost = proxy.rules.lock().unwrap().writes.get(write).cloned();
            proxy.rules.lock().unwrap().lose = None;
            // The night writes no more often than that.
            let Some(lost) = lost else { break };
            assert_eq!(ran.code, 0, "{how:?} at {lost}: a lost answer is settled by looking: {}", ran.shown());
            assert_eq!(bucket.published(), expected, "{how:?} at {lost}: {}", ran.shown());
            write += step;
        }
    }
}

/// A store that refuses one request in five gets it asked again, and the night goes through.
#[test]
fn a_store_that_is_asked_too_much_is_asked_again() {
    let emulator = started!(Emulator::s3());
    let proxy = Proxy::before(emulator.at, Rules::default());
    let bucket = Bucket::near("s3://lake/slow", s3_variables(proxy.at));
    {
        let mut rules = proxy.rules.lock().unwrap();
        rules.refuse = Some(5);
        rules.delay = Duration::from_millis(5);
    }
    let night = bucket.night(DAYS[0]);
    assert_eq!(night["status"], "succeeded");
    proxy.rules.lock().unwrap().refuse = None;
    let whole = Bucket::near("s3://lake/quick", s3_variables(proxy.at));
    whole.night(DAYS[0]);
    assert_eq!(bucket.published(), whole.published());
}

/// A store that takes conditional writes and ignores the condition is refused before anything is written to it.
#[test]
fn a_store_that_ignores_conditions_is_refused() {
    let emulator = started!(Emulator::s3());
    let proxy = Proxy::before(emulator.at, Rules { unconditional: true, ..Rules::default() });
    let mut variables = s3_variables(proxy.at);
    variables.push(("ALLUVIAL_LAKE__URL".to_owned(), "s3://lake/liar".to_owned()));
    let bucket = Bucket { shop: TinyShop::new(), variables };
    let ran = bucket.run("2026-04-01T06:00:00Z", &["run", "nightly", "--as-of", DAYS[0]]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(ran.stderr.contains("cannot be trusted: a second create of one name succeeds"), "{}", ran.stderr);
}

/// The address of a server that is not there.
fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9))
}

/// A bucket that cannot be reached is told as such, with what to look at, and without a secret.
#[test]
fn a_bucket_out_of_reach_is_told() {
    let mut variables = s3_variables(nowhere());
    variables.push(("ALLUVIAL_LAKE__URL".to_owned(), "s3://lake/gone".to_owned()));
    variables.retain(|(name, _)| name != "AWS_SECRET_ACCESS_KEY");
    variables.push(("AWS_SECRET_ACCESS_KEY".to_owned(), "canary-secret".to_owned()));
    let bucket = Bucket { shop: TinyShop::new(), variables };
    let ran = bucket.run("2026-04-01T06:00:00Z", &["run", "nightly", "--as-of", DAYS[0]]);
    assert_eq!(ran.code, 1, "{}", ran.shown());
    assert!(ran.stderr.contains("s3://lake/gone") && !ran.stderr.contains("canary"), "{}", ran.stderr);
}

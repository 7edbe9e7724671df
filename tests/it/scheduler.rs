//! Nights that run themselves: what is owed, caught up, restated, held, accepted, recorded, swept.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{Ran, times};
use crate::landing_files::TinyShop;

const SCHEDULED: &str = "schedule = \"0 4 * * *\"\ntimezone = \"UTC\"\n[[steps]]\nrun = \"snapshot\"\n";

/// A shop whose nights are scheduled, seen for the first time on the 2nd of March at noon.
fn scheduled() -> TinyShop {
    let shop = TinyShop::new();
    shop.folder.write("jobs/nightly.toml", SCHEDULED);
    let ran = at(&shop, "2026-03-02T12:00:00Z", &["scheduler", "--once"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "", ""), "nothing is owed by a new schedule");
    shop
}

fn at(shop: &TinyShop, now: &str, arguments: &[&str]) -> Ran {
    shop.folder.run_with(arguments, &[("ALLUVIAL_NOW", now)])
}

fn published(shop: &TinyShop) -> Vec<String> {
    shop.rows("SELECT as_of, stale FROM snapshots ORDER BY 1")
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

#[test]
fn missed_nights_are_run_in_order_and_late_data_restates() {
    let shop = scheduled();
    let ran = at(&shop, "2026-03-03T04:00:00Z", &["scheduler", "--once"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, "nightly as of 2026-03-02: succeeded\n"));
    // Nothing ran for two nights.
    let ran = at(&shop, "2026-03-06T03:59:59Z", &["scheduler", "--once"]);
    assert_eq!(ran.stderr, "nightly as of 2026-03-03: succeeded\nnightly as of 2026-03-04: succeeded\n");
    let ran = at(&shop, "2026-03-06T03:59:59Z", &["scheduler", "--once"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "each once");

    // An order of the 4th that comes late, and one of the 5th that does not.
    shop.land(
        "orders/late",
        "order_id,ordered_at,total,customer_id\no8,2026-03-04T12:00:00Z,70.00,c\no9,2026-03-05T12:00:00Z,7.00,c",
    );
    let ran = at(&shop, "2026-03-06T04:00:00Z", &["scheduler", "--once"]);
    assert_eq!(ran.stderr, "nightly as of 2026-03-04: succeeded\nnightly as of 2026-03-05: succeeded\n");
    let spent = |day| {
        shop.one(&format!("SELECT amount_spent FROM customer_profile WHERE as_of = DATE '{day}' AND customer_id = 'c'"))
    };
    assert_eq!([spent("2026-03-03"), spent("2026-03-04"), spent("2026-03-05")], ["0.00", "70.00", "77.00"]);
    assert_eq!(published(&shop), ["2026-03-02 false", "2026-03-03 false", "2026-03-04 false", "2026-03-05 false"]);

    let jobs = json(&at(&shop, "2026-03-06T10:00:00Z", &["jobs", "--format", "json"]));
    let job = &jobs[0];
    assert_eq!(
        [&job["job"], &job["next"], &job["due"], &job["last_as_of"], &job["last_status"]],
        [
            &Value::from("nightly"),
            &Value::from("2026-03-07T04:00:00Z"),
            &Value::from(0),
            &Value::from("2026-03-05"),
            &Value::from("succeeded")
        ]
    );
    let runs = json(&at(&shop, "2026-03-06T10:00:00Z", &["runs", "--format", "json"]));
    assert_eq!(runs.as_array().unwrap().len(), 5, "{runs}");
    let id = runs[0]["run_id"].as_str().unwrap();
    let told = json(&at(&shop, "2026-03-06T10:00:00Z", &["runs", "show", &id[..20], "--format", "json"]));
    assert_eq!(told["run"]["report"]["as_of"], "2026-03-05");
    assert!(told["inputs"]["orders"].to_string().contains("landing/orders/late.parquet"), "{told}");
    let shown = at(&shop, "2026-03-06T10:00:00Z", &["runs", "show", id]);
    assert!(
        shown.code == 0 && shown.stdout.contains("publish") && shown.stdout.contains("orders/late"),
        "{}",
        shown.stdout
    );
    assert_eq!(at(&shop, "2026-03-06T10:00:00Z", &["runs", "show", "nosuch"]).code, 1);
}

#[test]
fn a_fault_is_not_tried_again_and_is_told() {
    let shop = scheduled();
    shop.segment("broken", "number_of_orders >");
    let ran = at(&shop, "2026-03-03T04:00:00Z", &["scheduler", "--once"]);
    assert_eq!(ran.code, 1);
    assert!(
        ran.stderr.contains("nightly as of 2026-03-02: failed") && ran.stderr.contains("run.failed"),
        "{}",
        ran.stderr
    );
    let ran = at(&shop, "2026-03-03T05:00:00Z", &["scheduler", "--once"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "it failed for good");
    let runs = json(&at(&shop, "2026-03-03T05:00:00Z", &["runs", "--format", "json"]));
    assert_eq!((runs[0]["status"].as_str(), runs.as_array().unwrap().len()), (Some("failed"), 1), "{runs}");
    // A person mends it and runs the day.
    std::fs::remove_file(shop.folder.path().join("sql/segments/broken.toml")).unwrap();
    assert_eq!(at(&shop, "2026-03-03T06:00:00Z", &["run", "nightly"]).code, 0);
    assert_eq!(published(&shop), ["2026-03-02 false"]);
}

/// Twelve orders a weekday for ten weeks, by as many customers; none on the last day.
pub(crate) fn steady_shop() -> TinyShop {
    let shop = TinyShop::empty();
    let mut orders = "order_id,ordered_at,total,customer_id\n".to_owned();
    for week in 0..10 {
        for day in 0..2 {
            let date = chrono::NaiveDate::from_ymd_opt(2026, 1, 1).unwrap() + chrono::TimeDelta::days(7 * week + day);
            for order in 0..12 {
                // The last Friday has none.
                if !(week == 9 && day == 1) {
                    writeln!(orders, "o{week}-{day}-{order},{date}T10:00:00Z,10.00,c{order}").unwrap();
                }
            }
        }
    }
    shop.land("orders/all", &orders).segment("buyers", "number_of_orders >= 1");
    shop
}

#[test]
fn a_day_that_smells_is_held_until_a_person_accepts_it() {
    let shop = steady_shop();
    shop.folder.write("jobs/nightly.toml", "[[steps]]\nrun = \"snapshot\"\n[[steps]]\nrun = \"fit\"\n");
    let run = |day: &str| shop.run(&["run", "nightly", "--as-of", day, "--format", "json"]);
    assert_eq!(run("2026-03-05").code, 0);
    let before = shop.files("lake/tables");
    let held = run("2026-03-06");
    assert_eq!(held.code, 1);
    let report = json(&held);
    assert_eq!(report["status"], "held");
    assert!(report["warnings"].to_string().contains("orders of the day: 0; usual are 12"), "{}", report["warnings"]);
    assert_eq!(published(&shop), ["2026-03-05 false"], "the last one stays live");
    let committed = |files: &[String]| files.iter().filter(|file| file.contains("_delta_log")).count();
    let runs_committed = shop.files("lake/tables").iter().filter(|file| file.contains("job_runs/_delta_log")).count()
        - before.iter().filter(|file| file.contains("job_runs/_delta_log")).count();
    assert_eq!(
        committed(&shop.files("lake/tables")) - committed(&before),
        runs_committed,
        "nothing of it is committed"
    );
    let listed = json(&shop.run(&["publish", "--format", "json"]));
    assert_eq!(listed[0]["as_of"], "2026-03-06");
    let state = json(&shop.run(&["jobs", "--format", "json"]));
    assert_eq!(state[0]["held"], "2026-03-06");

    assert_eq!(shop.run(&["publish", "--accept", "2026-03-05"]).code, 1, "it is not held");
    let accepted = shop.run(&["publish", "--accept", "2026-03-06"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert_eq!(published(&shop), ["2026-03-05 false", "2026-03-06 false"]);
    assert_eq!(
        shop.one("SELECT run_id FROM snapshots WHERE as_of = DATE '2026-03-06'"),
        report["run_id"].as_str().unwrap()
    );
    assert_eq!(shop.members("buyers", "2026-03-06").len(), 12);
    assert_eq!(
        shop.one("SELECT status FROM job_runs WHERE error LIKE 'accepted: %'"),
        "succeeded",
        "the record has its row now"
    );
    assert_eq!(json(&shop.run(&["publish", "--format", "json"])).as_array().unwrap().len(), 0);
    assert_eq!(json(&run("2026-03-06"))["previous_as_of"], "2026-03-05");
}

#[test]
fn a_held_day_gives_way_to_a_later_attempt() {
    let shop = steady_shop();
    let run = |day: &str| shop.run(&["run", "nightly", "--as-of", day, "--format", "json"]);
    assert_eq!(run("2026-03-05").code, 0);
    assert_eq!(run("2026-03-06").code, 1);
    // The missing orders come.
    let mut orders = "order_id,ordered_at,total,customer_id\n".to_owned();
    for order in 0..12 {
        writeln!(orders, "late-{order},2026-03-06T10:00:00Z,10.00,c{order}").unwrap();
    }
    shop.land("orders/late", &orders);
    let report = json(&run("2026-03-06"));
    assert_eq!(report["status"], "succeeded");
    assert_eq!(
        json(&shop.run(&["publish", "--format", "json"])).as_array().unwrap().len(),
        0,
        "nothing is held any more"
    );
    // Settings that change exempt a day, and it is said so.
    shop.land("orders/gap", "order_id,ordered_at,total,customer_id\nx,2026-03-07T10:00:00Z,1.00,c1");
    assert_eq!(run("2026-03-12").code, 1, "no orders on that Thursday");
    shop.settings("[lifecycle]\nloyal_orders = 2");
    let exempt = json(&run("2026-03-12"));
    assert_eq!(exempt["status"], "succeeded");
    assert!(
        exempt["warnings"].to_string().contains("settings have changed since the day before"),
        "{}",
        exempt["warnings"]
    );
}

#[test]
fn retention_drops_days_and_leaves_the_others_readable() {
    let shop = TinyShop::new();
    for day in ["2026-02-27", "2026-02-28", "2026-03-01", "2026-03-30"] {
        shop.night(day);
    }
    shop.settings("[retention]\ncustomer_profile = 5\nsegment_members = 30");
    let before = shop.files("lake/tables").len();
    // By a clock that is far ahead; what is dropped then is swept a day later at the earliest: somebody may be reading it.
    let vacuum = |now: &str| at(&shop, now, &["vacuum", "--format", "json"]);
    let profiles = || {
        let files = shop.files("lake/tables/customer_profile");
        files.into_iter().filter(|file| file.ends_with(".parquet")).count()
    };
    assert_eq!(profiles(), 4);
    let done = json(&vacuum("2036-04-01T00:00:00Z"));
    assert!(done.to_string().contains("days of customer_profile"), "{done}");
    assert_eq!(profiles(), 4);
    vacuum("2036-04-01T23:00:00Z");
    assert_eq!(profiles(), 4);
    vacuum("2036-04-02T01:00:00Z");
    assert_eq!(profiles(), 2);
    assert!(shop.files("lake/tables").len() < before);
    assert_eq!(
        shop.rows("SELECT DISTINCT as_of FROM customer_profile ORDER BY 1"),
        ["2026-02-28", "2026-03-30"],
        "month ends stay"
    );
    assert_eq!(shop.rows("SELECT DISTINCT as_of FROM segment_members ORDER BY 1"), ["2026-03-01", "2026-03-30"]);
    assert_eq!(shop.rows("SELECT DISTINCT as_of FROM segment_sizes ORDER BY 1").len(), 4);
    assert_eq!(published(&shop).len(), 4);
    assert_eq!(shop.one("SELECT count(*) FROM customer_contacts"), "5");
    let again = json(&vacuum("2036-04-02T02:00:00Z"));
    assert!(!again.to_string().contains("days of"), "{again}");
    // The lake goes on.
    assert_eq!(shop.night("2026-03-31")["status"], "succeeded");
    let doctor = at(&shop, "2026-04-01T12:00:00Z", &["doctor", "--all"]);
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    assert!(doctor.stdout.contains("keeps its word"), "{}", doctor.stdout);
}

#[test]
fn the_doctor_finds_damage() {
    let shop = TinyShop::after_a_night();
    let well = shop.run(&["doctor", "--format", "json"]);
    assert_eq!((well.code, json(&well)["ticks"].as_array().unwrap().len()), (0, 0), "{}", well.stdout);
    let file = shop.files("lake/tables/segment_members").into_iter().find(|file| file.ends_with(".parquet")).unwrap();
    let path = shop.folder.path().join("lake/tables/segment_members").join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let ill = shop.run(&["doctor"]);
    assert_eq!(ill.code, 1);
    assert!(ill.stdout.contains("lake.damaged") && ill.stdout.contains("CRC32C"), "{}", ill.stdout);
}

#[test]
fn a_backfill_is_priced_before_it_starts() {
    let shop = TinyShop::after_a_night();
    let ran = shop.run(&["run", "nightly", "--from", "2026-03-01", "--to", "2026-03-04", "--plan", "--format", "json"]);
    let price = &json(&ran)[0];
    assert_eq!(
        [&price["days"], &price["published"], &price["computed"]],
        [&Value::from(4), &Value::from(1), &Value::from(3)]
    );
    assert!(price["bytes"].as_u64().unwrap() > 1_000, "{price}");
    assert!(price["seconds"].as_u64().unwrap() >= 1, "{price}");
    assert_eq!(published(&shop).len(), 1, "nothing is run");
}

/// The program killed at a moment drawn by chance, again and again: what is published is whole, and the next run mends.
#[test]
fn killed_at_any_moment_it_leaves_whole_days() {
    // More of them with `ALLUVIAL_TEST_KILLS=1000 cargo test killed_at_any_moment`.
    let kills = times("ALLUVIAL_TEST_KILLS", 50) as u64;
    let shop = TinyShop::after_a_night();
    let arguments = ["run", "nightly", "--as-of", "2026-03-02", "--force"];
    let spawn = || {
        std::process::Command::new(env!("CARGO_BIN_EXE_alluvial"))
            .args(arguments)
            .current_dir(shop.folder.path())
            .env_clear()
            .env("ALLUVIAL_NOW", "2026-04-01T10:00:00Z")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let began = std::time::Instant::now();
    assert!(spawn().wait().unwrap().success());
    let whole = began.elapsed();
    let expected = shop.bytes("2026-03-02");
    let seed = std::process::id();
    for kill in 0..kills {
        // Spread over the whole run, by the golden ratio.
        let share = (0.618_033_988 * (kill + u64::from(seed % 97)) as f64).fract();
        let mut child = spawn();
        std::thread::sleep(whole.mul_f64(share));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(shop.bytes("2026-03-02"), expected, "killed after {share} of {whole:?} (seed {seed})");
        // The manifest tells sizes and checksums every time; every tenth time somebody reads by it.
        if kill % 10 == 0 {
            let members = shop.members("buyers", "2026-03-02");
            assert_eq!(members.len(), 4, "killed after {share} of {whole:?} (seed {seed})");
        }
    }
    assert!(spawn().wait().unwrap().success(), "and the next run goes through");
    assert_eq!(shop.bytes("2026-03-02"), expected);
    assert_eq!(at(&shop, "2026-04-01T12:00:00Z", &["doctor", "--all"]).code, 0);
}

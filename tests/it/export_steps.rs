//! Audiences as steps of a job: delivered with the night, once, and not of a day that waits for a person.

use serde_json::Value;

use crate::exports::shop;
use crate::harness::Ran;
use crate::landing_files::TinyShop;
use crate::scheduler::steady_shop;

fn run(shop: &TinyShop, day: &str, more: &[&str]) -> Ran {
    shop.run(&[&["run", "nightly", "--as-of", day, "--format", "json"], more].concat())
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
}

#[test]
fn a_night_delivers_and_a_night_again_does_not() {
    let shop = shop();
    shop.folder.write(
        "jobs/nightly.toml",
        "[[steps]]\nrun = \"snapshot\"\n\
         [[steps]]\nrun = \"export\"\nsegments = [\"everyone\", \"buyers\"]\nexclusive = true\nformat = \"email\"\nto = \"out/{segment}/{as_of}.csv\"\n\
         [[steps]]\nname = \"list\"\nrun = \"export\"\nsegment = \"everyone\"\nformat = \"jsonl\"\nto = \"out/all-{as_of}.jsonl.gz\"\nsince = \"last\"\n",
    );
    let ran = run(&shop, "2026-03-02", &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    let first = report(&ran);
    let exports = first["exports"].as_array().unwrap();
    assert_eq!(exports.len(), 3, "{exports:?}");
    assert_eq!((&exports[0]["segments"][0], &exports[0]["written"]), (&Value::from("buyers"), &Value::from(1)));
    assert_eq!((&exports[1]["segments"][0], &exports[1]["written"]), (&Value::from("everyone"), &Value::from(1)));
    let steps: Vec<(&str, Option<u64>)> = first["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["step"].as_str().unwrap(), step["rows"].as_u64()))
        .filter(|(step, _)| *step == "export")
        .collect();
    assert_eq!(steps, [("export", Some(2)), ("export", Some(10))]);
    assert!(shop.folder.read("out/buyers/2026-03-02.csv").contains("Ann@Example.com"));
    assert!(shop.folder.read("out/everyone/2026-03-02.csv").contains("cid@example.com"));
    assert_eq!(
        shop.files("out").iter().filter(|file| file.starts_with("all-2026-03-02.")).count(),
        2,
        "what to add and what to remove"
    );
    assert_eq!(shop.one("SELECT count(*) FROM exports WHERE requested_by = 'job:nightly'"), "3");
    let recorded = shop.one("SELECT rows FROM job_runs WHERE job = 'nightly' ORDER BY started_at DESC LIMIT 1");
    assert!(recorded.contains("\"exports\":12"), "{recorded}");

    // The same day again: it is published, and delivered.
    let written = std::fs::metadata(shop.folder.path().join("out/buyers/2026-03-02.csv")).unwrap().modified().unwrap();
    let ran = run(&shop, "2026-03-02", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let again = report(&ran);
    assert_eq!(again["status"], "unchanged");
    assert!(again["exports"].as_array().unwrap().iter().all(|export| export["already"] == true), "{again}");
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "3");
    let now = std::fs::metadata(shop.folder.path().join("out/buyers/2026-03-02.csv")).unwrap().modified().unwrap();
    assert_eq!(written, now);

    // Published anew, it is delivered anew; the next day's difference is one to the day before, though its file is another.
    assert_eq!(run(&shop, "2026-03-02", &["--force"]).code, 0);
    assert_eq!(shop.one("SELECT count(*) FROM exports"), "6");
    shop.land("orders/more", "order_id,ordered_at,total,customer_id\nn1,2026-03-02T12:00:00Z,10.00,z\n");
    let ran = run(&shop, "2026-03-03", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(report(&ran)["exports"][2]["written"], 1, "{}", ran.stdout);
}

#[test]
fn nothing_is_delivered_of_a_day_that_is_held() {
    let shop = steady_shop();
    shop.folder.write(
        "jobs/nightly.toml",
        "[[steps]]\nrun = \"snapshot\"\n[[steps]]\nrun = \"export\"\nneeds = []\nsegment = \"buyers\"\nformat = \"jsonl\"\nto = \"out/{as_of}.jsonl\"\n",
    );
    assert_eq!(run(&shop, "2026-03-05", &[]).code, 0);
    let held = run(&shop, "2026-03-06", &[]);
    assert_eq!((held.code, report(&held)["status"].as_str()), (1, Some("held")));
    assert_eq!(shop.files("out"), ["2026-03-05.jsonl"]);
    let accepted = shop.run(&["publish", "--accept", "2026-03-06"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert_eq!(shop.files("out"), ["2026-03-05.jsonl", "2026-03-06.jsonl"], "the steps that waited for it");
}

#[test]
fn a_segment_that_is_guarded_keeps_its_exports_when_it_moves_by_half() {
    let shop = TinyShop::empty();
    let mut customers = "customer_id,created_at,updated_at,city\n".to_owned();
    for n in 0..240 {
        customers.push_str(&format!("c{n},2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,Odense\n"));
    }
    shop.land("customers/dt=2026-02-20/all", &customers);
    shop.land("orders/all", "order_id,ordered_at,total,customer_id\no1,2026-01-01T10:00:00Z,10.00,c1\n");
    shop.segment_with("odense", "city = 'Odense'", "guard = \"hold\"");
    shop.segment("everyone", "number_of_orders >= 0");
    let step = |segment: &str| {
        format!(
            "[[steps]]\nrun = \"export\"\nneeds = [\"snapshot\"]\nsegment = \"{segment}\"\nformat = \"jsonl\"\nto = \"out/{segment}-{{as_of}}.jsonl\"\n"
        )
    };
    shop.folder.write(
        "jobs/nightly.toml",
        &format!(
            "[[steps]]\nrun = \"snapshot\"\n{}{}",
            step("odense").replace("[[steps]]", "[[steps]]\nname = \"a\""),
            step("everyone")
        ),
    );
    assert_eq!(run(&shop, "2026-03-01", &[]).code, 0);
    let mut moved = "customer_id,created_at,updated_at,city\n".to_owned();
    for n in 0..150 {
        moved.push_str(&format!("c{n},2025-01-10T10:00:00Z,2026-03-02T10:00:00Z,Aarhus\n"));
    }
    shop.land("customers/dt=2026-03-02/moved", &moved);
    let ran = run(&shop, "2026-03-02", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let told = report(&ran)["warnings"].to_string();
    assert!(told.contains("the segment `odense` has 90 members; the day before had 240; its export waits"), "{told}");
    assert_eq!(
        shop.files("out"),
        ["everyone-2026-03-01.jsonl", "everyone-2026-03-02.jsonl", "odense-2026-03-01.jsonl"]
    );
    // It waits however often the day is run, until a person says that it is right.
    assert_eq!(run(&shop, "2026-03-02", &[]).code, 0);
    assert_eq!(shop.files("out").len(), 3);
    assert_eq!(run(&shop, "2026-03-02", &["--force"]).code, 0);
    assert_eq!(shop.files("out").len(), 4);
}

#[test]
fn what_a_step_names_is_known_before_anything_runs() {
    let shop = shop();
    for (lines, words) in [
        (
            "segment = \"everyon\"\nformat = \"email\"\nto = \"a.csv\"",
            ["jobs.unknown_segment", "did you mean `everyone`?"],
        ),
        (
            "segment = \"everyone\"\nformat = \"emial\"\nto = \"a.csv\"",
            ["audience.unknown_format", "did you mean `email`?"],
        ),
        (
            "segment = \"everyone\"\nformat = \"email\"\nto = \"a.csv\"\nholdot = 0.1",
            ["unknown key `holdot`", "did you mean `holdout`?"],
        ),
    ] {
        shop.folder.write(
            "jobs/nightly.toml",
            &format!("[[steps]]\nrun = \"snapshot\"\n[[steps]]\nrun = \"export\"\n{lines}\n"),
        );
        for ran in [shop.run(&["run", "nightly", "--as-of", "2026-03-02"]), shop.run(&["check"])] {
            assert_eq!(ran.code, 1, "{lines}");
            for word in words {
                assert!(format!("{}{}", ran.stdout, ran.stderr).contains(word), "{word}: {}{}", ran.stdout, ran.stderr);
            }
        }
    }
    assert_eq!(shop.one("SELECT count(*) FROM snapshots"), "1", "nothing was published");
}

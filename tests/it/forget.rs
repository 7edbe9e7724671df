//! Forgetting people: nothing in the lake holds them afterwards, in whatever form, and whoever is landed again stays out.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;

use crate::landing_files::TinyShop;

const D1: &str = "2026-03-01";
const D2: &str = "2026-03-02";
const D3: &str = "2026-03-03";

/// Everything that Annabel is known by, and nobody else.
const ANNABEL: [&str; 11] = [
    "cust-ann-7731",
    "old-ann-5512",
    "vis-ann-9931",
    "ann.forget@example.com",
    "ann.old@example.com",
    "99887766",
    "Annabel",
    "Forgetson",
    "Hidden Lane",
    "o-ann-",
    "annabel's note",
];

const CUSTOMERS: &str = "
customer_id,created_at,updated_at,email,phone,first_name,last_name,address,country,email_consent,email_consent_at,note
cust-ann-7731,2025-01-10T10:00:00Z,2025-01-10T10:00:00Z,Ann.Forget@example.com,+45 99 88 77 66,Annabel,Forgetson,Hidden Lane 5,DK,subscribed,2025-01-10T10:00:00Z,annabel's note
cust-ann-7731,2025-01-10T10:00:00Z,2025-05-10T10:00:00Z,ann.forget@example.com,+4599887766,Annabel,Forgetson,Hidden Lane 5,DK,subscribed,2025-01-10T10:00:00Z,
old-ann-5512,2024-01-10T10:00:00Z,2024-01-10T10:00:00Z,ann.old@example.com,,Annabel,,,DK,subscribed,2025-01-10T10:00:00Z,
bob-1,2025-06-01T10:00:00Z,2025-06-01T10:00:00Z,bob@example.com,+4511111111,Bob,Berg,,DK,subscribed,2025-06-01T10:00:00Z,bob's
cid-1,2025-06-01T10:00:00Z,2025-06-01T10:00:00Z,cid@example.com,,Cid,Carl,,DK,never,,
";

/// Of o-ann-2 only the address says whose it is; bob-2 is Bob's with Annabel's address; o-ann-9 is faulty.
const ORDERS: &str = "
order_id,ordered_at,updated_at,total,customer_id,email
o-ann-1,2025-02-01T10:00:00Z,2025-02-01T10:00:00Z,100.00,cust-ann-7731,
o-ann-2,2025-03-01T10:00:00Z,2025-03-01T10:00:00Z,70.00,,ANN.forget@example.com
o-ann-3,2024-03-01T10:00:00Z,2024-03-01T10:00:00Z,70.00,old-ann-5512,
o-ann-9,2026-02-01T10:00:00Z,2026-02-01T10:00:00Z,-5.00,cust-ann-7731,
bob-1,2026-01-15T10:00:00Z,2026-01-15T10:00:00Z,80.10,bob-1,bob@example.com
bob-2,2026-03-02T10:00:00Z,2026-03-02T10:00:00Z,20.00,bob-1,ann.forget@example.com
gus-1,2026-01-15T10:00:00Z,2026-01-15T10:00:00Z,10.00,,gus@example.com
";

const ITEMS: &str = "
order_id,line,product_id,title,quantity,unit_price
o-ann-1,1,p1,Cup,1,100.0000
o-ann-2,1,p2,Pan,1,70.0000
bob-1,1,p1,Cup,1,80.1000
bob-2,1,p1,Cup,1,20.0000
gus-1,1,p1,Cup,1,10.0000
";

const EVENTS: &str = "
event_id,occurred_at,type,customer_id,anonymous_id,search_term
e1,2026-02-01T10:00:00Z,searched,cust-ann-7731,,annabel's note
e2,2026-02-02T10:00:00Z,page_viewed,,vis-ann-9931,
e3,2026-02-03T10:00:00Z,page_viewed,bob-1,vis-ann-9931,
e4,2026-02-04T10:00:00Z,page_viewed,bob-1,vis-bob,
";

const IDENTITIES: &str = "
anonymous_id,customer_id,linked_at
vis-ann-9931,cust-ann-7731,2026-01-01T10:00:00Z
old-ann-5512,cust-ann-7731,2025-01-11T10:00:00Z
vis-bob,bob-1,2026-01-01T10:00:00Z
";

const SUPPRESSIONS: &str = "
channel,identifier,reason
sms,+45 99887766,asked
sms,cid@example.com,asked
";

/// A shop of Annabel, Bob, Cid and a guest, with two published days and an export.
fn shop() -> TinyShop {
    let shop = TinyShop::empty();
    shop.settings("[landing]\nmax_reject_ratio = 0.5");
    shop.land("customers/all", CUSTOMERS).land("orders/all", ORDERS).land("order_items/all", ITEMS);
    shop.land("events/all", EVENTS).land("identities/all", IDENTITIES).land("suppressions/all", SUPPRESSIONS);
    shop.segment("everyone", "number_of_orders >= 0").segment("buyers", "number_of_orders >= 2");
    shop.night(D1);
    shop.night(D2);
    let ran = shop.run(&["export", "everyone", "--format", "email", "--to", "out/all.csv", "--quiet"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert!(shop.folder.read("out/all.csv").contains("cust-ann-7731"));
    shop
}

/// The texts of every value of a Parquet file.
fn decoded(path: &std::path::Path) -> String {
    let file = fs::File::open(path).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(Result::unwrap).collect();
    arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string()
}

/// Which files of the lake hold which of the words, in their bytes or in what they decode to.
fn holders(shop: &TinyShop, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in shop.files("lake") {
        let path = shop.folder.path().join("lake").join(&file);
        let mut text = String::from_utf8_lossy(&fs::read(&path).unwrap()).to_lowercase();
        if file.ends_with(".parquet") {
            text.push_str(&decoded(&path).to_lowercase());
        }
        for word in words.iter().filter(|word| text.contains(&word.to_lowercase())) {
            found.push(format!("{file}: {word}"));
        }
    }
    found
}

/// Every file of the lake with its bytes.
fn contents(shop: &TinyShop) -> BTreeMap<String, Vec<u8>> {
    let read = |file: String| {
        let bytes = fs::read(shop.folder.path().join("lake").join(&file)).unwrap();
        (file, bytes)
    };
    // The probe of a writer leaves nothing that stays.
    shop.files("lake").into_iter().filter(|file| !file.starts_with("state/probe")).map(read).collect()
}

fn forget(shop: &TinyShop, arguments: &[&str]) -> Value {
    let ran = shop.run(&[&["forget"], arguments, &["--format", "json"]].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for word in ANNABEL {
        assert!(
            !ran.stdout.contains(word) && !ran.stderr.contains(word),
            "{word} is told: {}{}",
            ran.stdout,
            ran.stderr
        );
    }
    serde_json::from_str(&ran.stdout).unwrap()
}

#[test]
fn nothing_in_the_lake_holds_a_person_who_was_forgotten() {
    let shop = shop();
    let held = holders(&shop, &ANNABEL);
    for place in [
        "tables/customer_profile",
        "tables/customer_contacts",
        "tables/segment_members",
        "tables/rejects",
        "tables/export_members",
        "landing/suppressions",
        "landing/events",
    ] {
        assert!(held.iter().any(|file| file.starts_with(place)), "{place} holds nobody: the test tests nothing");
    }
    let sizes = "SELECT as_of, segment, members FROM segment_sizes ORDER BY 1, 2";
    let (sizes_before, runs) = (shop.rows(sizes), shop.one("SELECT count(*) FROM job_runs"));

    // A look changes nothing.
    let before = contents(&shop);
    let looked = forget(&shop, &["--email", "ann.FORGET@example.com", "--dry-run"]);
    assert_eq!(looked["status"], "would_forget");
    assert_eq!(contents(&shop), before);

    let told = forget(&shop, &["--email", "ann.FORGET@example.com"]);
    assert_eq!(holders(&shop, &ANNABEL), [""; 0]);
    assert_eq!(told["status"], "forgotten");
    let receipt = &told["receipt"];
    for key in ["landed", "tables", "identities", "queries"] {
        assert_eq!(receipt[key], looked["receipt"][key], "a look tells what is done: {key}");
    }
    assert_eq!(receipt["identities"]["orders"], 4);
    assert_eq!(receipt["exports"][0]["destination"].as_str().unwrap().rsplit('/').next(), Some("all.csv"));
    assert!(receipt["tables"]["segment_members"]["rows"].as_u64().unwrap() >= 4, "{receipt}");
    let events = receipt["landed"].as_array().unwrap().iter().find(|part| part["table"] == "events").unwrap();
    assert_eq!((&events["rows"], &events["named"]), (&Value::from(2), &Value::from(1)));

    // The others are all there, and published days open as they were.
    for day in [D1, D2] {
        assert_eq!(shop.members("everyone", day).len(), 3, "bob, cid and the guest on {day}");
    }
    assert_eq!(shop.rows(sizes), sizes_before, "sizes are about nobody");
    assert_eq!(shop.one("SELECT count(*) FROM job_runs"), runs);
    assert_eq!(
        shop.rows("SELECT order_id, email FROM landed.orders ORDER BY 1"),
        ["bob-1 bob@example.com", "bob-2 -", "gus-1 gus@example.com"]
    );
    assert_eq!(shop.rows("SELECT event_id, anonymous_id FROM landed.events ORDER BY 1"), ["e3 -", "e4 vis-bob"]);
    assert_eq!(shop.rows("SELECT identifier FROM landed.suppressions"), ["cid@example.com"]);
    assert_eq!(shop.rows("SELECT customer_id FROM customer_contacts WHERE email LIKE '%@%' ORDER BY 1").len(), 3);
    assert_eq!(shop.rows("SELECT note FROM landed.customers WHERE customer_id = 'bob-1'"), ["bob's"]);
    let doctor = shop.run(&["doctor", "--all"]);
    assert_eq!(doctor.code, 0, "{}", doctor.stdout);
    // Nothing is late because a file was written anew, and the day is what it was.
    assert_eq!(shop.night(D2)["status"], "unchanged");

    // Asked again, by whatever name.
    let before = contents(&shop);
    for name in [
        ["--email", "ann.forget@example.com"],
        ["--id", "cust-ann-7731"],
        ["--id", "old-ann-5512"],
        ["--phone", "004599887766"],
    ] {
        let again = forget(&shop, &name);
        assert_eq!((&again["status"], &again["receipt"]), (&Value::from("nothing_left"), &Value::Null), "{name:?}");
    }
    assert_eq!(contents(&shop), before);
    assert_eq!(forget(&shop, &["--id", "never-heard-of"])["status"], "nothing_held");
}

#[test]
fn whoever_is_landed_again_stays_out() {
    let shop = shop();
    forget(&shop, &["--id", "cust-ann-7731"]);
    // The pipeline lands her again, under the old id, and with a new order that names her by the address.
    shop.land("customers/again", CUSTOMERS);
    shop.land(
        "events/again",
        "event_id,occurred_at,type,customer_id\ne9,2026-03-02T10:00:00Z,page_viewed,cust-ann-7731\n",
    );
    shop.land("orders/again", "order_id,ordered_at,total,customer_id,email\no-ann-7,2026-03-02T10:00:00Z,5.00,,ann.forget@example.com\no-ann-8,2026-03-02T11:00:00Z,5.00,cust-ann-7731,\n");
    shop.land("order_items/again", "order_id,line,product_id,quantity,unit_price\no-ann-7,1,p1,1,5.0000\n");
    let report = shop.night(D3);
    assert_eq!(report["status"], "succeeded", "{report}");
    assert_eq!(shop.members("everyone", D3).len(), 3);
    assert_eq!(shop.one("SELECT count(*) FROM customer_profile_latest"), "3");
    assert_eq!(shop.one("SELECT count(*) FROM landed.customers"), "4", "bob and cid twice");
    assert_eq!(shop.one("SELECT count(*) FROM rejects WHERE \"table\" = 'order_items'"), "0");
    let written: Vec<String> = holders(&shop, &ANNABEL);
    assert!(written.iter().all(|file| file.starts_with("landing/")), "{written:?}");
    // By hand, she does not even get into the lake.
    shop.folder.write("again.csv", "order_id,ordered_at,total,email\no-ann-6,2026-03-03T10:00:00Z,5.00,ann.forget@example.com\nbob-9,2026-03-03T10:00:00Z,5.00,bob@example.com\n");
    let ran = shop.run(&["land", "orders", "again.csv"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("1 rows were of people who were forgotten"), "{}", ran.stderr);
    assert!(!holders(&shop, &["o-ann-6"]).iter().any(|_| true));
    assert_eq!(shop.one("SELECT count(*) FROM landed.orders WHERE order_id = 'bob-9'"), "1");
    // Asked again, what was landed since goes too.
    assert_eq!(forget(&shop, &["--id", "cust-ann-7731"])["status"], "forgotten");
    assert_eq!(holders(&shop, &ANNABEL), [""; 0]);
    // An audience cannot reach her either: her files elsewhere are read without her.
    let ran = shop.run(&["export", "everyone", "--format", "extended", "--to", "-", "--quiet"]);
    assert_eq!(
        (ran.code, ran.stdout.contains("bob-1"), ran.stdout.contains("ann")),
        (0, true, false),
        "{}",
        ran.stdout
    );
}

#[test]
fn many_people_in_one_pass_and_what_lies_elsewhere_is_told() {
    let shop = shop();
    // Suppressions lie outside the lake.
    let outside = shop.folder.path().join("elsewhere");
    crate::landing_files::write_parquet(&outside.join("all.parquet"), SUPPRESSIONS);
    fs::remove_file(shop.landed("suppressions/all")).unwrap();
    shop.settings(&format!(
        "[landing]\nmax_reject_ratio = 0.5\n[tables.suppressions]\nurl = \"{}\"",
        outside.display()
    ));
    shop.folder.write(
        "list.txt",
        "# asked in March\ncust-ann-7731\ncid@example.com\nphone: +45 1111 1111\nnobody@example.com\n",
    );
    let told = forget(&shop, &["--file", "list.txt"]);
    assert_eq!((&told["asked"], &told["unknown"]), (&Value::from(4), &Value::from(1)));
    assert!(told["elsewhere"][0]["file"].as_str().unwrap().ends_with("elsewhere/all.parquet"), "{told}");
    assert_eq!(told["elsewhere"][0]["rows"], 2);
    let gone = [ANNABEL.as_slice(), &["bob@example.com", "cid@example.com", "bob-1", "cid-1", "11111111"]].concat();
    assert_eq!(holders(&shop, &gone), [""; 0]);
    assert_eq!(shop.members("everyone", D2).len(), 1, "the guest");
    assert_eq!(shop.one("SELECT count(*) FROM landed.suppressions"), "0", "read without them");
    let ran = shop.run(&["forget", "--id", "bob-1"]);
    assert!(ran.stderr.contains("outside the lake") && ran.stderr.contains("nothing is left"), "{}", ran.stderr);
}

#[test]
fn a_held_day_and_what_died_on_the_way_hold_nobody_either() {
    let shop = shop();
    // A run that died: a file that nothing names, and half an upload.
    let day = shop.folder.path().join(format!("lake/tables/segment_members/as_of={D2}"));
    let part = fs::read_dir(&day).unwrap().next().unwrap().unwrap().path();
    fs::copy(&part, day.join("part-00000-dead.parquet")).unwrap();
    let staged = day.join("part-00000-dying.parquet#123");
    fs::copy(&part, &staged).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    fs::File::options().write(true).open(&staged).unwrap().set_modified(old).unwrap();
    // Three quarters of the orders are missing from the next days' data: the guard holds the day.
    let told = forget(&shop, &["--email", "ann.old@example.com"]);
    assert_eq!(told["receipt"]["tables"]["segment_members"]["old_files"], 1);
    assert_eq!(holders(&shop, &ANNABEL), [""; 0]);
}

#[test]
fn what_is_wrong_is_said_without_naming_anybody() {
    let shop = TinyShop::empty();
    let ran = shop.run(&["forget"]);
    assert_eq!(ran.code, 2);
    let ran = shop.run(&["forget", "--email", "ann.forget"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("no e-mail address") && !ran.stderr.contains("ann.forget"), "{}", ran.stderr);
    let ran = shop.run(&["forget", "--file", "nowhere.txt"]);
    assert_eq!((ran.code, ran.stderr.contains("nowhere.txt")), (1, true));
    // Before anything is landed, nothing is held.
    let ran = shop.run(&["forget", "--id", "x"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("nothing is held"), "{}", ran.stderr);
}

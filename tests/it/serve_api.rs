//! The API: segments, audiences and the ledger over HTTP, under the server's users.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::Value;

use crate::exports::shop;
use crate::landing_files::TinyShop;
use crate::serving::{Answer, Serving, user};

const NOW: (&str, &str) = ("ALLUVIAL_NOW", "2026-04-02T06:00:00Z");
const EVERYONE: &str = "/api/v1/segments/everyone/audience?format=email";

/// A problem's status and code.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"), "{}", answer.text());
    let told = answer.json();
    assert_eq!(told["status"], answer.status);
    (answer.status, told["code"].as_str().unwrap().to_owned())
}

#[test]
fn everybody_gets_what_they_may_have_and_every_delivery_is_recorded() {
    let shop = shop();
    let reader = user(&shop, "reader", &[]);
    let marketer = user(&shop, "maria", &["--role", "marketer"]);
    let partner = user(&shop, "partner", &["--role", "marketer", "--segment", "danes", "--export-format", "email"]);
    let admin = user(&shop, "admin", &["--role", "admin"]);
    let server = Serving::with(&shop, &[NOW]);

    // Whoever it is, is asked first.
    let answer = server.ask("GET", EVERYONE, &[]);
    assert_eq!(problem(&answer), (401, "serve.login".to_owned()));
    assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"));
    assert_eq!(problem(&server.get(EVERYONE, "alv_0123")).0, 401);
    assert_eq!(problem(&server.get(EVERYONE, &reader)), (403, "api.contacts".to_owned()));
    let listed = server.get("/api/v1/segments", &reader).json();
    assert_eq!(
        (&listed["as_of"], &listed["segments"][2]["id"]),
        (&Value::from("2026-03-01"), &Value::from("everyone"))
    );
    assert_eq!(listed["segments"][2]["members"], 11);

    // A marketer's audience is what `alluvial export` writes.
    let answer = server.get(EVERYONE, &marketer);
    assert_eq!((answer.status, answer.whole), (200, true), "{}", answer.text());
    let ran = shop.run(&["export", "everyone", "--format", "email", "--to", "-", "--quiet"]);
    assert_eq!(answer.text(), ran.stdout);
    assert!(answer.text().contains("Ann@Example.com") && !answer.text().contains("ida@example.com"));
    assert_eq!(answer.header("content-type").as_deref(), Some("text/csv; charset=utf-8; header=present"));
    assert_eq!(
        answer.header("content-disposition").as_deref(),
        Some("attachment; filename=\"everyone-2026-03-01.csv\"")
    );
    let id = answer.header("alluvial-export-id").unwrap();
    assert_eq!(answer.header("link").unwrap(), format!("</api/v1/exports/{id}>; rel=\"describedby\""));
    let told = server.get(&format!("/api/v1/exports/{id}"), &marketer).json();
    assert_eq!((&told["requested_by"], &told["destination"]), (&Value::from("maria"), &Value::from("http")));
    assert_eq!(
        (&told["counts"]["members"], &told["counts"]["consented"], &told["counts"]["written"]),
        (&Value::from(11), &Value::from(4), &Value::from(2))
    );
    assert_eq!(
        shop.rows(&format!("SELECT customer_id, variant FROM export_members WHERE export_id = '{id}' ORDER BY 1")),
        ["a treatment", "c treatment"]
    );
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("maria:{marketer}"));
    let answer = server.ask(
        "GET",
        "/api/v1/segments/everyone/audience?format=jsonl&exclude=buyers",
        &[("Authorization", &format!("Basic {basic}"))],
    );
    assert_eq!((answer.status, answer.text().lines().count()), (200, 9), "{}", answer.text());
    assert!(!answer.text().contains("\"bob.b@gmail.com\""), "contacts are blank where their channel may not be used");

    // What a user may have at all.
    assert_eq!(server.get("/api/v1/segments", &partner).json()["segments"].as_array().unwrap().len(), 1);
    assert_eq!(problem(&server.get(EVERYONE, &partner)), (404, "segment.not_published".to_owned()));
    let excluding = "/api/v1/segments/danes/audience?format=email&exclude=everyone";
    assert_eq!(
        problem(&server.get(excluding, &partner)),
        (404, "segment.not_published".to_owned()),
        "what is taken off tells who is in it"
    );
    assert_eq!(
        problem(&server.get("/api/v1/segments/danes/audience?format=sms", &partner)),
        (403, "api.format".to_owned())
    );
    assert_eq!(server.get("/api/v1/segments/danes/audience?format=email", &partner).status, 200);
    let of_partner = server.get("/api/v1/exports", &partner).json();
    assert_eq!(of_partner["exports"].as_array().unwrap().len(), 1, "{of_partner}");
    assert_eq!(
        problem(&server.get(&format!("/api/v1/exports/{id}"), &partner)),
        (404, "audience.unknown_export".to_owned())
    );
    let unchecked = "/api/v1/segments/everyone/audience?format=jsonl&consent_check=false";
    assert_eq!(problem(&server.get(unchecked, &marketer)), (403, "api.consent_check".to_owned()));
    assert!(server.get(unchecked, &admin).text().contains("bob.b@gmail.com"));
    let page = server.get("/api/v1/exports?limit=2", &marketer).json();
    assert_eq!(page["exports"].as_array().unwrap().len(), 2);
    let next = server.get(page["next"].as_str().unwrap(), &marketer).json();
    assert!(next["exports"][0]["export_id"].as_str().unwrap() < page["exports"][1]["export_id"].as_str().unwrap());
    assert!(!server.said().contains("example.com"), "no address is logged");

    // Whoever is forgotten while the server runs is in no audience any more.
    let ran = shop.run(&["forget", "--id", "a"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let answer = server.get(EVERYONE, &marketer);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        !answer.text().contains("Ann@Example.com") && answer.text().contains("cid@example.com"),
        "{}",
        answer.text()
    );
}

#[test]
fn what_is_asked_wrongly_is_told_with_what_would_be_right() {
    let shop = shop();
    let marketer = user(&shop, "maria", &["--role", "marketer"]);
    let server = Serving::with(&shop, &[NOW]);
    let told = |path: &str| {
        let answer = server.get(path, &marketer);
        let (status, code) = problem(&answer);
        format!("{status} {code} {}", answer.json()["hint"].as_str().unwrap_or("-"))
    };
    assert!(told("/api/v1/segments/everyone/audience").starts_with("400 audience.no_format write `?format=email`"));
    assert_eq!(
        told("/api/v1/segments/everyone/audience?format=emial"),
        "400 audience.unknown_format did you mean `email`?"
    );
    assert_eq!(
        told("/api/v1/segments/everyone/audience?fromat=email"),
        "400 api.unknown_parameter did you mean `format`?"
    );
    assert_eq!(
        told("/api/v1/segments/everyon/audience?format=email"),
        "404 segment.not_published did you mean `everyone`?"
    );
    assert_eq!(told("/api/v1/segments/everyon"), "404 segment.not_published did you mean `everyone`?");
    assert!(
        told("/api/v1/segments/everyone/audience?format=email&as_of=2026-02-01")
            .starts_with("404 snapshot.no_such_day")
    );
    assert!(told("/api/v1/segments?as_of=soon").starts_with("400 api.bad_parameter"));
    assert!(told("/api/v1/nothing").starts_with("404 api.not_found"));
    assert_eq!(problem(&server.ask("POST", "/api/v1/segments", &[])), (405, "api.method".to_owned()));
    // Asked what it would be like, nothing is delivered.
    let before = shop.one("SELECT count(*) FROM exports");
    let head = server.ask("HEAD", EVERYONE, &[("Authorization", &format!("Bearer {marketer}"))]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(shop.one("SELECT count(*) FROM exports"), before);
    let document = server.ask("GET", "/api/v1/openapi.json", &[]).json();
    assert_eq!(document["openapi"], "3.1.0");
    // The consent that a format needs is not there: no file, no record, and what to do about it.
    shop.settings("[exports]\nads_requires = \"none\"");
    let other = TinyShop::empty();
    other.land("customers/all", "customer_id,created_at,email\na,2025-01-10T10:00:00Z,ann@example.com\n");
    other.segment("everyone", "number_of_orders >= 0");
    other.night("2026-03-01");
    let marketer = user(&other, "maria", &["--role", "marketer"]);
    let server = Serving::with(&other, &[NOW]);
    let answer = server.get(EVERYONE, &marketer);
    assert_eq!(problem(&answer), (422, "audience.no_consent".to_owned()));
    assert!(answer.json()["hint"].as_str().unwrap().contains("email_consent"));
    assert_eq!(other.one("SELECT count(*) FROM exports"), "0");
}

/// `tests/clients/openapi.py` makes a client of the document and asks with it.
#[test]
fn a_client_that_a_generator_made_agrees() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let shop = shop();
    let marketer = user(&shop, "maria", &["--role", "marketer"]);
    let server = Serving::with(&shop, &[NOW]);
    let output = Command::new("python3")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openapi.py"))
        .args(["--http", &server.http.to_string()])
        .env("ALLUVIAL_TEST_SECRET", &marketer)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}\n{}", server.said());
    eprintln!("{said}");
    assert!(said.contains("skipped") || said.contains("the generated client agrees"), "{said}");
}

#[test]
fn bytes_are_compressed_as_the_client_asks() {
    let shop = shop();
    let marketer = user(&shop, "maria", &["--role", "marketer"]);
    let server = Serving::with(&shop, &[NOW]);
    let bearer = format!("Bearer {marketer}");
    let asked = |accept: &str| server.ask("GET", EVERYONE, &[("Authorization", &bearer), ("Accept-Encoding", accept)]);
    let plain = asked("identity");
    assert_eq!(plain.header("content-encoding"), None);
    let gzip = asked("gzip, deflate, br");
    assert_eq!(gzip.header("content-encoding").as_deref(), Some("gzip"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzip.body.as_slice()).read_to_string(&mut text).unwrap();
    assert_eq!(text, plain.text());
    let zstd = asked("gzip, zstd");
    assert_eq!(zstd.header("content-encoding").as_deref(), Some("zstd"));
    assert_eq!(zstd::decode_all(zstd.body.as_slice()).unwrap(), plain.body);
    let parquet = server.ask(
        "GET",
        "/api/v1/segments/everyone/audience?format=parquet",
        &[("Authorization", &bearer), ("Accept-Encoding", "gzip")],
    );
    assert_eq!((parquet.header("content-encoding"), &parquet.body[..4]), (None, b"PAR1".as_slice()));
}

/// Megabytes that fifty at once may take beyond what six do: as many are computed at once, and the ledger's log is read from a
/// checkpoint on that is never far back.
const LITTLE_MORE: u64 = 100;

/// So many rounds of six exports come before what six take is read.
const WARM: usize = 4;

/// Four thousand customers with names and addresses.
fn crowd() -> TinyShop {
    let shop = TinyShop::empty();
    let mut customers =
        "customer_id,created_at,email,first_name,last_name,address,email_consent,email_consent_at\n".to_owned();
    for n in 0..4_000 {
        customers.push_str(&format!(
            "c{n},2025-01-10T10:00:00Z,c{n}@example.com,Anne{n},Andersen{n},Gade {n},subscribed,2025-01-10T10:00:00Z\n"
        ));
    }
    shop.land("customers/all", &customers);
    shop.land("orders/all", "order_id,ordered_at,total,customer_id\no1,2026-01-01T10:00:00Z,10.00,c1\n");
    shop.segment("everyone", "number_of_orders >= 0");
    shop.night("2026-03-01");
    shop
}

fn running(server: &Serving) -> String {
    let (_, text) = server.page("/metrics");
    text.lines().find(|line| line.starts_with("alluvial_queries_running{door=\"http\"}")).unwrap().to_owned()
}

#[test]
fn fifty_slow_clients_take_no_memory_and_one_that_is_gone_no_time() {
    let shop = crowd();
    let marketer = user(&shop, "maria", &["--role", "marketer"]);
    let scratch = shop.folder.path().join("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mut server = Serving::with(&shop, &[NOW, ("TMPDIR", scratch.to_str().unwrap())]);
    let bearer = format!("Bearer {marketer}");
    let one = server.get(EVERYONE, &marketer);
    assert_eq!((one.status, one.text().lines().count()), (200, 4_001));
    let together = |clients: usize| -> Vec<std::net::TcpStream> {
        (0..clients).map(|_| server.send("GET", EVERYONE, &[("Authorization", &bearer)])).collect()
    };
    // Every thread has its own pages of the allocator: what a few take is known once all threads have
    // computed some.
    for _ in 0..WARM {
        for stream in together(6) {
            assert_eq!(Serving::answer(stream).status, 200);
        }
    }
    let few = server.peak();
    let before = shop_exports(&server, &marketer);
    // Fifty ask, and nobody reads: none keeps another waiting.
    let asked = together(50);
    let until = Instant::now() + Duration::from_secs(240);
    while shop_exports(&server, &marketer) < before + 50 {
        assert!(Instant::now() < until, "{}", server.said());
        std::thread::sleep(Duration::from_secs(1));
    }
    let many = server.peak();
    assert!(many < few + (LITTLE_MORE << 20), "fifty at once took {} MB, six {} MB", many >> 20, few >> 20);
    // What exports leave for their later statements goes with them.
    let left = || {
        let folders = std::fs::read_dir(&scratch).unwrap().flatten().filter(|entry| entry.path().is_dir());
        let entries = folders.flat_map(|folder| std::fs::read_dir(folder.path()).unwrap().flatten());
        // The engine's own folder for spill stays.
        entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with("datafusion-")).count()
    };
    let until = Instant::now() + Duration::from_secs(60);
    while left() > 0 {
        assert!(
            Instant::now() < until,
            "{} intermediate results of {before} exports and 50 more are still there",
            left()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    for stream in asked {
        let answer = Serving::answer(stream);
        assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, one.body.len()));
    }
    // Whoever goes away stops what was computed for it.
    let gone = together(10);
    std::thread::sleep(Duration::from_millis(300));
    drop(gone);
    let until = Instant::now() + Duration::from_secs(30);
    while running(&server) != "alluvial_queries_running{door=\"http\"} 0" {
        assert!(Instant::now() < until, "{}", running(&server));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(shop_exports(&server, &marketer) < before + 60, "what nobody waits for is not delivered");
    // Revoked, a user is nobody.
    let slow = server.send("GET", EVERYONE, &[("Authorization", &bearer)]);
    assert_eq!(shop.run(&["user", "revoke", "maria"]).code, 0);
    let until = Instant::now() + Duration::from_secs(20);
    while server.get("/api/v1/segments", &marketer).status != 401 {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(slow);
    server.terminate();
    assert_eq!(server.end(), Some(0), "{}", server.said());
    assert!(!server.said().contains("example.com") && !server.said().contains(&marketer));
}

/// How many exports the ledger has.
fn shop_exports(server: &Serving, secret: &str) -> usize {
    server.get("/api/v1/exports?limit=1000", secret).json()["exports"].as_array().unwrap().len()
}

#[test]
fn the_server_runs_the_jobs_and_stops_with_its_work() {
    let shop = TinyShop::after_a_night();
    shop.folder
        .write("jobs/nightly.toml", "schedule = \"* * * * *\"\ntimezone = \"UTC\"\n[[steps]]\nrun = \"snapshot\"\n");
    // The schedule is seen the day before, so that the server finds a night owed.
    let noted = shop.folder.run_with(&["scheduler", "--once"], &[("ALLUVIAL_NOW", "2026-03-02T12:00:00Z")]);
    assert_eq!(noted.code, 0, "{}", noted.stderr);
    let doors = ["serve", "--postgres", "127.0.0.1:0", "--flight", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let mut server = Serving::by(&shop, &doors, &[("ALLUVIAL_NOW", "2026-03-03T12:00:00Z")]);
    let until = Instant::now() + Duration::from_secs(120);
    while !server.said().contains("nightly as of 2026-03-02: succeeded") {
        assert!(Instant::now() < until, "{}", server.said());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(server.page("/healthz").1.contains("2026-03-02"));
    let stopping = Instant::now();
    server.terminate();
    assert_eq!(server.end(), Some(0), "{}", server.said());
    assert!(stopping.elapsed() < Duration::from_secs(15), "{:?}", stopping.elapsed());
    // Its lease was given back: another leads at once, and nothing is owed.
    let next = shop.folder.run_with(&["scheduler", "--once"], &[("ALLUVIAL_NOW", "2026-03-03T12:00:30Z")]);
    assert_eq!((next.code, next.stderr.as_str()), (0, ""));
}

#[test]
fn how_new_the_jobs_days_are_is_told() {
    let shop = TinyShop::new();
    let nightly = "schedule = \"0 4 * * *\"\ntimezone = \"UTC\"\nlate_after = \"3h\"\n[[steps]]\nrun = \"snapshot\"\n";
    shop.folder.write("jobs/nightly.toml", nightly);
    shop.folder.write("jobs/by-hand.toml", "[[steps]]\nrun = \"snapshot\"\n");
    for now in ["2026-03-02T12:00:00Z", "2026-03-03T04:00:00Z"] {
        let ran = shop.folder.run_with(&["scheduler", "--once"], &[("ALLUVIAL_NOW", now)]);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
    }
    // Two hours late is not too late yet; the night before is what is expected.
    let server = Serving::with(&shop, &[("ALLUVIAL_NOW", "2026-03-04T06:00:00Z")]);
    let fresh = server.ask("GET", "/healthz/freshness", &[]);
    assert_eq!((fresh.status, fresh.text().as_str()), (200, "{\"jobs\":[],\"status\":\"fresh\"}\n"));
    assert_eq!(fresh.header("content-type").as_deref(), Some("application/json"));
    drop(server);

    let server = Serving::with(&shop, &[("ALLUVIAL_NOW", "2026-03-04T07:00:01Z")]);
    let stale = server.ask("GET", "/healthz/freshness", &[]);
    assert_eq!(stale.status, 503);
    assert_eq!(
        stale.json(),
        serde_json::json!({ "status": "stale", "jobs": [{
            "job": "nightly",
            "newest_day": "2026-03-02",
            "expected_day": "2026-03-03",
            "due_at": "2026-03-04T04:00:00Z",
            "late_since": "2026-03-04T07:00:00Z",
        }] })
    );
    assert_eq!(server.ask("GET", "/healthz", &[]).status, 200, "it answers nevertheless");
    // Whoever publishes the day: it is there.
    shop.night("2026-03-03");
    let until = Instant::now() + Duration::from_secs(60);
    while server.ask("GET", "/healthz/freshness", &[]).status != 200 {
        assert!(Instant::now() < until, "{}", server.said());
        std::thread::sleep(Duration::from_millis(200));
    }
}

//! Clients of other languages: `psql`, those of Python (`tests/clients/check.py`), Java (`Check.java`) and JavaScript (`check.js`),
//! ODBC, and a PostgreSQL that reads by `postgres_fdw`.

use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::landing_files::TinyShop;
use crate::serving::{Serving, user};

/// What `psql` prints for a command, which must not fail.
fn psql(server: &Serving, secret: &str, command: &str) -> String {
    let url = format!("host=127.0.0.1 port={} user=bi dbname=alluvial", server.postgres.port());
    let output = Command::new("psql").args([&url, "-Atc", command]).env("PGPASSWORD", secret).output().unwrap();
    let (shown, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && wrong.is_empty(), "{command}: {wrong}");
    shown.into_owned()
}

#[test]
fn psql_lists_and_describes() {
    if Command::new("psql").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no psql (Debian's postgresql-client)");
        return;
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let tables = psql(&server, &secret, "\\dt");
    assert!(tables.contains("|customer_profile|") && tables.contains("|segment_sizes|"), "{tables}");
    let views = psql(&server, &secret, "\\dv segment.*");
    assert!(views.contains("segment|danes|view"), "{views}");
    let columns = psql(&server, &secret, "\\d segment_sizes");
    assert!(columns.contains("as_of|date") && columns.contains("amount_spent|numeric"), "{columns}");
    let columns = psql(&server, &secret, "\\d+ segment_sizes");
    assert!(columns.contains("customers in the segment on that day"), "{columns}");
    assert!(psql(&server, &secret, "\\dn").contains("segment"));
    assert!(psql(&server, &secret, "\\l").contains("alluvial"));
    let copied =
        psql(&server, &secret, "\\copy (SELECT segment, members FROM segment_sizes_latest ORDER BY 1) TO STDOUT CSV");
    assert_eq!(copied, "buyers,3\ndanes,2\nprospects,1\nrepeat,1\n");
}

#[test]
fn pythons_clients_agree() {
    let python = "python3";
    if Command::new(python).arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let customers = shop.rows("SELECT customer_id FROM customer_profile_latest ORDER BY 1").join(",");
    let server = Serving::start(&shop);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/check.py");
    let output = Command::new(python)
        .arg(script)
        .args(["--postgres", &server.postgres.to_string(), "--flight", &server.flight.to_string()])
        .args(["--user", "bi", "--customers", &customers])
        .env("ALLUVIAL_TEST_SECRET", &secret)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}\n{}", server.said());
    eprintln!("{said}");
    assert!(said.contains("skipped") || said.contains("ADBC agrees"), "{said}");
}

/// The driver for Java, which Metabase, DBeaver and Tableau use (Debian's `libpostgresql-jdbc-java`).
#[test]
fn the_driver_for_java_agrees() {
    let jar = Path::new("/usr/share/java/postgresql.jar");
    if !jar.exists()
        || Command::new("javac").arg("-version").stderr(Stdio::null()).stdout(Stdio::null()).status().is_err()
    {
        eprintln!(
            "skipped: there is no JDBC driver or no Java (Debian's libpostgresql-jdbc-java, default-jdk-headless)"
        );
        return;
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/Check.java");
    let output = Command::new("java")
        .arg("-cp")
        .arg(jar)
        .arg(source)
        .arg(server.postgres.to_string())
        .env("ALLUVIAL_TEST_SECRET", &secret)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("JDBC agrees"), "{said}\n{wrong}");
}

/// The driver for ODBC, which Excel and Power BI use (Debian's `odbc-postgresql`, `unixodbc`).
#[test]
fn the_driver_for_odbc_agrees() {
    let drivers = std::fs::read_to_string("/etc/odbcinst.ini").unwrap_or_default();
    if !drivers.contains("[PostgreSQL Unicode]")
        || Command::new("isql").arg("--version").stdout(Stdio::null()).status().is_err()
    {
        eprintln!("skipped: there is no ODBC driver (Debian's odbc-postgresql, unixodbc)");
        return;
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let port = server.postgres.port();
    let source =
        format!("Driver=PostgreSQL Unicode;Server=127.0.0.1;Port={port};Database=alluvial;Uid=bi;Pwd={secret}");
    let asked = |lines: &str| {
        use std::io::Write;
        let mut child = Command::new("isql")
            .args(["-k", &source, "-b", "-d|"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    };
    let said = asked("SELECT segment, members, as_of FROM segment_sizes_latest ORDER BY 1\n");
    assert!(said.contains("buyers|3|2026-03-01") && said.contains("danes|2|2026-03-01"), "{said}");
    let said = asked("help segment_sizes\n");
    assert!(said.contains("|members|"), "{said}");
}

/// The driver for JavaScript, `pg` of npm, with its cursors and streams.
#[test]
fn the_driver_for_javascript_agrees() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("client-node");
    let (complete, modules) = (folder.join("complete"), folder.join("node_modules"));
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no node (Debian's nodejs)");
        return;
    }
    if !complete.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--no-save", "--prefix"])
            .arg(&folder)
            .args(["pg@8", "pg-cursor@2", "pg-query-stream@4"])
            .stdin(Stdio::null())
            .output();
        if !installed.is_ok_and(|installed| installed.status.success()) {
            eprintln!("skipped: the client cannot be installed from npm");
            return;
        }
        std::fs::write(&complete, "").unwrap();
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let customers = shop.rows("SELECT customer_id FROM customer_profile_latest ORDER BY 1").join(",");
    let server = Serving::start(&shop);
    let output = Command::new("node")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/check.js"))
        .args([&server.postgres.to_string(), &customers])
        .env("NODE_PATH", &modules)
        .env("ALLUVIAL_TEST_SECRET", &secret)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("node-postgres agrees"), "{said}\n{wrong}\n{}", server.said());
}

/// A PostgreSQL of its own, which may not run as root.
struct Postgres {
    bin: PathBuf,
    folder: tempfile::TempDir,
    child: Child,
}

impl Postgres {
    /// Starts one; none where there is no PostgreSQL with `postgres_fdw`.
    fn start() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
        let has_all = |home: &PathBuf| home.join("bin/initdb").exists() && home.join("lib/postgres_fdw.so").exists();
        let bin = versions.map(|version| version.path()).filter(has_all).max()?.join("bin");
        let folder = tempfile::tempdir().unwrap();
        let is_root = std::fs::metadata(folder.path()).unwrap().uid() == 0;
        let as_nobody = |program: &str| {
            let mut command = Command::new(bin.join(program));
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            if is_root {
                command.uid(65_534).gid(65_534);
            }
            command
        };
        if is_root {
            std::os::unix::fs::chown(folder.path(), Some(65_534), Some(65_534)).unwrap();
        }
        let made = as_nobody("initdb")
            .args(["--pgdata=data", "--auth=trust", "--username=me", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .status()
            .unwrap();
        assert!(made.success(), "a data folder can be made");
        let child = as_nobody("postgres")
            .args(["-D", "data", "-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"])
            .arg("-k")
            .arg(folder.path())
            .spawn()
            .unwrap();
        let started = Self { bin, folder, child };
        let until = Instant::now() + Duration::from_secs(60);
        while !started.psql("SELECT 1").0 {
            assert!(Instant::now() < until, "PostgreSQL does not answer");
            std::thread::sleep(Duration::from_millis(200));
        }
        Some(started)
    }

    /// What it answers, and whether it went well.
    fn psql(&self, text: &str) -> (bool, String) {
        let output = Command::new(self.bin.join("psql"))
            .args(["-X", "-At", "-v", "ON_ERROR_STOP=1", "-U", "me", "-d", "postgres", "-h"])
            .arg(self.folder.path())
            .args(["-c", text])
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.success(), said)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // It ends its own children when it is interrupted; killed, it would leave them for a while.
        let _told = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        for _ in 0..100 {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn another_postgres_reads_by_its_foreign_tables() {
    let Some(postgres) = Postgres::start() else {
        eprintln!("skipped: there is no PostgreSQL with postgres_fdw (Debian's postgresql)");
        return;
    };
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let answered = |text: &str| {
        let (well, said) = postgres.psql(text);
        assert!(well, "{text}: {said}");
        said
    };
    answered("CREATE EXTENSION postgres_fdw");
    answered(&format!(
        "CREATE SERVER alluvial FOREIGN DATA WRAPPER postgres_fdw \
         OPTIONS (host '127.0.0.1', port '{}', dbname 'alluvial', fetch_size '2')",
        server.postgres.port()
    ));
    answered(&format!("CREATE USER MAPPING FOR CURRENT_USER SERVER alluvial OPTIONS (user 'bi', password '{secret}')"));
    answered("CREATE SCHEMA shop; CREATE SCHEMA members");
    answered("IMPORT FOREIGN SCHEMA public FROM SERVER alluvial INTO shop");
    answered("IMPORT FOREIGN SCHEMA segment FROM SERVER alluvial INTO members");
    let everybody = answered("SELECT customer_id FROM shop.customer_profile_latest ORDER BY 1");
    assert_eq!(
        everybody.lines().collect::<Vec<_>>(),
        shop.rows("SELECT customer_id FROM customer_profile_latest ORDER BY 1")
    );
    assert_eq!(answered("SELECT count(*) FROM members.danes"), "2\n");
    // What can be asked of the server is asked of it, types as they are.
    let plan = answered(
        "EXPLAIN (VERBOSE, COSTS OFF) SELECT count(*) FROM shop.segment_members WHERE segment = 'buyers' AND as_of = '2026-03-01'",
    );
    assert!(plan.contains("Remote SQL: SELECT count(*)"), "{plan}");
    assert_eq!(
        answered("SELECT count(*) FROM shop.segment_members WHERE segment = 'buyers' AND as_of = '2026-03-01'"),
        "3\n"
    );
    assert_eq!(
        answered(
            "SELECT segment, members FROM shop.segment_sizes_latest WHERE segment = ANY(ARRAY['danes', 'repeat']) ORDER BY 1"
        ),
        "danes|2\nrepeat|1\n"
    );
    assert_eq!(
        answered(
            "SELECT amount_spent, first_order_date AT TIME ZONE 'UTC', array_to_string(tags, '+') FROM shop.customer_profile_latest WHERE customer_id = 'a'"
        ),
        "350.00|2025-02-01 10:00:00|vip+news\n"
    );
    // Joined with a table of its own.
    answered("CREATE TABLE mine (customer_id text); INSERT INTO mine VALUES ('a'), ('z')");
    assert_eq!(
        answered(
            "SELECT m.customer_id, p.number_of_orders > 0 FROM mine m LEFT JOIN shop.customer_profile_latest p USING (customer_id) ORDER BY 1"
        ),
        "a|t\nz|\n"
    );
    // Read again and again from its beginning, which it asks for by `MOVE`.
    let again = "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off; \
                 SELECT v.n, count(p.customer_id) FROM (VALUES (1), (2), (99)) v(n) \
                 LEFT JOIN shop.customer_profile_latest p ON v.n + length(p.customer_id) < 50 GROUP BY 1 ORDER BY 1";
    let count = everybody.lines().count();
    assert!(answered(again).ends_with(&format!("1|{count}\n2|{count}\n99|0\n")), "{}", answered(again));
    assert_eq!(
        answered("BEGIN; DECLARE c CURSOR FOR SELECT customer_id FROM shop.customer_profile_latest ORDER BY 1; MOVE 1 IN c; FETCH 1 FROM c; COMMIT")
            .lines()
            .find(|line| everybody.lines().any(|id| id == *line)),
        everybody.lines().nth(1)
    );
    let (well, said) = postgres.psql("UPDATE shop.segments SET name = 'x'");
    assert!(!well && said.contains("read-only"), "{said}");
}

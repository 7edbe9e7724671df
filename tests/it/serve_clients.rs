//! Clients of other languages: `psql`, and those of Python (`tests/clients/check.py`).

use std::path::Path;
use std::process::{Command, Stdio};

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

//! What clients should not send, and what the server is started with wrongly. None of it stops the server, and everything
//! that is a message gets its proper error.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};

use crate::harness::assert_ran;
use crate::landing_files::TinyShop;
use crate::serving::{ANYWHERE, Serving, rows, shown, state, state_of, user};

/// What a client sends first.
fn startup(user: &str) -> Vec<u8> {
    let body = format!("user\0{user}\0database\0alluvial\0\0");
    let mut packet = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
    packet.extend(196_608_u32.to_be_bytes());
    packet.extend(body.as_bytes());
    packet
}

/// A message of the protocol.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    packet.extend(u32::try_from(4 + body.len()).unwrap().to_be_bytes());
    packet.extend(body);
    packet
}

/// Sends bytes and gives what comes back until the server closes, or nothing more comes.
fn answer(server: &Serving, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(server.postgres).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
    // The server may well close before it has been told everything.
    let _cut = stream.write_all(bytes);
    let mut back = Vec::new();
    let _cut = stream.read_to_end(&mut back);
    back
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_stops_the_server() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let mut server = Serving::start(&shop);
    let told = |bytes: &[u8]| String::from_utf8_lossy(&answer(&server, bytes)).into_owned();

    // Before a login nothing is answered but the login.
    let early = [startup("bi"), message(b'Q', b"SELECT 1\0")].concat();
    let back = told(&early);
    assert!(back.contains("FATAL") && back.contains("08P01") && !back.contains("SELECT"), "{back}");
    for pretence in [
        [startup("bi"), message(b'p', b"secret\0")].concat(),
        [startup("bi"), message(b'p', b"SCRAM-SHA-256-PLUS\0\0\0\0\x05n,,n="), message(b'Q', b"SELECT 1\0")].concat(),
        [startup("bi"), startup("bi"), message(b'Q', b"SELECT 1\0")].concat(),
        [startup("bi"), message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"), message(b'Q', b"SELECT 1\0")].concat(),
    ] {
        let back = answer(&server, &pretence);
        // 'D' begins a row.
        assert!(
            !back.windows(6).any(|part| part == b"SELECT") && !back.contains(&b'Z'),
            "{:?}",
            String::from_utf8_lossy(&back)
        );
    }
    // More than a stranger may send, and lengths that lie.
    let mut flood = startup("bi");
    flood.extend(message(b'p', &vec![b'x'; 1 << 20]));
    assert!(!told(&flood).contains("ZI"));
    for lie in [0_u32, 3, 7, 0x7fff_ffff, 0xffff_ffff] {
        let mut packet = lie.to_be_bytes().to_vec();
        packet.extend(196_608_u32.to_be_bytes());
        answer(&server, &packet);
        answer(&server, &[startup("bi"), [b"p".as_slice(), &lie.to_be_bytes(), b"xx"].concat()].concat());
    }
    // A stranger's protocol.
    for other in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "SSH-2.0-x\r\n", ""] {
        answer(&server, other.as_bytes());
    }
    // A thousand random packets, cut anywhere.
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let whole = [startup("bi"), message(b'p', b"SCRAM-SHA-256\0\0\0\0\x10n,,n=,r=abcdefgh")].concat();
    for _ in 0..60 {
        let mut bytes = whole[..random.random_range(0..whole.len())].to_vec();
        for _ in 0..random.random_range(0..8) {
            let at = random.random_range(0..=bytes.len());
            bytes.insert(at, random.random());
        }
        let mut stream = TcpStream::connect(server.postgres).unwrap();
        let _cut = stream.write_all(&bytes);
    }
    assert!(server.runs());

    // Somebody who is logged in and misbehaves.
    let client = server.connect("bi", &secret).await;
    let long = format!("SELECT '{}'", "x".repeat(10 << 20));
    assert_eq!(state(&client, &long).await, "54000");
    let deep = format!("SELECT {}1", "1 + ".repeat(200_000));
    assert_eq!(state(&client, &deep).await, "54001");
    assert!(
        ["54001", "42601"]
            .contains(&state(&client, &format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000))).await.as_str())
    );
    assert_eq!(state(&client, &format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 50_000].join(", "))).await, "00000");
    assert_eq!(state(&client, &format!("SELECT {}", vec!["1"; 400].join(" + "))).await, "00000");
    for nonsense in ["SELEC", "SELECT", "';--", "\u{1F4A9}", "SELECT * FROM", "EXPLAIN", "SELECT $1", "))))"] {
        assert_ne!(state(&client, nonsense).await, "00000", "{nonsense}");
    }
    assert_eq!(state(&client, "").await, "00000");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    assert_eq!(state(&client, "SELECT 1 / 0").await, "22012");
    assert_eq!(state(&client, "SELECT CAST('x' AS INT)").await, "22P02");
    assert_eq!(state(&client, "SELECT missing FROM orders").await, "42703");
    assert_eq!(state(&client, "SELECT missing()").await, "42883");
    let error = client.simple_query("SELECT * FROM segment_size").await.err().unwrap();
    let hint = error.as_db_error().and_then(|told| told.hint()).unwrap_or_default().to_owned();
    assert_eq!((state_of(&error).as_str(), hint.as_str()), ("42P01", "did you mean `segment_sizes`?"));

    // Clients that die in the middle of an answer.
    for _ in 0..5 {
        let (dying, line) = server.dial("bi", &secret).await.unwrap();
        let _stream =
            dying.query_raw("SELECT value FROM generate_series(1, 100000000)", [] as [&str; 0]).await.unwrap();
        line.abort();
    }
    // What they ran ends with them.
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, metrics) = server.page("/metrics");
        if metrics.contains("alluvial_queries_running{door=\"postgres\"} 0") {
            break;
        }
        assert!(Instant::now() < until, "{metrics}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    assert!(server.runs());
    // Garbage for the other doors.
    for door in [server.flight, server.http] {
        for bytes in
            ["\0\0\0\0".to_owned(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nxxxxxxxxxxxxxxxx".to_owned(), "x".repeat(100_000)]
        {
            let mut stream = TcpStream::connect(door).unwrap();
            let _cut = stream.write_all(bytes.as_bytes());
        }
    }
    assert_eq!(server.page("/healthz").0, 200);
    assert_eq!(server.page("/../../etc/passwd").0, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_as_many_connections_as_there_may_be_and_wrong_logins_are_slowed() {
    let shop = TinyShop::after_a_night();
    shop.settings("[serve]\nmax_connections = 3");
    let secret = user(&shop, "bi", &[]);
    let server = Serving::start(&shop);
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.connect("bi", &secret).await);
    }
    let error = server.try_connect("bi", &secret).await.err().unwrap();
    assert_eq!(state_of(&error), "53300", "{}", shown(&error));
    // One that is full can be asked to stop what runs all the same.
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let cancel = clients[0].cancel_token();
    let (ended, ()) = tokio::join!(clients[0].simple_query(endless), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    });
    assert_eq!(state_of(&ended.err().unwrap()), "57014");
    clients.clear();
    let until = Instant::now() + Duration::from_secs(10);
    let client = loop {
        match server.try_connect("bi", &secret).await {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < until, "{}", shown(&error)),
        }
    };
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    // Half-open connections take a place, and give it back.
    let begun = Instant::now();
    for _ in 0..4 {
        assert_eq!(state_of(&server.try_connect("bi", "wrong").await.err().unwrap()), "28P01");
    }
    // 100 + 200 + 400 + 800 ms.
    assert!(begun.elapsed() > Duration::from_millis(1_400), "{:?}", begun.elapsed());
    assert!(server.page("/metrics").1.contains("alluvial_logins_failed_total{door=\"postgres\"} 4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_connections_each_is_answered() {
    let shop = TinyShop::after_a_night();
    shop.settings("[serve]\nmax_connections = 25");
    let secret = user(&shop, "bi", &[]);
    let mut server = Serving::start(&shop);
    let client = server.connect("bi", &secret).await;
    let open = |_| {
        let mut stream = TcpStream::connect(server.postgres).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(&startup("bi")).unwrap();
        stream
    };
    let mut streams: Vec<TcpStream> = (0..1_000).map(open).collect();
    let (mut asked, mut full) = (0, 0);
    for stream in &mut streams {
        let mut kind = [0; 1];
        stream.read_exact(&mut kind).unwrap();
        if kind == *b"R" {
            asked += 1;
            continue;
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let told = String::from_utf8_lossy(&rest);
        assert!(kind == *b"E" && told.contains("FATAL") && told.contains("53300") && told.contains("25"), "{told}");
        full += 1;
    }
    // One place was taken before; on a slow machine some who asked first have had to leave meanwhile.
    assert!(asked + full == 1_000 && asked >= 24 && full >= 900, "{asked} and {full}");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"], "whoever is connected is served meanwhile");
    assert!(server.page("/metrics").1.contains("alluvial_connections"), "{}", server.page("/metrics").1);
    drop(streams);
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = server.try_connect("bi", &secret).await {
        assert!(Instant::now() < until, "{}", shown(&error));
    }
    assert!(server.runs());
}

/// Mutated packets for every door, cut anywhere; `tests/clients/fuzz.py` does it by hand, for ten minutes by default.
#[test]
fn no_packet_stops_the_server() {
    if Command::new("python3").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("skipped: there is no python3");
        return;
    }
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let mut server = Serving::start(&shop);
    let output = Command::new("python3")
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/fuzz.py"))
        .args(["--postgres", &server.postgres.to_string(), "--flight", &server.flight.to_string()])
        .args(["--http", &server.http.to_string(), "--user", "bi", "--seconds", "8"])
        .env("ALLUVIAL_TEST_SECRET", &secret)
        .output()
        .unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("survived"), "{said}\n{wrong}");
    assert!(server.runs() && !server.said().contains(&secret));
}

#[test]
fn a_door_to_the_world_needs_users_and_a_certificate() {
    let shop = TinyShop::empty();
    let refused = |arguments: &[&str]| {
        shop.run(&[&["serve", "--flight", "off", "--http", "off", "--postgres"], arguments].concat())
    };
    assert_ran!(refused(&["0.0.0.0:0"]), @r"
    $ alluvial serve --flight off --http off --postgres 0.0.0.0:0
    exit code 1
    ----- stdout -----
    ----- stderr -----
    warning: there are no users, so that nobody can log in: `alluvial user add NAME` makes one
    error[serve.exposed]: other machines could reach 0.0.0.0:0, and there are no users and no certificate
      = help: add users with `alluvial user add`, set `[serve] tls_certificate` and `tls_key`, or listen on 127.0.0.1
    ");
    user(&shop, "bi", &[]);
    shop.folder.write("server.pem", "this is no certificate");
    shop.folder.write("server.key", "this is no key");
    shop.settings("[serve]\ntls_certificate = \"server.pem\"\ntls_key = \"server.key\"");
    assert_ran!(refused(&["127.0.0.1:0"]), @r"
    $ alluvial serve --flight off --http off --postgres 127.0.0.1:0
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[serve.tls]: there is no certificate in it
     --> [DIR]/server.pem
      = help: `[serve] tls_certificate` and `tls_key` name PEM files: the server's certificate first, and its key
    ");
    assert_ran!(refused(&["5432"]), @r"
    $ alluvial serve --flight off --http off --postgres 5432
    exit code 2
    ----- stdout -----
    ----- stderr -----
    error: invalid value '5432' for '--postgres <ADDRESS>': `5432` is no address to listen on; write an address and a port, such as `127.0.0.1:5432` or `0.0.0.0:5432`, or `off`

    For more information, try '--help'.
    ");
}

#[test]
fn users_are_added_listed_and_revoked() {
    let shop = TinyShop::empty();
    let secret = user(&shop, "tableau", &["--role", "marketer", "--days", "30"]);
    assert!(secret.starts_with("alv_") && secret.len() > 60);
    assert_ran!(shop.run(&["user", "list"]), @r"
    $ alluvial user list
    exit code 0
    ----- stdout -----
    name     role      created_at            expires_at            expired  segments  formats
    tableau  marketer  2026-04-01T06:00:00Z  2026-05-01T06:00:00Z  false
    ----- stderr -----
    ");
    assert_ran!(shop.run(&["user", "add", "tableau"]), @r"
    $ alluvial user add tableau
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[serve.user_exists]: there is a user `tableau` already
      = help: revoke it first with `alluvial user revoke tableau`, or take another name
    ");
    assert_ran!(shop.run(&["user", "revoke", "tableau"]), @r"
    $ alluvial user revoke tableau
    exit code 0
    ----- stdout -----
    ----- stderr -----
    `tableau` may connect no more
    ");
    assert_ran!(shop.run(&["user", "revoke", "tableau"]), @r"
    $ alluvial user revoke tableau
    exit code 1
    ----- stdout -----
    ----- stderr -----
    error[serve.no_such_user]: there is no user `tableau`
      = help: `alluvial user list` lists them
    ");
}

/// TLS by a certificate that is made here, as `psql` sees it.
#[test]
fn what_is_said_under_tls_stays_under_tls() {
    let shop = TinyShop::after_a_night();
    let secret = user(&shop, "bi", &[]);
    let openssl = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "server.key", "-out", "server.pem"])
        .current_dir(shop.folder.path())
        .stderr(Stdio::null())
        .status();
    let psql = Command::new("psql").arg("--version").stdout(Stdio::null()).status();
    if openssl.is_err() || psql.is_err() {
        eprintln!("skipped: there is no openssl or no psql (Debian's openssl, postgresql-client)");
        return;
    }
    shop.settings("[serve]\ntls_certificate = \"server.pem\"\ntls_key = \"server.key\"");
    let server = Serving::start(&shop);
    let asked = |mode: &str| {
        let url = format!(
            "host=127.0.0.1 port={} user=bi dbname=alluvial sslmode={mode} sslrootcert=server.pem",
            server.postgres.port()
        );
        Command::new("psql")
            .args([&url, "-Atc", "SELECT count(*) FROM customer_profile"])
            .env("PGPASSWORD", &secret)
            .current_dir(shop.folder.path())
            .output()
            .unwrap()
    };
    for mode in ["verify-full", "require"] {
        let output = asked(mode);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "4\n",
            "{mode}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(ANYWHERE[0], "serve");
}

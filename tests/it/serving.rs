//! A server that is running.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::landing_files::TinyShop;

/// `alluvial serve` over a shop, at ports of its own.
pub(crate) struct Serving {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    /// The Postgres wire.
    pub(crate) postgres: SocketAddr,
    /// Flight SQL.
    pub(crate) flight: SocketAddr,
    /// `/healthz`, `/metrics`, the API and links.
    pub(crate) http: SocketAddr,
}

/// The least that a server is started with.
pub(crate) const ANYWHERE: [&str; 8] =
    ["serve", "--postgres", "127.0.0.1:0", "--flight", "127.0.0.1:0", "--http", "127.0.0.1:0", "--no-scheduler"];

/// An answer over HTTP.
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    head: String,
    /// Its body, as it was sent.
    pub(crate) body: Vec<u8>,
    /// Whether it came to its end.
    pub(crate) whole: bool,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut answer = Self { status, head, body: Vec::new(), whole: true };
        let mut rest = &bytes[end + 4..];
        if answer.header("transfer-encoding").as_deref() != Some("chunked") {
            answer.body = rest.to_vec();
            return answer;
        }
        answer.whole = false;
        while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
            let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            rest = &rest[line + 2..];
            if size == 0 {
                answer.whole = true;
                break;
            }
            answer.body.extend_from_slice(&rest[..size]);
            rest = &rest[size + 2..];
        }
        answer
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Serving {
    /// Starts one and waits until its doors are open.
    pub(crate) fn start(shop: &TinyShop) -> Self {
        Self::with(shop, &[])
    }

    /// Starts one with further variables.
    pub(crate) fn with(shop: &TinyShop, variables: &[(&str, &str)]) -> Self {
        Self::by(shop, &ANYWHERE, variables)
    }

    /// Starts one by a command line, with further variables.
    pub(crate) fn by(shop: &TinyShop, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_alluvial"))
            .args(arguments)
            .args(["-v"])
            .current_dir(shop.folder.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (send, receive) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let keep = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let door = line.split_once(": ").and_then(|(door, at)| Some((door.to_owned(), at.parse().ok()?)));
                if let Some((door, at)) = door {
                    let _over: Result<(), std::sync::mpsc::SendError<(String, SocketAddr)>> = send.send((door, at));
                }
                keep.lock().unwrap().push(line);
            }
        });
        let mut doors = std::collections::BTreeMap::new();
        while doors.len() < 3 {
            match receive.recv_timeout(Duration::from_secs(60)) {
                Ok((door, at)) => drop(doors.insert(door, at)),
                Err(_) => {
                    let _gone = child.kill();
                    panic!("the server did not start: {:?}", said.lock().unwrap());
                }
            }
        }
        Self { child, said, postgres: doors["postgres"], flight: doors["flight"], http: doors["http"] }
    }

    /// What it has said on stderr.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Somebody connected by Postgres wire, or why not.
    pub(crate) async fn try_connect(&self, name: &str, secret: &str) -> Result<Client, tokio_postgres::Error> {
        self.dial(name, secret).await.map(|(client, _line)| client)
    }

    /// Somebody connected by Postgres wire, and the task that holds the line.
    pub(crate) async fn dial(
        &self,
        name: &str,
        secret: &str,
    ) -> Result<(Client, tokio::task::JoinHandle<Result<(), tokio_postgres::Error>>), tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.postgres.port()).user(name).password(secret).dbname("alluvial");
        let (client, connection) = config.connect(NoTls).await?;
        let line = tokio::spawn(connection);
        Ok((client, line))
    }

    /// Somebody connected by Postgres wire.
    pub(crate) async fn connect(&self, name: &str, secret: &str) -> Client {
        self.try_connect(name, secret).await.unwrap()
    }

    /// Sends a request, and reads nothing yet.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: 0\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        stream
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        Answer::read(self.send(method, path, headers))
    }

    /// Asks for something as somebody who is known by a secret.
    pub(crate) fn get(&self, path: &str, secret: &str) -> Answer {
        self.ask("GET", path, &[("Authorization", &format!("Bearer {secret}"))])
    }

    /// Reads an answer that was asked for by [`Serving::send`].
    pub(crate) fn answer(stream: TcpStream) -> Answer {
        Answer::read(stream)
    }

    /// Bytes of it that are in memory, at most so far.
    pub(crate) fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() * 1024
    }

    /// The body of a page, and its status.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Tells it to stop.
    pub(crate) fn terminate(&self) {
        let killed = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(killed.success());
    }

    /// Waits for its end; its exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match self.child.try_wait().unwrap() {
                Some(status) => return status.code(),
                None if Instant::now() > until => panic!("the server does not end: {}", self.said()),
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Adds a user and gives the secret.
pub(crate) fn user(shop: &TinyShop, name: &str, more: &[&str]) -> String {
    let ran = shop.run(&[&["user", "add", name, "--format", "json"], more].concat());
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let rows: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    rows[0]["secret"].as_str().unwrap().to_owned()
}

/// The rows of a text sent by the simple protocol: values joined by blanks, `-` where there is none.
pub(crate) async fn rows(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {}", shown(&error)));
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or("-").to_owned()).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    };
    messages.iter().filter_map(row).collect()
}

/// The SQLSTATE that a text is answered with.
pub(crate) async fn state(client: &Client, sql: &str) -> String {
    match client.simple_query(sql).await {
        Ok(_) => "00000".to_owned(),
        Err(error) => state_of(&error),
    }
}

/// The SQLSTATE of a failure.
pub(crate) fn state_of(error: &tokio_postgres::Error) -> String {
    error.code().map_or_else(|| "closed".to_owned(), |code| code.code().to_owned())
}

/// A failure with what the server says of it.
pub(crate) fn shown(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |told| format!("{} {}", told.code().code(), told.message()))
}

//! An HTTP proxy before an emulator: counts, delays, drops answers, and speaks Google's dialect of S3.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of the answer to a write that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The connection is closed.
    Closed,
    /// The connection is reset.
    Reset,
    /// A server error comes in its place.
    ServerError,
    /// Nothing comes, until the client gives up.
    Hangs,
}

/// What the proxy does to the requests that pass.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// How long each request takes on top.
    pub(crate) delay: Duration,
    /// The answer to lose: that of the write with this number, from 0.
    pub(crate) lose: Option<(usize, Lost)>,
    /// One request in so many is refused before it arrives, as a store does that is asked too much.
    pub(crate) refuse: Option<u64>,
    /// Requests of a method whose target holds a word are denied, as by somebody who may not do that.
    pub(crate) denied: Option<(&'static str, &'static str)>,
    /// Whether conditions are dropped, as some look-alikes of S3 do.
    pub(crate) unconditional: bool,
    /// Whether what passes is Google's dialect, to be spoken to S3.
    pub(crate) google: bool,
    /// Requests so far.
    pub(crate) requests: u64,
    /// The paths of writes so far.
    pub(crate) writes: Vec<String>,
    /// Objects' generations, in Google's dialect.
    pub(crate) generations: BTreeMap<String, u64>,
}

/// A proxy on loopback, for as long as the process lives.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) at: SocketAddr,
    /// What it does.
    pub(crate) rules: Arc<Mutex<Rules>>,
}

impl Proxy {
    /// A proxy before a server on loopback.
    pub(crate) fn before(server: SocketAddr, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let rules = Arc::new(Mutex::new(rules));
        let shared = Arc::clone(&rules);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let rules = Arc::clone(&shared);
                std::thread::spawn(move || {
                    // A client that goes away ends its own connection only.
                    let _ended = serve(&client, server, &rules);
                });
            }
        });
        Self { at, rules }
    }

    /// Requests since the last time it was asked.
    pub(crate) fn requests(&self) -> u64 {
        std::mem::take(&mut self.rules.lock().unwrap().requests)
    }
}

/// A request or an answer.
struct Message {
    first: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.headers.iter().position(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(self.headers.remove(at).1)
    }

    fn set(&mut self, name: &str, value: &str) {
        self.take(name);
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// Reads one; none at the end of the connection. `head` is for answers to HEAD, which have no body.
    fn read(from: &mut impl BufRead, answer: bool, head: bool) -> std::io::Result<Option<Message>> {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut message = Message { first: line.trim_end().to_owned(), headers: Vec::new(), body: Vec::new() };
        loop {
            line.clear();
            from.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            message.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let size = message.header("content-length").and_then(|size| size.parse().ok());
        if head {
        } else if message.header("transfer-encoding").is_some_and(|how| how.contains("chunked")) {
            loop {
                line.clear();
                from.read_line(&mut line)?;
                let size = usize::from_str_radix(line.trim().split(';').next().unwrap(), 16).unwrap();
                let mut chunk = vec![0; size];
                from.read_exact(&mut chunk)?;
                message.body.extend_from_slice(&chunk);
                line.clear();
                from.read_line(&mut line)?;
                if size == 0 {
                    break;
                }
            }
            message.take("transfer-encoding");
        } else if let Some(size) = size {
            message.body.resize(size, 0);
            from.read_exact(&mut message.body)?;
        } else if answer {
            from.read_to_end(&mut message.body)?;
        }
        message.take("connection");
        if !head {
            let size = message.body.len().to_string();
            message.set("Content-Length", &size);
        }
        Ok(Some(message))
    }

    fn write(&self, mut to: &TcpStream) -> std::io::Result<()> {
        let mut bytes = format!("{}\r\n", self.first).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        to.write_all(&bytes)
    }

    fn status(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    fn error(status: &str) -> Message {
        let body = b"<Error><Code>InternalError</Code></Error>".to_vec();
        let headers = vec![("Content-Length".to_owned(), body.len().to_string())];
        Message { first: format!("HTTP/1.1 {status}"), headers, body }
    }
}

fn serve(client: &TcpStream, server: SocketAddr, rules: &Mutex<Rules>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut from = BufReader::new(client);
    while let Some(request) = Message::read(&mut from, false, false)? {
        let path = request.first.split(' ').nth(1).unwrap_or_default().to_owned();
        let (delay, refused, denied, lost) = {
            let mut rules = rules.lock().unwrap();
            let write = request.first.starts_with("PUT ");
            let denied = rules
                .denied
                .is_some_and(|(method, word)| request.first.starts_with(method) && request.first.contains(word));
            if write {
                rules.writes.push(path);
            }
            rules.requests += 1;
            let refused = rules.refuse.is_some_and(|share| rules.requests.is_multiple_of(share));
            let number = rules.writes.len().wrapping_sub(1);
            let lost = rules.lose.filter(|(at, _)| write && *at == number).map(|(_, how)| how);
            (rules.delay, refused, denied, lost)
        };
        std::thread::sleep(delay);
        if refused {
            Message::error("503 Slow Down").write(client)?;
            continue;
        }
        if denied {
            Message::error("403 Forbidden").write(client)?;
            continue;
        }
        let answer = forward(request, server, rules)?;
        match lost {
            None => answer.write(client)?,
            Some(Lost::ServerError) => Message::error("500 Internal Server Error").write(client)?,
            Some(Lost::Closed) => return client.shutdown(std::net::Shutdown::Both),
            Some(Lost::Reset) => {
                return socket2::SockRef::from(client).set_linger(Some(Duration::ZERO));
            }
            // The client gives up before that, and closes the connection.
            Some(Lost::Hangs) => drop(from.fill_buf()?),
        }
    }
    Ok(())
}

fn forward(mut request: Message, server: SocketAddr, rules: &Mutex<Rules>) -> std::io::Result<Message> {
    let head = request.first.starts_with("HEAD ");
    let path = request.first.split(' ').nth(1).and_then(|path| path.split('?').next()).unwrap_or_default().to_owned();
    request.set("Connection", "close");
    let exchanged = |request: &Message| {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        request.write(&stream)?;
        let answer = Message::read(&mut BufReader::new(&stream), true, head)?;
        Ok::<_, std::io::Error>(answer.unwrap_or_else(|| Message::error("502 Bad Gateway")))
    };
    if rules.lock().unwrap().unconditional {
        request.take("if-none-match");
    }
    if !rules.lock().unwrap().google {
        return exchanged(&request);
    }
    // Google's XML API is S3's but for its conditions: a generation, 0 for what must not be there.
    request.set("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, Signature=x");
    if let Some(source) = request.take("x-goog-copy-source") {
        request.set("x-amz-copy-source", &source);
    }
    let write = ["PUT ", "POST "].iter().any(|method| request.first.starts_with(method));
    let condition = request.take("x-goog-if-generation-match");
    if !write {
        let mut answer = exchanged(&request)?;
        if let Some(generation) = rules.lock().unwrap().generations.get(&path) {
            answer.set("x-goog-generation", &generation.to_string());
        }
        return Ok(answer);
    }
    // Held through the exchange, so that a write and its generation are one step.
    let mut rules = rules.lock().unwrap();
    match condition.as_deref() {
        Some("0") => request.set("If-None-Match", "*"),
        Some(wanted) if rules.generations.get(&path).map(u64::to_string).as_deref() != Some(wanted) => {
            return Ok(Message::error("412 Precondition Failed"));
        }
        Some(_) | None => {}
    }
    let mut answer = exchanged(&request)?;
    if answer.status() == "200" {
        let generation = rules.generations.entry(path).or_insert(1_000);
        *generation += 1;
        answer.set("x-goog-generation", &generation.to_string());
    }
    Ok(answer)
}

//! The clouds' object stores as emulators on loopback: moto for S3, Azurite for Azure, and Google's dialect over moto.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};

use crate::proxy::{Proxy, Rules};

/// The versions that are installed from the registries.
const MOTO: &str = "moto[server]==5.2.5";
const AZURITE: &str = "azurite@3.37.0";
/// The account and the key that Azurite's documentation gives everybody.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An emulator that was started; where it cannot be installed, the test says so and ends.
macro_rules! started {
    ($emulator:expr) => {
        match $emulator {
            Ok(started) => started,
            Err(why) => {
                eprintln!("skipped: the emulator could not be installed: {why}");
                return;
            }
        }
    };
}

pub(crate) use started;

/// A running emulator with an empty bucket (or container) named `lake`.
pub(crate) struct Emulator {
    child: Child,
    /// Where it listens.
    pub(crate) at: SocketAddr,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The folder that tools for tests are installed into, and kept in from one run to the next.
fn tools() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulators")
}

/// Installs something once: a marker tells that it is whole. What went wrong otherwise.
fn install(folder: &Path, commands: &[(&str, &[&str])]) -> Result<(), String> {
    let whole = folder.join(".whole");
    if whole.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    for (program, arguments) in commands {
        let ran = Command::new(program).args(*arguments).current_dir(folder).stdin(Stdio::null()).output();
        match ran {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                return Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr)));
            }
            Err(error) => return Err(format!("{program}: {error}")),
        }
    }
    std::fs::write(whole, "").map_err(|error| error.to_string())
}

/// Python with moto, or why it cannot be installed.
fn python() -> Result<&'static Path, String> {
    static PYTHON: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = PYTHON.get_or_init(|| {
        let folder = tools().join(MOTO.replace(['[', ']', '='], "-"));
        // The second command is the environment's own, whatever stands first in the path.
        let pip = folder.join("bin/pip").display().to_string();
        let commands: [(&str, &[&str]); 2] = [("python3", &["-m", "venv", "."]), (&pip, &["install", "--quiet", MOTO])];
        install(&folder, &commands).map(|()| folder.join("bin/python"))
    });
    found.as_deref().map_err(String::clone)
}

/// Azurite's entry point, or why it cannot be installed.
fn azurite() -> Result<&'static Path, String> {
    static AZURITE_AT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = AZURITE_AT.get_or_init(|| {
        let folder = tools().join(AZURITE.replace('@', "-"));
        let arguments = ["install", "--no-audit", "--no-fund", "--prefix", ".", AZURITE];
        let installed = install(&folder, &[("npm", &arguments)]);
        installed.map(|()| folder.join("node_modules/azurite/dist/src/blob/main.js"))
    });
    found.as_deref().map_err(String::clone)
}

impl Emulator {
    fn start(command: &mut Command, port: u16) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let mut emulator = Self { child, at };
        let began = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(began.elapsed() < Duration::from_secs(90), "the emulator does not listen");
            assert!(emulator.child.try_wait().unwrap().is_none(), "the emulator ended");
            std::thread::sleep(Duration::from_millis(50));
        }
        emulator
    }

    /// moto's S3.
    pub(crate) fn s3() -> Result<Self, String> {
        let port = free_port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulators/s3.py");
        let emulator = Self::start(Command::new(python()?).arg(script).arg(port.to_string()), port);
        emulator.put("/lake", &[]);
        Ok(emulator)
    }

    /// Azurite.
    #[expect(clippy::disallowed_methods, reason = "a request is signed with the present time")]
    pub(crate) fn azure() -> Result<Self, String> {
        let port = free_port();
        let emulator = Self::start(
            Command::new("node")
                .arg(azurite()?)
                .args(["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"])
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()]),
            port,
        );
        let date = chrono::Utc::now().format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let signed = format!(
            "PUT{}x-ms-date:{date}\nx-ms-version:2023-11-03\n/{ACCOUNT}/{ACCOUNT}/lake\nrestype:container",
            "\n".repeat(12)
        );
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&STANDARD.decode(ACCOUNT_KEY).unwrap()).unwrap();
        mac.update(signed.as_bytes());
        let signature = STANDARD.encode(mac.finalize().into_bytes());
        emulator.put(
            &format!("/{ACCOUNT}/lake?restype=container"),
            &[
                ("x-ms-date", &date),
                ("x-ms-version", "2023-11-03"),
                ("Authorization", &format!("SharedKey {ACCOUNT}:{signature}")),
            ],
        );
        Ok(emulator)
    }

    /// Google's dialect of S3, over moto.
    pub(crate) fn google() -> Result<(Self, Proxy), String> {
        let emulator = Self::s3()?;
        let proxy = Proxy::before(emulator.at, Rules { google: true, ..Rules::default() });
        Ok((emulator, proxy))
    }

    /// Creates a bucket or a container.
    fn put(&self, path: &str, headers: &[(&str, &str)]) {
        use std::io::{Read, Write};
        let mut stream = TcpStream::connect(self.at).unwrap();
        let mut text =
            format!("PUT {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n", self.at);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap_or_default();
        assert!(status == "200" || status == "201", "{answer}");
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The variables of S3 at an address.
pub(crate) fn s3_variables(at: SocketAddr) -> Vec<(String, String)> {
    owned(&[
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ENDPOINT", &format!("http://{at}")),
        ("AWS_ALLOW_HTTP", "true"),
    ])
}

/// The variables of Azure at an address.
pub(crate) fn azure_variables(at: SocketAddr) -> Vec<(String, String)> {
    owned(&[
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT),
        ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY),
        ("AZURE_STORAGE_ENDPOINT", &format!("http://{at}/{ACCOUNT}")),
        ("AZURE_ALLOW_HTTP", "true"),
    ])
}

/// The variables of Google Cloud Storage at an address.
pub(crate) fn google_variables(at: SocketAddr) -> Vec<(String, String)> {
    let account = serde_json::json!({
        "private_key": "none", "private_key_id": "none", "client_email": "none",
        "disable_oauth": true, "gcs_base_url": format!("http://{at}"),
    });
    owned(&[("GOOGLE_SERVICE_ACCOUNT_KEY", &account.to_string())])
}

fn owned(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

//! The `alluvial` command.

use std::process::ExitCode;

use alluvial::{cli, config::Environment};

// The nightly work allocates and frees large buffers from several threads; glibc's allocator keeps what they freed, and
// the resident set then outgrows the memory limit by half.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Two providers of cryptography are linked, between which rustls refuses to choose. It can be set only once, and
    // nothing has been able to set it before.
    let _first = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(cli::main(&Environment::from_process()))
}

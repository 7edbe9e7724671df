//! The `alluvial` command.

use std::process::ExitCode;

use alluvial::{cli, config::Environment};

// The nightly work allocates and frees large buffers from several threads; glibc's allocator keeps what they freed, and
// the resident set then outgrows the memory limit by half.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let environment = Environment::from_process();
    #[cfg(unix)]
    told(&environment);
    // Two providers of cryptography are linked, between which rustls refuses to choose. It can be set only once, and
    // nothing has been able to set it before.
    let _first = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(cli::main(&environment))
}

/// Begins anew with what the allocator is to be told for this command: it reads its options before `main`. Whoever has set one
/// of them has the last word.
#[cfg(unix)]
fn told(environment: &Environment) {
    use std::os::unix::process::CommandExt;

    let arguments: Vec<_> = std::env::args_os().collect();
    let options = cli::allocator_options(&arguments, environment);
    if options.is_empty() || options.iter().any(|(name, _)| environment.sets(name)) {
        return;
    }
    if let (Ok(program), Some((name, rest))) = (std::env::current_exe(), arguments.split_first()) {
        // Comes back only where it cannot be done: then the allocator's own options serve.
        let _error = std::process::Command::new(program).arg0(name).args(rest).envs(options.iter().copied()).exec();
    }
}

//! The `alluvial` command.

// The nightly work allocates and frees large buffers from several threads; glibc's allocator keeps what they freed, and
// the resident set then outgrows the memory limit by half.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}

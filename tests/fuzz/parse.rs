//! Reading a query: `promises::parse`.
#![no_main]

use alluvial_fuzz::{by_token, promises};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|data: &[u8]| promises::parse(&String::from_utf8_lossy(data)));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    by_token(data, size, max_size, seed).unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

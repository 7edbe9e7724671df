//! What the fuzz targets share.

pub mod mutate;
pub mod promises;

use std::sync::LazyLock;

use mutate::{Random, Tokens, mutated};

static TOKENS: LazyLock<Tokens> = LazyLock::new(Tokens::read);

/// For half of the seeds changes `data[..size]` by token, and tells the new size.
pub fn by_token(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let mut random = Random(u64::from(seed));
    if random.below(2) == 0 {
        return None;
    }
    let text = String::from_utf8_lossy(&data[..size]).into_owned();
    let changed = mutated(&text, &text, &TOKENS, &mut random);
    let kept = changed.floor_char_boundary(max_size.min(data.len()));
    data[..kept].copy_from_slice(&changed.as_bytes()[..kept]);
    Some(kept)
}

//! Changes to a query that keep most of it readable: by token where libFuzzer changes bytes. Deterministic by seed.

/// The tokens of the language, in libFuzzer's own format.
const DICTIONARY: &str = include_str!("segments.dict");

/// Characters at which readers stumble.
const ODD: [&str; 16] =
    ["'", "\\", "''", "\\'", "\0", "\n", "\r\n", "\u{a0}", "\u{202e}", "æ", "🦊", "/*", "*/", "--", "\"", "%_"];

/// Numbers at the edges.
const NUMBERS: [&str; 12] = [
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "99999999999999999999",
    "0.005",
    "1e9",
    "00012",
    "-0d",
    "+999999999999d",
    "-20000y",
    "10.99999999999999999999999999999999999999",
];

/// SplitMix64 (Steele, Lea and Flood 2014): enough for choices, and needs no crate.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    /// One of them.
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all.get(self.below(all.len())).copied().unwrap_or_default()
    }
}

/// The dictionary: the texts of each of its headings.
pub struct Tokens(Vec<Vec<&'static str>>);

impl Tokens {
    /// Reads the dictionary.
    pub fn read() -> Self {
        let mut groups = vec![Vec::new()];
        for line in DICTIONARY.lines() {
            let token = line.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match (token, groups.last_mut()) {
                (Some(token), Some(group)) => group.push(token),
                _ => groups.push(Vec::new()),
            }
        }
        groups.retain(|group| !group.is_empty());
        Self(groups)
    }

    fn any(&self, random: &mut Random) -> &'static str {
        let group = random.below(self.0.len());
        self.0.get(group).map_or("", |group| random.of(group))
    }

    /// Another text of the heading under which `piece` stands, so that a query may stay readable.
    fn like(&self, piece: &str, random: &mut Random) -> &'static str {
        let value = piece.starts_with(|first: char| matches!(first, '\'' | '-' | '+') || first.is_ascii_digit());
        let found = self.0.iter().find(|group| group.contains(&piece)).or(self.0.last().filter(|_| value));
        match found {
            Some(group) => random.of(group),
            None => self.any(random),
        }
    }
}

/// `text` with one change or a few, some of which take parts of `other`.
pub fn mutated(text: &str, other: &str, tokens: &Tokens, random: &mut Random) -> String {
    let mut text = text.to_owned();
    for _ in 0..=[0, 0, 1, 3][random.below(4)] {
        text = changed(&text, other, tokens, random);
    }
    text
}

fn changed(text: &str, other: &str, tokens: &Tokens, random: &mut Random) -> String {
    let mut parts = pieces(text);
    let at = random.below(parts.len() + 1);
    let end = (at + 1 + random.below(6)).min(parts.len());
    let at = at.min(end);
    match random.below(16) {
        0 => drop(parts.drain(at..end)),
        1 => {
            let copy = parts[at..end].to_vec();
            let to = random.below(parts.len() + 1);
            parts.splice(to..to, copy);
        }
        2 => drop(parts.splice(at..end.min(at + 1), [tokens.any(random)])),
        3..=5 => {
            let words: Vec<usize> = (0..parts.len()).filter(|place| !parts[*place].trim().is_empty()).collect();
            if let Some(place) = words.get(random.below(words.len())) {
                parts[*place] = tokens.like(parts[*place], random);
            }
        }
        6 => drop(parts.splice(at..at, [" ", tokens.any(random), " "])),
        7 => {
            let to = random.below(parts.len());
            if at < parts.len() {
                parts.swap(at, to);
            }
        }
        8 => {
            let (open, close) = [("(", ")"), ("NOT (", ")"), ("NOT ", ""), ("'", "'"), ("/*", "*/")][random.below(5)];
            parts.splice(end..end, [close]);
            parts.splice(at..at, [open]);
        }
        9 => drop(parts.splice(at..end.min(at + 1), [random.of(&NUMBERS)])),
        10 => return odd(text, random),
        11 => {
            let more = pieces(other);
            let from = random.below(more.len() + 1);
            let upto = (from + 1 + random.below(12)).min(more.len());
            parts.splice(at..end, more[from.min(upto)..upto].to_vec());
        }
        12 | 13 => return format!("{text}{}{other}", [" AND ", " OR ", " AND NOT (", ", "][random.below(4)]),
        14 => return format!("({text}) {} ({other})", ["AND", "OR", "AND NOT", "or not"][random.below(4)]),
        // Up to the limits and over them.
        _ => {
            let times = [2, 9, 70, 600][random.below(4)];
            let copy = parts[at..end].concat().repeat(times);
            if copy.len() < 30_000 {
                return [&parts[..at].concat(), copy.as_str(), &parts[end..].concat()].concat();
            }
        }
    }
    parts.concat()
}

/// An odd character somewhere, strings included.
fn odd(text: &str, random: &mut Random) -> String {
    let places: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
    let at = places.get(random.below(places.len())).copied().unwrap_or(0);
    let (before, after) = text.split_at(at);
    let rest = if random.below(2) == 0 {
        after
    } else {
        after.get(after.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default()
    };
    [before, random.of(&ODD), rest].concat()
}

/// A text cut into words and numbers, strings, white space, and single other characters.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => rest[1..].find('\'').map_or(rest.len(), |end| end + 2),
            _ if is_word(first) => rest.find(|next| !is_word(next)).unwrap_or(rest.len()),
            _ if first.is_whitespace() => rest.find(|next: char| !next.is_whitespace()).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '+')
}

//! How large a query may be: every stage after the parser may recurse over the tree because of these.

/// Characters of a query.
pub const MAX_CHARACTERS: usize = 20_000;
/// Parentheses and `NOT`s within each other.
pub const MAX_LEVELS: usize = 64;
/// Values of one list.
pub const MAX_VALUES: usize = 500;
/// Clauses of a query, parameters of functions included.
pub const MAX_CLAUSES: usize = 1_000;
/// Findings that are told; a text that is no query at all would otherwise give thousands.
pub(super) const MAX_FINDINGS: usize = 100;

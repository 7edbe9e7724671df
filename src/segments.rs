//! Stands empty until its builder moves in.

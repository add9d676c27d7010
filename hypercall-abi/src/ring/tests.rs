//! The ring's rules as tests, friendly and hostile.

//! Grants: a domain's leave for another to map or copy one of its frames.
//! They exist because split drivers move data between domains that trust each other with nothing else.
//!
//! A domain's **table** is memory that it writes itself; each entry names a frame and who may use it. A use is taken by
//! setting the entry's in-use bits in one atomic exchange against the whole entry as it was judged, so the granting
//! domain can neither change what was judged nor take the frame back while it is used.
//!
//! A **mapping** is recorded on both sides: the granting table counts its users, the mapping domain holds a handle. The
//! mapping itself holds a reference to the frame, and the page-table entry another; so a guest that overwrites the
//! entry by other means breaks only its own view. When the granting domain dies, its mapped frames outlive it until the
//! last mapping goes; when a mapping domain dies, all its mappings are released.

mod calls;
mod copy;
mod mapping;
mod pte;
mod setup;
mod table;

#[cfg(test)]
mod tests;

pub use calls::grant_table_op;
pub use mapping::release_mappings;
pub use table::GrantTable;

/// Frames that a table may have.
pub const TABLE_FRAMES_MAX: usize = 8;
/// Mappings that one domain may have at once.
pub const MAPPINGS_MAX: usize = 4096;
/// Copies that one call may carry; more are refused as a whole.
pub const COPIES_MAX: u64 = 1024;
/// Mappings that one call may make or undo; more are refused as a whole. Fewer than copies, since each may have to move
/// a long list.
pub const OPERATIONS_MAX: u64 = 256;

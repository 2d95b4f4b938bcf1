//! How a client of ours says that rows that it sends over Flight are whole.
//!
//! A call that breaks off can look like one that ends. A client that sends [`HEADER`] with a call promises to send
//! [`END`] behind its last row; without that the server takes none of what came as whole.

/// The header of a call whose rows have an end.
pub const HEADER: &str = "asof-upload-end";

/// The `app_metadata` of the message behind the last row, which has nothing else.
pub const END: &[u8] = b"end";

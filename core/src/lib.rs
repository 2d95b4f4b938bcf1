//! The meaning of Asof, without any IO: names, types, definitions, keys, time, the point-in-time
//! rule, row codecs, and the ports that stores implement.

pub mod aggregate;
pub mod cancel;
pub mod data_type;
pub mod definition;
pub mod duration;
#[cfg(feature = "test-util")]
pub mod fuzz;
pub mod key;
pub mod name;
pub mod online;
pub mod order;
pub mod reference;
pub mod registry;
pub mod row;
pub mod service;
pub mod status;
pub mod time;
pub mod window;

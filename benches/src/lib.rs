//! What the figures are measured on: generated sets of any size, the same for everyone.

pub mod generate;

//! The registry as its callers see it.

mod support;

mod applying;
mod conformance;
mod configuration;
mod definition_files;
mod files_on_disk;
mod planning;
mod round_trip;
mod searching;

//! The registry as its callers see it.

mod support;

mod applying;
mod configuration;
mod conformance;
mod definition_files;
mod files_on_disk;
mod planning;
mod round_trip;
mod searching;

//! The native half of the Python package `asof`: what the Python half wraps.
//!
//! Each call comes in two forms, by what its object was made for: one waits, without the interpreter's lock and with
//! an ear for Ctrl-C; the other gives an awaitable.

mod convert;
mod dataset;
mod describe;
mod failure;
mod features;
mod input;
mod run;
mod store;
mod table;

use pyo3::prelude::*;

#[pymodule]
fn _asof(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<store::Native>()?;
    module.add_class::<dataset::NativeDataset>()?;
    module.add_class::<features::NativeFeatures>()?;
    module.add_class::<table::Table>()?;
    module.add_function(wrap_pyfunction!(store::open, module)?)?;
    module.add_function(wrap_pyfunction!(store::connect, module)?)?;
    module.add_function(wrap_pyfunction!(store::definition_files, module)?)?;
    module.add_function(wrap_pyfunction!(input::table_of_file, module)?)?;
    module.add_function(wrap_pyfunction!(input::shutdown, module)?)?;
    module.add_function(wrap_pyfunction!(dataset::check_target, module)?)?;
    Ok(())
}

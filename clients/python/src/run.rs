//! Where calls run, and how Python waits for them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// How often a call that waits looks for Ctrl-C.
const TICK: Duration = Duration::from_millis(100);

/// The threads of a process. One that was forked has none of its parent's.
static RUNTIME: Mutex<Option<(u32, &'static Runtime)>> = Mutex::new(None);

/// Whose threads awaitables run on, which Python knows once and for all.
static AWAITED: OnceLock<u32> = OnceLock::new();

/// The threads of this process, which are started when they are needed first.
pub(crate) fn runtime() -> Result<&'static Runtime, Failure> {
    let mut known = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    let process = std::process::id();
    if let Some((of, runtime)) = *known
        && of == process
    {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.enable_all().thread_name("asof").build();
    let runtime =
        runtime.map_err(|error| Failure::unavailable(format!("threads cannot be started: {error}")))?;
    let runtime: &'static Runtime = Box::leak(Box::new(runtime));
    // A process that was forked has its parent's here, and is refused awaitables.
    if pyo3_async_runtimes::tokio::init_with_runtime(runtime).is_ok() {
        let _ = AWAITED.set(process);
    }
    *known = Some((process, runtime));
    Ok(runtime)
}

/// Gives what a call gives: the value itself, or an awaitable for it.
pub(crate) fn give<'py, T>(
    py: Python<'py>,
    aio: bool,
    call: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    if aio {
        runtime()?;
        if AWAITED.get() != Some(&std::process::id()) {
            let told = "asof was used before this process was forked, and asof.aio cannot be used in both: use asof.open \
                        or asof.connect here, or start the process anew (multiprocessing's \"spawn\")";
            return Err(Failure::argument(told).into());
        }
        return pyo3_async_runtimes::tokio::future_into_py(py, async move { Ok(call.await?) });
    }
    let value = wait(py, call)?;
    value.into_bound_py_any(py)
}

/// Waits for a call without the interpreter's lock. Ctrl-C drops it, which ends it.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    call: impl Future<Output = Result<T, Failure>> + Send,
) -> PyResult<T> {
    let runtime = runtime()?;
    let mut call = pin!(call);
    loop {
        let step = py.detach(|| runtime.block_on(async { tokio::time::timeout(TICK, call.as_mut()).await }));
        match step {
            Ok(value) => return Ok(value?),
            Err(_) => py.check_signals()?,
        }
    }
}

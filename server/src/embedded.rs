//! A server inside this process: its calls go over a connection in memory, and nothing listens.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use asof_core::online::OnlineStore;
use asof_core::registry::RegistryStore;
use asof_proto::response::GetFeaturesResponse;
use asof_proto::v1;
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::app::{App, ServeParts};
use crate::background::Background;
use crate::error::ServerError;
use crate::jobs::Jobs;
use crate::lifecycle::activity::Connections;
use crate::lifecycle::{Limits, connection};
use crate::overload::CallLimits;

/// Bytes that are under way on a connection in either direction.
const BUFFER: usize = 1 << 20;
/// How often it is looked whether the store is free.
const FREED: Duration = Duration::from_millis(5);
/// Its callers are of this process, and have deadlines of their own where they want any.
const DEADLINE: Duration = Duration::from_secs(365 * 24 * 3_600);

/// A server for this process. Where it is not stopped, it goes on until the process ends, and what was pushed last stays
/// in the intake log, from where whoever opens the store next takes it.
pub struct Embedded<S, R, J> {
    app: Arc<App<S, R, J>>,
    channel: Channel,
    /// Ends the connections.
    cut: CancellationToken,
    beside: Mutex<Option<JoinHandle<()>>>,
}

impl<S, R, J> Embedded<S, R, J>
where
    S: OnlineStore + 'static,
    R: RegistryStore + 'static,
    J: Jobs,
{
    /// Starts what goes on beside the calls.
    ///
    /// # Errors
    ///
    /// The registry cannot be read, or there is no room for an engine.
    pub async fn start(parts: ServeParts<S, R, J>) -> Result<Self, ServerError> {
        let limits = Limits {
            deadline: DEADLINE,
            // Whoever is in this process may come back at any time, and waits for itself alone.
            idle: Duration::MAX,
            calls: CallLimits::NONE,
            ..parts.limits
        };
        let parts = ServeParts { limits, ..parts };
        let app = App::of(parts, Background::none()).await?;
        let (router, _) = app.routes(&limits).await;
        let (stop, cut) = (app.stopping.clone(), CancellationToken::new());
        let ended = cut.clone();
        let connections = Connections::default();
        let connect = tower::service_fn(move |_| {
            let (near, far) = tokio::io::duplex(BUFFER);
            let activity = connections.open();
            let carried = connection::carry(far, router.clone(), limits, stop.clone(), activity);
            let ended = ended.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = carried => {}
                    () = ended.cancelled() => {}
                }
            });
            async { Ok::<_, io::Error>(TokioIo::new(near)) }
        });
        let channel = Endpoint::from_static("http://in.this.process").connect_with_connector_lazy(connect);
        let beside = tokio::spawn({
            let app = Arc::clone(&app);
            async move { app.beside(app.stopping.cancelled()).await }
        });
        Ok(Self {
            app,
            channel,
            cut,
            beside: Mutex::new(Some(beside)),
        })
    }

    /// A connection to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// `asof.v1.OnlineService/GetFeatures`, without the detour over a connection.
    ///
    /// # Errors
    ///
    /// As the call has them.
    pub async fn get_features(&self, request: v1::GetFeaturesRequest) -> Result<GetFeaturesResponse, Status> {
        self.app
            .get_features(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Ends all calls, those that nobody takes the rest of as well, and begins to append what was pushed to its tables.
    pub fn begin_to_stop(&self) {
        self.app.stopping.cancel();
        self.cut.cancel();
    }

    /// The same, and waits until the store is free, which it is when all that calls have begun was given up; but no longer
    /// than `limit`.
    pub async fn stop(self: Arc<Self>, limit: Duration) {
        self.begin_to_stop();
        let store = Arc::clone(&self.app.store);
        let beside = self.beside.lock().await.take();
        let freed = async {
            if let Some(beside) = beside {
                // One that panicked has told so.
                let _ = beside.await;
            }
            drop(self);
            while Arc::strong_count(&store) > 1 {
                tokio::time::sleep(FREED).await;
            }
            // The last one, and so the store is closed when this is done.
            let _ = tokio::task::spawn_blocking(move || drop(store)).await;
        };
        // What lasts longer goes on, and frees the store in its end.
        let _ = tokio::time::timeout(limit, freed).await;
    }
}

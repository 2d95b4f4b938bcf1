//! The registry as requests see it: an immutable version, exchanged whole when the registry moves.

use std::sync::Arc;
use std::time::Duration;

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::registry::{RegistryError, RegistryStore, Version};
use asof_core::time::Timestamp;
use tokio::sync::watch;

/// How often the registry is asked whether it moved.
pub const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The newest version of one project that was seen.
#[derive(Debug)]
pub struct RegistryWatch<R> {
    registry: Arc<R>,
    project: ProjectName,
    current: watch::Sender<Arc<Version>>,
}

impl<R: RegistryStore> RegistryWatch<R> {
    /// Reads the newest version. A project to which nothing was applied has version 0, without
    /// definitions.
    ///
    /// # Errors
    ///
    /// The registry cannot be read.
    pub async fn open(registry: Arc<R>, project: ProjectName) -> Result<Self, RegistryError> {
        let version = registry.head(&project).await?;
        let version = version.unwrap_or_else(|| nothing_applied(&project));
        Ok(Self {
            registry,
            project,
            current: watch::Sender::new(Arc::new(version)),
        })
    }

    /// The registry itself.
    pub fn registry(&self) -> &R {
        &self.registry
    }

    /// The project.
    pub fn project(&self) -> &ProjectName {
        &self.project
    }

    /// The version in force. Whoever answers one request asks once.
    pub fn current(&self) -> Arc<Version> {
        self.current.borrow().clone()
    }

    /// Waits until another version is in force than the one of that number.
    pub async fn moved_from(&self, number: u64) {
        let mut current = self.current.subscribe();
        // The sender is this watch's own.
        let _ = current.wait_for(|current| current.number != number).await;
    }

    /// Asks the registry for its newest version.
    ///
    /// # Errors
    ///
    /// The registry cannot be read; the version in force stays.
    pub async fn refresh(&self) -> Result<Arc<Version>, RegistryError> {
        if let Some(version) = self.registry.head(&self.project).await? {
            self.advance(version);
        }
        Ok(self.current())
    }

    /// Puts `version` in force unless a newer one is.
    pub fn advance(&self, version: Version) {
        self.current.send_if_modified(|current| {
            let newer = version.number > current.number;
            if newer {
                *current = Arc::new(version);
            }
            newer
        });
    }

    /// Refreshes every [`POLL_INTERVAL`], for ever.
    pub async fn poll(&self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            match self.refresh().await {
                Ok(_) => failing = false,
                // Once a failure, not once a second.
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the registry cannot be read; its last known version stays in force");
                }
                Err(_) => {}
            }
        }
    }
}

fn nothing_applied(project: &ProjectName) -> Version {
    Version {
        number: 0,
        applied_at: Timestamp::EPOCH,
        digest: String::new(),
        definitions: Arc::new(Definitions::empty(project.clone())),
        services: Vec::new(),
    }
}

//! The registry in memory: the twin that tests use.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use asof_core::definition::Definitions;
use asof_core::name::ProjectName;
use asof_core::registry::{NewRun, RegistryError, RegistryStore, Run, RunEnd, Version};
use asof_core::time::Timestamp;

use crate::version::{Next, next};

const PLACE: &str = "memory";

/// A registry that is gone with the process. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryRegistry {
    /// Held only while a call looks things up or puts them in, never across an await.
    projects: Arc<Mutex<BTreeMap<ProjectName, Project>>>,
}

#[derive(Debug, Default)]
struct Project {
    versions: Vec<Version>,
    runs: Vec<Run>,
}

impl MemoryRegistry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ProjectName, Project>> {
        self.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look<T: Default>(&self, project: &ProjectName, look: impl FnOnce(&Project) -> T) -> T {
        self.lock().get(project).map(look).unwrap_or_default()
    }
}

impl RegistryStore for MemoryRegistry {
    async fn head(&self, project: &ProjectName) -> Result<Option<Version>, RegistryError> {
        Ok(self.look(project, |project| project.versions.last().cloned()))
    }

    async fn version(&self, project: &ProjectName, number: u64) -> Result<Option<Version>, RegistryError> {
        Ok(self.look(project, |project| {
            let mut versions = project.versions.iter();
            versions.find(|version| version.number == number).cloned()
        }))
    }

    async fn history(&self, project: &ProjectName) -> Result<Vec<(u64, Timestamp, String)>, RegistryError> {
        Ok(self.look(project, |project| {
            let versions = project.versions.iter();
            versions
                .map(|version| (version.number, version.applied_at, version.digest.clone()))
                .collect()
        }))
    }

    async fn commit(
        &self,
        expected: u64,
        definitions: Arc<Definitions>,
        at: Timestamp,
    ) -> Result<Version, RegistryError> {
        let mut projects = self.lock();
        let project = projects.entry(definitions.project.clone()).or_default();
        let head = project.versions.last().cloned();
        match next(head, expected, definitions, at, PLACE)? {
            Next::Unchanged(version) => Ok(version),
            Next::New(version, _) => {
                project.versions.push(version.clone());
                Ok(version)
            }
        }
    }

    async fn start_run(&self, project: &ProjectName, run: NewRun) -> Result<u64, RegistryError> {
        let mut projects = self.lock();
        let runs = &mut projects.entry(project.clone()).or_default().runs;
        let id = runs.len() as u64 + 1;
        runs.push(run.run(id));
        Ok(id)
    }

    async fn end_run(&self, project: &ProjectName, id: u64, end: RunEnd) -> Result<(), RegistryError> {
        let mut projects = self.lock();
        let runs = projects.get_mut(project).map(|project| &mut project.runs);
        let run = runs.and_then(|runs| runs.iter_mut().find(|run| run.id == id));
        run.ok_or_else(|| missing_run(PLACE, id))?.end(end);
        Ok(())
    }

    async fn run(&self, project: &ProjectName, id: u64) -> Result<Option<Run>, RegistryError> {
        Ok(self.look(project, |project| {
            project.runs.iter().find(|run| run.id == id).cloned()
        }))
    }

    async fn runs(
        &self,
        project: &ProjectName,
        subject: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Run>, RegistryError> {
        Ok(self.look(project, |project| {
            let newest = project.runs.iter().rev();
            newest
                .filter(|run| subject.is_none_or(|subject| run.subject == subject))
                .take(limit as usize)
                .cloned()
                .collect()
        }))
    }
}

/// The error of ending a run that was never started.
pub(crate) fn missing_run(place: &str, id: u64) -> RegistryError {
    RegistryError::Damaged {
        place: place.to_owned(),
        reason: format!("run {id} is not in the ledger"),
    }
}

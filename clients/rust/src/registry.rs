//! What is defined: plans, versions, and looking around.

use asof_proto::v1;

use crate::{Client, Error};

impl Client {
    /// What applying these definition files would change: all that there are, as what they do not define goes.
    ///
    /// # Errors
    ///
    /// Definitions with mistakes, each told with its file, line and column.
    pub async fn plan(&self, files: Vec<v1::DefinitionFile>) -> Result<v1::PlanResponse, Error> {
        let request = v1::PlanRequest { files };
        self.repeated(&request, |mut clients, request| async move {
            clients.registry.plan(request).await
        })
        .await
    }

    /// Makes these definition files the new version of the registry, provided that its newest is the one that the plan
    /// was made against.
    ///
    /// # Errors
    ///
    /// Definitions with mistakes; another version since the plan; a change that breaks a service, unless that is
    /// allowed.
    pub async fn apply(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, Error> {
        // Not made again: an answer that was lost would come back as a conflict with itself.
        let mut registry = self.clients().registry;
        Ok(registry.apply(self.request(request)).await?.into_inner())
    }

    /// The definitions of a kind, in the newest version.
    pub async fn list(&self, kind: v1::DefinitionKind) -> Result<v1::ListResponse, Error> {
        let request = v1::ListRequest { kind: kind.into() };
        self.repeated(&request, |mut clients, request| async move {
            clients.registry.list(request).await
        })
        .await
    }

    /// One definition: its TOML, and of a service its columns.
    ///
    /// # Errors
    ///
    /// A name that is not defined.
    pub async fn definition(
        &self,
        kind: v1::DefinitionKind,
        name: impl Into<String>,
    ) -> Result<v1::GetResponse, Error> {
        let request = v1::GetRequest {
            kind: kind.into(),
            name: name.into(),
        };
        self.repeated(&request, |mut clients, request| async move {
            clients.registry.get(request).await
        })
        .await
    }

    /// The definitions in which all words of a query occur.
    pub async fn search(&self, query: impl Into<String>) -> Result<v1::ListResponse, Error> {
        let request = v1::SearchRequest { query: query.into() };
        self.repeated(&request, |mut clients, request| async move {
            clients.registry.search(request).await
        })
        .await
    }

    /// The versions that were applied, the newest first.
    pub async fn history(&self) -> Result<v1::HistoryResponse, Error> {
        let request = v1::HistoryRequest {};
        self.repeated(&request, |mut clients, request| async move {
            clients.registry.history(request).await
        })
        .await
    }
}

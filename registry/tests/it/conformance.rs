//! Both stores behind the port do the same.

use asof_registry::{MemoryRegistry, SqliteRegistry, conformance};

#[tokio::test]
async fn memory() {
    conformance::run(async || MemoryRegistry::new()).await;
}

#[tokio::test]
async fn sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let mut count = 0;
    conformance::run(async || {
        count += 1;
        let path = folder.path().join(format!("{count}/registry.db"));
        SqliteRegistry::open(&path).await.unwrap()
    })
    .await;
}

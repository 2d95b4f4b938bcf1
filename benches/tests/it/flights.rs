//! The flights example as the bench opens it; measuring it would take too long here.

use std::path::Path;

use asof_benches::sets::flights;
use asof_benches::stage::requests::Callers;
use asof_benches::workload::Opened;

/// Cargo runs tests in the folder of their crate.
const FLIGHTS: &str = "../examples/flights";

#[tokio::test]
async fn its_service_is_asked_for_keys_of_its_spine() {
    let data = tempfile::tempdir().unwrap();
    let workload = flights(Path::new(FLIGHTS), data.path()).unwrap();
    let opened = Opened::open(&workload).await.unwrap();
    // Nine of the weather, four of it at the destination, five of the plane, four and three of landings.
    assert_eq!(opened.plan.columns.len(), 9 + 4 + 5 + 4 + 3);

    let callers = Callers::read(&workload, &opened.plan).unwrap();
    let requests = callers.requests(100).unwrap();
    assert_eq!(requests.len(), 2_000);
    assert_eq!(requests, callers.requests(100).unwrap());
    assert_ne!(requests[0], requests[1]);
    for request in requests.iter() {
        let mut names: Vec<&str> = request.keys.iter().map(|key| key.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["carrier", "dest", "origin", "tailnum"]);
        let lengths: Vec<u32> = request
            .keys
            .iter()
            .map(|key| key.values.as_ref().unwrap().length)
            .collect();
        assert_eq!(lengths, [100; 4]);
    }
}

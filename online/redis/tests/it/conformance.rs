use asof_core::online::conformance;
use asof_redis::{RedisOptions, RedisStore};

use crate::harness;
use crate::servers::{Cluster, Server};

fn conforms(url: &str) {
    let reopen = |store: RedisStore| {
        let options: RedisOptions = store.options().clone();
        drop(store);
        RedisStore::open(&options).unwrap()
    };
    conformance::run(&|| harness::fresh(url), &reopen);
}

#[test]
fn one_server_conforms() {
    let server = Server::start();
    conforms(&server.url());
}

#[test]
fn a_cluster_conforms() {
    let cluster = Cluster::start();
    conforms(&cluster.url());
}

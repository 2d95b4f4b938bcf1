#!/usr/bin/env bash
# The layers that deny.toml cannot express: what a crate must not reach, even through others.
set -euo pipefail
cd "$(dirname "$0")/.."
bad=0

without() { # crate banned…
    local crate=$1 tree banned
    shift
    tree=$(cargo tree --locked -p "$crate" -e normal --prefix none --format '{p}')
    grep -q "^$crate " <<<"$tree" || { echo "error: no dependency tree of $crate" && exit 1; }
    for banned in "$@"; do
        if grep -q "^$banned " <<<"$tree"; then
            echo "error: $crate depends on $banned, which ARCHITECTURE.md rules out; see: cargo tree -p $crate -i $banned"
            bad=1
        fi
    done
}

without asof-core tokio rocksdb datafusion datafusion-expr deltalake object_store parquet sqlx tonic axum serde
without asof-expr rocksdb datafusion deltalake sqlx tonic axum asof-registry asof-offline asof-online
without asof-registry rocksdb datafusion deltalake tonic axum asof-offline asof-online asof-proto
without asof-offline rocksdb sqlx tonic axum asof-registry asof-online asof-proto
without asof-online datafusion deltalake parquet sqlx tonic axum asof-registry asof-offline asof-proto asof-expr
without asof-redis tokio rocksdb datafusion deltalake parquet sqlx tonic axum asof-online asof-registry asof-offline asof-proto asof-expr
without asof-streams rocksdb datafusion deltalake sqlx tonic axum asof-expr asof-registry asof-offline asof-online asof-proto
without asof-proto rocksdb datafusion deltalake sqlx asof-registry asof-offline asof-online asof-server
without asof-client rocksdb datafusion deltalake parquet sqlx asof-registry asof-offline asof-online asof-server
[ "$bad" = 0 ] && echo "layers ok"
exit "$bad"

#!/usr/bin/env bash
# Prints the figures, with the machine and the versions that they were measured on.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release --workspace --locked

echo "machine   $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, $(awk '/^MemTotal/ {printf "%.0f GiB", $2 / 1048576}' /proc/meminfo), $(uname -sr)"
echo "versions  asof $(git describe --always --dirty 2>/dev/null || echo unknown), $(rustc --version)"
for crate in datafusion arrow parquet deltalake rocksdb tonic; do
    printf '          %s %s\n' "$crate" "$(awk -v name="\"$crate\"" '$1 == "name" && $3 == name {getline; gsub(/"/, "", $3); print $3}' Cargo.lock)"
done
"$target/release/asof-benches" generate --dir "$target/bench/generated"

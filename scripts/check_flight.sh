#!/usr/bin/env bash
# Talks to a server with pyarrow's Flight client, as docs/flight.md shows it, and compares what comes with what
# `asof extract` writes. Works on a copy of examples/flights.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
scripts/setup.sh python

target=${CARGO_TARGET_DIR:-target}
venv=$target/check-duckdb-venv
python_with benches/check_duckdb.requirements.txt "$venv"

work=$(mktemp -d)
cp -R examples/flights/asof.toml examples/flights/features examples/flights/data "$work"
asof() { "$target/debug/asof" --project "$work" "$@"; }
asof apply --yes >/dev/null
"$target/debug/asof" --project "$work" serve --listen 127.0.0.1:0 --json >"$work/server.json" &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 100); do
    [ -s "$work/server.json" ] && break
    sleep 0.1
done
asof extract --service delay_model_v1 --spine "$work/data/departures.parquet" --out "$work/extract.parquet" >/dev/null
"$venv/bin/python" scripts/check_flight.py "$work"

#!/usr/bin/env bash
# Extracts the services for every departure and compares them with DuckDB's as-of join, its windows and its reading of
# expressions; and what is computed on demand as it is served, too.
# Works on a copy of examples/flights, so that the checkout stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
scripts/setup.sh python

target=${CARGO_TARGET_DIR:-target}
venv=$target/check-duckdb-venv
python_with benches/check_duckdb.requirements.txt "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps "$(scripts/wheel.sh)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R examples/flights/asof.toml examples/flights/features examples/flights/data "$work"
asof() { "$target/debug/asof" --project "$work" "$@"; }
asof apply --yes
check() { # service, file of digests
    asof extract --service "$1" --spine "$work/data/departures.parquet" --out "$work/$1.parquet"
    "$venv/bin/python" benches/check_duckdb.py --service "$1" --digests "examples/flights/$2" --verify "$work/$1.parquet"
}
check delay_model_v1 expected_digests.json
check delay_windows_v1 expected_window_digests.json
"$venv/bin/python" benches/check_on_demand.py "$work" --asof "$target/debug/asof"

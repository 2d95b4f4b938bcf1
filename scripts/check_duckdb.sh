#!/usr/bin/env bash
# Extracts delay_model_v1 for every departure and compares it with DuckDB's as-of join.
# Works on a copy of examples/flights, so that the checkout stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
scripts/setup.sh python

target=${CARGO_TARGET_DIR:-target}
venv=$target/check-duckdb-venv
python_with benches/check_duckdb.requirements.txt "$venv"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R examples/flights/asof.toml examples/flights/features examples/flights/data "$work"
asof() { "$target/debug/asof" --project "$work" "$@"; }
asof apply --yes
asof extract --service delay_model_v1 --spine "$work/data/departures.parquet" --out "$work/extract.parquet"
"$venv/bin/python" benches/check_duckdb.py --verify "$work/extract.parquet"

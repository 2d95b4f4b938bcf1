#!/usr/bin/env bash
# Builds the Python wheel and prints its path.
#   scripts/wheel.sh            with the dev profile, which tests share
#   scripts/wheel.sh release    as it is given away
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh
scripts/setup.sh python >&2

profile=${1:-dev}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
printf 'maturin==1.16.0\n' >"$target/maturin.requirements.txt"
python_with "$target/maturin.requirements.txt" "$target/maturin-venv" >&2
out=$target/wheels/$profile
rm -rf "$out"
CARGO_TARGET_DIR=$target "$target/maturin-venv/bin/maturin" build -m clients/python/Cargo.toml \
    --profile "$profile" --strip --locked --compatibility linux --interpreter python3 --out "$out" >&2
ls "$out"/*.whl

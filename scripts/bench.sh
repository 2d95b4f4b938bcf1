#!/usr/bin/env bash
# Prints the figures, with the machine and the versions that they were measured on, and writes them to
# benches/RESULTS.md. Arguments go to `asof-benches run` (see its --help) and make a partial or smaller run,
# which leaves that file alone. PROFILE=dev tries the bench itself without a release build. DuckDB and Polars, which
# extracts are measured beside, come from PyPI into a virtual environment in the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
profile=${PROFILE:-release}
directory=$profile
[ "$profile" != dev ] || directory=debug
cargo build --profile "$profile" --workspace --locked

results=$target/bench-data/RESULTS.md
[ "$#" -gt 0 ] || [ "$profile" != release ] || results=benches/RESULTS.md
mkdir -p "$target/bench-data"

peers=()
case " $* " in
*" --only compare "* | *" --only=compare "*) compare=yes ;;
*" --only"*) compare=no ;;
*) compare=yes ;;
esac
if [ "$compare" = yes ]; then
    scripts/setup.sh python
    venv=$target/bench-venv
    requirements=benches/peers/requirements.txt
    if ! cmp -s "$requirements" "$venv/installed.txt"; then
        python3 -m venv --clear "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$requirements"
        cp "$requirements" "$venv/installed.txt"
    fi
    peers=(--python "$venv/bin/python")
fi

versions=$(rustc --version)
for crate in datafusion arrow parquet deltalake rocksdb tonic; do
    versions+=", $crate $(awk -v name="\"$crate\"" '$1 == "name" && $3 == name {getline; gsub(/"/, "", $3); print $3}' Cargo.lock)"
done
"$target/$directory/asof-benches" run --data "$target/bench-data" --results "$results" \
    --fact "commit=$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)" \
    --fact "versions=$versions" "${peers[@]}" "$@"
echo "written to $results" >&2

#!/usr/bin/env bash
# Prints the figures, with the machine and the versions that they were measured on, and writes them to
# benches/RESULTS.md. Arguments go to `asof-benches run` (see its --help) and make a partial or smaller run,
# which leaves that file alone. PROFILE=dev tries the bench itself without a release build. DuckDB and Polars, which
# extracts are measured beside, and Feast, which reads are, come from PyPI into virtual environments in the target
# directory, as does the package's wheel, which is built; redis-server and nats-server come from the system's packages.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/python.sh

target=${CARGO_TARGET_DIR:-target}
profile=${PROFILE:-release}
directory=$profile
[ "$profile" != dev ] || directory=debug
cargo build --profile "$profile" --workspace --locked

results=$target/bench-data/RESULTS.md
[ "$#" -gt 0 ] || [ "$profile" != release ] || results=benches/RESULTS.md
mkdir -p "$target/bench-data"

# Whether a stage is measured: named by --only, or not left out by it.
measured() {
    case " $* " in
    *" --only $stage "* | *" --only=$stage "*) true ;;
    *" --only"*) false ;;
    *) true ;;
    esac
}

peers=()
if stage=compare measured "$@"; then
    scripts/setup.sh python
    python_with benches/python/requirements.txt "$target/bench-venv"
    peers+=(--python "$target/bench-venv/bin/python")
fi
if stage=online measured "$@"; then
    scripts/setup.sh redis
    peers+=(--redis "$(command -v redis-server)")
fi
if stage=stream measured "$@"; then
    scripts/setup.sh test
    peers+=(--nats "$(PATH=$PATH:/usr/sbin command -v nats-server)")
fi
if stage=online measured "$@" || stage=python measured "$@"; then
    scripts/setup.sh python
    python_with benches/python/feast.requirements.txt "$target/bench-feast-venv"
    peers+=(--feast "$target/bench-feast-venv/bin/python")
fi
if stage=python measured "$@"; then
    wheel=$(scripts/wheel.sh "$profile")
    python_with benches/python/asof.requirements.txt "$target/bench-asof-venv"
    "$target/bench-asof-venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"
    peers+=(--package "$target/bench-asof-venv/bin/python" --wheel "$wheel")
fi

versions=$(rustc --version)
for crate in datafusion arrow parquet deltalake rocksdb tonic; do
    versions+=", $crate $(awk -v name="\"$crate\"" '$1 == "name" && $3 == name {getline; gsub(/"/, "", $3); print $3}' Cargo.lock)"
done
"$target/$directory/asof-benches" run --data "$target/bench-data" --results "$results" \
    --fact "commit=$(git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)" \
    --fact "versions=$versions" "${peers[@]}" "$@"
echo "written to $results" >&2

#!/usr/bin/env bash
# Builds the wheel, and tries it in fresh virtual environments: alone, then beside the packages that it works with, where
# its types are checked, too. Ends with the lines that scripts/test.sh counts: "passed N", "failed N what".
set -uo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export ASOF_BIN=$target/debug/asof

counts=()
tests=clients/python/tests

wheel=$(scripts/wheel.sh) || {
    echo "failed 1 wheel"
    exit
}

fresh() { # directory requirements…
    local venv=$1
    shift
    python3 -m venv --clear "$venv" &&
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$wheel" "$@"
}

suite() { # what venv paths…
    local what=$1 venv=$2 log
    shift 2
    log=$(mktemp)
    printf '\n--- python, %s\n' "$what"
    "$venv/bin/python" -m pytest -q --tb=short -p no:cacheprovider "$@" 2>&1 | tee "$log"
    counts+=("$(awk -v what="python ($what)" '
        # The last line: "2 failed, 57 passed, 1 error in 3.02s". A skipped test is one that was not run.
        { line = $0 }
        END {
            n = split(line, parts, /,? /)
            for (i = 1; i < n; i++) {
                if (parts[i + 1] ~ /^passed/) passed = parts[i]
                if (parts[i + 1] ~ /^(failed|error|errors|skipped)$/) failed += parts[i]
            }
            if (passed + failed == 0) failed = 1
            print "passed", passed + 0
            print "failed", failed + 0, what
        }' "$log")")
    rm -f "$log"
}

alone=$target/python-alone-venv
beside=$target/python-beside-venv
if fresh "$alone" -r $tests/requirements.txt && fresh "$beside" -r $tests/requirements.txt -r $tests/optional/requirements.txt; then
    suite alone "$alone" $tests --ignore $tests/optional
    suite "beside pandas, polars, pyarrow, duckdb" "$beside" $tests
    printf '\n--- python, types\n'
    if (cd clients/python && "$beside/bin/python" -m mypy --strict --cache-dir "$target/mypy" python/asof tests/typed.py); then
        counts+=("passed 1")
    else
        counts+=("failed 1 python types")
    fi
else
    counts+=("failed 1 virtual environment")
fi
printf '%s\n' "${counts[@]}"

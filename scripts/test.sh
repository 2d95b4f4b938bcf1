#!/usr/bin/env bash
# Runs every check, whatever the others say, and ends with one line: "N passed, N failed".
# Formatting, clippy, the dependency rules and the layers count as one each; tests count one by one.
set -uo pipefail
cd "$(dirname "$0")/.."

passed=0
failed=0
failures=()
log=$(mktemp)
trap 'rm -f "$log"' EXIT

count() { # what succeeded? (0 or not)
    if [ "$2" = 0 ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        failures+=("$1")
    fi
}

check() { # name command…
    local name=$1
    shift
    printf '\n=== %s\n' "$name"
    "$@"
    count "$name" $?
}

finish() {
    [ "${#failures[@]}" = 0 ] || printf '\nfailed: %s\n' "${failures[@]}"
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    [ "$failed" = 0 ]
    exit
}

formatting() {
    scripts/setup.sh lint && cargo fmt --all --check
}

clippy() {
    scripts/setup.sh lint && cargo clippy --workspace --all-targets --locked -- -D warnings
}

dependency_rules() {
    scripts/setup.sh deny && cargo deny --locked check --hide-inclusion-graph licenses bans sources
}

# Totals come from the summary of each test binary and of the doc tests.
tests() {
    printf '\n=== tests\n'
    cargo test --workspace --locked --no-fail-fast 2>&1 | tee "$log"
    local exit_code=${PIPESTATUS[0]}
    scripts/count_tests.sh "$exit_code" <"$log" >"$log.counts"
    add_counts
}

# The Python package, with the command that cargo has just built. The counts are the last lines.
python_tests() {
    printf '\n=== python\n'
    scripts/python_tests.sh 2>&1 | tee "$log"
    grep -E '^(passed|failed) [0-9]+' "$log" >"$log.counts" || echo "failed 1 python tests without a summary" >"$log.counts"
    add_counts
}

# Adds lines such as "passed 3" and "failed 1 what" to the totals.
add_counts() {
    local kind number text
    while read -r kind number text; do
        case "$kind" in
        passed) passed=$((passed + number)) ;;
        failed) failed=$((failed + number)) && [ "$number" = 0 ] || failures+=("$number ${text:-tests}") ;;
        esac
    done <"$log.counts"
    rm -f "$log.counts"
}

if ! scripts/setup.sh test; then
    count "setup" 1
    finish
fi
check "formatting" formatting
tests
python_tests
check "clippy" clippy
check "layers" scripts/layers.sh
check "dependency rules" dependency_rules
finish

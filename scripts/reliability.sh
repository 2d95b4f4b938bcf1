#!/usr/bin/env bash
# Tries what must not break when Asof is operated, each by its tests and at their usual figures, and writes what was
# found to RELIABILITY.md. Arguments choose some by their names ("I18 soak"): of the others what was found last stays.
# ASOF_CASES (per cent of the usual cases), ASOF_FUZZ_SECONDS and ASOF_SOAK_SECONDS make it longer or shorter; of a run with
# fewer cases or less time nothing is written.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin LC_ALL=C
export ASOF_FUZZ_SECONDS=${ASOF_FUZZ_SECONDS:-20} ASOF_SOAK_SECONDS=${ASOF_SOAK_SECONDS:-600}
chosen=" $* "
found=${CARGO_TARGET_DIR:-target}/reliability
[ -z "${ASOF_CASES:-}" ] && [ "$ASOF_FUZZ_SECONDS" -ge 20 ] && [ "$ASOF_SOAK_SECONDS" -ge 600 ] || found=$(mktemp -d)
mkdir -p "$found"
commit=$(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ', with changes')

log=$(mktemp)
trap 'rm -f "$log"' EXIT
names=()
failed=0

try() { # name, what must not break, filters…: runs the tests that the filters name, and notes what they told
    local name=$1 what=$2 began=$SECONDS outcome passed tried filter
    shift 2
    names+=("$name")
    [ "$chosen" = "  " ] || [[ $chosen == *" $name "* ]] || return 0
    printf '=== %s: %s\n' "$name" "$what" >&2
    cargo test --workspace --locked --no-fail-fast -- --nocapture "$@" >"$log" 2>&1
    outcome=$?
    # A filter that names no test any more tries nothing.
    tried=$(grep -oE 'test [a-z_0-9:]+ ' "$log")
    for filter in "$@"; do
        [[ $tried == *"$filter"* ]] || { echo "no test is named $filter" >&2 && outcome=1; }
    done
    passed=$(awk '/^test result: / {passed += $4} END {print passed + 0}' "$log")
    if [ "$outcome" = 0 ] && [ "$passed" -gt 0 ]; then
        outcome="held"
    else
        outcome="**FAILED**"
        failed=$((failed + 1))
        grep -E 'panicked at|\.\.\. FAILED|^error' "$log" >&2
    fi
    {
        printf '\n## %s: %s\n\n' "$name" "$what"
        printf '%s; %d tests in %d s, commit %s.\n' "$outcome" "$passed" $((SECONDS - began)) "$commit"
        grep -oE '(figure: .*|not run: .*|fuzz .*: [0-9]+ inputs.*)' "$log" | sed 's/^figure: //' | sort |
            awk 'NR == 1 {print ""} {print "- " $0}'
    } >"$found/$name.md"
    cat "$found/$name.md" >&2
}

try I11 "what was acknowledged is durable, as named" \
    acknowledged_ each_acknowledged_event power:: though_the_server_is_killed
try I17 "a deletion is scoped, and listed first" \
    the_store_conforms one_server_conforms a_cluster_conforms removals_come_last removed
try I18 "corruption is named, never served" \
    corruption:: in_doubt:: damaged_tables:: flipped_bytes verify_names a_damaged_ damage_fails_only no_damage_is_more
try I19 "a disk that is full or fails: a clear error, nothing acknowledged lost, no surgery" \
    failing_disk:: disks::
try I20 "clocks that jump lose nothing" clocks:: a_clock_that
try I21 "bounded under abuse, work ends with its caller, and stopped within ten seconds" abuse:: cancelled:: stopping::
try I22 "no input ends it" fuzz
try Redis "on Redis: UNAVAILABLE in time, never \"not found\", back within five seconds" \
    outages:: an_accept_is_whole accepts_survive a_fold_is_whole a_load_that_was_cut redis::
try soak "under the load of a day no call fails and memory stays flat" soak::

report() {
    echo "# Reliability"
    echo
    echo "What must not break when Asof is operated, as \`make reliability\` last tried it: the tests are those of \`make test\`, at their"
    echo "usual figures, with the binary, disks, servers and clocks that they name. \`make planted\` plants bugs that they must catch."
    echo
    echo "- versions: $(rustc --version), $(redis-server --version | sed 's/^Redis server v=\([^ ]*\).*/redis-server \1/'), $(nats-server --version | sed 's/: v/ /')"
    echo "- machine: $(nproc) cores, $(awk '/MemTotal/ {printf "%.1f", $2 / 1048576}' /proc/meminfo) GiB memory, $(uname -sr)"
    echo "- profile: dev; fuzz targets of $ASOF_FUZZ_SECONDS s, a soak of $ASOF_SOAK_SECONDS s"
    for name in "${names[@]}"; do
        cat "$found/$name.md" || return
    done
}
if report >"$log" && [ "$found" = "${CARGO_TARGET_DIR:-target}/reliability" ]; then
    cat "$log" >RELIABILITY.md
else
    cat "$log"
fi
[ "$failed" = 0 ]

#!/usr/bin/env bash
# Plants each known bug of tests/planted/*.patch in a copy of the project and expects the command that
# its header names ("# caught by: cargo test …") to turn red: it must be green without the patch, and
# build with it. Arguments choose patches; without any, all are planted.
set -uo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR
CARGO_TARGET_DIR=$(mkdir -p "${CARGO_TARGET_DIR:-target}" && cd "${CARGO_TARGET_DIR:-target}" && pwd)
root=$PWD
# Named beside the crate under test, these select the features of the whole workspace, so that nothing
# of others is built a second time.
readonly WHOLE="--locked -p asof-cli -p asof-proto-gen -p asof-python"
copy=$CARGO_TARGET_DIR/planted/tree
products=$CARGO_TARGET_DIR/planted/target
log=$CARGO_TARGET_DIR/planted/log
patches=("$@")
[ "$#" -gt 0 ] || mapfile -t patches < <(compgen -G 'tests/planted/*.patch' | sort)
[ "${#patches[@]}" -gt 0 ] || { echo "error: no patches in tests/planted" >&2; exit 1; }

# A fresh copy with fresh times: a file that a patch touched last time must not look unchanged.
rm -rf "$copy" && mkdir -p "$copy"
# Products of its own, begun with those of third parties: to cargo, what is built of a copy with a bug in it
# could pass for a build of the project.
if [ ! -d "$products" ] && [ -d "$CARGO_TARGET_DIR/debug" ]; then
    mkdir -p "$products" && cp -a --reflink=auto "$CARGO_TARGET_DIR/debug" "$products"
fi
rm -rf "$products"/debug/.fingerprint/asof-* "$products"/debug/incremental
git ls-files -z --cached --others --exclude-standard | tar --null --files-from=- --ignore-failed-read -c 2>/dev/null |
    tar -x -m -C "$copy"

in_copy() { # command…, its output to the log
    (cd "$copy" && CARGO_TARGET_DIR=$products "$@") >"$log" 2>&1
}

declare -A green
baseline() { # command: whether it passes, with at least one test, where nothing is planted
    local command=$1
    if [ -z "${green[$command]:-}" ]; then
        green[$command]=no
        in_copy bash -c "$command" && grep -qE '^test result: ok\. [1-9]' "$log" && green[$command]=yes
    fi
    [ "${green[$command]}" = yes ]
}

plant() { # patch: prints what became of it
    local patch=$1 command
    command=$(sed -n 's/^# caught by: *//p' "$patch" | head -n 1)
    command=${command/#cargo test /cargo test $WHOLE }
    case "$command" in
    *[\;\&\|\`\$\<\>]*) echo "its header is not a plain cargo test command" && return 1 ;;
    "cargo test "*) ;;
    *) echo "no header \"# caught by: cargo test …\"" && return 1 ;;
    esac
    baseline "$command" || { echo "not green before planting: $command" && return 1; }
    GIT_CEILING_DIRECTORIES=$CARGO_TARGET_DIR in_copy git apply "$root/$patch" || { echo "does not apply" && return 1; }
    judge "$command"
    local caught=$?
    GIT_CEILING_DIRECTORIES=$CARGO_TARGET_DIR in_copy git apply -R "$root/$patch" ||
        { echo "error: could not take the patch out again" && exit 1; }
    return "$caught"
}

judge() { # command: whether the planted bug turns it red
    local command=$1 build=${1%% -- *}
    in_copy bash -c "$build --no-run" || { echo "does not build" && return 1; }
    in_copy bash -c "$command" && { echo "NOT CAUGHT by: $command" && return 1; }
    echo "caught"
}

bad=0
for patch in "${patches[@]}"; do
    printf '%s: ' "$(basename "$patch" .patch)"
    plant "$patch" || { bad=$((bad + 1)) && tail -n 15 "$log" | sed 's/^/    /'; }
done
printf '\n%d planted, %d caught\n' "${#patches[@]}" "$((${#patches[@]} - bad))"
[ "$bad" = 0 ]

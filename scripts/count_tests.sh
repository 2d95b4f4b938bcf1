#!/usr/bin/env bash
# Reads the output of `cargo test` and prints what it amounts to:
#   passed N
#   failed N tests
#   failed N test programs that ended without a summary (a crash, or code that does not build)
# The argument is cargo's exit code: a failure that no summary shows still counts.
set -euo pipefail
export LC_ALL=C
exec awk -v exit_code="${1:?the exit code of cargo test}" '
    /^test result: (ok|FAILED)\. [0-9]+ passed; [0-9]+ failed;/ {
        passed += $4
        failed += $6
        if ($3 == "FAILED.") red++
    }
    # With --no-fail-fast cargo names at the end the test programs that failed.
    /^error: [0-9]+ targets? failed:$/ { named = $2 }
    END {
        silent = named > red ? named - red : 0
        if (exit_code != 0 && failed + silent == 0) silent = 1
        if (exit_code == 0 && passed == 0) { silent = 1 }
        print "passed", passed + 0
        print "failed", failed + 0, "tests"
        print "failed", silent, "test programs that ended without a summary"
    }
'

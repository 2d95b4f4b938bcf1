#!/usr/bin/env bash
# The dependency rules and the security advisories. The advisories are fetched each time, into a
# directory of their own: an old copy must not pass for today's.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh deny

config=$(mktemp -d)
trap 'rm -rf "$config"' EXIT
sed "s|^\[advisories\]|[advisories]\ndb-path = \"$config/advisories\"|" deny.toml >"$config/deny.toml"

if ! cargo deny --locked --config "$config/deny.toml" check; then
    compgen -G "$config/advisories/*/crates" >/dev/null ||
        echo "error: the security advisories could not be fetched, so they were not checked; try again with access to them" >&2
    exit 1
fi

#!/usr/bin/env bash
# Checks what a build needs and installs what is missing, where it may; else names it and fails.
#   scripts/setup.sh           what `cargo build` needs
#   scripts/setup.sh lint      also rustfmt and clippy
#   scripts/setup.sh deny      also cargo-deny
#   scripts/setup.sh python    also python3 with venv
#   scripts/setup.sh redis     also that, and redis-server
#   scripts/setup.sh test      also nats-server and redis-server, which the tests start by themselves
set -euo pipefail
cd "$(dirname "$0")/.."

readonly CARGO_DENY=0.20.2

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 1
}

# True when version $1 is at least version $2.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    command -v rustc >/dev/null && command -v cargo >/dev/null ||
        fail "rustc and cargo were not found: install Rust $wanted or newer (with rustup, or as your system does)"
    found=$(rustc --version | cut -d ' ' -f 2)
    at_least "${found%%-*}" "$wanted" ||
        fail "rustc $found is too old: Asof needs $wanted or newer; with rustup: rustup update stable"
}

has_libclang() {
    local dir
    for dir in "${LIBCLANG_PATH:-}" /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu* /usr/lib64 /usr/lib /usr/local/lib; do
        [ -n "$dir" ] && compgen -G "$dir/libclang*.so*" | grep -qv 'libclang-cpp' && return 0
    done
    return 1
}

# bindgen also needs clang's own headers, which the bare library does not bring.
has_clang_headers() {
    local headers
    for headers in /usr/lib/llvm-*/lib/clang/*/include /usr/lib*/clang/*/include /usr/local/lib/clang/*/include; do
        [ -e "$headers/stddef.h" ] && return 0
    done
    [ -n "${LIBCLANG_PATH:-}" ]
}

missing_packages() {
    command -v "${CC:-cc}" >/dev/null || echo gcc
    command -v "${CXX:-c++}" >/dev/null || echo g++
    command -v make >/dev/null || echo make
    command -v git >/dev/null || echo git
    command -v pkg-config >/dev/null || echo pkg-config
    { has_libclang && has_clang_headers; } || echo libclang-dev
    if [ "${1:-}" = python ] || [ "${1:-}" = redis ]; then
        command -v python3 >/dev/null || echo python3
        python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    fi
    if [ "${1:-}" = test ] || [ "${1:-}" = redis ]; then
        command -v redis-server >/dev/null || echo redis-server
    fi
    [ "${1:-}" != test ] || command -v nats-server >/dev/null || [ -x /usr/sbin/nats-server ] || echo nats-server
}

install_packages() {
    local by=() packages=("$@")
    command -v apt-get >/dev/null ||
        fail "these are missing (by their Debian names): ${packages[*]}; install them and run this again"
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2>/dev/null ||
            fail "these packages are missing: ${packages[*]}; run: sudo apt-get install ${packages[*]}"
        by=(sudo -n)
    fi
    echo "installing ${packages[*]}"
    by+=(env DEBIAN_FRONTEND=noninteractive apt-get)
    "${by[@]}" update -qq || echo "apt-get update failed; trying with the package lists as they are" >&2
    "${by[@]}" install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
        fail "could not install ${packages[*]}: install them and run this again"
}

check_lint() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    command -v rustup >/dev/null || fail "rustfmt and clippy are missing: install them beside rustc"
    rustup component add rustfmt clippy || fail "could not add rustfmt and clippy: rustup component add rustfmt clippy"
}

check_deny() {
    [ "$(cargo deny --version 2>/dev/null)" = "cargo-deny $CARGO_DENY" ] && return
    echo "installing cargo-deny $CARGO_DENY, which takes some minutes once"
    # Apart from the project's target directory, so that neither disturbs the other.
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}-tools" \
        cargo install cargo-deny --version "$CARGO_DENY" --locked --force --quiet ||
        fail "could not install cargo-deny: cargo install cargo-deny --version $CARGO_DENY --locked"
}

check_rust
mapfile -t packages < <(missing_packages "${1:-}")
[ "${#packages[@]}" = 0 ] || install_packages "${packages[@]}"
case "${1:-}" in
lint) check_lint ;;
deny) check_deny ;;
esac

#!/usr/bin/env bash
# Shows that clippy refuses a machine that reads the clock: a copy of the sdk is given one, and must be refused for it.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$root"/{Cargo.toml,Cargo.lock,clippy.toml,paseo-sdk,paseo-daemon,paseo-cli,examples,tests,fuzz} "$copy"
cat >>"$copy/paseo-sdk/src/machine/turn.rs" <<'RUST'

/// Reads the clock, as no machine may.
#[must_use]
pub fn impure() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
RUST
if said=$(CARGO_TARGET_DIR="$root/target/purity" cargo clippy --manifest-path "$copy/Cargo.toml" --locked --quiet \
    --package paseo-sdk --no-default-features --features machines 2>&1); then
    echo "a machine that reads the clock was not refused" >&2
    exit 1
fi
if ! grep --max-count=1 --after-context=6 'disallowed method `std::time::SystemTime::now`' <<<"$said"; then
    printf 'clippy failed for another reason:\n%s\n' "$said" >&2
    exit 1
fi

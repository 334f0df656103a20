#!/usr/bin/env bash
# Runs the README's first command as a new user would: in a fresh clone, with an empty home.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
export PASEO_HOME="$place/home" PASEO_LISTEN=127.0.0.1:0 CARGO_TARGET_DIR="$root/target"
finish() {
    (cd "$place/clone" && cargo run --quiet --bin paseo -- daemon stop --with-agents --yes) || true
    rm -rf "$place"
}
git clone --quiet "$root" "$place/clone"
trap finish EXIT
cd "$place/clone"
# The first block of the README that calls `paseo run` is the command.
command=$(awk '/^```/ { inside = !inside; next } inside && /--bin paseo -- run/ { found = 1 } inside && found { print } found && !inside { exit }' README.md)
printf '%s\n' "$command"
bash -c "$command" | tee "$place/said"
grep --quiet 'hello from' "$place/said"
test -f "$PASEO_HOME"/worktrees/*/feat-hello/hello.txt

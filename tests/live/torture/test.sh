#!/bin/bash
# See desc.
set -u
here=$(dirname "$(readlink -f "$0")")
cd "$here/../../.." || exit 1
for tool in repave-analyze repave-apply jq gcc; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export KEEP=$work/kept

SEEDS=2 LIVE_RUNS=1 EXEC_SEEDS=1 JOBS=2 tests/torture/programs/run gzip bash >"$work/table" 2>"$work/log"
status=$?
cat "$work/log" "$work/table"
((status == 0)) || exit 1
# Each sink moved something.
awk '$1 == "gzip" || $1 == "bash" { n++; if ($2 < 100 || $4 != 2 || $6 < 1 || $7 < 1 || $9 != 1 || $10 < 20) bad = 1 } END { exit bad || n != 2 }' "$work/table" ||
	{ echo 'a sink did not do its part'; exit 1; }

# What a move does change is seen, and the function to blame is found.
WORK=$here/work tests/torture/programs/bisect asks 1 asks >"$work/log" 2>&1
status=$?
cat "$work/log"
((status == 0)) && grep -q '^function .* f37$' "$work/log" || { echo 'the function to blame was not found'; exit 1; }

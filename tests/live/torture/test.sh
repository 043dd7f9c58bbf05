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

export WORK=$here/workloads
SEEDS=2 LIVE_RUNS=1 EXEC_SEEDS=1 tests/torture/programs/run few >"$work/table" 2>"$work/log"
status=$?
cat "$work/log" "$work/table"
((status == 0)) || exit 1
# Each sink moved something.
awk '$1 == "few" { n++; if ($2 < 2000 || $4 != 2 || $6 < 1 || $7 < 1 || $9 != 1 || $10 < 7) bad = 1 } END { exit bad || n != 1 }' "$work/table" ||
	{ echo 'a sink did not do its part'; exit 1; }

# refused PROGRAM TEXT: nothing can be learned from it, and that is said
refused() {
	tests/torture/programs/run "$1" >/dev/null 2>"$work/log"
	status=$?
	((status == 1)) && grep -q "$2" "$work/log" || { cat "$work/log"; echo "$1: exit $status, not refused"; exit 1; }
}
SEEDS=1 refused liar 'unmoved it does not do what it should'
SEEDS=1 SINKS=live LIVE_RUNS=1 refused asks 'the live sink moved nothing'

# What a move does change is seen, and the function to blame is found, in one of the layouts: not all have the call.
for seed in {3..12}; do
	tests/torture/programs/bisect asks "$seed" asks >"$work/log" 2>&1
	status=$?
	((status == 1)) || break
done
cat "$work/log"
((status == 0)) && grep -q '^function .* f37$' "$work/log" || { echo 'the function to blame was not found'; exit 1; }

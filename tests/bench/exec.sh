#!/bin/bash
# What `repave-apply exec` adds to the start of a program: RUNS (60) runs each, in turn, of a command alone, without a plan that is for it,
# and with one. Milliseconds of wall time, least and median; what the report says of the last run. Default command: /bin/true, with
# a plan for all of it in random order.
#   tests/bench/exec.sh [PLAN CMD [ARGUMENT...]]
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
PATH=$PWD/${B:-build/gcc}:$PATH
runs=${RUNS:-60}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# other PLAN: of a program that nobody runs here
plan_of() {
	repave-analyze map -o "$work/map.rmap" "$(readlink -f "$1")" >/dev/null 2>&1
	repave-analyze plan --torture 1 -o "$2" "$work/map.rmap" >/dev/null 2>&1
}
plan=${1:-$work/plan.rplan}
shift || true
if (($# == 0)); then
	set -- /bin/true
	plan_of /bin/true "$plan"
fi
plan_of /bin/false "$work/other.rplan"

# once NAME COMMAND...: appends "NAME ms"
once() {
	local name=$1 begin end
	shift
	begin=$(date +%s%N)
	"$@" >/dev/null 2>&1 </dev/null || true
	end=$(date +%s%N)
	echo "$name $(((end - begin) / 1000))" >>"$work/times"
}
for ((i = 0; i < runs; i++)); do
	once alone "$@"
	once 'no_plan_for_it' repave-apply exec -q --no-follow --plan "$work/other.rplan" -- "$@"
	once 'with_plan' repave-apply exec -q --without-unwind --report "$work/report" --plan "$plan" -- "$@"
done
sort -k1,1 -k2,2n "$work/times" | awk '
	$1 != name { if (name) print_name(); name = $1; count = 0 }
	{ value[++count] = $2 }
	function print_name() { printf "%-16s least %8.2f ms, median %8.2f ms\n", name, value[1] / 1000, value[int((count + 1) / 2)] / 1000 }
	END { print_name() }'
jq -s 'map(select(.outcome == "applied")) | "held \(map(.held_ms) | min) ms at least, of it applying \(map(.apply_ms) | min) ms; \(.[0].patches) patches"' "$work/report" -r

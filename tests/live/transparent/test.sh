#!/bin/bash
# See desc. TRANSPARENT_ROUNDS (5): rounds of apply, verify and undo.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
many=${TRANSPARENT_ROUNDS:-5}

# cycle N: so many rounds of apply, verify, undo
cycle() {
	local turn
	for ((turn = 1; turn <= $1; turn++)); do
		repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
		repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
		repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
		grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	done
}

build_victim limits.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim" 2
cycle "$many"
wait "$victim"
status=$?
victim=
[ "$SECONDS" -lt 30 ] && [ "$status" = 0 ] || fail "waits with a limit: exit $status"
cat "$work/out"

build_victim calls.c calls_descriptors.c calls_others.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"

# table NAME: releases all calls; "call|early" per line into $work/NAME
table() {
	kill -USR2 "$victim"
	for _ in $(seq 500); do
		grep -q '^released' "$work/out" && break
		sleep 0.01
	done
	grep -q '^released' "$work/out" || fail "the victim does not answer"
	grep WRONG "$work/out" && fail "wrong results ($1)"
	sed -n 's/^\(.*\): early \([0-9]*\), then .*/\1|\2/p' "$work/out" >"$work/$1"
	finish
}
victim "$work/victim"
cycle "$many"
rounds hidden
early=$count
table hidden
victim "$work/victim"
export REPAVE_SHOW_STOPS=1
cycle 1
unset REPAVE_SHOW_STOPS
table shown

echo "calls that came back early: name, stops shown, stops hidden"
paste -d "|" "$work/shown" "$work/hidden" | awk -F "|" '{ printf "%-28s %3d %3d\n", $1, $2, $4 }'
[ "$early" = 0 ] || fail "$early calls came back"
[ "$(wc -l <"$work/hidden")" -ge 48 ] || fail "not all calls reported"
# Seventeen kinds, of which each must have been seen to come back when stops show: else this test would not tell.
shown=$(awk -F '|' '$2 > 0' "$work/shown" | wc -l)
[ "$shown" -ge 17 ] || fail "only $shown kinds of calls show a stop"

#!/bin/bash
# See desc. PLACES_ROUNDS (6): rounds of apply, verify and undo.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
progress before
grep -q '^State:.Z' "/proc/$victim/status" || fail "the first thread has not exited"
remember masks # handlers run all the time
for turn in $(seq "${PLACES_ROUNDS:-6}"); do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	rounds "applied $turn"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status $turn: exit $?"
	for try in 1 2 3 4 5; do
		repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
		grep -q "nothing of ours remains" "$work/log" && break
	done
	grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	rounds "undone $turn"
done
progress after
# The number of a process whose first thread has exited still names its memory.
pristine after --padding
kill -USR2 "$victim"
sleep 0.2
grep 'times$' "$work/out"
finish

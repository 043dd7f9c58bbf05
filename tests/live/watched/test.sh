#!/bin/bash
# See desc. WATCHED_ROUNDS (5): rounds of apply, verify and undo.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
if ! kill -0 "$victim" 2>/dev/null; then
	wait "$victim"
	[ $? = 77 ] || fail "the victim does not run"
	victim=
	tail -n 1 "$work/out"
	exit 77
fi
progress before
remember masks # its traps are signals
for turn in $(seq "${WATCHED_ROUNDS:-5}"); do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	progress "applied $turn"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
	kill -USR2 "$victim"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	progress "undone $turn"
done
pristine after --padding
finish
tail -n 2 "$work/out"

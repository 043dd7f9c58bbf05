#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim" 16
progress "before"
restored "before" --padding
remember
for turn in $(seq 10); do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	progress "applied $turn"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	pristine "undone $turn" --padding
	progress "undone $turn"
done
finish

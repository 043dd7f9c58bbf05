#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
for _ in $(seq 100); do
	worker=$(grep -l '^iou-wrk' "/proc/$victim/task/"*/comm 2>/dev/null) && break
	kill -0 "$victim" 2>/dev/null || break
	sleep 0.02
done
if [ -z "$worker" ]; then
	wait "$victim"
	[ $? = 77 ] && victim= && echo "no io_uring" && exit 77
	fail "no worker"
fi
progress before
remember
for turn in 1 2 3; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	progress "applied $turn"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	same "undone $turn"
done
pristine after --padding
[ -e "$worker" ] || fail "the worker is gone"
finish

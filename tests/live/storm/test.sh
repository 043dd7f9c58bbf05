#!/bin/bash
# See desc. STORM_CYCLES (15): rounds of apply, verify, undo; each attaches to the process about six times.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
progress before
remember maps threads masks # threads are born and end all the time
rounds before
first=$count busy=0 kept=0 started=$SECONDS
# Threads that are made as fast as they can be may keep one try from stopping them all.
run() {
	local try status
	for ((try = 0; try < 20; try++)); do
		repave-apply "$1" -p "$victim" "${@:2}" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || break
		busy=$((busy + 1))
	done
	[ "$status" = 0 ] || fail "$1: exit $status"
}
for turn in $(seq "${STORM_CYCLES:-15}"); do
	run apply --max-pause 1000 "$work/plan"
	run verify
	for try in 1 2 3 4 5; do # a thread that is being born cannot be followed; on a busy machine that may take its time
		run undo --max-pause 1000
		grep -q "nothing of ours remains" "$work/log" && break
		kept=$((kept + 1))
	done
	grep -q "nothing of ours remains" "$work/log" || fail "image kept in turn $turn"
	rounds "turn $turn"
done
progress after
pristine after --padding
rounds after
echo "$((count - first)) threads ended in $((SECONDS - started)) s; busy $busy times, image kept at first $kept times"
finish

#!/bin/bash
# See desc. EXECS_SECONDS (3): how long.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
declare -A seen
longest=0
# run VERB ARGUMENTS...
run() {
	local status begin took
	begin=$(date +%s%N)
	timeout -k 1 20 repave-apply "$1" -p "$victim" "${@:2}" >"$work/log" 2>&1
	status=$?
	took=$((($(date +%s%N) - begin) / 1000000))
	[ "$took" -le "$longest" ] || longest=$took
	seen["$1 $status"]=$((${seen["$1 $status"]:-0} + 1))
	case $status in
	0 | 5 | 75) ;;
	1) [ "$1" = verify ] || fail "$1: exit $status" ;;
	*) fail "$1: exit $status" ;;
	esac
}
rounds before
remember maps threads masks arguments # it executes itself all the time, and tells itself how often
first=$count end=$((SECONDS + ${EXECS_SECONDS:-3}))
while [ "$SECONDS" -lt "$end" ]; do
	run apply --max-pause 1000 "$work/plan"
	run verify
	run undo --max-pause 1000
done
rounds after
# At given steps: exec waits for the other threads to be gone, those for the tool that traces them to take notice, and the tool waits here.
for ((step = 1 + RANDOM % 9; step < 110; step += 9)); do
	held "$step" apply "$work/plan"
	sleep 0.08
	kill -CONT "$tool" 2>/dev/null
	wait "$tool"
	case $? in
	0 | 5 | 75) ;;
	*) fail "apply that waited at step $step: exit $?" ;;
	esac
	rounds "step $step"
	repave-apply undo -p "$victim" --max-pause 1000 >"$work/log" 2>&1
done
for key in "${!seen[@]}"; do
	echo "${seen[$key]} times $key"
done | sort -k 3
echo "executed $((count - first)) times meanwhile; the longest run took $longest ms"
[ "$((count - first))" -gt "$((${EXECS_SECONDS:-3} * 5))" ] || fail "exec was held up"
[ "${seen["apply 0"]:-0}" -gt 0 ] || fail "never applied"
kill -USR2 "$victim"
sleep 0.2
repave-apply undo -p "$victim" >"$work/log" 2>&1
pristine after
finish

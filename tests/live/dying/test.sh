#!/bin/bash
# See desc. DYING_STEP (7): every so many steps.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
died=0 completed=0
# Sweeps the steps of apply and of undo: the target is killed just before the n-th ptrace call or write.
dies() {
	local step=$1 status
	shift
	REPAVE_FAULT=$step:$victim timeout -k 1 20 repave-apply "$@" -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	status=$?
	case $status in
	0) completed=$((completed + 1)) ;;
	5) died=$((died + 1)) ;;
	*) fail "$1 of a target killed at step $step: exit $status" ;;
	esac
	kill_victim
}
for step in $(seq 1 "${DYING_STEP:-7}" 110); do
	victim "$work/victim" 16 2>/dev/null
	dies "$step" apply "$work/plan"
	victim "$work/victim" 16 2>/dev/null
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
	dies "$step" undo
done
echo "gone in the middle $died times, completed before $completed times"
((died > 10)) || fail "the target hardly ever died in the middle"

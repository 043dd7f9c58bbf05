#!/bin/bash
# See desc. KILLED_STEP=1 tries every step; the default tries every third, starting at a random one, to be quick.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
"$work/handplan" "$work/victim" "$work/plan" --big yes || fail "no plan"
victim "$work/victim" 8
step=${KILLED_STEP:-3}
tried=0

# sweep NAME COMMAND...: kills the command at step n, n+step, ... until it gets through; recover_NAME checks and puts things right each time.
sweep() {
	local name=$1 n status
	shift
	for ((n = 1 + RANDOM % step; n < 5000; n += step)); do
		prepare_"$name" "$n"
		REPAVE_FAULT=$n repave-apply "$@" >"$work/log" 2>&1
		status=$?
		tried=$((tried + 1))
		rounds "$name killed at $n"
		grep -q "THP_enabled:.*1" "/proc/$victim/status" && fail "$name killed at $n: huge pages are allowed now"
		[ "$((n % 5))" = 0 ] && progress "$name killed at $n"
		recover_"$name" "$n"
		[ "$status" = 0 ] && break
		[ "$status" = 137 ] || fail "$name with fault $n: exit $status"
	done
	[ "$status" = 0 ] || fail "$name never got through"
	echo "$name: killed at up to step $n"
}

undo() {
	local status
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	status=$?
	case $status in
	0) grep -q "nothing of ours remains" "$work/log" || fail "$1: image kept" ;;
	5) grep -q "nothing is applied" "$work/log" || fail "$1: undo refused" ;;
	*) fail "$1: undo exit $status" ;;
	esac
}

prepare_apply() { :; }
recover_apply() {
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status after $1: exit $?"
	if [ "$(($1 % 2))" = 0 ]; then
		undo "recovering from $1"
	else
		# A later apply takes the leftovers back by itself, unless the killed one had been done.
		repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 ||
			grep -q "applied already" "$work/log" || fail "apply after $1: exit $?"
		repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify after $1"
		undo "after $1"
	fi
	rounds "recovered from $1"
	pristine_text "recovered from $1"
}
prepare_undo() {
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply before $1: exit $?"
}
recover_undo() {
	undo "recovering from $1"
	pristine_text "recovered from $1"
}

pristine_text() {
	pristine "$1"
}

progress "before"
sweep apply apply -p "$victim" --max-pause 2000 "$work/plan"
sweep undo undo -p "$victim" --max-pause 2000
progress "after"
finish
echo "$tried kills"

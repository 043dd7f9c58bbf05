#!/bin/bash
# See desc. STARVED_STEP=1 tries every allocation; the default every seventh, starting at a random one, to be quick.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
gcc -O1 -shared -fPIC -o "$work/failing.so" ../../cli/failing.c -ldl >"$work/log" 2>&1 || fail "failing.so does not build"
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
step=${STARVED_STEP:-7}
victim "$work/victim" 6
progress before
remember
export FAIL_COUNT=$work/count
declare -A said
left=0

apply() {
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
}
# undo WHEN: it is undone, or there is nothing to be undone; sets $status
undo() {
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	status=$?
	[ "$status" = 0 ] || { [ "$status" = 5 ] && grep -q "nothing is applied" "$work/log"; } || fail "undo, $1: exit $status"
	[ "$status" = 5 ] || grep -q "nothing of ours remains" "$work/log" || fail "image kept ($1)"
	pristine "$1" --padding
}
verb() {
	case $1 in
	apply) echo "apply -p $victim --max-pause 2000 $work/plan" ;;
	undo) echo "undo -p $victim --max-pause 2000" ;;
	*) echo "$1 -p $victim" ;;
	esac
}
# starve VERB HOW...: runs it so; whatever it says, the target works and has all of the plan or nothing of it
starve() {
	local what="$1 with ${*:2}"
	[ "$1" = apply ] || apply
	# shellcheck disable=SC2046
	env -u REPAVE_WITNESS "${@:2}" repave-apply $(verb "$1") >"$work/tool.out" 2>"$work/tool.log" # the comparer takes memory of its own
	got=$?
	said["$1, exit $got"]=$((${said["$1, exit $got"]:-0} + 1))
	case $got in
	0) ;;
	4 | 70) [ "$(wc -l <"$work/tool.log")" = 1 ] || fail "$what: exit $got and not one line: $(cat "$work/tool.log")" ;;
	*) fail "$what: exit $got: $(cat "$work/tool.log")" ;;
	esac
	rounds "$what"
	repave-apply status -p "$victim" >"$work/status" 2>&1 || fail "status after $what: exit $?"
	case $(head -n 1 "$work/status") in
	*"not applied"*) [ "$1" = undo ] || [ "$1$got" != apply0 ] || fail "$what: exit 0 and not applied" ;;
	*": applied"*) repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify after $what: exit $?" ;;
	*": half applied, nothing redirected yet"* | *": being undone, image not freed yet"* | *": undone, image kept"*) left=$((left + 1)) ;;
	*) fail "$what: status says $(head -n 1 "$work/status")" ;;
	esac
	[ "$1$got" != undo0 ] || pristine "$what" --padding
	undo "after $what"
	[ "$1$got" != undo0 ] || [ "$status" = 5 ] || fail "$what: exit 0 and not all undone"
}

for verb in apply status verify undo; do
	[ "$verb" = apply ] || apply
	# shellcheck disable=SC2046
	LD_PRELOAD=$work/failing.so repave-apply $(verb "$verb") >"$work/log" 2>&1 || fail "$verb: exit $?"
	[ "$verb" = undo ] || undo "before"
	allocations=$(cat "$work/count")
	[ "$allocations" -gt 10 ] || fail "$verb allocates only $allocations times"
	echo "$verb: $allocations allocations"
	for ((n = 1 + RANDOM % step; n <= allocations; n += step)); do
		before=$left
		starve "$verb" env FAIL_ALLOCATION="$n" LD_PRELOAD="$work/failing.so"
		[ "$verb" != apply ] || [ "$left" = "$before" ] || fail "apply could have taken back what it did before allocation $n failed"
		starve "$verb" env FAIL_ALLOCATIONS="$n" LD_PRELOAD="$work/failing.so"
	done
	for most in 4 5 6 8 11; do # with fewer no library can be loaded
		starve "$verb" prlimit --nofile="$most"
	done
	starve "$verb" env FAIL_INTERRUPT=1 LD_PRELOAD="$work/failing.so"
	[ "$got" = 0 ] || fail "$verb, interrupted: exit $got: $(cat "$work/tool.log")"
	starve "$verb" env FAIL_CLOCK=1 LD_PRELOAD="$work/failing.so"
	[ "$got" = 0 ] || fail "$verb, while the clock jumps: exit $got: $(cat "$work/tool.log")"
done
unset FAIL_COUNT
progress after
for key in "${!said[@]}"; do
	echo "${said[$key]} times $key"
done | sort -k 3
echo "leftovers that status told of and the next undo took away: $left times"
finish

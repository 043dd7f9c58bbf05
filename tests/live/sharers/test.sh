#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
start_asking "$work/victim"

# tool VERB [ARG...]: sets $status; within three seconds
tool() {
	timeout -k 1 10 repave-apply "$1" -p "$victim" --max-pause 500 "${@:2}" >"$work/log" 2>&1
	status=$?
}
undo() {
	for _ in $(seq 50); do
		tool undo
		[ "$status" = 0 ] && grep -q "nothing of ours remains" "$work/log" && return
		[ "$status" = 0 ] || [ "$status" = 75 ] || fail "undo: exit $status ($1)"
	done
	fail "never undone ($1)"
}

remember children maps # it has some, for a moment, on stacks that it maps
ask share
sharer=${answer#sharing }
tool apply "$work/plan"
[ "$status" = 5 ] && grep -q "shares its memory with process $sharer" "$work/log" || fail "apply to a shared memory: exit $status"
pristine "refused" --padding
ask alone
tool apply "$work/plan"
[ "$status" = 0 ] || fail "apply after the sharer is gone: exit $status"
ask share
tool undo
[ "$status" = 5 ] && grep -q "shares its memory with process" "$work/log" || fail "undo of a shared memory: exit $status"
repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify after a refused undo"
ask alone
undo "after the sharer is gone"
pristine "undone" --padding

ask vfork
sleep 0.1
before=$SECONDS
tool apply "$work/plan"
[ "$status" = 5 ] || [ "$status" = 75 ] || fail "apply beside a thread in vfork: exit $status"
[ "$((SECONDS - before))" -le 8 ] || fail "apply waited for $((SECONDS - before)) s"
pristine "beside vfork" --padding
sleep 1.2

for kind in spawn flash; do
	applied=0
	ask $kind
	for turn in $(seq 6); do
		tool apply "$work/plan"
		case $status in
		0)
			applied=$((applied + 1))
			ask rounds
			undo "$kind $turn"
			;;
		5) grep -q "shares its memory" "$work/log" || fail "apply, $kind: exit 5" ;;
		75) ;;
		*) fail "apply, $kind: exit $status" ;;
		esac
	done
	ask quiet
	echo "$kind: applied $applied times of 6, $answer"
	[ "$applied" -gt 0 ] || [ "$kind" = flash ] || fail "never applied beside short-lived children ($kind)"
	pristine "after $kind" --padding
done
same "at the end"
end_asking

#!/bin/bash
# See desc. The first part needs a pid namespace of its own, to choose numbers in; there this script is run with the argument "inside".
set -u
cd "$(dirname "$0")" || exit 1
if [ "${1:-}" != inside ]; then
	user=()
	[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
	unshare "${user[@]}" true 2>/dev/null || { echo "no namespaces for this user"; exit 77; }
	exec unshare "${user[@]}" --pid --fork --mount-proc --kill-child bash "$PWD/test.sh" inside
fi
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
[ -w /proc/sys/kernel/ns_last_pid ] || { echo "numbers cannot be chosen"; exit 77; }

# Without randomisation the next process has everything where this one has it.
start() {
	setarch -R "$work/victim" 4 >"$work/out" 2>&1 &
	victim=$!
	for _ in $(seq 200); do
		[ "$(cat "/proc/$victim/comm")" = victim ] && [ "$(ls "/proc/$victim/task" | wc -l)" = 5 ] && remember && return
		sleep 0.01
	done
	fail "the victim does not start"
}

# As it was made, with no plan.
untouched() {
	rounds "$1"
	pristine "$1" --padding
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status: exit $? ($1)"
	grep -q "not applied" "$work/log" || fail "somebody applied a plan to it ($1)"
}

# replace_at STEP COMMAND...: 1 when the command ends before that step. While the tool is attached to a thread, the number stays taken: then let it go on.
reused=0 attached=0
replace_at() {
	local old=$victim status
	if ! held "$1" "${@:2}"; then
		wait "$tool"
		return 1
	fi
	if cat /proc/"$victim"/task/*/status | grep '^TracerPid' | grep -qv '[^0-9]0$'; then
		attached=$((attached + 1))
		kill -CONT "$tool"
		wait "$tool" || fail "$2 that waited at step $1: exit $?"
		return 0
	fi
	kill -9 "$victim"
	wait "$victim" 2>/dev/null
	echo $((old - 1)) >/proc/sys/kernel/ns_last_pid
	start
	[ "$victim" = "$old" ] || fail "the number $old was not free at step $1 of $2"
	reused=$((reused + 1))
	kill -CONT "$tool"
	wait "$tool"
	status=$?
	[ "$status" = 5 ] || fail "$2 whose target was replaced at step $1: exit $status: $(cat "$work/tool.log")"
	untouched "replaced at step $1 of $2"
}
undo() {
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || grep -q "nothing is applied" "$work/log" || fail "undo: exit $?"
}
start
for ((step = 1; step < 200; step++)); do
	replace_at "$step" apply "$work/plan" || break
	undo
done
undo
for ((step = 1; step < 200; step++)); do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
	replace_at "$step" undo || break
	undo
done
echo "number taken by another at $reused steps; the tool was attached to the target, which keeps the number, at $attached"
[ "$reused" -ge 4 ] || fail "the number was hardly ever taken"

# Two at once, at several steps; the second changes nothing and the first ends well.
kill -9 "$victim"
start
refused=0
for step in 2 20 40 60; do
	held "$step" apply "$work/plan" || fail "apply ends before step $step"
	for namespace in "" "unshare --net" "unshare --net --mount-proc"; do
		for verb in status "undo --max-pause 2000" verify "apply $work/plan"; do
			$namespace repave-apply $verb -p "$victim" >"$work/log" 2>&1
			status=$?
			[ "$status" = 75 ] && grep -q "another repave-apply" "$work/log" || fail "$namespace $verb beside another: exit $status"
			refused=$((refused + 1))
		done
	done
	kill -CONT "$tool"
	wait "$tool" || fail "the first ended with exit $?"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo: exit $?"
	untouched "after two tools"
done
# All at once: one after the other gets through, and never two.
for _ in 1 2 3 4 5 6; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >/dev/null 2>&1 &
	repave-apply undo -p "$victim" --max-pause 2000 >/dev/null 2>&1 &
done
wait -n
for job in $(jobs -p | grep -v "^$victim$"); do
	wait "$job"
	case $? in 0 | 5 | 75) ;; *) fail "one of many: exit $?" ;; esac
done
repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
untouched "after many tools"
progress "at the end"
echo "$refused times refused beside another"
finish

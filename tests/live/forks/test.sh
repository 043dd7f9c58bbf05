#!/bin/bash
# See desc. FORKS_ROUNDS (5): rounds of apply and undo beside a storm of forks.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
start_asking "$work/victim"
parent=$victim children=()
trap 'kill -9 $victim "${children[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# tool PID VERB [ARG...]: a thread in vfork cannot be stopped, and while a new process shares the memory nothing is: then again
tool() {
	local try
	for ((try = 0; try < 60; try++)); do
		timeout -k 1 20 repave-apply "$2" -p "$1" "${@:3}" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || { [ "$status" = 5 ] && grep -q "shares its memory" "$work/log"; } || break
	done
	[ "$status" = 0 ] || fail "$2 of $1: exit $status"
}
undo() {
	local try
	for ((try = 0; try < 20; try++)); do
		tool "$1" undo --max-pause 2000
		grep -q "nothing of ours remains" "$work/log" && return
	done
	fail "image kept ($2)"
}
# says PID TEXT: status does
says() {
	repave-apply status -p "$1" >"$work/log" 2>&1 || fail "status of $1: exit $?"
	head -n 1 "$work/log" | grep -q -- "$2" || fail "status of $1 does not say \"$2\""
}
is_pristine() {
	"$work/pristine" "$1" --padding >"$work/log" 2>&1 || fail "not as it was ($2): $(cat "$work/log")"
	[ "$1" != "$parent" ] || victim=$parent same "$2"
}
works() {
	local first
	ask rounds
	first=${answer#rounds }
	for _ in $(seq 300); do
		sleep 0.02
		ask rounds
		[ "${answer#rounds }" -gt "$first" ] && return
	done
	fail "it makes no more children ($1)"
}
# As in live.sh, where a child may speak in between.
ask() {
	local before
	before=$(grep -vc 'child rounds' "$work/out")
	echo "$1" >&3
	for _ in $(seq 500); do
		[ "$(grep -vc 'child rounds' "$work/out")" -gt "$before" ] && break
		sleep 0.01
	done
	answer=$(grep -v 'child rounds' "$work/out" | tail -n 1)
	grep -q WRONG "$work/out" && fail "$1"
	[ "$(grep -vc 'child rounds' "$work/out")" -gt "$before" ] || fail "no answer to $1"
}
new_child() {
	ask child
	child=${answer#child }
	children+=("$child")
}
child_works() {
	local before
	before=$(grep -c 'child rounds' "$work/out")
	for _ in $(seq 500); do
		[ "$(grep -c 'child rounds' "$work/out")" -gt "$before" ] && return
		sleep 0.01
	done
	fail "the child does not get on ($1)"
}
end_child() {
	kill -9 "$child"
	children=()
}

works before
remember children maps masks # children come and go, some on stacks that it maps
for turn in $(seq "${FORKS_ROUNDS:-5}"); do
	tool "$parent" apply --max-pause 2000 "$work/plan"
	works "applied $turn"
	tool "$parent" verify
	undo "$parent" "turn $turn"
	is_pristine "$parent" "turn $turn"
done

# A child has the plan as its parent; undone in the child first, then in the parent first.
for first in child parent; do
	tool "$parent" apply --max-pause 2000 "$work/plan"
	new_child
	child_works "with its parent's plan"
	says "$child" ": applied, .*, inherited by fork"
	tool "$child" verify
	[ "$first" = child ] && undo "$child" "child first" || undo "$parent" "parent first"
	[ "$first" = child ] && says "$parent" ": applied" || says "$child" ": applied"
	[ "$first" = child ] && tool "$parent" verify || tool "$child" verify
	child_works "one of both undone, $first first"
	works "one of both undone, $first first"
	[ "$first" = child ] && undo "$parent" "parent last" || undo "$child" "child last"
	is_pristine "$child" "child, $first first"
	is_pristine "$parent" "parent, $first first"
	child_works "both undone"
	end_child
done

# Born while the tool is at work on its parent: whatever it got, undo takes it out.
for step in $((2 + RANDOM % 8)) $((20 + RANDOM % 15)) $((45 + RANDOM % 10)); do
	victim=$parent
	held "$step" apply "$work/plan" || fail "apply ends before step $step"
	born=$(grep -c '^child [0-9]' "$work/out")
	echo child >&3 # answered at once, or when it goes on
	sleep 0.1
	kill -CONT "$tool"
	wait "$tool"
	status=$?
	[ "$status" = 0 ] || [ "$status" = 75 ] || { [ "$status" = 5 ] && grep -q "shares its memory" "$work/tool.log"; } ||
		fail "apply that waited at step $step: exit $status"
	for _ in $(seq 500); do
		[ "$(grep -c '^child [0-9]' "$work/out")" -gt "$born" ] && break
		sleep 0.01
	done
	[ "$(grep -c '^child [0-9]' "$work/out")" -gt "$born" ] || fail "no child at step $step"
	child=$(grep '^child [0-9]' "$work/out" | tail -n 1 | cut -d ' ' -f 2)
	children+=("$child")
	child_works "born at step $step"
	repave-apply status -p "$child" >"$work/log" 2>&1 || fail "status of a child born at step $step: exit $?"
	for who in "$child" "$parent"; do
		repave-apply undo -p "$who" --max-pause 2000 >"$work/log" 2>&1 || grep -q "nothing is applied" "$work/log" || undo "$who" "step $step"
	done
	is_pristine "$child" "born at step $step"
	is_pristine "$parent" "step $step"
	child_works "undone, born at step $step"
	end_child
done

# The process executes a program: that has nothing, and takes a plan of its own.
tool "$parent" apply --max-pause 2000 "$work/plan"
ask become
says "$parent" "not applied"
works "executed anew"
remember children maps masks
is_pristine "$parent" "executed anew"
tool "$parent" apply --max-pause 2000 "$work/plan"
works "executed anew and applied"
undo "$parent" "at last"
is_pristine "$parent" "at last"
end_asking

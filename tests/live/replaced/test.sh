#!/bin/bash
# See desc. REPLACED_STEP=1: killed at every step, not at every sixth. REPLACED_ROUNDS=N: so often at random, not 3 times.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
for tool in g++ jq; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
build_lib

run() {
	repave-apply "$1" -p "$victim" --max-pause 2000 "${@:2}" >"$work/log" 2>&1 || fail "$*: exit $?"
}
# states: what the process has of ours, sorted
states() {
	repave-apply status --json -p "$victim" | jq -r '[.plans[].state] | sort | join(" ")'
}
expect() {
	local now
	now=$(states)
	[ "$now" = "$1" ] || fail "$2: the plans are '$now', not '$1'"
}
# kept NUMBER TEXT: undo, and so many images stay
kept() {
	run undo
	[ "$(states | wc -w)" = "$1" ] || fail "$2: not $1 images stay, but $(states)"
}
caught() {
	ask "$1"
	[ "$answer" = caught ] || fail "$1: $answer ($2)"
}

g++ -O2 -Wl,--build-id -o "$work/victim" victim.cc >"$work/log" 2>&1 || fail "the victim does not build"
mapfile -t files < <(ldd "$work/victim" | awk '/lib(c|gcc_s|stdc\+\+)\.so/ { print $3 }')
repave-analyze map -o "$work/" "$work/victim" "${files[@]}" >"$work/log" 2>&1 || fail "map"
for seed in 1 2 3; do
	repave-analyze plan --torture $seed --modules victim -o "$work/plan$seed" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan $seed"
done
start_asking "$work/victim"
for n in 0 1 2; do # so that the stacks are touched
	ask "begin $n"
	caught "end $n" "at first"
done
remember

# One after the other, each for another coroutine.
run apply "$work/plan1"
ask "begin 0"
kept 1 "coroutine 0 in the first"
run apply --dry-run "$work/plan2"
expect undoing "after a dry run"
run apply "$work/plan2"
repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify: exit $?"
expect "applied reverted" "second plan"
caught throw "second plan"
ask "begin 1"
repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1
[ $? = 75 ] && grep -q "by way of the plan that is applied" "$work/log" || fail "reap frees what the second plan speaks for: $(cat "$work/log")"
kept 2 "coroutines in both"
caught throw "both kept"
run apply "$work/plan3"
expect "applied reverted reverted" "third plan"
caught throw "third plan"
caught "end 1" "through the second image, by way of the third"
ask "begin 2"
caught "end 0" "through the first image, by way of the third"
kept 3 "a coroutine in the third"
caught throw "kept for the third"
# The first two are of no use any more.
run apply "$work/plan1"
repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1 # 75: the third stays
expect "applied reverted" "reaped"
caught "end 2" "through the third image, by way of the fourth"
kept 0 "all ended"
pristine "all ended"

# Nothing piles up.
run apply "$work/plan1"
ask "begin 0"
for n in 1 2 3 4 5; do
	run undo
	run apply "$work/plan$((n % 3 + 1))"
	caught throw "again and again"
	[ "$(states | wc -w)" -le 4 ] || fail "images pile up: $(states)"
done
caught "end 0" "after five plans"
kept 0 "after five plans"
pristine "after five plans"

# all_end TEXT: the coroutines go on and throw
all_end() {
	caught "end 0" "$1"
	[ "$verb" = apply ] || caught "end 1" "$1"
}
# swept ENDS VERB [PLAN]: killed at each step, with a coroutine in a kept image, and one in that of the plan that is undone. They go on before it or, ENDS later, by
# turns before and after the process is undone
swept() {
	local step ends=$1 verb=$2 begun=0 last turn
	shift
	for ((step = 1 + RANDOM % ${REPLACED_STEP:-6}; ; step += ${REPLACED_STEP:-6})); do
		run apply "$work/plan1"
		ask "begin 0"
		run undo
		if [ "$verb" = undo ]; then
			run apply "$work/plan2"
			ask "begin 1"
		fi
		turn=$ends
		[ "$ends" = before ] || { [ $((step / ${REPLACED_STEP:-6} % 2)) = 0 ] && turn=between || turn=after; }
		[ "$turn" != before ] || all_end "before"
		REPAVE_FAULT=$step repave-apply "$@" -p "$victim" --max-pause 2000 >"$work/log" 2>&1
		last=$?
		case $(states) in
		*patching*undoing*) begun=$((begun + 1)) ;;
		esac
		caught throw "$verb killed at $step"
		[ "$turn" != between ] || all_end "$verb killed at $step"
		if [ $((RANDOM % 2)) = 0 ]; then
			repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1
			case $? in
			0 | 75) caught throw "reaped after $verb was killed at $step" ;;
			*) fail "reap after $verb was killed at $step: $(cat "$work/log")" ;;
			esac
		fi
		repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
		case $? in
		0) ;;
		5) grep -q "nothing is applied" "$work/log" || fail "undo after $verb was killed at $step: $(cat "$work/log")" ;;
		*) fail "undo after $verb was killed at $step: $(cat "$work/log")" ;;
		esac
		caught throw "undone after $verb was killed at $step"
		if [ "$turn" = after ]; then
			all_end "undone after $verb was killed at $step"
			run undo
		fi
		[ -z "$(states)" ] || fail "$verb killed at $step: $(states) is left"
		pristine "$verb killed at $step"
		[ "$last" = 0 ] && break
	done
	[ "$verb" = undo ] || [ "$begun" -gt 0 ] || [ "${REPLACED_STEP:-}" != 1 ] || fail "never killed while hooks are replaced"
	echo "$verb was killed at $((step / ${REPLACED_STEP:-6})) steps, $begun times while it replaced hooks"
}
swept later apply "$work/plan2"
swept later undo
swept before undo

# at_random NUMBER: plans come and go, coroutines begin and throw, tools are killed, in any order
at_random() {
	local n i kills=0 fault begun=(0 0 0 0)
	for ((i = 0; i < $1; i++)); do
		n=$((RANDOM % 4)) fault=
		[ $((RANDOM % 3)) != 0 ] || { fault=$((1 + RANDOM % 190)) kills=$((kills + 1)); }
		case $((RANDOM % 6)) in
		0 | 1) REPAVE_FAULT=$fault repave-apply apply -p "$victim" --max-pause 2000 "$work/plan$((RANDOM % 3 + 1))" ;;
		2) REPAVE_FAULT=$fault repave-apply undo -p "$victim" --max-pause 2000 ;;
		3) REPAVE_FAULT=$fault repave-apply undo --reap -p "$victim" --max-pause 2000 ;;
		*) if [ "${begun[n]}" = 0 ]; then ask "begin $n"; else caught "end $n" "at random, $i"; fi; begun[n]=$((!begun[n])) ;;
		esac >"$work/log" 2>&1
		case $? in
		0 | 5 | 75 | 137) ;;
		*) fail "at random, $i: exit $?" ;;
		esac
		[ "$(states | wc -w)" -le 8 ] || fail "images pile up: $(states)"
		caught throw "at random, $i"
	done
	for n in 0 1 2 3; do
		[ "${begun[n]}" = 0 ] || caught "end $n" "at random, at last"
	done
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || grep -q "nothing is applied" "$work/log" || fail "undo at last"
	[ -z "$(states)" ] || fail "at random: $(states) is left"
	pristine "at random"
	echo "$1 things at random, tools killed $kills times"
}
ask "begin 3"
caught "end 3" "before what is random"
remember
for ((round = 0; round < ${REPLACED_ROUNDS:-3}; round++)); do at_random 40; done
end_asking

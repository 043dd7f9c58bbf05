#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
start_asking "$work/victim"
watcher=$victim
for _ in $(seq 100); do
	grep -q '^pid ' "$work/out" && break
	sleep 0.01
done
read -r _ victim < <(grep '^pid ' "$work/out")
trap 'kill -9 $victim $watcher 2>/dev/null; rm -rf "$work"' EXIT

run() {
	local status
	repave-apply "$1" -p "$victim" --max-pause 2000 "${@:2}" >"$work/log" 2>&1
	status=$?
	[ "$status" = 0 ] || fail "$*: exit $status"
}
cycle() {
	local turn
	for ((turn = 0; turn < $1; turn++)); do
		run apply "$work/plan"
		run undo
		grep -q "nothing of ours remains" "$work/log" || fail "image kept"
	done
}
ask rounds

remember masks # signals wait and are handled all the time
# None lost, order kept; and with so many waiting no call may see the stop.
ask "queue 10000"
cycle 5
ask drain
ask flood
cycle 10
ask dry
echo "$answer signals by each thread while applied and undone"
ask state
[ "$answer" = "interrupted 0 woken 0" ] || fail "calls saw stops: $answer"

# at STEP SIGNAL VERB [PLAN]: the tool waits before that step while the process gets the signal
at() {
	held "$1" "${@:3}"
	kill -"$2" "$victim"
	kill -CONT "$tool" 2>/dev/null
	wait "$tool"
	case $? in
	0) ;;
	75) run "${@:3}" ;; # it waited for too long
	*) fail "$3 with SIG$2 at step $1: exit $?" ;;
	esac
}

# Ignored: nobody is woken. Steps of the injection, and of the stop.
for step in 3 9 15 21 30 40 50; do
	for ignored in WINCH URG CHLD; do
		at "$step" "$ignored" apply "$work/plan"
		at "$step" "$ignored" undo
	done
done
ask state
[ "$answer" = "interrupted 0 woken 0" ] || fail "an ignored signal interrupted a call: $answer"

# Handled, and only where one thread waits for it.
wakes=$(kill -l RTMIN+9)
expected=0
for step in $(seq 2 2 70); do
	at "$step" "$wakes" apply "$work/plan"
	run undo
	expected=$((expected + 1))
	for _ in $(seq 100); do
		ask state
		[ "$answer" = "interrupted 0 woken $expected" ] && break
		sleep 0.01
	done
	[ "$answer" = "interrupted 0 woken $expected" ] || fail "signal $expected at step $step did not wake its thread: $answer"
done

# Job control. stopped: all threads are
stopped() {
	for _ in $(seq 100); do
		[ -z "$(cat /proc/"$victim"/task/*/status | grep '^State' | grep -v stopped)" ] && return
		sleep 0.01
	done
	fail "not stopped any more ($1)"
}
# 0: done; 75: could not be done now
apply_or_busy() {
	local status
	repave-apply "$@" -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	status=$?
	[ "$status" = 0 ] || [ "$status" = 75 ] || { [ "$1" = undo ] && [ "$status" = 5 ] && grep -q "nothing is applied" "$work/log"; } ||
		fail "$1 of a stopped process: exit $status"
}
stops=0
continued() {
	kill -CONT "$victim"
	stops=$((stops + 1))
	ask rounds
	for _ in $(seq 100); do
		[ "$(grep -c 'event continued' "$work/out")" = "$stops" ] && break
		sleep 0.01
	done
	[ "$(grep -c 'event stopped' "$work/out")" = "$stops" ] && [ "$(grep -c 'event continued' "$work/out")" = "$stops" ] ||
		fail "its parent heard of $(grep -c 'event stopped' "$work/out") stops, not $stops ($1)"
}
for signal in STOP TSTP; do
	kill -$signal "$victim"
	stopped "SIG$signal"
	for verb in apply verify undo; do
		case $verb in
		apply) apply_or_busy apply "$work/plan" ;;
		undo) apply_or_busy undo ;;
		*) repave-apply verify -p "$victim" >"$work/log" 2>&1 ;;
		esac
		stopped "SIG$signal, $verb"
	done
	continued "SIG$signal before"
	apply_or_busy undo
	pristine "SIG$signal before"
done
for step in $(seq 1 5 60); do
	REPAVE_FAULT=$step:$victim:19 apply_or_busy apply "$work/plan"
	stopped "SIGSTOP at step $step"
	apply_or_busy undo
	stopped "undo after SIGSTOP at step $step"
	continued "at step $step"
	apply_or_busy undo
	pristine "SIGSTOP at step $step"
done
ask rounds
same "at the end"
exec 3>&-
wait "$watcher" || fail "the victim ended with exit $?"

#!/bin/bash
# See desc. TRANSPARENT_ROUNDS (5): rounds of apply, verify and undo. TABLE=1: what each call did as a table, and the waits also with stops shown.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
many=${TRANSPARENT_ROUNDS:-5}

# cycle N [ARG...]: so many rounds of apply, verify, undo (both with ARG...); counts in $stops how often all threads were stopped. Also threads that wait in a write: no part is done.
stops=0 ends=
cycle() {
	local turn
	remember masks $ends # timers send signals
	for ((turn = 1; turn <= $1; turn++)); do
		repave-apply apply --json --cut-calls -p "$victim" --max-pause 2000 "${@:2}" "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
		count_stops
		repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
		repave-apply undo --json --cut-calls -p "$victim" --max-pause 2000 "${@:2}" >"$work/log" 2>&1 || fail "undo $turn: exit $?"
		count_stops
		grep -q '"kept": false' "$work/log" || fail "image kept in turn $turn"
	done
	same "turn $1"
}
count_stops() {
	local made
	made=$(sed -n 's/.*"stops": \([0-9]*\).*/\1/p' "$work/log")
	[ "${made:-0}" -gt 0 ] || fail "no stop"
	stops=$((stops + made))
}

# waits NAME ROUNDS [ARG...]: the waits with a limit through so many rounds; what they did into $work/NAME; sets $status
waits() {
	victim "$work/victim" 2
	cycle "${@:2}"
	wait "$victim"
	status=$?
	victim=
	sed -n 's/^\(WRONG \)*\(.*\): \([^:]* after [0-9.]* s.*\)/\2|\3/p' "$work/out" >"$work/$1"
}
build_victim limits.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
for try in 1 2 3; do # on a busy machine a thread may run late: once, not each time
	stops=0
	waits waits-hidden "$many"
	[ "$status" = 1 ] || break
	echo "try $try:" && grep WRONG "$work/out"
done
[ "$status" = 0 ] || fail "waits with a limit: exit $status"
cat "$work/out"
waited=$stops
# Whoever would rather have the program count: those that would begin anew, and no others, return EINTR.
ends="threads descriptors maps" # of waits that return
for try in 1 2 3; do
	waits waits-chosen 1 --show-limits
	wrong=$(grep '^WRONG' "$work/out" | grep -vc EINTR)
	[ "$wrong" = 0 ] && break
done
[ "$wrong" = 0 ] || fail "other waits are wrong with --show-limits"
[ "$(grep -c 'EINTR .*(begins anew)$' "$work/out")" = 6 ] && [ "$(grep -c EINTR "$work/out")" = 6 ] || fail "--show-limits: not the six"
if [ -n "${TABLE:-}" ]; then
	REPAVE_SHOW_STOPS=1 waits waits-shown 1
	[ "$status" = 1 ] || fail "waits with a limit whose stops show: exit $status"
fi
ends=

build_victim calls.c calls_descriptors.c calls_others.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"

# table NAME: releases all calls; "call|early" per line into $work/NAME
table() {
	kill -USR2 "$victim"
	for _ in $(seq 500); do
		grep -q '^released' "$work/out" && break
		sleep 0.01
	done
	grep -q '^released' "$work/out" || fail "the victim does not answer"
	grep WRONG "$work/out" && fail "wrong results ($1)"
	sed -n 's/^\(.*\): early \([0-9]*\), then \(.*\)/\1|\2|\3/p' "$work/out" >"$work/$1"
	finish
}
victim "$work/victim"
stops=0
cycle "$many"
blocked=$stops
rounds hidden
early=$count
table hidden
victim "$work/victim"
stops=0
export REPAVE_SHOW_STOPS=1
cycle 1
unset REPAVE_SHOW_STOPS
table shown

if [ -n "${TABLE:-}" ]; then
	echo
	echo "| blocked in | through $blocked stops, hidden | when it was woken | through $stops stops, shown |"
	echo "|---|---|---|---|"
	paste -d "|" "$work/hidden" "$work/shown" | awk -F "|" '{
		printf "| %s | %s | %s | %s |\n", $1, $2 ? "EINTR " $2 " times" : "stays", $3 == -4 ? "EINTR, by its signal" : $3, $5 ? "**EINTR**" : "stays" }'
	echo
	echo "| waits for 2 s in | through $waited stops, hidden | through some, shown |"
	echo "|---|---|---|"
	paste -d "|" "$work/waits-hidden" "$work/waits-shown" | awk -F "|" '{ printf "| %s | %s | %s%s |\n", $1, $2, $4, $4 ~ /EINTR/ ? ", **too early**" : "" }'
	echo
else
	echo "calls that came back early: name, stops shown, stops hidden"
	paste -d "|" "$work/shown" "$work/hidden" | awk -F "|" '{ printf "%-28s %3d %3d\n", $1, $2, $5 }'
fi
[ "$early" = 0 ] || fail "$early calls came back"
[ "$(wc -l <"$work/hidden")" -ge 48 ] || fail "not all calls reported"
# Seventeen kinds, of which each must have been seen to come back when stops show: else this test would not tell.
shown=$(awk -F '|' '$2 > 0' "$work/shown" | wc -l)
[ "$shown" -ge 17 ] || fail "only $shown kinds of calls show a stop"

# What has been done in part cannot be made again: a stop makes the call return that part. So whoever would stop it waits for it, for two seconds, and then
# refuses, unless told otherwise.
build_victim part.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
# said TEXT LINE...: what the victim has printed since the last time it was asked is just these lines
said() {
	local expected
	expected=$(printf '%s\n' "${@:2}")
	for _ in $(seq 200); do
		[ "$(tail -n +"$((seen + 1))" "$work/out")" = "$expected" ] && { seen=$((seen + $# - 1)); return; }
		sleep 0.01
	done
	fail "$1: the victim says '$(tail -n +"$((seen + 1))" "$work/out" | tr '\n' ' ')'"
}
begin_write() {
	kill -HUP "$victim"
	said "a write begins" begins
	sleep 0.1 # it has filled the pipe
}
# busy TEXT VERB [ARG...]: exits with 75, says which call it waited for, and has cut none short
busy() {
	repave-apply "${@:2}" >"$work/log" 2>&1
	local status=$?
	[ "$status" = 75 ] || fail "$1: exit $status instead of 75"
	grep -q "thread [0-9]* waits in write, perhaps with a part of its bytes" "$work/log" || fail "$1: does not say why"
}
apply() { repave-apply apply -p "$victim" "$@" "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"; }
undo() { repave-apply undo -p "$victim" "$@" >"$work/log" 2>&1 || fail "undo: exit $?"; }
victim "$work/victim"
seen=0
begin_write
remember
busy "apply beside a write" apply -p "$victim" "$work/plan"
same "apply beside a write"
repave-profile record --emulate --seconds 1 -p "$victim" -o "$work/part.rprof" >"$work/log" 2>&1
kill -USR1 "$victim"
said "a write that was let alone" "wrote 1048576" "all came"
apply
begin_write
busy "undo beside a write" undo -p "$victim"
(sleep 0.7; kill -USR1 "$victim") &
before=${EPOCHREALTIME/./}
undo
waited=$(((${EPOCHREALTIME/./} - before) / 1000))
[ "$waited" -ge 400 ] || fail "undo did not wait for the write ($waited ms)"
said "a write that was waited for" "wrote 1048576" "all came"
begin_write
apply --cut-calls
said "a write that is cut short returns the part that is done" "wrote 65536"
sleep 0.1
undo --cut-calls
kill -USR1 "$victim"
for _ in $(seq 200); do
	grep -q "^all came" <(tail -n +"$((seen + 1))" "$work/out") && break
	sleep 0.01
done
kill "$victim"
wait "$victim" || fail "bytes are lost: exit $?"
victim=
[ "$(tail -n 1 "$work/out")" = "all came" ] || fail "not all bytes came"
echo "writes: one let alone, one waited for ($waited ms), one cut short: it took $(tail -n +"$((seen + 1))" "$work/out" | grep -c "^wrote") calls more"

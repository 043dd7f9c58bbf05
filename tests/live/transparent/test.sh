#!/bin/bash
# See desc. TRANSPARENT_ROUNDS (5): rounds of apply, verify and undo. TABLE=1: what each call did as a table, and the waits also with stops shown.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
many=${TRANSPARENT_ROUNDS:-5}

# cycle N: so many rounds of apply, verify, undo; counts in $stops how often all threads were stopped
stops=0
cycle() {
	local turn
	remember masks # timers send signals
	for ((turn = 1; turn <= $1; turn++)); do
		repave-apply apply --json -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
		count_stops
		repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify $turn: exit $?"
		repave-apply undo --json -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
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

# waits NAME ROUNDS: the waits with a limit through so many rounds; what they did into $work/NAME; sets $status
waits() {
	victim "$work/victim" 2
	cycle "$2"
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
if [ -n "${TABLE:-}" ]; then
	REPAVE_SHOW_STOPS=1 waits waits-shown 1
	[ "$status" = 1 ] || fail "waits with a limit whose stops show: exit $status"
fi

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

# What has been done in part cannot be made again: the call returns that part, and whoever writes all goes on from there.
build_victim part.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim"
sleep 0.2
[ "$(cat "$work/out")" = begins ] || fail "the pipe took all at once: $(cat "$work/out")"
cycle 1
[ "$(sed -n 2p "$work/out")" = "wrote 65536" ] || fail "a write of which a part is done does not return that part: $(cat "$work/out")"
kill -USR1 "$victim"
wait "$victim" || fail "bytes are lost: exit $?"
victim=
grep -q "^all came" "$work/out" || fail "not all bytes came"
echo "a write of which a part is done returned that part: $(grep -c "^wrote" "$work/out") calls for 1 MiB"

#!/bin/bash
# See desc. WRITES_ROUNDS (6): rounds of apply and undo for each kind of call. KILLS (60): how often apply is killed, at one step after the other.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"

# parts: ends the victim; how many of its calls returned only a part
parts() {
	kill -TERM "$victim"
	wait "$victim" || fail "$kind: bytes are wrong, lost or doubled: exit $?"
	victim=
	grep WRONG "$work/out" && fail "$kind: wrong"
	parts=$(sed -n 's/^parts \([0-9]*\) of .*/\1/p' "$work/out")
	[ -n "$parts" ] || fail "$kind: no answer"
}

# try VERB [ARG...]: until it is not busy
busy=0
try() {
	local status=75 n
	for ((n = 0; n < 20 && status == 75; n++)); do
		repave-apply "$@" >"$work/log" 2>&1
		status=$?
		((status != 75)) || busy=$((busy + 1))
	done
	[ "$status" = 0 ] || fail "$kind: $1: exit $status"
}

for kind in write writev send sendmsg sendfile write-socket writev-socket pwritev2 write-terminal getrandom read-zero "write 3"; do
	read -r -a arguments <<<"$kind"
	victim "$work/victim" "${arguments[@]}"
	ready
	for ((turn = 0; turn < 10; turn++)); do
		kill -STOP "$victim"
		sleep 0.01
		kill -CONT "$victim"
		sleep 0.02
	done
	parts
	stopped=$parts
	# Else the rounds below would prove nothing.
	[ "$stopped" -ge 3 ] || fail "$kind: SIGSTOP and SIGCONT cut only $stopped of 10 calls short"
	victim "$work/victim" "${arguments[@]}"
	ready
	remember
	for ((turn = 0; turn < ${WRITES_ROUNDS:-6}; turn++)); do
		try apply -p "$victim" "$work/plan"
		progress "$kind, applied"
		try undo -p "$victim"
		progress "$kind, undone"
	done
	pristine "$kind"
	parts
	echo "$kind: $stopped of 10 stops by signals cut a call short, $parts of ${WRITES_ROUNDS:-6} rounds of apply and undo"
	[ "$parts" = 0 ] || fail "$kind: $parts calls were cut short"
done

# Is there a stub of a call that was being finished, in the last page of a file's code? Its first bytes: see finish.h.
has_stub() {
	local range rest start end
	while read -r range rest; do
		[[ $rest == r-xp*/* ]] || continue
		start=$((16#${range%-*})) end=$((16#${range#*-}))
		dd if="/proc/$victim/mem" bs=4096 skip=$((end / 4096 - 1)) count=1 iflag=fullblock 2>/dev/null |
			LC_ALL=C grep -aqP '\x0f\x05\x48\x89\xc1\x48\x0f\xc9' && return
	done <"/proc/$victim/maps"
	return 1
}

# Killed at each step, also of those that finish a call: by its stub the thread then does that by itself.
kind=write
victim "$work/victim" "$kind"
ready
remember
kills=0 left=0 first=50 last=80 # those before: live/killed
for ((step = first; kills < ${KILLS:-60}; step = step == last ? first : step + 1)); do
	(REPAVE_FAULT=$step exec repave-apply apply -p "$victim" "$work/plan") >"$work/log" 2>&1
	status=$?
	case $status in
	137) kills=$((kills + 1)) ;;
	0 | 75) ;;
	*) fail "killed at step $step: exit $status" ;;
	esac
	! has_stub || left=$((left + 1))
	progress "killed at step $step"
	for ((n = 0; n < 20; n++)); do
		repave-apply undo -p "$victim" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || break
		busy=$((busy + 1))
	done
	[ "$status" = 0 ] || [ "$status" = 5 ] || fail "killed at step $step: undo: exit $status"
	pristine "killed at step $step"
	! has_stub || fail "killed at step $step: a stub remains"
done
parts
echo "killed $kills times at steps $first to $last, $left times while a call was being finished: all bytes came, in order; $parts calls returned a part"
[ "$left" -gt 0 ] || fail "never killed while a call was being finished"
echo "busy $busy times"

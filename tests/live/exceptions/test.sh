#!/bin/bash
# See desc. Exit 77 when the tools or a C++ compiler are missing.
set -u
cd "$(dirname "$0")" || exit 1
for tool in g++ repave repave-analyze repave-profile repave-apply; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
work=$(mktemp -d) || exit 1
victim=
cleanup() {
	[ -n "$victim" ] && kill -9 "$victim" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT
export REPAVE_CACHE=$work/cache

. ../lib/snapshot.sh

fail() {
	echo "FAILED: $*"
	cat "$work/out" "$work/log" 2>/dev/null
	exit 1
}

# figures: asks the victim and sets rounds and moved.
figures() {
	local before after
	kill -0 "$victim" 2>/dev/null || fail "the victim is dead: $1"
	before=$(wc -l <"$work/out")
	kill -USR1 "$victim"
	for _ in $(seq 100); do
		after=$(wc -l <"$work/out")
		[ "$after" -gt "$before" ] && break
		sleep 0.1
	done
	read -r _ rounds _ moved < <(tail -n 1 "$work/out")
	grep -q WRONG "$work/out" && fail "$1"
	[ -n "${moved:-}" ] || fail "the victim does not answer: $1"
	echo "$1: $rounds rounds, $moved moved frames"
}

# The usual call of __tls_get_addr has prefixes and keeps a function from being moved; this test wants the library's moved.
g++ -O2 -shared -fPIC -ftls-model=initial-exec -o "$work/libvictim.so" library.cc || fail "library does not build"
g++ -O2 -pthread -o "$work/victim" victim.cc -L"$work" -lvictim -Wl,-rpath,"$work" || fail "victim does not build"
"$work/victim" 3 >"$work/out" 2>&1 &
victim=$!
sleep 0.5
figures "before"
[ "$moved" = 0 ] || fail "moved frames before anything was moved"
remember maps threads masks # threads are cancelled, exceptions are allocated
for turn in 1 2 3; do
	if [ "$turn" = 1 ]; then
		repave optimize -p "$victim" --seconds 2 --plan-out "$work/plan.rplan" >"$work/log" 2>&1 || fail "optimize: exit $?"
	else
		repave-apply apply -p "$victim" "$work/plan.rplan" >"$work/log" 2>&1 || fail "apply: exit $?"
	fi
	figures "applied $turn"
	start_rounds=$rounds start_moved=$moved
	sleep 1
	figures "a second later"
	[ "$rounds" -gt "$start_rounds" ] || fail "no rounds while applied"
	[ "$moved" -gt "$start_moved" ] || fail "no moved frame was unwound while applied"
	for _ in $(seq 50); do # busy (a thread is inside the unwinder): try again
		repave undo -p "$victim" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || break
		sleep 0.1
	done
	[ "$status" = 0 ] || fail "undo: exit $status"
	sleep 0.2
	same "undone $turn"
	figures "undone $turn"
	start_rounds=$rounds start_moved=$moved
	sleep 0.5
	figures "later"
	[ "$rounds" -gt "$start_rounds" ] || fail "no rounds after undo"
	[ "$moved" = "$start_moved" ] || fail "moved frames after undo"
done
kill "$victim"
wait "$victim"
status=$?
victim=
[ "$status" = 0 ] || fail "the victim ended with exit $status"
./matrix.sh "$work" || exit 1

#!/bin/bash
# See desc. Exit 77 when the tools or a C++ compiler are missing.
set -u
cd "$(dirname "$0")" || exit 1
command -v g++ >/dev/null || { echo "no g++"; exit 77; }
. ../lib/live.sh
export REPAVE_CACHE=$work/cache

# figures TEXT: asks the victim and sets rounds and moved.
figures() {
	answers "$1"
	read -r _ rounds _ moved <<<"$answer"
	echo "$1: $rounds rounds, $moved moved frames"
}

# The usual call of __tls_get_addr has prefixes and keeps a function from being moved; this test wants the library's moved.
g++ -O2 -shared -fPIC -ftls-model=initial-exec -o "$work/libvictim.so" library.cc || fail "library does not build"
g++ -O2 -pthread -o "$work/victim" victim.cc -L"$work" -lvictim -Wl,-rpath,"$work" || fail "victim does not build"
victim "$work/victim" 3
sleep 0.3
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
	undone "turn $turn"
	sleep 0.2
	same "undone $turn"
	figures "undone $turn"
	start_rounds=$rounds start_moved=$moved
	sleep 0.5
	figures "later"
	[ "$rounds" -gt "$start_rounds" ] || fail "no rounds after undo"
	[ "$moved" = "$start_moved" ] || fail "moved frames after undo"
done
finish
./matrix.sh || exit 1

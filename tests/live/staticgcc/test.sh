#!/bin/bash
# See desc. Exit 77 when there is no C++ compiler.
set -u
cd "$(dirname "$0")" || exit 1
command -v g++ >/dev/null || { echo "no g++"; exit 77; }
. ../lib/live.sh

# figures TEXT: asks the victim and sets rounds and moved.
figures() {
	answers "$1"
	read -r _ rounds _ moved <<<"$answer"
}

# throws NAME TURNS MAP...: runs $work/NAME, applies and undoes a plan that moves all of it
throws() {
	local name=$1 turns=$2 turn start_rounds start_moved
	shift 2
	repave-analyze plan --torture 5 --modules "$name" -o "$work/plan" "$@" >"$work/log" 2>&1 || fail "$name: no plan"
	victim "$work/$name"
	figures "$name"
	[ "$moved" = 0 ] || fail "$name: moved frames before anything was moved"
	remember maps masks # exceptions are allocated
	for turn in $(seq "$turns"); do
		repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "$name: apply $turn: exit $?"
		figures "$name applied"
		start_rounds=$rounds start_moved=$moved
		sleep 0.1
		figures "$name applied"
		[ "$rounds" -gt "$start_rounds" ] || fail "$name: nothing is thrown while applied"
		[ "$moved" -gt "$start_moved" ] || fail "$name: no moved frame was unwound"
		undone "$name $turn"
	done
	same "$name"
	figures "$name undone"
	start_moved=$moved
	sleep 0.1
	figures "$name undone"
	[ "$moved" = "$start_moved" ] || fail "$name: moved frames after undo"
	kill_victim
	echo "$name: $rounds rounds, $moved moved frames in $turns turns"
}

libc=$(ldd "$(command -v cat)" | awk '/libc\.so/ { print $3 }')
g++ -O2 -pthread -Wl,--build-id -static-libgcc -static-libstdc++ -s -o "$work/own" victim.cc || fail "own does not build"
ldd "$work/own" | grep -q libgcc_s && fail "own uses libgcc_s"
repave-analyze map -o "$work/own.rmap" "$work/own" >"$work/log" 2>&1 || fail "map own"
repave-analyze map -o "$work/libc.rmap" "$(readlink -f "$libc")" >"$work/log" 2>&1 || fail "map libc"
throws own 10 "$work/own.rmap" "$work/libc.rmap"

# Without libc's part of the plan its unwinder would not find the moved code.
repave-analyze plan --torture 5 -o "$work/alone" "$work/own.rmap" >"$work/log" 2>&1 || fail "plan of own alone"
victim "$work/own"
repave-apply apply -p "$victim" "$work/alone" >"$work/log" 2>&1
[ $? = 5 ] && grep -q "libc, which unwinders ask" "$work/log" || fail "a plan without libc is not refused"
kill_victim

if g++ -O2 -static -Wl,--build-id -o "$work/static" victim.cc 2>"$work/log"; then
	repave-analyze map -o "$work/static.rmap" "$work/static" >"$work/log" 2>&1 || fail "map static"
	repave-analyze plan --torture 5 -o "$work/plan" "$work/static.rmap" >"$work/log" 2>&1 || fail "a plan for a static program"
	victim "$work/static"
	repave-apply apply -p "$victim" "$work/plan" >"$work/log" 2>&1
	[ $? = 5 ] && grep -q "exceptions could not pass" "$work/log" || fail "a static program is not refused"
	figures "static"
	kill_victim
	echo "static program: refused while it runs"
else
	echo "no static libraries: not tried"
fi

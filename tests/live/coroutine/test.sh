#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
command -v gcc >/dev/null || { echo "no gcc"; exit 77; }
work=$(mktemp -d) || exit 1
victim=
trap '[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null; rm -rf "$work"' EXIT

. ../lib/snapshot.sh

fail() {
	echo "FAILED: $*"
	cat "$work/out" "$work/log" 2>/dev/null
	exit 1
}

# It has a handler for SIGUSR1, bit 9 of the mask.
ready() {
	for _ in $(seq 500); do
		grep -qE '^SigCgt:.*[2367abef]..$' "/proc/$victim/status" && return
		sleep 0.02
	done
	fail "the victim does not start"
}

# turn WORD: the next answer must be this
turn() {
	local before
	before=$(wc -l <"$work/out")
	kill -USR1 "$victim" || fail "the victim is dead before $1"
	for _ in $(seq 300); do
		[ "$(wc -l <"$work/out")" -gt "$before" ] && break
		sleep 0.02
	done
	[ "$(tail -n 1 "$work/out")" = "$1" ] || fail "not $1"
}

gcc -O2 -fno-optimize-sibling-calls -Wl,--build-id -o "$work/victim" victim.c || fail "the victim does not build"
libc=$(readlink -f "$(ldd "$work/victim" | awk '/libc\.so/ { print $3 }')")
repave-analyze map -o "$work/" "$work/victim" "$libc" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 1 --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
"$work/victim" >"$work/out" 2>&1 &
victim=$!
ready
turn begun # once before, so that all memory that it ever needs is there
turn ended
remember
for again in 1 2; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
	turn begun
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo: exit $?"
	grep -q "stays mapped: a saved PC may lead into it" "$work/log" || fail "the image is not kept for the coroutine"
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo again: exit $?"
	grep -q "stays mapped" "$work/log" || fail "the image goes although the coroutine needs it"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status: exit $?"
	grep -q "image stays mapped because: a saved PC" "$work/log" || fail "status does not say why"
	turn ended
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo at last: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "the image is not freed when nothing leads into it"
	same "round $again"
done
kill "$victim"
wait "$victim" 2>/dev/null
victim=
echo "a coroutine keeps its image, twice"

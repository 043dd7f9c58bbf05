#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh

# turn WORD: the next answer must be this
turn() {
	answers "$1"
	[ "$answer" = "$1" ] || fail "not $1"
}

gcc -O2 -fno-optimize-sibling-calls -Wl,--build-id -o "$work/victim" victim.c || fail "the victim does not build"
libc=$(readlink -f "$(ldd "$work/victim" | awk '/libc\.so/ { print $3 }')")
repave-analyze map -o "$work/" "$work/victim" "$libc" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 1 --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
victim "$work/victim"
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
kill_victim
echo "a coroutine keeps its image, twice"

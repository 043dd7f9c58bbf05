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

# Live counting goes in rounds, and the coroutine keeps the image of the first: what that has counted is delivered.
REPAVE_CACHE=$work repave-profile record --exact --seconds 0.4 --max-seconds 4 -p "$victim" -o "$work/counts" >"$work/record" 2>&1 &
recorder=$!
for ((try = 0; try < 1000; try++)); do # for its image to be mapped; it runs in it a moment later, for 0.8 s
	grep -q "r-xp 00000000 00:00 0 $" "/proc/$victim/maps" && break
	sleep 0.02
done
sleep 0.3
turn begun
wait "$recorder" || fail "record: exit $?, $(cat "$work/record")"
grep -q "live counting in 1 rounds" "$work/record" && grep -q "no further round: .*saved PC" "$work/record" ||
	fail "not cut short by the coroutine: $(cat "$work/record")"
repave-dump "$work/counts" >"$work/log" 2>&1 && grep -q "counts" "$work/log" || fail "no counts"
turn ended
repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo of the counting image: exit $?"
same counting
kill_victim
echo "a coroutine keeps its image, twice, and that of live counting"

#!/bin/bash
# See desc. STACKS_PLACES: only these.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh

# turn WORD: the next answer must be this
turn() {
	answers "$place: before $1"
	[ "$answer" = "$1" ] || fail "$place: not $1"
}

undo() {
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "$place: undo: exit $?"
}

# Undo cannot follow a thread that is at a place without unwind information just then: that is no reason to keep the image for good.
freed() {
	for _ in 1 2 3 4 5; do
		undo
		grep -q "nothing of ours remains" "$work/log" && return
	done
	fail "$place: the image is not freed when nothing leads into it"
}

gcc -O2 -fno-optimize-sibling-calls -pthread -Wl,--build-id -o "$work/victim" victim.c >"$work/log" 2>&1 || fail "the victim does not build"
libc=$(readlink -f "$(ldd "$work/victim" | awk '/libc\.so/ { print $3 }')")
libgcc=$(gcc -print-file-name=libgcc_s.so.1)
repave-analyze map -o "$work/" "$work/victim" "$libc" "$(readlink -f "$libgcc")" >"$work/log" 2>&1 || fail "map"
for place in ${STACKS_PLACES:-arena context altstack thread frame frames shared closed preempted jump bottom}; do
	victim "$work/victim" "$place"
	ready
	turn begun # once before, so that all memory that it ever needs is there
	turn ended
	remember
	# A layout may leave out the very function that leads into the image: then another is tried. An image that is freed too early is told by what follows.
	for seed in $(seq 20); do
		repave-analyze plan --torture "$seed" --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
		repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "$place: apply: exit $?"
		turn begun
		undo
		grep -q "stays mapped: a saved PC may lead into it" "$work/log" && break
		[ "$seed" -lt 20 ] || fail "$place: the image is not kept for the coroutine"
		turn ended
	done
	turn ended
	freed
	same "$place"
	turn begun
	turn ended
	kill_victim
done

# What looks like a pointer into tables keeps nothing where no thread is in an unwinder.
place=tables
victim "$work/victim" "$place"
ready
remember
repave-analyze plan --torture 1 --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "$place: apply: exit $?"
turn begun
undo
grep -q "nothing of ours remains" "$work/log" || fail "$place: the image is kept for a word that nobody reads"
turn ended
same "$place"
kill_victim
echo "the image stays for a coroutine wherever its stack is"

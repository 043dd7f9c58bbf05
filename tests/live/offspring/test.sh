#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
born=()
trap 'kill -9 $victim "${born[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# works PID: it, a child too, answers and is right
works() {
	if [ "$1" = "$victim" ]; then
		ask work
	else
		asked=$(wc -l <"$work/out")
		echo work >"$work/pipe.$1"
		for _ in $(seq 500); do
			[ "$(wc -l <"$work/out")" -gt "$asked" ] && break
			sleep 0.01
		done
		answer=$(tail -n 1 "$work/out")
	fi
	[ "$answer" = "right $1" ] || fail "$1 answers $answer ($2)"
}
# birth PID: a child of it; sets $child
birth() {
	local before
	before=$(wc -l <"$work/out")
	if [ "$1" = "$victim" ]; then echo fork >&3; else echo fork >"$work/pipe.$1"; fi
	for _ in $(seq 500); do
		[ "$(wc -l <"$work/out")" -gt "$before" ] && break
		sleep 0.01
	done
	child=$(tail -n 1 "$work/out")
	child=${child#child }
	born+=("$child")
	kill -0 "$child" 2>/dev/null || fail "no child: $child"
}
is_applied() { # PID WHO
	repave-apply verify -p "$1" >"$work/log" 2>&1 || fail "verify of $2: exit $?"
	works "$1" "$2, applied"
}
undo() { # PID WHO
	repave-apply undo -p "$1" --max-pause 2000 >"$work/log" 2>&1 || fail "undo of $2: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "undo of $2 left something"
	"$work/pristine" "$1" --padding >"$work/log" 2>&1 || fail "$2 is not as it was: $(cat "$work/log")"
	[ "$1" != "$victim" ] || same "$2, undone"
	works "$1" "$2, undone"
}

start_asking "$work/victim" "$work/pipe"
works "$victim" before
remember children
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
works "$victim" applied
birth "$victim" && first=$child
birth "$victim" && second=$child
birth "$first" && grandchild=$child
for who in "$first" "$second" "$grandchild"; do
	repave-apply status -p "$who" >"$work/log" 2>&1 || fail "status of a child: exit $?"
	grep -q ": applied, since .*inherited by fork" "$work/log" || fail "status does not say that it is inherited: $(cat "$work/log")"
	is_applied "$who" "a child"
	repave-apply apply -p "$who" "$work/plan" >"$work/log" 2>&1
	[ $? = 5 ] && grep -q "applied already" "$work/log" || fail "a child may be applied to again"
done
repave-apply status -p "$victim" | grep -q inherited && fail "status says that the parent inherited it"

# A child first: the others keep it.
undo "$first" "the first child"
for who in "$victim" "$second" "$grandchild"; do
	is_applied "$who" "another than the first child"
done
# The parent; then the children that it has left behind, and one that is born when nothing is there any more.
undo "$victim" "the parent"
is_applied "$second" "the second child"
is_applied "$grandchild" "the grandchild"
birth "$victim"
repave-apply status -p "$child" | grep -q "not applied" || fail "a child of later has it"
works "$child" "a child of later"
# Again, in a child alone, while another still has the old one.
repave-apply apply -p "$first" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply to a child: exit $?"
is_applied "$first" "the first child, again"
repave-apply status -p "$first" | grep -q inherited && fail "what was applied to a child is not inherited"
"$work/pristine" "$victim" --padding >"$work/log" 2>&1 || fail "apply to a child changed its parent"
undo "$grandchild" "the grandchild"
kill -9 "$first"
undo "$second" "the second child"
works "$victim" "at the end"
end_asking

#!/bin/bash
# See desc. Exit 77 when there is no C++ compiler.
set -u
cd "$(dirname "$0")" || exit 1
command -v g++ >/dev/null || { echo "no g++"; exit 77; }
work=$(mktemp -d) || exit 1
victim=
cleanup() {
	[ -n "$victim" ] && kill -9 "$victim" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT

fail() {
	echo "FAILED: $*"
	cat "$work/out" "$work/log" 2>/dev/null
	exit 1
}

# late NAME: has the victim load and throw; sets moved.
late() {
	local before after
	before=$(wc -l <"$work/out")
	kill -USR1 "$victim" || fail "the victim is dead: $1"
	for _ in $(seq 200); do
		after=$(wc -l <"$work/out")
		[ "$after" -gt "$before" ] && break
		kill -0 "$victim" 2>/dev/null || fail "the victim died: $1"
		sleep 0.05
	done
	grep -q WRONG "$work/out" && fail "$1"
	[ "$after" -gt "$before" ] || fail "the victim does not answer: $1"
	read -r _ _ _ moved < <(tail -n 1 "$work/out")
	echo "$1: $moved moved frames"
}

libc=$(readlink -f "$(ldd "$(command -v cat)" | awk '/libc\.so/ { print $3 }')")
g++ -O2 -shared -fPIC -o "$work/plugin.so" plugin.cc || fail "the plugin does not build"
gcc -O2 -pthread -Wl,--build-id -o "$work/victim" victim.c || fail "the victim does not build"
repave-analyze map -o "$work/" "$work/victim" "$libc" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 3 -o "$work/plan" "$work"/victim*.rmap "$work"/libc*.rmap >"$work/log" 2>&1 || fail "plan"
repave-analyze plan --torture 3 -o "$work/alone" "$work"/victim*.rmap >"$work/log" 2>&1 || fail "plan of the program alone"
"$work/victim" "$work/plugin.so" >"$work/out" 2>&1 &
victim=$!
sleep 0.1
repave-apply apply -p "$victim" "$work/alone" >"$work/log" 2>&1
[ $? = 5 ] && grep -q "which unwinders ask" "$work/log" || fail "a plan without a hook is not refused"
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
grep -q libgcc_s "/proc/$victim/maps" && fail "libgcc_s is loaded too early"
late "applied before libgcc_s was loaded"
grep -q libgcc_s "/proc/$victim/maps" || fail "libgcc_s is not loaded"
[ "$moved" -gt 100 ] || fail "no moved frame was unwound"
for _ in $(seq 50); do
	repave-apply undo -p "$victim" >"$work/log" 2>&1
	status=$?
	[ "$status" = 75 ] || break
done
[ "$status" = 0 ] || fail "undo: exit $status"
before=$moved
late "undone"
[ "$moved" = "$before" ] || fail "moved frames after undo"

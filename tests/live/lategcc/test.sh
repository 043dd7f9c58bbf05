#!/bin/bash
# See desc. Exit 77 when there is no C++ compiler.
set -u
cd "$(dirname "$0")" || exit 1
command -v g++ >/dev/null || { echo "no g++"; exit 77; }
. ../lib/live.sh

# late NAME: has the victim load and throw; sets moved.
late() {
	answers "$1"
	read -r _ _ _ moved <<<"$answer"
	echo "$1: $moved moved frames"
}

libc=$(readlink -f "$(ldd "$(command -v cat)" | awk '/libc\.so/ { print $3 }')")
g++ -O2 -shared -fPIC -o "$work/plugin.so" plugin.cc || fail "the plugin does not build"
gcc -O2 -pthread -Wl,--build-id -o "$work/victim" victim.c || fail "the victim does not build"
repave-analyze map -o "$work/" "$work/victim" "$libc" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 3 -o "$work/plan" "$work"/victim*.rmap "$work"/libc*.rmap >"$work/log" 2>&1 || fail "plan"
repave-analyze plan --torture 3 -o "$work/alone" "$work"/victim*.rmap >"$work/log" 2>&1 || fail "plan of the program alone"
victim "$work/victim" "$work/plugin.so"
remember maps handlers # it loads a library, and libc catches the signals by which it cancels threads
repave-apply apply -p "$victim" "$work/alone" >"$work/log" 2>&1
[ $? = 5 ] && grep -q "which unwinders ask" "$work/log" || fail "a plan without a hook is not refused"
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
grep -q libgcc_s "/proc/$victim/maps" && fail "libgcc_s is loaded too early"
late "applied before libgcc_s was loaded"
grep -q libgcc_s "/proc/$victim/maps" || fail "libgcc_s is not loaded"
[ "$moved" -gt 100 ] || fail "no moved frame was unwound"
undone "after libgcc_s was loaded"
before=$moved
late "undone"
same undone
[ "$moved" = "$before" ] || fail "moved frames after undo"

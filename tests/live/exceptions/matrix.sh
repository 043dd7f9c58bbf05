#!/bin/bash
# matrix.sh WORK: each of thrower, middle and catcher moved or not, in all combinations, applied and undone in one process under load.
set -u
cd "$(dirname "$0")" || exit 1
work=$1/matrix
mkdir "$work"
victim=
trap '[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null' EXIT

fail() {
	echo "FAILED: $*"
	cat "$work/out" "$work/log" 2>/dev/null
	exit 1
}

# ask: sets rounds and seen; the throws of a moment ago may be half old, so it asks until `seen` is $1
ask() {
	local before after
	for _ in $(seq 20); do
		before=$(wc -l <"$work/out")
		kill -USR1 "$victim" || fail "the victim is dead: $2"
		for _ in $(seq 400); do
			after=$(wc -l <"$work/out")
			[ "$after" -gt "$before" ] && break
			sleep 0.02
		done
		grep -q WRONG "$work/out" && fail "$2"
		[ "$after" -gt "$before" ] || fail "the victim does not answer: $2"
		read -r _ rounds _ seen < <(tail -n 1 "$work/out")
		[ "$seen" = "$1" ] && return
	done
	fail "$2: the moved frames are $seen, not $1"
}

roles=(thrower middle catcher)
for role in "${roles[@]}"; do
	g++ -O2 -shared -fPIC -Wl,--build-id -D"${role^^}" -o "$work/lib$role.so" matrix.cc || fail "$role does not build"
done
g++ -O2 -pthread -o "$work/victim" matrix.cc -L"$work" -Wl,--no-as-needed "${roles[@]/#/-l}" -Wl,-rpath,"$work" || fail "matrix.cc does not build"
"$work/victim" >"$work/out" 2>&1 &
victim=$!
sleep 0.2
ask 0 "nothing moved"
mapfile -t files < <(awk '$6 ~ /\/(lib(thrower|middle|catcher)|libc|libgcc_s)\.so/ && !seen[$6]++ { print $6 }' "/proc/$victim/maps")
repave-analyze map -o "$work/" "${files[@]}" >"$work/log" 2>&1 || fail "map"
seed=7 # random ways out of the image with it leave the three calls inside
for mask in 7 1 2 3 4 5 6; do
	modules=
	for i in 0 1 2; do
		((mask >> i & 1)) && modules+=${modules:+,}lib${roles[i]}.so
	done
	repave-analyze plan --torture $seed --modules "$modules" -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan $modules"
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $modules: exit $?"
	ask $mask "moved: $modules"
	for _ in $(seq 50); do # busy: a thread is inside the unwinder
		repave-apply undo -p "$victim" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || break
	done
	[ "$status" = 0 ] || fail "undo $modules: exit $status"
	ask 0 "undone: $modules"
done
kill "$victim"
wait "$victim" 2>/dev/null
victim=
echo "thrower, middle, catcher in all combinations: $rounds rounds"

#!/bin/bash
# Each of thrower, middle and catcher moved or not, in all combinations, applied and undone in one process under load.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh

# moved MASK TEXT: asks the victim; the throws of a moment ago may be half old, so again until the moved frames are those
moved() {
	for _ in $(seq 20); do
		answers "$2"
		read -r _ rounds _ seen <<<"$answer"
		[ "$seen" = "$1" ] && return
	done
	fail "$2: the moved frames are $seen, not $1"
}

roles=(thrower middle catcher)
for role in "${roles[@]}"; do
	g++ -O2 -shared -fPIC -Wl,--build-id -D"${role^^}" -o "$work/lib$role.so" matrix.cc || fail "$role does not build"
done
g++ -O2 -pthread -o "$work/victim" matrix.cc -L"$work" -Wl,--no-as-needed "${roles[@]/#/-l}" -Wl,-rpath,"$work" || fail "matrix.cc does not build"
victim "$work/victim"
moved 0 "nothing moved"
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
	moved $mask "moved: $modules"
	undone "$modules"
	moved 0 "undone: $modules"
done
kill_victim
echo "thrower, middle, catcher in all combinations: $rounds rounds"

#!/bin/bash
# See desc.
set -u
cd "$(dirname "$(readlink -f "$0")")" || exit 1
for tool in g++ repave-analyze repave-profile repave-apply; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

fail() {
	echo "FAILED: $*"
	tail -n 5 "$work/log" 2>/dev/null
	exit 1
}

# lay FILE NEW: a random layout of FILE
lay() {
	repave-analyze map "$1" -o "$work/map.rmap" >>"$work/log" 2>&1 || fail "map $1"
	repave-analyze plan --torture 3 -o "$work/plan.rplan" "$work/map.rmap" >>"$work/log" 2>&1 || fail "plan $1"
	repave-apply file "$1" "$work/plan.rplan" -o "$2" >>"$work/log" 2>&1 || fail "file $1"
	[ -z "$(readelf -aW "$2" 2>&1 >/dev/null)" ] || fail "readelf complains about $2"
}

# throws PROGRAM [LIBRARY-DIRECTORY]: runs it, sets $answer and $moved
throws() {
	answer=$(LD_LIBRARY_PATH=${2:-} "$1" 2000 2>"$work/moved") || fail "$1 failed"
	moved=$(cat "$work/moved")
}

for kind in -pie -no-pie -static -static-pie -g; do
	old=$work/throwing$kind new=$work/new$kind
	g++ -O2 $kind -fno-inline-functions -Wl,--build-id -o "$old" throwing.cc 2>"$work/log" || { echo "g++ $kind does not work here"; continue; }
	lay "$old" "$new"
	throws "$old"
	expected=$answer
	[ "$moved" = 0 ] || fail "$old has moved frames"
	throws "$new"
	[ "$answer" = "$expected" ] || fail "$kind: $answer instead of $expected"
	[ "$moved" -gt 0 ] || fail "$kind: no frame was moved"
	echo "throwing $kind: same answer, $moved moved frames"
done

mkdir "$work/lib"
for library in libstdc++.so.6 libgcc_s.so.1; do
	path=$(readlink -f "$(ldd "$work/throwing-pie" | awk -v l="$library" '$1 == l { print $3 }')")
	lay "$path" "$work/lib/$library"
done
for program in throwing-pie new-pie throwing-no-pie new-no-pie; do
	LD_LIBRARY_PATH=$work/lib ldd "$work/$program" | grep -q "$work/lib/libgcc_s.so.1" || fail "$program does not take the relaid libraries"
	throws "$work/$program" "$work/lib"
	[ "$answer" = "$expected" ] || fail "$program with relaid libraries: $answer instead of $expected"
done
echo "thrown through relaid libstdc++ and libgcc_s: same answer"

# From abort() up to main and its caller, although main's frame is in moved code. Debuggers have no name for it.
if command -v gdb >/dev/null; then
	for kind in -pie -no-pie; do
		gdb -batch -nx -ex 'set debuginfod enabled off' -ex run -ex bt --args "$work/new$kind" 10 x >"$work/log" 2>&1
		grep -q '^#.* abort ' "$work/log" || grep -q '^#.*abort' "$work/log" || fail "gdb does not find abort ($kind)"
		grep -qE '^#[0-9]+ .*\?\? \(\)' "$work/log" || fail "gdb: no moved frame ($kind)"
		tail -n 3 "$work/log" | grep -qE '^#[0-9]+ .*(_start|__libc_start_main)' || fail "gdb does not come through ($kind)"
	done
	echo "gdb comes through moved frames"
fi

# A layout from exact counts, as one would ship it.
sqlite=$(../../../scripts/targets --have sqlite3 | cut -d' ' -f2)
library=$(../../../scripts/targets --have libsqlite3 | cut -d' ' -f2)
if command -v valgrind >/dev/null && [ -n "$sqlite" ] && [ -n "$library" ]; then
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file="$work/callgrind" "$sqlite" :memory: <work.sql \
		>/dev/null 2>"$work/log"
	"$sqlite" :memory: <work.sql >"$work/before" 2>/dev/null # not under valgrind: its long double is another
	repave-profile import --from callgrind "$work/callgrind" -o "$work/sqlite.rprof" >"$work/log" 2>&1 || fail "import"
	repave-analyze map "$library" -o "$work/map.rmap" >"$work/log" 2>&1 || fail "map $library"
	repave-analyze plan --profile "$work/sqlite.rprof" -o "$work/plan.rplan" "$work/map.rmap" >"$work/log" 2>&1 || fail "plan $library"
	mkdir "$work/hot"
	repave-apply file "$library" "$work/plan.rplan" -o "$work/hot/libsqlite3.so.0" >"$work/log" 2>&1 || fail "file $library"
	LD_LIBRARY_PATH=$work/hot "$sqlite" :memory: <work.sql >"$work/after" 2>/dev/null
	[ -s "$work/before" ] && cmp "$work/before" "$work/after" || fail "sqlite3 with a layout from counts"
	echo "libsqlite3 laid out by exact counts: same answers"
fi

./stock.sh "$work" sqlite3 perl bash git || fail "a stock program"

# A process made from the new file has other bytes than the plan wants: live apply refuses it and it runs on.
mkfifo "$work/fifo"
"$work/bash" --norc -c "read -r x <'$work/fifo'; echo \"got \$x\"" >"$work/answer" &
pid=$!
sleep 0.3
repave-apply apply -p $pid "$work/bash.rplan" >"$work/log" 2>&1
status=$?
echo word >"$work/fifo"
wait $pid
[ "$status" = 5 ] || fail "live apply to a relaid file: exit $status instead of 5"
[ "$(cat "$work/answer")" = 'got word' ] || fail "the process that was refused does not run on"
echo "live apply refuses a process made from the new file"

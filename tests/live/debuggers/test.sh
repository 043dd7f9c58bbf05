#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
command -v gdb >/dev/null || { echo "no gdb"; exit 77; }
export DEBUGINFOD_URLS=
map=
cleanup() {
	[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null
	[ -z "$map" ] || rm -rf "$map"
	rm -rf "$work"
}
trap cleanup EXIT
flags=(-O2 -D_GNU_SOURCE -fno-omit-frame-pointer -fno-optimize-sibling-calls -pthread)
gcc "${flags[@]}" -shared -fPIC -Wl,--build-id -o "$work/libvictim.so" library.c >"$work/log" 2>&1 || fail "library.c does not build"
gcc "${flags[@]}" -o "$work/victim" victim.c -L"$work" -lvictim -Wl,-rpath,"$work" >"$work/log" 2>&1 || fail "victim.c does not build"

# outside N TEXT: the victim runs on, and soon N frames of the backtrace it takes itself are in no file.
outside() {
	for _ in $(seq 100); do
		ask "outside ($2)"
		[ "${answer##* }" = "$1" ] && return
		sleep 0.02
	done
	fail "$2: $answer"
}
# settle TEXT: the sleeper goes around twice, so that its stack is a new one.
settle() {
	local first now
	ask "$1"
	read -r _ first _ <<<"$answer"
	for _ in $(seq 400); do
		sleep 0.02
		ask "$1"
		read -r _ now _ <<<"$answer"
		[ "$now" -ge $((first + 2)) ] && return
	done
	fail "the victim does not get on ($1)"
}
repaved() {
	repave-apply "$1" -p "$victim" "${@:2}" >"$work/log" 2>&1 || fail "$*: exit $?"
}
# stacks TEXT ARGUMENT...: runs gdb ARGUMENT...; both threads must be there from top to bottom, with moved functions called NAME$moved. Three tries: a
# thread may be elsewhere for a moment.
stacks() {
	local text=$1
	shift
	for _ in 1 2 3; do
		timeout 120 gdb -nx -batch -ex 'set width 0' "$@" -ex 'thread apply all bt' </dev/null >"$work/gdb" 2>&1
		# Names in lower case with a suffix look like Ada to gdb, which prints hot.repaved as hot[repaved].
		frames=$(sed -nE 's/^#[0-9]+ +(0x[0-9a-f]+ in )?([^ ]+) \(.*/\2/p' "$work/gdb" | sed 's/\[repaved\]/.repaved/' | tr '\n' ' ')
		[[ $frames == *" sleeps library_inner$moved middle library_outer$moved work start_thread clone"* ]] &&
			[[ $frames == *"library_spin$moved spins start_thread clone"* ]] && ! grep -q '??' "$work/gdb" && return
		sleep 0.05
	done
	cat "$work/gdb"
	fail "gdb, $text: $frames"
}
# The kernel writes a core file into the directory of a process that dies.
in_work() {
	cd "$work" && ulimit -c unlimited && exec "$@"
}

start_asking in_work "$work/victim"
outside 0 before
remember
mapfile -t files < <(awk '$6 ~ /\/(libvictim|libc|libgcc_s)\.so/ && !seen[$6]++ { print $6 }' "/proc/$victim/maps")
repave-analyze map -o "$work/" "${files[@]}" >"$work/log" 2>&1 || fail "map"
repave-apply symbols -p "$victim" -o "$work/none" >"$work/log" 2>&1
[ $? = 5 ] && [ ! -e "$work/none" ] || fail "symbols of a process that nothing is applied to"
for seed in $(seq 20); do # random layouts: some leave the image before they call
	repave-analyze plan --torture "$seed" --modules libvictim.so -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
	repaved apply --max-pause 2000 "$work/plan"
	settle "layout $seed"
	[ "${answer##* }" = 2 ] && break
	repaved undo --max-pause 2000
done
outside 2 applied

moved=.repaved
repaved symbols -o "$work/symbols"
stacks "applied" -p "$victim" -ex "add-symbol-file $work/symbols"
read -r entry _ < <(nm "$work/symbols" | awk '/ library_inner.repaved$/ { print $1; exit }')
cat >"$work/steps" <<-END
	set confirm off
	add-symbol-file $work/symbols
	tbreak *0x$entry
	continue
	set scheduler-locking on
	set \$i = 0
	while \$i < 50
	stepi
	bt -2
	set \$i = \$i + 1
	end
END
timeout 120 gdb -nx -batch -p "$victim" -x "$work/steps" </dev/null >"$work/gdb" 2>&1
[ "$(grep -cE '^#[0-9]+ .* start_thread ' "$work/gdb")" = 50 ] || { tail -n 40 "$work/gdb"; fail "stepping through moved code loses the stack"; }
outside 2 "stepped through"

# Core files: of gdb, and of the kernel
(cd "$work" && timeout 120 gcore -o core "$victim" </dev/null >"$work/log" 2>&1) || fail "no core file"
repave-apply symbols --core "$work/core.$victim" -o "$work/symbols.core" >"$work/log" 2>&1 || fail "symbols --core: exit $?"
cmp "$work/symbols" "$work/symbols.core" || fail "a core file says something else than its process"
stacks "core file" "$work/victim" "$work/core.$victim" -ex "add-symbol-file $work/symbols.core"
rm "$work/core.$victim"

# The perf map, and all that may lie where it goes
map=/tmp/perf-$victim.map
refused() {
	repave-apply symbols -p "$victim" --perf-map >"$work/log" 2>&1
	[ $? = 5 ] && grep -q 'there already' "$work/log" || fail "$1: not refused"
}
echo secret >"$work/other"
for trap in "ln -s $work/other $map" "ln -s $work/nothing $map" "ln $work/other $map" "mkfifo $map" "mkdir $map" "touch $map" "cp $work/other $map"; do
	[[ $trap == "ln $work"* && $(stat -c %d "$work") != $(stat -c %d /tmp) ]] && continue
	$trap || fail "$trap"
	before=$(stat -c '%F %i %s' "$map")
	refused "$trap"
	[ "$(stat -c '%F %i %s' "$map")" = "$before" ] && [ "$(cat "$work/other")" = secret ] && [ ! -e "$work/nothing" ] || fail "$trap: touched"
	repaved undo --max-pause 2000
	[ "$(stat -c '%F %i %s' "$map")" = "$before" ] && [ "$(cat "$work/other")" = secret ] || fail "$trap: undo touched it"
	repaved apply --max-pause 2000 "$work/plan"
	rm -rf "$map"
done
repaved symbols --perf-map
[ "$(stat -c '%F %a %u %h' "$map")" = "regular file 600 $(id -u) 1" ] || fail "the map is $(stat -c '%F %a %u %h' "$map")"
repaved symbols --perf-map # its own is made anew
cp "$map" "$work/map"
head -n 1 "$work/map" >"$map" # a tool was killed, or another image came later: still ours
repaved symbols --perf-map
cmp "$map" "$work/map" || fail "the map is not made anew"

# A leaf has no frame of its own: by frame pointers, its caller is passed over.
perf_knows() {
	timeout 60 perf record -q -e cpu-clock -F 499 -g -p "$victim" -o "$work/perf.data" -- sleep "$1" >"$work/log" 2>&1 || return
	perf script -i "$work/perf.data" -F ip,sym 2>/dev/null | awk '{ print $2 }' | tr '\n' ' ' >"$work/stacks"
	grep -q 'turns library_spin.repaved spins start_thread' "$work/stacks" &&
		grep -qE 'library_leaf(\.repaved)? library_spin.repaved spins start_thread' "$work/stacks" # a layout may leave the leaf where it was
}
perf="perf is missing: that part was left out"
if command -v perf >/dev/null; then
	perf="perf may not sample here: that part was left out"
	for seconds in 0.3 1 2 4 8; do
		perf_knows $seconds && perf="perf too" && break
	done
	[ "$perf" = "perf too" ] || [ ! -s "$work/stacks" ] || fail "perf does not know the stacks: $(head -c 2000 "$work/stacks")"
fi

# A JIT compiler starts later: it truncates what is there and goes on in it, or appends, or changes it: then it is the compiler's.
for jit in 'echo "1000 10 jitted" >"$map"' 'echo "1000 10 jitted" >>"$map"' 'sed -i "\$s/repaved/jitted0/" "$map"'; do
	rm -f "$map"
	repaved symbols --perf-map
	eval "$jit"
	cp "$map" "$work/map"
	repaved undo --max-pause 2000
	cmp "$map" "$work/map" || fail "undo took the map of a JIT compiler ($jit)"
	repaved apply --max-pause 2000 "$work/plan"
done
rm "$map"
repaved symbols --perf-map
ln "$map" "$work/link" 2>/dev/null || cp "$map" "$work/link"
repaved undo --max-pause 2000
grep -q 'perf map is removed' "$work/log" && [ ! -e "$map" ] && [ -s "$work/link" ] || fail "undo does not remove its map"
outside 0 undone
same undone
moved=
stacks "undone" -p "$victim"
map=

# It dies of a signal while a plan is applied.
core="no core file of the kernel: core_pattern has it elsewhere"
if [ "$(cat /proc/sys/kernel/core_pattern)" = core ]; then
	repaved apply --max-pause 2000 "$work/plan"
	outside 2 "applied again"
	kill -ABRT "$victim"
	wait "$victim"
	core=$(ls "$work"/core*) || fail "no core file"
	repave-apply symbols --core "$core" -o "$work/symbols.core" >"$work/log" 2>&1 || fail "symbols --core: exit $?"
	moved=.repaved
	stacks "core file of the kernel" "$work/victim" "$core" -ex "add-symbol-file $work/symbols.core"
	core="a core file of the kernel too"
fi
kill -9 "$victim" 2>/dev/null
victim=
exec 3>&-

# Another user's, with numbers and a /tmp of its own. It could have another's directory there: what is made is made with its rights.
others="not root, or no namespaces: no process of another user"
mkdir -m 1777 "$work/tmp"
cp "$work/victim" "$work/libvictim.so" "$work/tmp"
if [ "$(id -u)" = 0 ] && unshare -m -p -f true 2>/dev/null; then
	rm "$work/in"
	start_asking unshare -m -p -f --kill-child sh -c "mount --bind '$work/tmp' /tmp && LD_LIBRARY_PATH=/tmp exec setpriv --reuid=65534 --regid=65534 \
		--clear-groups --inh-caps=-all /tmp/victim"
	outer=$victim
	for _ in $(seq 200); do
		victim=$(pgrep -P "$outer") && grep -q '^Uid:.65534' "/proc/$victim/status" 2>/dev/null && break
		sleep 0.02
	done
	outside 0 "another user's"
	repaved apply --max-pause 2000 "$work/plan"
	for _ in 1 2; do
		repaved symbols --perf-map
		[ "$(stat -c '%F %a %u %g' "$work/tmp/perf-1.map")" = "regular file 600 65534 65534" ] || fail "no map of another user's process"
		[ ! -e "/tmp/perf-$victim.map" ] && [ ! -e /tmp/perf-1.map ] || fail "a map in the wrong place"
		repaved undo --max-pause 2000
		[ ! -e "$work/tmp/perf-1.map" ] || fail "undo leaves another user's map"
		repaved apply --max-pause 2000 "$work/plan"
	done
	chmod 755 "$work/tmp"
	repave-apply symbols -p "$victim" --perf-map >"$work/log" 2>&1
	[ $? = 4 ] && grep -q 'ermission denied' "$work/log" || fail "a map in a directory where its user may not write"
	[ ! -e "$work/tmp/perf-1.map" ] || fail "a map is left there"
	outside 2 "another user's, applied"
	exec 3>&-
	wait "$outer" || fail "the victim ended with exit $?"
	victim=
	others="another user's process too"
fi
echo "$perf; $core; $others"

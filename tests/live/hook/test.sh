#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
for tool in gdb g++; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
export DEBUGINFOD_URLS=

# between: sets $step to the step before which undo is between its first stop, where all patches but the hook go, and its second.
between() {
	for ((step = 2; step < 200; step++)); do
		applied
		held "$step" undo || fail "undo ends before it stops twice"
		grep -q '^TracerPid:.0$' "/proc/$victim/status"
		last=$?
		go_on
		[ "$last" = 0 ] && return
	done
	fail "undo never lets go of the victim"
}

applied() {
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
}

# go_on: the tool that is held ends.
go_on() {
	kill -CONT "$tool"
	wait "$tool"
	status=$?
	cp "$work/tool.log" "$work/log"
	[ "$status" = 0 ] || fail "undo: exit $status"
}

stands() {
	grep -q " $there\$" "/proc/$victim/syscall"
}

# stand OFFSET: the victim throws, and is stopped (SIGSTOP) at $there, that offset of the copy of the look-up
# that stands behind the stub.
stand() {
	cat >"$work/steps" <<-END
		set confirm off
		set pagination off
		set \$at = (long)&_Unwind_Find_FDE
		if *(unsigned char *)\$at != 0xe9
		set \$at = \$at + 4
		end
		set \$stub = \$at + 5 + *(int *)(\$at + 1)
		find /b \$stub, +512, 0x41, 0x57, 0x41, 0x56, 0x41, 0x55
		tbreak *(\$_ + $1)
		printf "breakpoint at %#lx\n", (long)\$_ + $1
		shell echo throw >"$work/in"
		continue
		shell kill -STOP $victim
		detach
	END
	timeout 60 gdb -nx -batch -p "$victim" -x "$work/steps" </dev/null >"$work/log" 2>&1
	there=$(sed -n 's/^breakpoint at //p' "$work/log")
	[ -n "$there" ] && stands || fail "the victim does not stand at +$1: $(cat "/proc/$victim/syscall")"
}

g++ -O2 -Wl,--build-id -o "$work/victim" victim.cc >"$work/log" 2>&1 || fail "the victim does not build"
mapfile -t files < <(ldd "$work/victim" | awk '/lib(c|gcc_s)\.so/ { print $3 }')
repave-analyze map -o "$work/" "$work/victim" "${files[@]}" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 1 --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
start_asking "$work/victim"
ask throw
remember
between
# The jump is 5 bytes long, the instructions under it 2 each.
for offset in 0 2 4 6; do
	applied
	ask throw
	held "$step" undo || fail "undo ends before step $step"
	lines=$(wc -l <"$work/out")
	stand "$offset"
	go_on
	case $offset in
	[24]) stands && grep -q "stays mapped: thread $victim" "$work/log" || fail "+$offset: the thread is moved, or the image does not stay for it" ;;
	esac
	kill -CONT "$victim"
	for _ in $(seq 500); do
		[ "$(wc -l <"$work/out")" -gt "$lines" ] && break
		kill -0 "$victim" || fail "+$offset: the victim died"
		sleep 0.01
	done
	[[ $(tail -n 1 "$work/out") == caught* ]] && [ "$(wc -l <"$work/out")" = $((lines + 1)) ] || fail "+$offset: the exception is not caught"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || grep -q 'nothing is applied' "$work/log" || fail "+$offset: undo at last"
	same "offset $offset"
	ask throw
done
end_asking
echo "undone with a thread at each of the first instructions (step $step)"

#!/bin/bash
# See desc. Parts that need gdb, strace or uprobes say so when they are not tried.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
gcc -O2 -Wall -o "$work/uprobe" uprobe.c >"$work/log" 2>&1 || fail "uprobe does not build"
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
first=$(objdump -d --no-show-raw-insn "$work/victim" | awk '/<hot_late>:/ { getline; a = $1; getline; print substr($1, 1, length($1) - 1), a; exit }')
length=$((0x${first% *} - 0x$(sed 's/.* //; s/:$//' <<<"$first")))
"$work/handplan" "$work/victim" "$work/behind" --behind "hot_late:$length" || fail "no plan with a patch behind the first instruction"
others=()
trap 'kill -9 $victim "${others[@]}" 2>/dev/null; rm -rf "$work"' EXIT

start_asking "$work/victim"
ask both
remember maps # the kernel maps a page where there are uprobes
base=0x$(awk '/victim/ { sub(/-.*/, "", $1); print $1; exit }' "/proc/$victim/maps")
offset_of() { # vaddr and file offset are the same in the code of this victim
	echo "0x$(nm "$work/victim" | awk -v name="$1" '$3 == name { print $1 }')"
}
early=$(offset_of hot_early) late=$(offset_of hot_late)
address=$(printf '0x%x' $((base + late)))

# first_byte OFFSET: what the process has there, in hexadecimal
first_byte() {
	dd if="/proc/$victim/mem" bs=1 skip=$((base + $1)) count=1 status=none | od -An -tx1 | tr -d ' '
}
poke() { # OFFSET BYTES
	printf "$2" | dd of="/proc/$victim/mem" bs=1 seek=$((base + $1)) conv=notrunc status=none
}
original=$(first_byte "$late")

# tool STATUS TEXT VERB [ARG...]
tool() {
	repave-apply "$3" -p "$victim" "${@:4}" >"$work/log" 2>&1
	local status=$?
	[ "$status" = "$1" ] || fail "$3: exit $status, not $1"
	grep -q -- "$2" "$work/log" || fail "$3: does not say \"$2\""
}

# plant OFFSET: a uprobe; 1: none can be. unplant: takes it away
plant() {
	rm -f "$work/hold" "$work/planted"
	mkfifo "$work/hold"
	"$work/uprobe" "$victim" "$work/victim" "$1" <"$work/hold" >"$work/planted" 2>&1 &
	others=($!)
	exec 4>"$work/hold"
	for _ in $(seq 200); do
		grep -q planted "$work/planted" && [ "$(first_byte "$1")" = cc ] && return
		kill -0 "${others[0]}" 2>/dev/null || return 1
		sleep 0.01
	done
	fail "a uprobe that does not come"
}
unplant() {
	exec 4>&-
	wait "${others[0]}"
	others=()
}

if plant "$early"; then
	# There before, gone while applied.
	tool 0 "1 functions left out" apply "$work/plan"
	ask both
	tool 0 "" verify
	unplant
	tool 0 "" verify
	ask both
	tool 0 "nothing of ours remains" undo
	pristine "a uprobe from before" --padding

	# Somewhere else in a function that is moved: the probe is not hit, the function runs.
	tool 0 "2 functions" apply "$work/plan"
	plant $((early + 6))
	tool 0 "" verify
	ask both
	tool 0 "nothing of ours remains" undo
	[ "$(first_byte $((early + 6)))" = cc ] || fail "undo took a uprobe away"
	ask both
	unplant
	pristine "a uprobe behind a patch" --padding

	# On the first byte of a function that is patched behind its first instruction, as analyze does it: it sees every call, and goes as it came.
	tool 0 "2 functions" apply "$work/behind"
	plant "$late"
	tool 0 "" verify
	for _ in 1 2 3; do ask both; done
	unplant
	grep -qx "3 hits" "$work/planted" || fail "a uprobe before a patch: $(cat "$work/planted")"
	tool 0 "" verify
	ask both
	plant "$late"
	tool 0 "nothing of ours remains" undo
	ask both
	unplant
	pristine "a uprobe before a patch" --padding

	# On a patch: the kernel would run the first instruction of the file and go on in the middle of the patch.
	tool 0 "2 functions" apply "$work/plan"
	plant "$late"
	tool 1 "$address.*uprobe" verify
	tool 0 "1 breakpoints or uprobes of somebody else stay" undo
	[ "$(first_byte "$late")" = cc ] || fail "undo took a uprobe away"
	ask both
	unplant
	ask both
	pristine "a uprobe on a patch" --padding

	# Gone from a patch before undo: the kernel has put the byte of the file there.
	tool 0 "2 functions" apply "$work/plan"
	plant "$late"
	unplant
	[ "$(first_byte "$late")" = "$original" ] || fail "a uprobe that went left $(first_byte "$late")"
	tool 1 "$address" verify
	tool 0 "nothing of ours remains" undo
	ask both
	pristine "a uprobe that was on a patch" --padding
else
	echo "uprobes: not tried: $(cat "$work/planted")"
fi

# A debugger killed while its breakpoint was in: one in the middle of a patch.
tool 0 "2 functions" apply "$work/plan"
poke $((late + 2)) '\314'
tool 1 "$address" verify
tool 0 "1 breakpoints or uprobes of somebody else stay" undo
[ "$(first_byte $((late + 2)))" = cc ] || fail "undo took a breakpoint away"
poke $((late + 2)) "\\x$(dd if="$work/victim" bs=1 skip=$((late + 2)) count=1 status=none | od -An -tx1 | tr -d ' ')"
pristine "a breakpoint in a patch" --padding

# Anything else is nobody's that we know.
tool 0 "2 functions" apply "$work/plan"
saved=$(first_byte $((late + 3)))
other=$(printf '%02x' $((0x$saved ^ 0x55)))
[ "$other" = cc ] && other=cd
poke $((late + 3)) "\\x$other"
tool 5 "$address" undo
tool 1 "$address" verify
poke $((late + 3)) "\\x$saved"
tool 0 "" verify
ask both

if command -v gdb >/dev/null; then
	# It stands on a patch and in the middle of one while gdb stops the process; gdb puts back what it found.
	cat >"$work/commands" <<-END
		set breakpoint always-inserted on
		break *$address
		break *$((base + early + 2))
		shell for verb in undo verify "apply $work/plan" status; do repave-apply \$verb -p $victim; echo "exit \$? \$verb"; done >"$work/gdb" 2>&1
		detach
		quit
	END
	gdb -nx -q -batch -p "$victim" -x "$work/commands" >"$work/log" 2>&1 || fail "gdb: exit $?"
	[ "$(grep -c 'is already traced by process .*(gdb)' "$work/gdb")" = 2 ] || fail "gdb is not named: $(cat "$work/gdb")"
	[ "$(grep -c -e 'exit 5 undo' -e 'exit 1 verify' -e 'exit 5 apply' -e 'exit 0 status' "$work/gdb")" = 4 ] ||
		fail "beside gdb: $(cat "$work/gdb")"
	tool 0 "" verify
	ask both
else
	echo "gdb: not tried, it is not installed"
fi

if command -v strace >/dev/null; then
	strace -o "$work/strace" -p "$victim" 2>/dev/null &
	others=($!)
	until grep -q 'TracerPid:.[1-9]' "/proc/$victim/status"; do sleep 0.01; done
	tool 5 "is already traced by process .*(strace)" undo
	tool 0 "" verify
	kill "${others[0]}"
	wait "${others[0]}"
	others=()
else
	echo "strace: not tried, it is not installed"
fi
tool 0 "nothing of ours remains" undo
pristine "at the end" --padding
ask both
end_asking

#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"

tool() {
	timeout -k 1 10 repave-apply "$1" -p "$victim" --max-pause 500 "${@:2}" >"$work/log" 2>&1
	status=$?
}
# refused TEXT: apply refuses, says so, and nothing is changed
refused() {
	tool apply "$work/plan"
	[ "$status" = 5 ] && [ "$(wc -l <"$work/log")" = 1 ] && grep -q -- "$1" "$work/log" || fail "$2: exit $status"
	ask rounds
	pristine "$2" --padding
}
applied() {
	tool apply "$work/plan"
	[ "$status" = 0 ] || fail "apply $1: exit $status"
	ask rounds
}
# undone [TEXT]: what undo says of the image
undone() {
	for _ in $(seq 50); do # busy: the thread that is to unmap is not where it can be used
		tool undo
		[ "$status" = 75 ] || break
	done
	[ "$status" = 0 ] && grep -q "${2:-nothing of ours remains}" "$work/log" || fail "undo $1: exit $status"
	ask rounds
}
# mode COMMAND: 1 when this kernel has no such thing
mode() {
	ask "$1"
	[ "$answer" != cannot ] || { echo "not tried, this kernel cannot: $1"; return 1; }
}
restart() {
	[ -z "$victim" ] || end_asking
	rm -f "$work/in"
	start_asking "$work/victim" "$@"
	ask rounds
	remember maps # a thread of another mode has memory of its own
}

restart threads
if mode "worker dispatch"; then
	refused "dispatched to user space" "a thread with dispatched calls"
	mode "worker plain" || fail "it does not end"
	applied "when calls are no longer dispatched"
	mode "worker dispatch" || fail "dispatch again"
	undone "with a thread whose calls are dispatched"
	mode "worker plain" || fail "it does not end"
	pristine "after dispatch" --padding
fi
if mode "worker compat"; then
	refused "not 64-bit (code segment 0x23)" "a thread in 32-bit code"
	mode "worker plain" || fail "32-bit code does not end"
	applied "when no 32-bit code runs"
	mode "worker compat" || fail "32-bit code again"
	undone "with a thread in 32-bit code" "the image stays mapped: .* stack cannot be followed"
	mode "worker plain" || fail "32-bit code does not end"
	undone "at last"
	pristine "after 32-bit code" --padding
fi
if mode segments; then
	refused "segments of its own" "a process with an LDT"
fi

# The only thread: nobody is left to make calls for us.
restart
if mode "main dispatch"; then
	refused "dispatched to user space" "the only thread, with dispatched calls"
	mode "main plain" || fail "it does not end"
	applied "to one thread"
	mode "main dispatch" || fail "dispatch again"
	undone "of one thread with dispatched calls" "the image stays mapped: .* dispatched to user space"
	undone "again" "the image stays mapped: .* dispatched to user space"
	mode "main plain" || fail "it does not end"
	undone "at last"
	pristine "at the end" --padding
fi
if mode segments; then
	refused "segments of its own" "one thread with an LDT"
fi
end_asking

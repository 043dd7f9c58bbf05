#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
gcc -O2 -g -shared -fPIC -fcf-protection=none -o "$work/library.so" library.c >"$work/log" 2>&1 || fail "library.c does not build"
"$work/handplan" "$work/library.so" "$work/plan" || fail "no plan"
start_asking "$work/victim" "$work/library.so"

run() {
	local pause=(--max-pause 2000)
	[ "$1" = verify ] && pause=()
	repave-apply "$1" -p "$victim" "${pause[@]}" "${@:2}" >"$work/log" 2>&1 || fail "$*: exit $?"
}
undone() {
	run undo
	grep -q "nothing of ours remains" "$work/log" || fail "image kept"
	pristine "$1"
}

ask open
ask rounds
remember maps # it opens and closes libraries
run apply "$work/plan"
ask rounds
run verify
ask close
repave-apply verify -p "$victim" >"$work/log" 2>&1
[ $? = 1 ] || fail "verify of a closed library: not 1"
undone "closed"

again=0
for _ in 1 2 3 4 5; do
	ask open
	run apply "$work/plan"
	ask rounds
	ask close
	ask open
	[ "$answer" = "opened again there" ] && again=$((again + 1))
	ask rounds
	undone "closed and opened"
	ask rounds
	ask close
done
[ "$again" -gt 0 ] || fail "never opened at the same address"

ask open
run apply "$work/plan"
ask rounds
ask close
ask squat
run undo
grep -q "nothing of ours remains" "$work/log" || fail "image kept"
ask check
ask leave
ask open
ask rounds
pristine "at the end"
end_asking

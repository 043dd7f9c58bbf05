#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
command -v jq >/dev/null || { echo "no jq"; exit 77; }
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
start_asking "$work/victim"
ask keep
remember maps # it maps memory itself

# squat: maps memory at the place of each image that a journal names; counts in $squatted
squatted=0
squat() {
	local address
	repave-apply status --json -p "$victim" >"$work/status" 2>"$work/log" || fail "status: exit $?"
	for address in $(jq -r '.plans[].modules[].address' "$work/status"); do
		ask "map $(printf %x "$address") 1000"
		[ "$answer" = mapped ] && squatted=$((squatted + 1)) && return
	done
}

undo() {
	local status
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	status=$?
	[ "$status" = 0 ] || { [ "$status" = 5 ] && grep -q "nothing is applied" "$work/log"; } || fail "undo $1: exit $status"
}

sweep() {
	local n status
	for ((n = 1 + RANDOM % 2; n < 400; n += 2)); do
		[ "$1" = undo ] && { repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"; }
		REPAVE_FAULT=$n repave-apply "$@" -p "$victim" --max-pause 2000 >"$work/log" 2>&1
		status=$?
		squat
		undo "after $1 was killed at $n"
		ask keep
		[ "$status" = 0 ] && break
		[ "$status" = 137 ] || fail "$1 with fault $n: exit $status"
		pristine "after $1 was killed at $n"
	done
	[ "$status" = 0 ] || fail "$1 never got through"
}
sweep apply "$work/plan"
[ "$squatted" -gt 0 ] || fail "apply was never killed between journal and image"
staged=$squatted
sweep undo
[ "$squatted" -gt "$staged" ] || fail "undo was never killed between image and journal"
echo "mapped in the place of an image $squatted times"

# An image that somebody else wrote to is left alone, and that is said each time; written back, it goes.
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
repave-apply status --json -p "$victim" >"$work/status"
address=$(jq -r '.plans[0].modules[0] | .address + .code_bytes - 1' "$work/status")
byte() { dd of="/proc/$victim/mem" bs=1 seek="$1" conv=notrunc status=none; }
old=$(dd if="/proc/$victim/mem" bs=1 skip="$address" count=1 status=none | od -An -tu1 | tr -d ' ')
printf '\314' | byte "$address"
for _ in 1 2; do
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo of a changed image: exit $?"
	grep -q "somebody else changed it" "$work/log" || fail "undo does not say that the image was changed"
	repave-apply status -p "$victim" | grep -q "somebody else changed it" || fail "status does not say that the image was changed"
done
# shellcheck disable=SC2059
printf "\\$(printf %o "$old")" | byte "$address"
undo "of an image that is as it was again"
grep -q "nothing of ours remains" "$work/log" || fail "image kept"
pristine "at the end" --padding
end_asking

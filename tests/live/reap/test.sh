#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
command -v jq >/dev/null || { echo "no jq"; exit 77; }
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
"$work/handplan" "$work/victim" "$work/behind" --behind hot_wait:6 || fail "no plan"
start_asking "$work/victim"

run() {
	repave-apply "$1" -p "$victim" --max-pause 2000 "${@:2}" >"$work/log" 2>&1 || fail "$*: exit $?"
}
# reap STATUS KEPT: that exit status, so many images stay, each with its reason, and what is applied is untouched
reap() {
	local status before
	before=$(repave-apply status --json -p "$victim" | jq '.plans | length')
	repave-apply undo --reap --json -p "$victim" --max-pause 2000 >"$work/reaped" 2>"$work/log"
	status=$?
	[ "$status" = "$1" ] || fail "reap: exit $status, not $1"
	jq -s '.[0]' "$work/reaped" >"$work/report"
	[ "$(jq '.kept | length' "$work/report")" = "$2" ] || fail "not $2 images stay: $(cat "$work/report")"
	[ "$(jq '[.kept[] | select(.kept_because | test("saved PC"))] | length' "$work/report")" = "$2" ] || fail "no reason: $(cat "$work/report")"
	after=$(repave-apply status --json -p "$victim" | jq '.plans | length')
	freed=$((before - after))
	[ "$freed" = 0 ] || [ "$(jq .freed_bytes "$work/report")" -gt 0 ] || fail "freed, but no bytes"
}
applied() {
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "the plan is not applied any more ($1)"
	[ "$(jq .applied "$work/report")" = true ] || fail "the report does not say that a plan is applied ($1)"
}

reap 0 0
for n in 0 1 2; do # so that coroutines have left behind what they do
	ask "begin $n"
	ask "end $n"
done
remember
for n in 0 1 2; do
	run apply "$work/plan"
	ask "begin $n"
	[ "$n" = 2 ] && break
	run undo
	grep -q "stays mapped: a saved PC" "$work/log" || fail "image $n is not kept"
done
reap 75 2
applied "two kept"
repave-apply status -p "$victim" >"$work/log"
[ "$(grep -c "the image stays mapped because: a saved PC" "$work/log")" = 2 ] && grep -q ": applied, since" "$work/log" ||
	fail "status does not show what is applied and what is kept"
repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1
grep -q "stay, with their journal at 0x.*: a saved PC" "$work/log" || fail "reap does not say what stays, and why"
ask "end 1"
reap 75 1
[ "$freed" = 1 ] || fail "$freed images freed, not one"
applied "one kept"
ask "end 0"
"$root/scripts/repave" reap -p "$victim" >"$work/log" 2>&1 || fail "repave reap: exit $?"
reap 0 0
applied "none kept"
ask "begin 0"
ask "end 0"
ask "end 2"
run undo
grep -q "nothing of ours remains" "$work/log" || fail "image kept"
pristine "all ended" --padding

# A thread in a kept image, whose place in the original lies inside a jump of the plan that is applied by now: it goes home when it is not inside any more.
ask "wait 0"
ask "spin 0" # all that threads need is there then
ask "stop 0"
remember
insides=0
for _ in 1 2 3 4 5 6; do
	run apply "$work/plan"
	ask "wait 0"
	run undo
	grep -q "stays mapped: a saved PC" "$work/log" || fail "no image is kept for hot_wait"
	run apply "$work/behind"
	ask "spin 0"
	for ((try = 0; try < 50; try++)); do
		repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1 && break
		grep -q "where a jump stands now" "$work/log" || fail "reap: $(cat "$work/log")"
		insides=$((insides + 1))
	done
	[ "$try" -lt 50 ] || fail "the image of hot_wait is never freed"
	ask "stop 0"
	[ "$answer" = stopped ] || fail "stop: $answer"
	run undo
	grep -q "nothing of ours remains" "$work/log" || fail "image kept"
	pristine "hot_wait" --padding
done
echo "$insides times a thread was inside of the jump"

# Killed tools: what was only staged goes, what was half applied is for undo.
killed=0 half=0
for step in $(seq $((2 + RANDOM % 2)) 2 400); do
	REPAVE_FAULT=$step repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 && break
	state=$(repave-apply status --json -p "$victim" | jq -r '.plans[0].state')
	repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "reap after apply was killed at $step: exit $?"
	if [ "$state" = patching ] || [ "$state" = applied ]; then
		[ "$(repave-apply status --json -p "$victim" | jq -r '.plans[0].state')" = "$state" ] || fail "reap took back what was $state"
		run undo
		half=$((half + 1))
	fi
	[ "$state" = staging ] && killed=$((killed + 1))
	pristine "apply was killed at $step" --padding
done
[ "$killed" -gt 0 ] && [ "$half" -gt 0 ] || fail "never killed while staging, or while patching"
run undo

# An undo that was killed while it unmapped, and the same plan once more, which would stand in the same place: what is left of the first one goes, and nothing
# of the second.
unmapping=0
for step in $(seq $((2 + RANDOM % 2)) 2 400); do
	run apply "$work/plan"
	REPAVE_FAULT=$step repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 && break
	state=$(repave-apply status --json -p "$victim" | jq -r '.plans[0].state')
	[ "$state" != unmapping ] || unmapping=$((unmapping + 1))
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1
	case $? in
	0) ;;
	5) [ "$state" = applied ] && grep -q "applied already" "$work/log" || fail "apply after undo was killed at $step: $(cat "$work/log")" ;;
	*) fail "apply after undo was killed at $step: $(cat "$work/log")" ;;
	esac
	run undo --reap
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "reap took something of what is applied, after undo was killed at $step"
	ask "begin 0"
	ask "end 0"
	run undo
	grep -q "nothing of ours remains" "$work/log" || fail "image kept after undo was killed at $step"
	pristine "undo was killed at $step" --padding
done
[ "$unmapping" -gt 0 ] || fail "never killed while unmapping"
end_asking
echo "reaped what $killed killed tools had staged; $half were half done"

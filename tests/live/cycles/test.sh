#!/bin/bash
# See desc. CYCLES (200): rounds of apply and undo.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim" 6
progress before

kept=0
cycle() {
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $1: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $1: exit $?"
	grep -q "nothing of ours remains" "$work/log" || kept=$((kept + 1))
}
resident() { awk '/^Rss:/ { print $2 }' "/proc/$victim/smaps_rollup"; }
page_tables() { awk '/^VmPTE/ { print $2 }' "/proc/$victim/status"; }

cycle 0
remember
first=$(resident) tables=$(page_tables)
for ((turn = 1; turn <= ${CYCLES:-200}; turn++)); do
	cycle "$turn"
	((turn % 50)) || rounds "turn $turn"
done
last=$(resident)
repave-apply undo --reap -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "an image is kept at the end"
same "after all turns"
tables_after=$(page_tables)
pristine "after all turns" --padding # reads all text, which is resident then
progress after
echo "$((turn - 1)) rounds: $first KiB resident before, $last after; an image was kept $kept times for a while"
[ "$last" -le "$((first + 128))" ] || fail "memory grows: $first KiB, then $last"
[ "$tables_after" -le "$((tables + 8))" ] || fail "page tables grow: $tables KiB, then $tables_after"
finish

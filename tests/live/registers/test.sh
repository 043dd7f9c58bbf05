#!/bin/bash
# See desc. REGISTERS_ROUNDS (8): rounds of apply and undo.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
command -v jq >/dev/null || { echo "no jq"; exit 77; }
build_lib
build_victim victim.c fill.S
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim" 9
head -n 1 "$work/out"
progress before
remember
moved=0
for turn in $(seq "${REGISTERS_ROUNDS:-8}"); do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	rounds "applied $turn"
	repave-apply undo --json -p "$victim" --max-pause 2000 >"$work/undo" 2>"$work/log" || fail "undo $turn: exit $?"
	rounds "undone $turn"
	moved=$((moved + $(jq .moved "$work/undo")))
done
progress after
pristine after --padding
echo "$moved threads moved home with their registers full"
[ "$moved" -gt 0 ] || fail "no thread was ever moved"
finish

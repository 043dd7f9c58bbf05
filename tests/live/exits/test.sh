#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
for tool in jq nm valgrind repave-analyze repave-profile repave-dump; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
export REPAVE_CACHE=$work/cache TMPDIR=$work
build_lib
gcc -O2 -g -pthread -o "$work/victim" victim.c >"$work/log" 2>&1 || fail "the victim does not build"

# exact NAME ROUNDS: callgrind's counts of the victim without surprises
exact() {
	valgrind -q --tool=callgrind --dump-instr=yes --collect-jumps=yes --skip-plt=no --callgrind-out-file="$work/$1.callgrind" \
		"$work/victim" "$2" 1 >"$work/log" 2>&1 || fail "callgrind: exit $?"
	repave-profile import "$work/$1.callgrind" -o "$work/$1.rprof" >"$work/log" 2>&1 || fail "import: exit $?"
}

# instructions NAME: of the victim's file but for saver
instructions() {
	local range
	range=$(nm -S "$work/victim" | awk '$4 == "saver" { print "0x" $1, "0x" $2 }')
	repave-dump --json --all "$work/$1.rprof" | jq --arg path "$work/victim" --argjson from "$((${range% *}))" --argjson size "$((${range#* }))" \
		'([.modules[].path == $path] | index(true)) as $m |
		[.count_list[] | select(.module == $m and (.address < $from or .address >= $from + $size)).count] | add'
}

# count SECONDS: leaves $work/exits.json
count() {
	repave-apply count --json -p "$victim" --max-pause 2000 --seconds "$1" -o "$work/counts.rprof" "$work/exits.rplan" >"$work/log" 2>&1 ||
		fail "count: exit $?"
	repave-analyze exits --json --top 1000 --profile "$work/counts.rprof" --plan "$work/exits.rplan" "${maps[@]}" \
		>"$work/exits.json" 2>"$work/log" || fail "exits: exit $?"
}

# number JQ: of the report; the whole of it
number() {
	jq -r "$1 | round" "$work/exits.json"
}

# is JQ TIMES WHAT: so many per round, give or take the rounds that had begun and not ended
is() {
	local got want=$(($2 * turns))
	got=$(number "$1")
	[ "$(($got > $want ? $got - $want : $want - $got))" -le "$((2 * $2 + want / ${slack:-100000}))" ] || fail "$3: $got is not $2 times $turns"
}

repave-analyze map --json -o "$work/" "$work/victim" "$(readlink -f "$(gcc -print-file-name=libgcc_s.so.1)")" \
	"$(readlink -f "$(gcc -print-file-name=libc.so.6)")" >"$work/log" 2>&1 || fail "map: exit $?"
maps=("$work"/*.rmap)
exact seen 20
exact twice 40
for kind in plain exits; do
	repave-analyze plan --json --coverage 1 --modules victim --profile "$work/seen.rprof" -o "$work/$kind.rplan" \
		$([ "$kind" = plain ] || echo --count-exits) "${maps[@]}" >"$work/$kind.json" 2>"$work/log" || fail "plan of $kind: exit $?"
done
[ "$(jq -c '.total | [.functions, .blocks, .hot_bytes]' "$work/plain.json")" = "$(jq -c '.total | [.functions, .blocks, .hot_bytes]' "$work/exits.json")" ] ||
	fail "not the same plan"

# Without surprises: no branch leaves the image, and what is executed there is what callgrind counts, but for part of the switch.
victim "$work/victim" 0 1
rounds before
remember
count 0.3
rounds "without surprises"
pristine "without surprises"
turns=$(number '.kinds.slot.count / 25')
[ "$turns" -gt 100 ] || fail "only $turns rounds"
is .kinds.branch.count 0 "branches without surprises"
is .kinds.tail.count 20 "jumps without surprises"
is .kinds.table.count 20 "switches without surprises"
per_round=$((($(instructions twice) - $(instructions seen)) / 20)) counted=$(number ".instructions / $turns")
[ "$counted" -le "$((per_round + 2))" ] && [ "$counted" -ge "$((per_round * 97 / 100))" ] ||
	fail "$counted instructions in a round, callgrind says $per_round"
echo "$SECONDS s: $counted instructions in a round, by callgrind $per_round"
finish

# With them: every number is known.
victim "$work/victim" 0 1 surprise
rounds before
remember
count 0.5
rounds counted
pristine counted
turns=$(number '.kinds.slot.count / 25')
[ "$turns" -gt 100 ] || fail "only $turns rounds"
is '[.top[] | select(.kind == "branch" and .function == "step").count] | add' 125 "branches out of step"
is '[.top[] | select(.kind == "branch" and .function == "framed").count] | add' 1000 "branches out of framed"
is '[.top[] | select((.kind == "branch" or .kind == "tail") and .function == "chilly").count] | add' 50 "branches to the split part of chilly"
is '.kinds.branch.count + .kinds.tail.count' 1195 "branches and jumps"
is '[.top[] | select(.kind == "tail" and .function == "jumper").count] | add' 20 "jumps to functions"
is .kinds.call.count 10 calls
is .kinds.slot.count 25 "calls through slots"
is .kinds.pointer.count 45 "calls through pointers"
is .kinds.pointer.back 30 "calls of leaf through a pointer"
is .kinds.table.count 20 switches
is .reentered 20 "entries through patches inside functions"
is .kinds.jump.count 0 "other jumps"
is '[.top[] | select(.kind == "return" and .function == "leaf").count] | add' 45 "returns of leaf to outside"
is .exits.nowhere 0 "exits to nowhere"
[ "$(number .uncounted)" = 0 ] || fail "$(number .uncounted) branches out were not counted"
echo "$SECONDS s: $turns rounds, $(jq .exits.per_1000 "$work/exits.json") exits per 1000 instructions: $(jq -c '.kinds | map_values(.count)' "$work/exits.json")"

# Refused: apply of such a plan, exits of a plan without counters and of a profile that is none of them.
refused() {
	local want=$1 text=$2 status
	shift 2
	"$@" >"$work/stdout" 2>"$work/log"
	status=$?
	[ "$status" = "$want" ] || fail "$*: exit $status, not $want"
	grep -q -- "$text" "$work/log" || fail "$*: does not say \"$text\""
}
refused 2 "counting plan" repave-apply apply -p "$victim" "$work/exits.rplan"
refused 2 "has no counters" repave-analyze exits --profile "$work/counts.rprof" --plan "$work/plain.rplan" "${maps[@]}"
refused 2 "not made by" repave-analyze exits --profile "$work/seen.rprof" --plan "$work/exits.rplan" "${maps[@]}"
finish

# Three threads add to the counters without a lock: some increments are lost, results never.
victim "$work/victim" 0 3 surprise
rounds before
remember
for _ in 1 2 3; do
	count 0.2
	progress "counted with threads"
	pristine "counted with threads"
done
turns=$(number '.kinds.slot.count / 25') slack=4
is '.kinds.branch.count + .kinds.tail.count' 1195 "branches with threads"
is .kinds.table.count 20 "switches with threads"
finish
# A stack is unwound from wherever it is, also from the counters behind the code.
victim "$work/victim" 0 1 walk
rounds before
remember
count 1
rounds "walked"
pristine "walked"
count=$(awk '$1 == "walks" { n = $2 } END { print n }' "$work/out")
[ "$count" -gt 50 ] || fail "only $count stacks were unwound"
[ "$(number .kinds.branch.count)" -gt 1000 ] || fail "no branches out while stacks were unwound"
finish
echo "all done in $SECONDS s"

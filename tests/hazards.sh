#!/bin/bash
# tests/hazards.md against the tree: every fact 1.1 to 1.13, every fault 1 to 50 and every kind of hostile input E.1 and on has one row; each test that a row
# names is there, and a live test that the row of a fault names says so in its desc, as each desc that names a number is in its row.
set -u
cd "$(dirname "$0")" || exit 1
bad=0
complain() { printf '%s\n' "$1"; bad=1; }

# rows: "NUMBER TEST..." a line; a row that names no test must say "none:" and why
rows=$(awk -F ' *[|] *' '
	$2 ~ /^(1\.)?[0-9]+$|^E\.[0-9]+$/ {
		line = $2; rest = $5
		while (match(rest, /`[a-z]+\/[^`]*`/)) { line = line " " substr(rest, RSTART + 1, RLENGTH - 2); rest = substr(rest, RSTART + RLENGTH) }
		if (NF < 7 || $3 == "" || $4 == "" || $6 == "") line = line " incomplete"
		if (split(line, parts, " ") < 2 && $5 !~ /none: ./) line = line " unexplained"
		print line
	}' hazards.md)

# numbers FILE: of the hazards that a desc names
numbers() {
	tr '\n' ' ' <"$1" | grep -oE '[Hh]azards? [0-9]+(\.[0-9]+)?((,| and) [0-9]+(\.[0-9]+)?)*' | grep -oE '[0-9]+(\.[0-9]+)?'
}

for number in 1.{1..13} {1..50} E.1; do
	[ "$(cut -d ' ' -f 1 <<<"$rows" | grep -cxF "$number")" = 1 ] || complain "not one row for $number"
done
while read -r number tests; do
	for test in $tests; do
		case $test in
		live/*) [ -f "$test/test.sh" ] && [ -f "$test/desc" ] ;;
		unit/* | fuzz/*) [ -f "$test.c" ] ;;
		cli/*) [ -f "$test.bats" ] ;;
		torture/* | bench/*) [ -x "$test" ] || [ -x "$test.sh" ] ;;
		*) false ;;
		esac || complain "$number: $test is no test (or the row is $test)"
		case $number:$test in
		E.* | 1.*) ;;
		*:live/*) [ ! -f "$test/desc" ] || numbers "$test/desc" | grep -qxF "$number" || complain "$test/desc does not name hazard $number" ;;
		esac
	done
done <<<"$rows"
for desc in live/*/desc; do
	for number in $(numbers "$desc"); do
		grep -E "^$number " <<<"$rows" | grep -qE " ${desc%/desc}( |$)" || complain "the row of $number does not name ${desc%/desc}"
	done
done
[ "$bad" = 0 ] && echo "hazards: $(wc -l <<<"$rows") rows, and the tests that they name"
exit "$bad"

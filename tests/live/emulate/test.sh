#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
recorder=
untraced() {
	local task
	for task in /proc/"$victim"/task/*; do
		grep -q '^TracerPid:[[:space:]]0$' "$task/status" 2>/dev/null || [ ! -e "$task" ] || fail "$task is still traced ($1)"
	done
}

cd ../transparent || exit 1
build_victim calls.c calls_descriptors.c calls_others.c
cd ../emulate || exit 1
victim "$work/victim"
repave-profile record --emulate --seconds 4 --share 1 -p "$victim" -o "$work/blocked.rprof" --json >"$work/log" 2>&1
case $? in 0 | 1) ;; *) fail "threads that wait: exit $?" ;; esac
rounds "threads that wait"
[ "$count" = 0 ] || fail "$count calls came back"
kill -USR2 "$victim"
for _ in $(seq 500); do
	grep -q '^released' "$work/out" && break
	sleep 0.01
done
grep -q '^released' "$work/out" || fail "the calls do not return"
grep -q WRONG "$work/out" && fail "calls that were stopped return something else"
finish

build_victim ../threads/victim.c
victim "$work/victim" 16
progress "before"
remember
repave-profile record --emulate --seconds 2 --json -p "$victim" -o "$work/threads.rprof" >"$work/log" 2>&1 || fail "record: exit $?"
progress "recorded"
pristine "recorded" --padding
untraced "recorded"
jq -e '.windows > 20 and .instructions > 200000 and .calls > 5 and .wrong * 5 < .windows and .threads > 3' "$work/log" >/dev/null || fail "little was recorded"

for turn in $(seq 15); do
	repave-profile record --emulate --seconds 20 --share 1 -p "$victim" -o "$work/killed.rprof" >/dev/null 2>&1 &
	recorder=$!
	sleep "0.0$((RANDOM % 90 + 10))"
	kill -9 "$recorder"
	wait "$recorder" 2>/dev/null
	progress "killed $turn"
done
untraced "killed"
pristine "killed" --padding

repave-profile record --emulate --seconds 1 -p "$victim" -o "$work/one.rprof" >/dev/null 2>&1 &
recorder=$!
repave-profile record --emulate --seconds 1 -p "$victim" -o "$work/two.rprof" >"$work/log" 2>&1 || fail "a second recorder: exit $?"
wait "$recorder" || fail "a first recorder: exit $?"
progress "two at once"
if [ "$(id -u)" = 0 ]; then
	chmod 755 "$work"
	setpriv --reuid=65534 --regid=65534 --clear-groups "$B/repave-profile" record --emulate --seconds 1 -p "$victim" -o /dev/null >"$work/log" 2>&1
	[ $? = 4 ] || fail "an ordinary user was not refused"
fi
finish

build_victim victim.c
victim "$work/victim"
repave-profile record --emulate --seconds 1 -p "$victim" -o "$work/mix.rprof" >"$work/log" 2>&1 || fail "record: exit $?"
# The only way back in hot_mix is taken 49 times for each time that it is entered.
read -r start size < <(nm -S "$work/victim" | awk '$4 == "hot_mix" { print $1, $2 }')
repave-profile replay "$work/mix.rprof" >"$work/mix.json"
module=$(jq -r --arg path "$work/victim" 'select(.type == "module" and .path == $path).module' "$work/mix.json")
jq -r --argjson m "$module" '.branches[]? | select(.from_module == $m and .to_module == $m) | "\(.from) \(.to)"' "$work/mix.json" |
	awk -v start=$((16#$start)) -v end=$((16#$start + 16#$size)) '
		$2 == start && ($1 < start || $1 >= end) { entered++ }
		$1 >= start && $1 < end && $2 > start && $2 < $1 { turned++ }
		END { printf "%d %d\n", entered, turned; exit !(entered > 1000 && turned > entered * 45 && turned < entered * 50) }' >"$work/log" ||
	fail "hot_mix was entered and turned so often: $(cat "$work/log")"
kill_victim

perl -e 'while (1) { $x = join ",", sort map { $_ * 7 % 13 } 1 .. 50 }' &
victim=$!
sleep 0.2
strace -qq -f -o /dev/null -p "$victim" 2>"$work/log" &
recorder=$!
for _ in $(seq 100); do
	grep -q '^TracerPid:[[:space:]]0$' "/proc/$victim/status" || break
	sleep 0.02
done
repave-profile record --emulate --seconds 0.5 -p "$victim" -o "$work/traced.rprof" >"$work/log" 2>&1
[ $? = 5 ] || fail "a traced process was not refused"
grep -q "traced by another process" "$work/log" || fail "not said why"
kill "$recorder"
wait "$recorder" 2>/dev/null
repave-profile record --emulate --seconds 1 --json -p "$victim" -o "$work/perl.rprof" >"$work/log" 2>&1 || fail "perl: exit $?"
jq -e '.instructions > 500000 and .ends.limit * 2 > .windows' "$work/log" >/dev/null || fail "little was recorded of perl"
kill_victim

#!/bin/bash
# See desc. COUNTING_STEP=N kills `count` at every Nth step (default 67, from a random one).
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
for tool in g++ jq repave-analyze repave-profile; do
	command -v "$tool" >/dev/null || { echo "no $tool"; exit 77; }
done
export REPAVE_CACHE=$work/cache TMPDIR=$work
build_lib
g++ -O2 -g -pthread -o "$work/victim" victim.cc >"$work/log" 2>&1 || fail "the victim does not build"
step=${COUNTING_STEP:-67}
others=()
trap 'kill -9 $victim "${others[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# plan NAME: from half a second of samples of the victim
plan() {
	repave-profile record --json --samples --rate 999 -p "$victim" --seconds 0.5 -o "$work/samples.rprof" >"$work/log" 2>&1 || fail "record: exit $?"
	repave-analyze plan --json --counting --profile "$work/samples.rprof" -o "$work/$1.rplan" "${maps[@]}" >"$work/log" 2>&1 ||
		fail "plan --counting: exit $?"
}

# count PLAN SECONDS: leaves $work/raw.rprof
count() {
	repave-apply count --json -p "$victim" --max-pause 2000 --seconds "$2" -o "$work/raw.rprof" "$work/$1.rplan" >"$work/log" 2>&1 ||
		fail "count: exit $?"
	[ "$(tail -n 1 "$work/log" | jq -r .state)" = done ] || fail "count does not say that it is done"
	grep -q '"kept":true' "$work/log" && undo "image kept"
}

# complete PLAN: leaves $work/text, and totals by symbol in the array $runs
complete() {
	local address name
	repave-analyze complete --json --profile "$work/raw.rprof" --plan "$work/$1.rplan" -o "$work/counts.rprof" "${maps[@]}" \
		>"$work/complete.json" 2>"$work/log" || fail "complete: exit $?"
	repave-profile export "$work/counts.rprof" --format text -o "$work/text" >"$work/log" 2>&1 || fail "export: exit $?"
	runs=()
	while read -r name address; do
		runs[$name]=$address
	done < <(awk -v "path=$work/victim" '
		FNR == NR { name[$1] = name[$1] " " $3; next }
		$1 == "module" && $4 == path { module = $2 }
		$1 == "at" && $2 == module { a = substr($3, 3); while (length(a) < 16) a = "0" a
			if (a in name) { n = split(name[a], all, " "); for (i = 1; i <= n; i++) print all[i], $4 } }
	' <(nm "$work/victim") "$work/text")
}

# close_to A B SLACK WHAT
close_to() {
	[ "$(($1 > $2 ? $1 - $2 : $2 - $1))" -le "$3" ] || fail "$4: $1 is not $2 (within $3)"
}

# ran A TIMES B [SLACK]: A ran so many times for each time that B ran, but for where the process was at the start and at the end (and for SLACK
# times B). Says nothing of what was too cold to be counted.
ran() {
	[ -n "${runs[$1]:-}" ] && [ -n "${runs[$3]:-}" ] || return
	close_to "${runs[$1]}" "$(($2 * runs[$3]))" "$((2 * $2 + ${4:-0} * runs[$3]))" "$1 for $2 of $3"
	compared=$((compared + 1))
}
compared=0

# Nothing of ours remains; when `count` could not take it all out, undo does.
undo() {
	local status
	for _ in $(seq 200); do # busy (a thread is inside the unwinder): try again
		repave-apply undo -p "${2:-$victim}" --max-pause 2000 >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || { [ "$status" = 0 ] && ! grep -q "nothing of ours remains" "$work/log"; } || break
		sleep 0.05
	done
	case $status in
	0) grep -q "nothing of ours remains" "$work/log" || fail "$1: image kept" ;;
	5) grep -q "nothing is applied" "$work/log" || fail "$1: undo refused" ;;
	*) fail "$1: undo exit $status" ;;
	esac
}

stop_victim() {
	[ "$(repave-apply status --json -p "$victim" | jq -c .plans)" = "[]" ] || fail "something stays applied at the end"
	finish
}

# gone PID: it ends within five seconds
gone() {
	for _ in $(seq 500); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.01
	done
	return 1
}

declare -A runs
repave-analyze map --json -o "$work/" "$work/victim" "$(readlink -f "$(gcc -print-file-name=libgcc_s.so.1)")" >"$work/log" 2>&1 ||
	fail "map: exit $?"
maps=("$work"/*.rmap)

# One thread: what was counted is what ran. The process stands somewhere inside a function at the start and at the end.
victim "$work/victim" 1
rounds before
remember
plan one
count one 0.5
rounds counted
pristine counted
complete one
[ "${runs[inner]:-0}" -gt 1000 ] || fail "inner was not counted"
ran mark_inner 1000 inner
ran mark_odd 500 inner 30
ran mark_case0 300 run_switch
ran mark_case1 200 run_switch
ran mark_case2 100 run_switch
ran mark_case5 100 run_switch
ran target0 1000 call_table
ran target1 500 call_table
ran target2 100 call_table
ran inner 20 call_table
ran fib 465 call_table
ran flags 1 call_table
ran run_switch 1 call_table
ran adc_chain 300 flags
ran takes 300 flags
ran throwing 114 catching
[ "$compared" -ge 9 ] || fail "only $compared of the known numbers were counted"
[ "$(jq .blocks "$work/complete.json")" -gt 20 ] || fail "few blocks ran"
echo "$SECONDS s: one thread: $compared numbers right, $(jq -c '[.blocks, .executions, .guessed, .negative]' "$work/complete.json")"

# Refused: apply of a counting plan, count of another, garbage, seconds out of range; a second count meanwhile.
refused() {
	local want=$1 text=$2 status
	shift 2
	"$@" >"$work/stdout" 2>"$work/log"
	status=$?
	[ "$status" = "$want" ] || fail "$*: exit $status, not $want"
	grep -q -- "$text" "$work/log" || fail "$*: does not say \"$text\""
}
repave-analyze plan --profile "$work/samples.rprof" -o "$work/plain.rplan" "${maps[@]}" >"$work/log" 2>&1 || fail "plan: exit $?"
head -c 3000 /dev/urandom >"$work/noise" && chmod 600 "$work/noise"
refused 2 "counting plan" repave-apply apply -p "$victim" "$work/one.rplan"
refused 2 "does not count" repave-apply count -p "$victim" "$work/plain.rplan" -o "$work/x"
refused 3 "noise" repave-apply count -p "$victim" "$work/noise" -o "$work/x"
refused 2 "seconds" repave-apply count -p "$victim" --seconds 61 "$work/one.rplan" -o "$work/x"
refused 2 "seconds" repave-apply count -p "$victim" --seconds 0 "$work/one.rplan" -o "$work/x"
refused 3 "noise" repave-analyze complete --profile "$work/noise" --plan "$work/one.rplan" -o "$work/x" "${maps[@]}"
refused 2 "not made by" repave-analyze complete --profile "$work/samples.rprof" --plan "$work/one.rplan" -o "$work/x" "${maps[@]}"
repave-apply count --json -p "$victim" --seconds 30 -o "$work/early.rprof" "$work/one.rplan" >"$work/early" 2>&1 &
counter=$!
others+=("$counter")
for _ in $(seq 300); do grep -q counting "$work/early" && break; sleep 0.01; done
refused 75 "at work" repave-apply count -p "$victim" --seconds 0.1 -o "$work/x" "$work/one.rplan"
refused 75 "at work" repave-apply undo -p "$victim"

# Signals end it early and whole.
for signal in TERM INT; do
	[ "$signal" = TERM ] || { # jobs in the background ignore SIGINT unless told otherwise
		: >"$work/early" # of the one before
		setsid env --default-signal=INT repave-apply count --json -p "$victim" --seconds 30 -o "$work/early.rprof" "$work/one.rplan" \
			>"$work/early" 2>&1 &
		counter=$!
		for _ in $(seq 300); do grep -q counting "$work/early" && break; sleep 0.01; done
	}
	kill -"$signal" "$counter"
	wait "$counter" || fail "count ended by SIG$signal: exit $?"
	jq -es 'last | .state == "done" and .seconds < 10' "$work/early" >/dev/null || fail "SIG$signal: not ended early"
	repave-profile show "$work/early.rprof" >"$work/log" 2>&1 || fail "SIG$signal: no profile"
	rounds "after SIG$signal"
	pristine "after SIG$signal"
done

# A limit on the slowdown that any counting passes.
repave-profile record --exact --json -p "$victim" --seconds 0.3 --max-seconds 3 --max-slowdown 1 -o "$work/exact.rprof" \
	>"$work/exact.json" 2>"$work/log" || fail "record --exact: exit $?"
jq -e '.cut_short == true and .slowdown > 1' "$work/exact.json" >/dev/null || fail "not cut short: $(cat "$work/exact.json")"
pristine "cut short"
stop_victim

# Where calls through a table go: readings, so about right.
victim "$work/victim" 1 calls
plan calls
count calls 2 # some hundred readings spread by 70 per mille on a busy machine, two thousand by half of that
complete calls
shares=$(awk -v "a=$(nm "$work/victim" | awk '$3 == "target0" { print $1 }')" '
	$2 == "call" { to = substr($6, 3); while (length(to) < 16) to = "0" to; from[$4] += $7; if (to == a) hit[$4] += $7 }
	END { for (f in hit) if (from[f] > hit[f]) printf "%d", 1000 * hit[f] / from[f] }' "$work/text")
close_to "${shares:-0}" 625 120 "per mille of calls to target 0"
echo "$SECONDS s: target 0 has $shares of 1000 calls"
stop_victim

# Threads that are born and die, and two more.
victim "$work/victim" 3 births
progress before
remember maps threads masks children # threads are born and end all the time, and a child later
for turn in 1 2; do
	[ "$turn" = 1 ] && plan many
	count many 0.3
	progress "counted with threads, $turn"
	pristine "counted with threads, $turn"
done

# fork while it counts: the child has the image too, works, and is restored with its parent (or, where that could not be, by undo).
: >"$work/early"
repave-apply count --json -p "$victim" --max-pause 2000 --seconds 1 -o "$work/raw.rprof" "$work/many.rplan" >"$work/early" 2>&1 &
counter=$!
for _ in $(seq 300); do grep -q counting "$work/early" && break; sleep 0.01; done
kill -USR2 "$victim"
for _ in $(seq 300); do grep -q child "$work/out" && break; sleep 0.01; done
child=$(awk '$1 == "child" { print $2 }' "$work/out")
others+=("$child")
[ -n "$child" ] || fail "no child"
wait "$counter" || fail "count across fork: exit $?"
grep -q '"kept":true' "$work/early" && undo "across fork"
rounds "across fork"
pristine "across fork"
repave-apply status --json -p "$child" >"$work/log" 2>&1 || fail "status of the child: exit $?"
undo "the child" "$child"
parent=$victim victim=$child
rounds "the child"
restored "the child"
victim=$parent
kill -9 "$child"

# Killed anywhere.
tried=0 told=0
for ((n = 1 + RANDOM % step; n < 3000; n += step)); do
	REPAVE_FAULT=$n repave-apply count -p "$victim" --max-pause 2000 --seconds 0.01 -o "$work/raw.rprof" "$work/many.rplan" >"$work/log" 2>&1
	status=$?
	tried=$((tried + 1))
	rounds "count killed at $n"
	[ "$status" = 137 ] || [ "$status" = 0 ] || fail "count with fault $n: exit $status"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status after fault $n: exit $?"
	grep -q "counts what runs" "$work/log" && told=$((told + 1))
	undo "killed at $n"
	pristine "killed at $n"
	[ "$status" = 0 ] && break
done
[ "$status" = 0 ] || fail "count never got through"
[ "$told" -gt 0 ] || fail "status never said that it counts"
echo "$SECONDS s: count killed $((tried - 1)) times, up to step $n"

# record --exact: the recorder, the counter, or both are killed at random times.
for turn in 0 1 2 2 2 2 2; do
	setsid repave-profile record --exact --json -p "$victim" --seconds 0.2 --max-seconds 2 --max-slowdown 1000 -o "$work/exact.rprof" \
		>"$work/exact.json" 2>"$work/log" &
	recorder=$!
	others+=("$recorder")
	counter=
	for _ in $(seq 1000); do
		counter=$(pgrep -P "$recorder" -f 'repave-apply count' | head -n 1)
		[ -n "$counter" ] && break
		kill -0 "$recorder" 2>/dev/null || break
		sleep 0.01
	done
	[ -n "$counter" ] || fail "record --exact never counted: $(cat "$work/exact.json")"
	sleep "0.$((RANDOM % 25 + 10))"
	case $((turn % 3)) in
	0) kill -STOP "$counter" && kill -9 "$recorder" && kill -9 "$counter" ;;
	1) kill -9 "$recorder" ;;
	2)
		kill -9 "$counter" 2>/dev/null || { # it was done: once more
			wait "$recorder" || fail "record: exit $?"
			undo "the counter was done"
			status=0
			continue
		}
		;;
	esac
	wait "$recorder"
	status=$?
	gone "$counter" || fail "turn $turn: the counter outlives the recorder"
	rounds "turn $turn"
	case $((turn % 3)) in
	0) undo "both killed" ;;
	1) undo "the recorder killed" ;; # by itself, but for what could not be unmapped yet
	2)
		[ "$status" != 0 ] && [ "$status" != 137 ] || fail "the counter killed, and record exits $status"
		grep -q "as it was" "$work/exact.json" "$work/log" || fail "record does not say how the process is: $(cat "$work/exact.json" "$work/log")"
		undo "the counter killed" # what could not be unmapped at once
		;;
	esac
	progress "turn $turn"
	pristine "turn $turn"
	[ "$turn" != 2 ] || break
done
[ "$turn" = 2 ] && [ "$status" != 0 ] || fail "each counter was done before it could be killed"
rm -rf "$work"/repave.*
stop_victim

# A thread whose stack cannot be followed: an image could be applied, but not be taken out again.
victim "$work/victim" 1 lost
rounds "lost"
remember
repave-apply count --json -p "$victim" --seconds 0.2 -o "$work/raw.rprof" "$work/one.rplan" >"$work/log" 2>&1
status=$?
[ "$status" = 5 ] || fail "a stack that cannot be followed: exit $status"
grep -q "could not be taken out again.*cannot be followed" "$work/log" || fail "that a stack cannot be followed is not said"
rounds "not counted"
pristine "not counted" --padding
stop_victim

# Somebody who is not root, on a process of his own.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	mkdir "$work/own" && cp "$(command -v repave-apply)" "$work/victim" "$work/own/" && chmod 755 "$work" "$work/own"
	cp "$work/one.rplan" "$work/own/" && chown -R 65534:65534 "$work/own"
	as=(setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs)

	"${as[@]}" "$work/victim" 2 >"$work/out" 2>&1 &
	victim=$!
	for _ in $(seq 200); do # until it is somebody else's and has begun
		[ "$(cat "/proc/$victim/comm")" = victim ] && break
		sleep 0.01
	done
	sleep 0.3
	remember
	"${as[@]}" "$work/own/repave-apply" count -p "$victim" --seconds 0.2 -o "$work/own/raw.rprof" "$work/own/one.rplan" >"$work/log" 2>&1
	status=$?
	rounds "counted by its owner"
	case $status in
	0) pristine "counted by its owner" ;;
	5) echo "not allowed here: $(cat "$work/log")" ;; # ptrace_scope
	*) fail "count by its owner: exit $status" ;;
	esac
	stop_victim
fi
echo "all done in $SECONDS s"

#!/bin/bash
# See desc. EXEC_STEP=1 tries every step of the helper (default: every third); EXEC_ALL=1 also compiles with a whole cc1plus in random order (a minute).
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
for tool in g++ jq; do
	command -v $tool >/dev/null || { echo "no $tool"; exit 77; }
done
build_lib
flags='-D_GNU_SOURCE -O2 -pthread -fcf-protection=none -fno-reorder-blocks-and-partition -fno-jump-tables -Wl,--build-id'
gcc $flags -o "$work/victim" victim.c && gcc -O1 -D_GNU_SOURCE -o "$work/launch" launch.c &&
	gcc -O1 -shared -fPIC -pthread -fcf-protection=none -Wl,--build-id -o "$work/before.so" library.c || fail "the victim does not build"
gcc -std=gnu11 -O1 -D_GNU_SOURCE -I"$root" image.c "$B/libformats.a" -llz4 -lxxhash -ljansson -o "$work/image" || fail "image does not build"
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
report=$work/report
work=$(readlink -f "$work")
answer=$("$work/victim" work)

# exec_plan ARGUMENT...: repave-apply exec with the plan, a fresh report, and the arguments
exec_plan() {
	rm -f "$report"
	repave-apply exec --report "$report" --plan "$work/plan" "$@"
}
# start_plan ARGUMENT...: the same, in place of a shell that is in the background
start_plan() {
	rm -f "$report"
	exec repave-apply exec --report "$report" --plan "$work/plan" "$@"
}
# outcomes: of all programs, in order
outcomes() {
	[ ! -f "$report" ] || jq -r .outcome "$report" | paste -sd' '
}
# applied TEXT: exactly one program, with all patches
applied() {
	[ "$(outcomes)" = applied ] || fail "$1: $(cat "$report" 2>/dev/null || echo 'no report')"
	[ "$(jq .patches "$report")" = 2 ] || fail "$1: not all patches"
}
# expect STATUS TEXT COMMAND...: that status; stderr is one line that says TEXT, or empty when TEXT is
expect() {
	local want=$1 text=$2 status lines=1
	shift 2
	"$@" >"$work/out" 2>"$work/log"
	status=$?
	[ "$status" = "$want" ] || fail "$*: exit $status, not $want"
	[ -n "$text" ] || lines=0
	[ "$(wc -l <"$work/log")" = $lines ] || fail "$*: $(wc -l <"$work/log") lines on stderr"
	grep -qF -- "$text" "$work/log" || [ -z "$text" ] || fail "$*: does not say \"$text\""
}
# gone: every helper has ended
gone() {
	local try
	for try in $(seq 1000); do
		pgrep -f "^repave-apply exec --report $report" >/dev/null || return
		sleep 0.02
	done
	fail "$1: a helper is left"
}

# started TEXT NAME: $victim executes NAME, and its helper has ended
started() {
	local try
	for try in $(seq 200); do
		[ "$(cat "/proc/$victim/comm" 2>/dev/null)" = "$2" ] && break
		sleep 0.02
	done
	gone "$1"
}

# What the program inherits and sees is what it would without us; everything that is said, and how it ends.
same() {
	local plain with
	"$work/launch" "$@" -- "$work/victim" state work exit 42 'an argument' '' 2>&1 | cat >"$work/plain"
	plain=${PIPESTATUS[0]}
	rm -f "$report"
	"$work/launch" "$@" -- repave-apply exec --report "$report" --plan "$work/plan" -- "$work/victim" state work exit 42 'an argument' '' \
		2>&1 | cat >"$work/with"
	with=${PIPESTATUS[0]}
	[ $plain = 42 ] && [ $with = 42 ] || fail "launch $*: exit $with, not $plain"
	diff "$work/plain" "$work/with" >"$work/log" || fail "launch $*: the program sees a difference"
	applied "launch $*"
}
same
same block
same ignore
same pending
same reaper
same close 0 open 77
same close 1
same close 2 close 0
same limit 16
same group
same child
same filter 135 # personality: nobody needs it, but a filter is there
grep -q 'begins at its entry' "$work/with" || fail "the auxiliary vector is changed"
echo "inherited state is equal"

# It has the number that its parent knows, ends as it will, and is there at once for signals.
start_plan -- "$work/victim" pid wait <<<"" >"$work/out" &
pid=$!
wait $pid
[ "$(cat "$work/out")" = "pid $pid" ] || fail "another process number"
for signal in 2 9 11 15; do
	start_plan -- "$work/victim" signal $signal 2>/dev/null &
	wait $! 2>/dev/null
	[ $? = $((128 + signal)) ] || fail "signal $signal is lost"
	applied "signal $signal"
done
mkfifo "$work/fifo"
start_plan -- "$work/victim" wait <"$work/fifo" &
victim=$!
exec 9>"$work/fifo"
started "a running program" victim
applied "a running program"
repave-apply verify -p $victim >"$work/log" 2>&1 || fail "verify: exit $?"
repave-apply status -p $victim | grep -q ' applied,' || fail "status"
repave-apply undo -p $victim >"$work/log" 2>&1 || fail "undo: exit $?"
restored "after undo" --padding
exec 9>&-
wait $victim || fail "the undone program: exit $?"
victim=

# By name, as an interpreter's script, without an interpreter line, with an argv[0] of its own.
cp "$work/victim" "$work/named"
PATH=$work:$PATH exec_plan -- named work >"$work/log" || fail "a program in PATH: exit $?"
applied "a program in PATH"
printf '#!%s work\n' "$work/victim" >"$work/script" && printf 'exec "$0.2" work\n' >"$work/plain" && cp "$work/victim" "$work/plain.2"
chmod +x "$work/script" "$work/plain"
exec_plan -- "$work/script" >"$work/out" || fail "a script: exit $?"
applied "a script"
exec_plan -- "$work/plain" >"$work/out" || fail "a script without interpreter line: exit $?"
[ "$(outcomes)" = "followed applied" ] || fail "a script without interpreter line: $(outcomes)"
grep -q '^work' "$work/out" || fail "the script did nothing"
expect 127 "nobody-has-this" exec_plan -- nobody-has-this
expect 127 "no-such/file" exec_plan -- "$work/no-such/file"
expect 126 "Permission denied" exec_plan -- "$work/plan"
expect 126 "ermission denied" exec_plan -- "$work"
expect 2 "which plan" repave-apply exec -- true
expect 2 "takes:" repave-apply exec --plan "$work/plan"
expect 2 "stdin is" repave-apply exec --strict --plan - -- true

# Static and dynamic, PIE or not.
for kind in -pie -no-pie -static -static-pie; do
	gcc $flags $kind -o "$work/kind" victim.c 2>"$work/log" || { echo "gcc $kind does not work here"; continue; }
	"$work/handplan" "$work/kind" "$work/plan.kind" || fail "no plan for $kind"
	rm -f "$report"
	repave-apply exec --report "$report" --plan "$work/plan.kind" -- "$work/kind" work state exit 42 >"$work/out"
	[ $? = 42 ] || fail "$kind"
	grep -q "$answer" "$work/out" || fail "$kind: another result"
	grep -q 'begins at its entry' "$work/out" || fail "$kind: the auxiliary vector is changed"
	applied "$kind"
done

# Before the entry point anything may happen.
for before in thread child handler raise block exec; do
	env BEFORE=$before LD_PRELOAD="$work/before.so" "$work/victim" work state 2>&1 | cat >"$work/plain"
	exec_plan -- env BEFORE=$before LD_PRELOAD="$work/before.so" "$work/victim" work state 2>&1 | cat >"$work/with"
	diff "$work/plain" "$work/with" >"$work/log" || fail "constructor $before: the program sees a difference"
	grep -q applied "$report" || fail "constructor $before: not applied"
done
exec_plan -- env BEFORE=exit LD_PRELOAD="$work/before.so" "$work/victim" work
[ $? = 9 ] || fail "constructor: exit"
gone "constructors"
echo "started in every way"

# Whatever does not fit: the command runs, and it is said; or it is quiet; or it does not run.
gcc $flags -O1 -o "$work/other/victim" victim.c 2>/dev/null || { mkdir "$work/other" && gcc $flags -O1 -o "$work/other/victim" victim.c; }
expect 3 "another build of" exec_plan -- "$work/other/victim" exit 3
expect 3 "" exec_plan --quiet -- "$work/other/victim" exit 3
expect 5 "another build of" exec_plan --strict -- "$work/other/victim" exit 3
expect 3 "the plan is for" exec_plan --no-follow -- sh -c 'exit 3'
expect 3 "" exec_plan -- sh -c 'exit 3'
expect 5 "the plan is for" exec_plan --strict -- sh -c 'exit 3'
cp "$work/plan" "$work/open" && chmod 666 "$work/open"
expect 3 "others may write" repave-apply exec --plan "$work/open" -- sh -c 'exit 3'
expect 5 "others may write" repave-apply exec --strict --plan "$work/open" -- sh -c 'exit 3'
expect 3 "No such file" repave-apply exec --plan "$work/no-plan" -- sh -c 'exit 3'
expect 3 "No such file" repave-apply exec --strict --plan "$work/no-plan" -- true
"$work/handplan" "$work/victim" "$work/spoilt" --spoil hot_mix --no-patch hot_sum || fail "no plan"
expect 3 "no patch of the plan" repave-apply exec --plan "$work/spoilt" -- "$work/victim" exit 3
expect 5 "no patch of the plan" repave-apply exec --strict --plan "$work/spoilt" -- "$work/victim" exit 3
if printf 'void _start(void) { __asm__("mov $1, %%eax; mov $3, %%ebx; int $0x80"); }' |
	gcc -m32 -nostdlib -static -x c - -o "$work/small" 2>/dev/null && { "$work/small"; [ $? = 3 ]; }; then
	expect 3 "not a 64-bit" exec_plan -- "$work/small"
	expect 5 "not a 64-bit" exec_plan --strict -- "$work/small"
fi
# A filter that forbids tracing (ptrace is 101), as containers have.
expect 3 "may not be traced" "$work/launch" filter 101 -- repave-apply exec --plan "$work/plan" -- "$work/victim" exit 3
expect 4 "may not be traced" "$work/launch" filter 101 -- repave-apply exec --strict --plan "$work/plan" -- "$work/victim" exit 3
# One that forbids what the stub at the entry point needs (tkill is 200).
expect 3 "filters system calls" "$work/launch" filter 200 -- repave-apply exec --plan "$work/plan" -- "$work/victim" exit 3
if command -v strace >/dev/null; then
	strace -f -o /dev/null repave-apply exec --plan "$work/plan" -- "$work/victim" exit 3 2>"$work/log"
	[ $? = 3 ] && grep -q "may not be traced" "$work/log" || fail "under strace"
fi
gone "refusals"
echo "what does not fit runs without"

# Programs that others start: by fork, vfork, from a thread; all the while the tracer of its makers is not in the way.
"$work/handplan" "$work/named" "$work/plan.named" || fail "no plan"
strip -o "$work/driver" "$work/victim" 2>/dev/null && gcc $flags -O1 -o "$work/driver" victim.c || fail "no driver"
for how in fork vfork thread instead; do
	HOW=$how exec_plan -- "$work/driver" run "$work/victim" work state exit 42 >"$work/out"
	[ $? = 42 ] || fail "$how: another exit status"
	[ "$(outcomes)" = "followed applied" ] || fail "$how: $(cat "$report")"
	grep -q 'TracerPid:.0$' "$work/out" || fail "$how: still traced"
done
exec_plan -- sh -c "'$work/victim' work | cat; exec '$work/driver' run sh -c '$work/victim work; $work/victim signal 9; exit 7'" >"$work/out" 2>"$work/log"
[ $? = 7 ] || fail "a tree of programs: exit $?"
[ "$(grep -c ^work "$work/out")" = 2 ] && [ "$(grep -c '"applied"' "$report")" = 3 ] || fail "a tree of programs: $(cat "$report")"
exec_plan --follow --plan "$work/plan.named" -- "$work/victim" run "$work/victim" run "$work/named" work >"$work/out"
[ "$(outcomes)" = "applied applied applied" ] || fail "--follow: $(cat "$report")"
exec_plan -- sh -c "for i in 1 2 3 4 5 6 7 8 9 10; do '$work/victim' work & done; wait" >"$work/out"
[ "$(grep -cx "$answer" "$work/out")" = 10 ] && [ "$(grep -c '"applied"' "$report")" = 10 ] || fail "ten at once: $(cat "$report")"
# Job control of followed programs, and end of file for whoever reads what they write.
start_plan -- sh -c 'echo $$; kill -STOP $$; echo on' >"$work/out" &
victim=$!
for _ in $(seq 100); do
	case $(ps -o stat= -p $victim) in [Tt]*) break ;; esac
	sleep 0.02
done
sleep 0.1
kill -CONT $victim
wait $victim || fail "stopped and continued: exit $?"
[ "$(tail -n 1 "$work/out")" = on ] || fail "stopped and continued"
victim=
started=$SECONDS
text=$(exec_plan -- sh -c '(exec >/dev/null 2>&1; sleep 6) & echo text' 2>&1)
[ "$text" = text ] && [ $((SECONDS - started)) -lt 5 ] || fail "the helper keeps the output open"
echo "followed"

# A plan for a library is for who maps it; several plans are applied as one, and exceptions pass through all of them.
"$work/handplan" "$work/before.so" "$work/plan.so" || fail "no plan for a library"
export AFTER=yes
expect 0 AFTER env LD_PRELOAD="$work/before.so" repave-apply exec --report "$report" --plan "$work/plan.so" -- "$work/victim" work
[ "$(jq -r '[.outcome, .patches] | @csv' "$report" | tail -n 1)" = '"applied",1' ] || fail "a plan for a library: $(cat "$report")"
LD_PRELOAD=$work/before.so exec_plan --plan "$work/plan.so" -- "$work/victim" work >"$work/out" 2>"$work/log" || fail "two plans: exit $?"
[ "$(jq -r '[.outcome, .patches, (.modules | length)] | @csv' "$report")" = '"applied",3,2' ] || fail "two plans: $(cat "$report")"
unset AFTER
expect 3 "is not mapped" repave-apply exec --plan "$work/plan.so" -- "$work/victim" exit 3
expect 5 "is not mapped" repave-apply exec --strict --plan "$work/plan.so" -- "$work/victim" exit 3
rm -f "$report"
repave-apply exec --follow --report "$report" --plan "$work/plan.so" -- sh -c "LD_PRELOAD='$work/before.so' '$work/victim' work" >"$work/out"
[ "$(outcomes)" = "followed applied" ] || fail "a library of a followed program: $(cat "$report")"
plans=()
g++ -O2 -fno-inline-functions -Wl,--build-id -o "$work/throwing" ../filesink/throwing.cc 2>"$work/log" || fail "throwing.cc does not build"
for module in "$work/throwing" "$(ldd "$work/throwing" | awk '/libgcc_s/ { print $3 }')"; do
	repave-analyze map -o "$work/map.rmap" "$(readlink -f "$module")" >"$work/log" 2>&1 || fail "map $module"
	repave-analyze plan --torture 1 -o "$work/${module##*/}.rplan" "$work/map.rmap" >"$work/log" 2>&1 || fail "plan $module"
	plans+=(--plan "$work/${module##*/}.rplan")
done
"$work/throwing" 2000 >"$work/plain" 2>"$work/log" || fail "throwing alone"
rm -f "$report"
repave-apply exec --report "$report" "${plans[@]}" -- "$work/throwing" 2000 >"$work/with" 2>"$work/log" || fail "throwing: exit $?"
[ "$(outcomes)" = applied ] && [ "$(jq '.modules | length' "$report")" = 2 ] || fail "throwing: $(cat "$report")"
cmp "$work/plain" "$work/with" || fail "throwing: another answer"
repave-apply exec "${plans[@]:0:2}" -- "$work/throwing" 2000 >"$work/with" 2>"$work/log" || fail "throwing without libgcc_s: exit $?"
grep -q "exceptions could not pass" "$work/log" || fail "throwing without libgcc_s is not refused"
cmp "$work/plain" "$work/with" || fail "throwing without libgcc_s: another answer"
echo "libraries, several plans, exceptions"

# In a PID namespace of its own it is process 1, which adopts the helper.
if [ "$(id -u)" = 0 ] && unshare --pid --fork --mount-proc true 2>/dev/null; then
	rm -f "$report"
	unshare --pid --fork --mount-proc repave-apply exec --report "$report" --plan "$work/plan" -- "$work/victim" state exit 42 >"$work/out"
	[ $? = 42 ] || fail "as process 1"
	grep -q "^children 0, No child" "$work/out" || fail "process 1 has children: $(grep ^children "$work/out")"
	applied "as process 1"
	unshare --pid --fork --mount-proc repave-apply exec --plan "$work/open" --report "$report" --plan "$work/plan" -- "$work/other/victim" state \
		>"$work/out" 2>"$work/log"
	grep -q "^children 0, No child" "$work/out" || fail "process 1 has children when refused"
	unshare --pid --fork --mount-proc repave-apply exec --no-follow --plan "$work/plan" -- "$work/driver" state >"$work/out" 2>"$work/log"
	grep -q "^children 0, No child" "$work/out" || fail "process 1 has children when the plan is for another"
fi

# Programs with other privileges than their starter's are not traced. As a user without any.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work" && chmod 644 "$work/plan" && cp "$(command -v repave-apply)" "$work/repave-apply"
	cp "$work/victim" "$work/set-id" && chmod 4755 "$work/set-id"
	user() {
		setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all "$@"
	}
	rm -f "$report" && : >"$report" && chmod 666 "$report"
	user "$work/repave-apply" exec --report "$report" --plan "$work/plan" -- "$work/victim" work >"$work/out" 2>"$work/log" || fail "as a user"
	applied "as a user"
	expect 0 "other privileges" user "$work/repave-apply" exec --plan "$work/plan" -- "$work/set-id" state
	grep -q $'^Uid:\t65534\t0' "$work/out" || fail "set-user-id is lost"
	expect 5 "other privileges" user "$work/repave-apply" exec --strict --plan "$work/plan" -- "$work/set-id" state
	expect 0 "other privileges" user "$work/repave-apply" exec --plan "$work/plan" -- sh -c "'$work/set-id' state 'a b'; true"
	grep -q $'^Uid:\t65534\t0' "$work/out" || fail "set-user-id is lost in a followed program"
	grep -q "^argument a b$" "$work/out" || fail "arguments are lost with set-user-id"
	(cd "$work" && expect 0 "other privileges" user ./repave-apply exec --plan plan -- sh -c "./set-id state; true") || exit 1
	chmod 711 "$work/named"
	expect 0 "runs unchanged" user "$work/repave-apply" exec --plan "$work/plan" -- "$work/named" work
	expect 4 "ermission denied" user "$work/repave-apply" exec --strict --plan "$work/plan" -- "$work/named" work
	expect 0 "named runs unchanged" user "$work/repave-apply" exec --plan "$work/plan" -- sh -c "'$work/named' work; true"
fi

# Killed at any step the helper leaves a program that works, and that can be restored.
step=${EXEC_STEP:-3} tried=0 streak=0
"$work/launch" block -- "$work/victim" work state exit 42 2>&1 | cat >"$work/plain"
for ((n = 1 + RANDOM % step; streak < 3 && n < 3000; n += step)); do
	rm -f "$report"
	REPAVE_FAULT=$n "$work/launch" block -- repave-apply exec -q --report "$report" --plan "$work/plan" -- "$work/victim" work state exit 42 2>&1 |
		cat >"$work/with"
	status=${PIPESTATUS[0]}
	[ $status = 42 ] || fail "helper killed at step $n: exit $status"
	diff "$work/plain" "$work/with" >"$work/log" || fail "helper killed at step $n: the program sees a difference"
	case $(outcomes) in applied) streak=$((streak + 1)) ;; *) streak=0 ;; esac
	tried=$((tried + 1))
	if ((n % 4 == 0)); then
		REPAVE_FAULT=$n start_plan -q -- "$work/victim" wait <"$work/fifo" >"$work/log" 2>&1 &
		victim=$!
		exec 9>"$work/fifo"
		started "killed at step $n" victim
		for _ in $(seq 100); do
			repave-apply undo -p $victim >"$work/log" 2>&1
			[ $? = 75 ] || break # the lock of the killed one goes a moment after it
		done
		grep -qE "nothing (is applied|of ours remains)" "$work/log" || fail "undo after step $n"
		restored "killed at step $n and undone"
		exec 9>&-
		wait $victim || fail "killed at step $n and undone: exit $?"
		victim=
	fi
done
[ $streak = 3 ] || fail "never got through"
last=$n
for ((n = 1 + RANDOM % 9; n < 100; n += 9)); do
	REPAVE_FAULT=$n exec_plan -- "$work/driver" run "$work/victim" work exit 42 >"$work/out" 2>"$work/log"
	[ $? = 42 ] || fail "follower killed at step $n"
	tried=$((tried + 1))
done
# The program is killed, at any step of the helper: that is all that happens.
for ((n = 1 + RANDOM % 5; n < 60; n += 5)); do
	rm -f "$report"
	{
		sh -c 'REPAVE_FAULT=$0:$$ exec repave-apply exec -q --report "$1" --plan "$2" -- "$3" exit 0' $n "$report" "$work/plan" "$work/victim"
		status=$?
	} 2>/dev/null
	[ $status = 137 ] || { [ $status = 0 ] && [ "$(outcomes)" = applied ]; } || fail "the program killed at step $n: exit $status"
	tried=$((tried + 1))
done
gone "kills"
echo "$tried kills, up to step $last"

# The same image in a running process, in one started with it, and in a file.
cat=$(readlink -f "$(command -v cat)")
repave-analyze map -o "$work/cat.rmap" "$cat" >"$work/log" 2>&1 && repave-analyze plan --torture 3 -o "$work/cat.rplan" "$work/cat.rmap" \
	>"$work/log" 2>&1 || fail "no plan for cat"
"$cat" <"$work/fifo" >"$work/out" &
victim=$!
exec 9>"$work/fifo"
started "cat alone" cat
for _ in $(seq 200); do # until it reads: 0 is read
	case $(cat "/proc/$victim/syscall") in "0 "*) break ;; esac
	sleep 0.02
done
repave-apply apply --without-unwind --json -p $victim "$work/cat.rplan" >"$work/log" 2>&1 || fail "live apply: exit $?"
live=$(jq .modules[0].address "$work/log")
"$work/image" "$work/cat.rplan" 0 $victim "$live" >"$work/image.live" || fail "no live image"
echo text >&9
exec 9>&-
wait $victim || fail "live cat: exit $?"
rm -f "$report"
repave-apply exec --without-unwind --report "$report" --plan "$work/cat.rplan" -- cat <"$work/fifo" >"$work/out2" &
victim=$!
exec 9>"$work/fifo"
started "cat" cat
"$work/image" "$work/cat.rplan" 0 $victim "$(jq .modules[0].address "$report")" >"$work/image.exec" || fail "no image of exec"
echo text >&9
exec 9>&-
wait $victim || fail "cat by exec: exit $?"
victim=
file=$(repave-apply file --json "$cat" "$work/cat.rplan" -o "$work/cat" | jq .address)
"$work/image" "$work/cat.rplan" 0 "$work/cat" "$file" >"$work/image.file" || fail "no image of file"
cmp "$work/image.live" "$work/image.exec" && cmp "$work/image.exec" "$work/image.file" || fail "the images differ"
cmp "$work/out" "$work/out2" && [ "$("$work/cat" <<<text)" = text ] || fail "cat"
echo "$(wc -c <"$work/image.exec") bytes of image are equal in the three sinks"

./compile.sh "$work" || fail "compiling"

# Shared by the live tests of repave-apply: building victims and plans, asking a victim how it is. Sourced by test.sh after `cd` to its directory.
#
# work         a temporary directory, removed at exit; the victim is killed then too
# fail TEXT    says what went wrong and ends the test
# build_lib    makes $work/handplan and $work/pristine
# victim PROGRAM [ARG...]   starts it, sets $victim; its output goes to $work/out
# kill_victim  and wait for it
# ready        waits until the victim has a handler for SIGUSR1
# answers TEXT asks the victim (SIGUSR1) and sets $answer to its line; fails if it is dead, ever printed WRONG, or is silent for $PATIENCE (400)
#              hundredths of a second
# rounds TEXT  the same, for an answer "rounds N": sets $count
# progress TEXT    fails unless the victim gets on within two seconds
# restored STEP [--padding]     text equal to the files, no mapping of ours
# pristine STEP [--padding]     the same, and all as it was remembered
# remember [PART...], same STEP     the comparer, see snapshot.sh; cycle and refused remember $varies of a victim that the test did not
# held STEP VERB [ARG...]   `repave-apply VERB -p $victim` in the background, waiting before that step; sets $tool. 1: it ended before that step.
#                  Its output goes to $work/tool.log. Let it go on with kill -CONT "$tool"
# start_asking PROGRAM [ARG...]   as victim, for one that takes commands on standard input and answers each with a line
# ask COMMAND      sets $answer; fails when it is silent or ever printed WRONG
# end_asking       its input ends, and so must it, with exit 0
# undone TEXT      undo succeeds; tries again while a thread is in the unwinder
# cycle NAME PLAN [ARG...]      apply (with ARG...), status, verify, undo: the victim works before, while and after, and is then as it was
# refused NAME STATUS TEXT PLAN [ARG...]   apply exits with STATUS and one line that says TEXT, and the victim is untouched and works

: "${B:?run by tests/run}"
root=$PWD/../../..
command -v repave-apply >/dev/null || { echo "no repave-apply"; exit 77; }
command -v gcc >/dev/null || { echo "no gcc"; exit 77; }
export REPAVE_WITNESS=1 # whatever is stopped is compared with how it is when it goes on (apply/witness.h)
work=$(mktemp -d) || exit 1
victim=
trap '[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null; rm -rf "$work"' EXIT

. ../lib/snapshot.sh

fail() {
	echo "FAILED: $*"
	tail -n 20 "$work/out" "$work/log" 2>/dev/null
	exit 1
}

build_lib() {
	local helper
	for helper in handplan pristine; do
		gcc -std=gnu11 -O1 -D_GNU_SOURCE -I"$root" ${SAN_FLAGS:-} "$root/tests/live/lib/$helper.c" "$B/libformats.a" -llz4 -lxxhash -ljansson \
			-o "$work/$helper" >"$work/log" 2>&1 || fail "$helper does not build"
	done
}

build_victim() {
	gcc -O2 -g -pthread -fcf-protection=none -fno-reorder-blocks-and-partition -fno-jump-tables "${@:2}" -o "$work/victim" "$1" \
		>"$work/log" 2>&1 || fail "$1 does not build"
}

victim() {
	: >"$work/out" # what one before said is not to be taken for this one's
	"$@" >"$work/out" 2>&1 &
	victim=$!
	sleep 0.2
}

kill_victim() {
	kill -9 "$victim" 2>/dev/null
	wait "$victim" 2>/dev/null
	victim=
}

# Bit 9 of the mask.
ready() {
	for _ in $(seq 500); do
		grep -qE '^SigCgt:.*[2367abef]..$' "/proc/$victim/status" && return
		sleep 0.02
	done
	fail "the victim does not start"
}

answers() {
	local before
	before=$(wc -l <"$work/out")
	kill -USR1 "$victim" 2>/dev/null || fail "the victim is dead ($1)"
	for _ in $(seq "${PATIENCE:-400}"); do
		[ "$(wc -l <"$work/out")" -gt "$before" ] && break
		sleep 0.01
	done
	grep -q WRONG "$work/out" && fail "wrong results ($1)"
	[ "$(wc -l <"$work/out")" -gt "$before" ] || fail "the victim does not answer ($1)"
	answer=$(tail -n 1 "$work/out")
}

rounds() {
	answers "$1"
	read -r _ count <<<"$answer"
}

undone() {
	local status=75
	for _ in $(seq 100); do
		repave-apply undo -p "$victim" >"$work/log" 2>&1
		status=$?
		[ "$status" = 75 ] || break
	done
	[ "$status" = 0 ] || fail "$1: undo: exit $status"
}

progress() {
	local first
	rounds "$1"
	first=$count
	for _ in $(seq 200); do
		sleep 0.01
		rounds "$1"
		[ "$count" -gt "$first" ] && return
	done
	fail "the victim does not get on ($1)"
}

restored() {
	"$work/pristine" "$victim" ${2:+"$2"} >"$work/log" 2>&1 || fail "not as it was ($1): $(cat "$work/log")"
}

pristine() {
	restored "$@"
	same "$1"
}

held() {
	local try
	REPAVE_FAULT=$1:0:19 repave-apply "$2" -p "$victim" --max-pause 60000 "${@:3}" >"$work/tool.log" 2>&1 &
	tool=$!
	for ((try = 0; try < 2000; try++)); do
		grep -q 'State:.T' "/proc/$tool/status" 2>/dev/null && return
		kill -0 "$tool" 2>/dev/null || return 1
		sleep 0.005
	done
	fail "$2 does not come to step $1"
}

start_asking() {
	mkfifo "$work/in"
	: >"$work/out" # there for the first question, however late the program begins
	"$@" <"$work/in" >"$work/out" 2>&1 &
	victim=$!
	exec 3>"$work/in"
}

ask() {
	local before
	before=$(wc -l <"$work/out")
	echo "$1" >&3
	for _ in $(seq 500); do
		[ "$(wc -l <"$work/out")" -gt "$before" ] && break
		sleep 0.01
	done
	answer=$(tail -n 1 "$work/out")
	grep -q WRONG "$work/out" && fail "$1"
	[ "$(wc -l <"$work/out")" -gt "$before" ] || fail "no answer to $1"
}

end_asking() {
	local status
	exec 3>&-
	wait "$victim"
	status=$?
	victim=
	[ "$status" = 0 ] || fail "the victim ended with exit $status"
}

remember_once() {
	[ -e "$work/shown_before.$victim" ] || remember ${varies:-}
}

cycle() {
	progress "$1, before"
	remember_once
	repave-apply apply -p "$victim" --max-pause 2000 "${@:3}" "$2" >"$work/log" 2>&1 || fail "$1: apply: exit $?"
	grep -Eq '[1-9][0-9]* functions' "$work/log" || fail "$1: no function was redirected"
	progress "$1, applied"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "$1: status: exit $?"
	grep -q ": applied, since" "$work/log" || fail "$1: status does not say that it is applied"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "$1: verify: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "$1: undo: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "$1: undo left something"
	pristine "$1, undone" --padding
	progress "$1, undone"
}

refused() {
	local status
	remember_once
	repave-apply apply -p "$victim" --max-pause 2000 "${@:5}" "$4" >"$work/stdout" 2>"$work/log"
	status=$?
	[ "$status" = "$2" ] || fail "$1: apply: exit $status, not $2"
	[ "$(wc -l <"$work/log")" = 1 ] || fail "$1: not one line"
	grep -q -- "$3" "$work/log" || fail "$1: does not say \"$3\""
	pristine "$1, refused" --padding
	progress "$1, refused"
}

# Ends the victim and checks that it never saw a wrong result.
finish() {
	local status
	kill -TERM "$victim"
	wait "$victim"
	status=$?
	victim=
	[ "$status" = 0 ] || fail "the victim ended with exit $status"
}

# Shared by the live tests of repave-apply: building victims and plans, asking a victim how it is. Sourced by test.sh after `cd` to its directory.
#
# work         a temporary directory, removed at exit; the victim is killed then too
# fail TEXT    says what went wrong and ends the test
# build_lib    makes $work/handplan and $work/pristine
# victim PROGRAM [ARG...]   starts it, sets $victim; its output goes to $work/out
# rounds       asks the victim (SIGUSR1, answer "rounds N") and sets $count; fails if it is dead, ever printed WRONG, or is silent for
#              $PATIENCE (400) hundredths of a second
# progress TEXT    fails unless the victim gets on within two seconds
# pristine [--padding]      text equal to the files, no mapping of ours
# remember [PART...], same STEP     the comparer, see snapshot.sh
# held STEP VERB [ARG...]   `repave-apply VERB -p $victim` in the background, waiting before that step; sets $tool. 1: it ended before that step.
#                  Its output goes to $work/tool.log. Let it go on with kill -CONT "$tool"
# start_asking PROGRAM [ARG...]   as victim, for one that takes commands on standard input and answers each with a line
# ask COMMAND      sets $answer; fails when it is silent or ever printed WRONG
# end_asking       its input ends, and so must it, with exit 0

: "${B:?run by tests/run}"
root=$PWD/../../..
command -v repave-apply >/dev/null || { echo "no repave-apply"; exit 77; }
command -v gcc >/dev/null || { echo "no gcc"; exit 77; }
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
	"$@" >"$work/out" 2>&1 &
	victim=$!
	sleep 0.2
}

rounds() {
	local before
	kill -0 "$victim" 2>/dev/null || fail "the victim is dead ($1)"
	before=$(wc -l <"$work/out")
	kill -USR1 "$victim"
	for _ in $(seq "${PATIENCE:-400}"); do
		[ "$(wc -l <"$work/out")" -gt "$before" ] && break
		sleep 0.01
	done
	grep -q WRONG "$work/out" && fail "wrong results ($1)"
	read -r _ count < <(tail -n 1 "$work/out")
	[ "$(wc -l <"$work/out")" -gt "$before" ] || fail "the victim does not answer ($1)"
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

pristine() {
	"$work/pristine" "$victim" ${2:+"$2"} >"$work/log" 2>&1 || fail "not as it was ($1): $(cat "$work/log")"
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

# Ends the victim and checks that it never saw a wrong result.
finish() {
	local status
	kill -TERM "$victim"
	wait "$victim"
	status=$?
	victim=
	[ "$status" = 0 ] || fail "the victim ended with exit $status"
}

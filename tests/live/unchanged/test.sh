#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
mkdir "$work/cwd"
started() {
	cd "$work/cwd" || exit 1
	umask 027
	ulimit -c 0 -n 777
	echo 300 >/proc/self/oom_score_adj
	exec nice -n 3 "$work/victim" 7</etc/passwd 8>"$work/file"
}
victim started

# Everything but how much memory is resident (patched pages become private), the peak of its size, and what passes by itself.
snapshot() {
	local p=/proc/$victim t
	{
		cat "$p/maps" "$p/limits" "$p/mountinfo" "$p/cgroup" "$p/timers" "$p/environ" "$p/cmdline" "$p/personality" "$p/coredump_filter"
		cat "$p/oom_score_adj"
		grep -E '^VmFlags|^Locked' "$p/smaps"
		grep -vE '^(VmPeak|VmHWM|VmRSS|RssAnon|RssFile|VmPTE|SigQ|.*ctxt_switches)' "$p/status"
		readlink "$p/cwd" "$p/root" "$p/exe" "$p"/ns/*
		for t in "$p"/fd/*; do
			echo "$t $(readlink "$t")"
			grep -v '^it_value' "$p/fdinfo/${t##*/}"
		done
		for t in "$p"/task/*; do
			cat "$t/comm" "$t/children" "$t/timerslack_ns"
			grep -E '^(Sig[^Q]|Shd|Cap|Seccomp|Cpus|Mems|NoNewPrivs)' "$t/status"
			awk '{ sub(/.*\) /, ""); print "nice", $17, "policy", $39 }' "$t/stat"
		done
		ls -A "$work" "$work/cwd" /dev/shm
	} 2>/dev/null | sed 's/^it_value.*//'
}
same() {
	snapshot >"$work/after"
	diff "$work/before" "$work/after" >"$work/log" || fail "not the same ($1)"
}
progress before
: >"$work/log" >"$work/after"
snapshot >"$work/before"
snapshot >"$work/before"
[ "$(wc -l <"$work/before")" -gt 300 ] || fail "no snapshot"
same "nothing was done"
for turn in 1 2 3; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
	same "turn $turn"
done
for step in $(seq $((1 + RANDOM % 6)) 6 80); do
	REPAVE_FAULT=$step repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	same "killed at step $step"
done
progress after
# It has mappings of its own that look like ours; they are in the snapshot.
"$work/pristine" "$victim" --padding | grep -v ': anonymous and not writable' >"$work/log" && fail "its code is not as it was"
kill -TERM "$victim"
wait "$victim" || fail "the victim ended with exit $?"
victim=

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

# All that the comparer knows, and that no file appears anywhere.
files() { ls -A "$work/cwd" /dev/shm "$work" | grep -v '^shown_\|^log$\|^files'; }
unchanged() {
	same "$1"
	files >"$work/files_after"
	diff "$work/files_before" "$work/files_after" >"$work/log" || fail "files appear ($1)"
}
progress before
remember
[ "$(wc -l <"$work/shown_before.$victim")" -gt 300 ] || fail "no snapshot"
files >"$work/files_before"
unchanged "nothing was done"
for turn in 1 2 3; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply $turn: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo $turn: exit $?"
	unchanged "turn $turn"
done
for step in $(seq $((1 + RANDOM % 6)) 6 80); do
	REPAVE_FAULT=$step repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1
	unchanged "killed at step $step"
done
progress after
# It has mappings of its own that look like ours; they are in the snapshot.
"$work/pristine" "$victim" --padding | grep -v ': anonymous and not writable' >"$work/log" && fail "its code is not as it was"
kill -TERM "$victim"
wait "$victim" || fail "the victim ended with exit $?"
victim=

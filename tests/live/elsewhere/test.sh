#!/bin/bash
# See desc. Exit 77 without root or unshare.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
[ "$(id -u)" = 0 ] && command -v unshare setpriv >/dev/null || { echo "needs root, unshare and setpriv"; exit 77; }
build_lib
build_victim ../fenced/victim.c -Wl,--build-id
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
export REPAVE_CACHE=$work/cache
chmod 755 "$work" && chmod 644 "$work/plan"
mkdir "$work/root" "$work/scratch" "$work/lower" "$work/merged" "$work/bound" "$work/replaced"

# starts NAME: waits for the victim that was started in the background with its output in $work/out; 1: it could not be, as out says
starts() {
	for _ in $(seq 500); do
		grep -q ready "$work/out" && return
		kill -0 "$victim" 2>/dev/null || break
		sleep 0.01
	done
	echo "$1: not tried: $(tail -n 1 "$work/out")"
	kill -9 "$victim" 2>/dev/null
	victim=
	return 1
}
launch() {
	: >"$work/out" # what the one before said is not to be taken for this one's
	"${@:2}" >"$work/out" 2>&1 &
	victim=$!
	starts "$1" && remember
}

# chain NAME: from the host, profile, map, plan and apply, and back
chain() {
	remember
	timeout 60 repave optimize -p "$victim" --samples --seconds 1 >"$work/stdout" 2>"$work/log" || fail "$1: optimize: exit $?"
	grep -q 'victim: [1-9][0-9]* functions' "$work/stdout" || fail "$1: no function of the program was redirected: $(cat "$work/stdout")"
	progress "$1, optimized"
	repave apply verify -p "$victim" >"$work/log" 2>&1 || fail "$1: verify: exit $?"
	repave undo -p "$victim" >"$work/log" 2>&1 || fail "$1: undo: exit $?"
	progress "$1, undone"
	same "$1, undone"
}

# Its files are on a file system that only it can see.
cat >"$work/contained" <<END
set -e
mount -t tmpfs none "$work/root"
for file in $(ldd "$work/victim" | grep -o '/[^ ]*' | tr '\n' ' '); do
	mkdir -p "$work/root\${file%/*}"
	cp "\$file" "$work/root\$file"
done
cp "$work/victim" "$work/root/victim"
exec chroot "$work/root" /victim
END
unshare -Urmpf sh "$work/contained" >"$work/out" 2>&1 &
launcher=$! victim=$!
trap 'kill -9 $victim $launcher 2>/dev/null; rm -rf "$work"' EXIT
if starts container; then
	read -r victim _ <"/proc/$launcher/task/$launcher/children"
	[ "$(cat "/proc/$victim/comm")" = victim ] || fail "this is not the victim: $(readlink "/proc/$victim/exe")"
	chain container
	for map in "$REPAVE_CACHE"/victim*; do
		[ -e "$map" ] && fail "a map of a file that only the container can see is kept for all"
	done
	repave-apply apply -p "$victim" "$work/plan" >"$work/log" 2>&1 || fail "container: apply: exit $?"
	# The same process, seen from within: it has another number there.
	nsenter -t "$victim" -U -p -m --preserve-credentials true 2>/dev/null && progress "container, entered"
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "container: undo: exit $?"
	progress "container, undone again"
	kill -TERM "$victim"
	wait "$launcher" || fail "container: the victim ended with exit $?"
	victim=
fi

mount_script="mount -t tmpfs none '$work/scratch' && mkdir '$work/scratch/upper' '$work/scratch/work' && cp '$work/victim' '$work/lower' &&
	mount -t overlay overlay -o lowerdir='$work/lower',upperdir='$work/scratch/upper',workdir='$work/scratch/work' '$work/merged' &&
	exec '$work/merged/victim'"
# Compared from within, since only there its files can be opened.
inside_pristine() {
	nsenter -t "$victim" -m "$work/pristine" "$victim" --padding >"$work/log" 2>&1 || fail "$1: not as it was: $(cat "$work/log")"
}
if launch overlay unshare -m sh -c "$mount_script"; then
	repave-apply apply -p "$victim" "$work/plan" >"$work/log" 2>&1 || fail "overlay: apply: exit $?"
	progress "overlay, applied"
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "overlay: undo: exit $?"
	inside_pristine overlay
	finish
fi
if launch "bind mount" unshare -m sh -c "mount --bind '$work' '$work/bound' && exec '$work/bound/victim'"; then
	repave-apply apply -p "$victim" "$work/plan" >"$work/log" 2>&1 || fail "bind mount: apply: exit $?"
	progress "bind mount, applied"
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "bind mount: undo: exit $?"
	inside_pristine "bind mount"
	finish
fi

# An upgrade: another file has the name now. Maps that were made before still fit.
cp "$work/victim" "$work/replaced/victim"
launch replaced "$work/replaced/victim" || fail "it does not start"
build_victim ../fenced/victim.c -O1 -Wl,--build-id
mv "$work/victim" "$work/replaced/victim"
repave-apply apply -p "$victim" "$work/plan" >"$work/log" 2>&1 || fail "replaced: apply: exit $?"
grep -q '[1-9] functions' "$work/log" || fail "replaced: no function was redirected"
progress "replaced, applied"
repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "replaced: verify: exit $?"
repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "replaced: undo: exit $?"
grep -q "nothing of ours remains" "$work/log" || fail "replaced: undo left something"
chain "replaced, from the host"
"$work/handplan" "$work/replaced/victim" "$work/newer" || fail "no plan"
repave-apply apply -p "$victim" "$work/newer" >"$work/log" 2>&1
[ $? = 5 ] && grep -q "another build" "$work/log" || fail "the plan of the new file is not refused by the process of the old one"
progress "replaced, the plan of the new file"
finish

# Users. Nobody works on his own process; another user may not, nor may he where the kernel keeps him away from it.
build_victim ../fenced/victim.c -Wl,--build-id
cp "$(command -v repave-apply)" "$work/repave-apply" && chmod 755 "$work/repave-apply" "$work/victim"
as() { # USER COMMAND...
	setpriv --reuid="$1" --regid="$1" --clear-groups "${@:2}"
}
own() { # VERB [ARG...]
	as 65534 "$work/repave-apply" "$1" -p "$victim" "${@:2}" >"$work/log" 2>&1 || fail "his own: $1: exit $?"
}
denied() { # NAME USER
	as "$2" "$work/repave-apply" apply -p "$victim" "$work/plan" >"$work/stdout" 2>"$work/log"
	[ $? = 4 ] && [ "$(wc -l <"$work/log")" = 1 ] && grep -q "ermission denied" "$work/log" || fail "$1: not denied"
	pristine "$1" --padding
	progress "$1"
}
launch "his own" setpriv --reuid=65534 --regid=65534 --clear-groups "$work/victim"
denied "another user" 65533
own apply "$work/plan"
progress "his own, applied"
own status
own verify
as 65533 "$work/repave-apply" undo -p "$victim" >"$work/log" 2>&1
[ $? = 4 ] || fail "another user may undo"
own undo
pristine "his own" --padding
finish

launch "not dumpable" setpriv --reuid=65534 --regid=65534 --clear-groups "$work/victim" undumpable
denied "not dumpable" 65534
cycle "not dumpable, by root" "$work/plan"
finish

cp "$work/victim" "$work/setuid" && chmod 4755 "$work/setuid"
launch "setuid root" setpriv --reuid=65534 --regid=65534 --clear-groups "$work/setuid"
if grep -q 'Uid:.65534.0' "/proc/$victim/status"; then
	denied "setuid root" 65534
	cycle "setuid root, by root" "$work/plan"
else
	echo "setuid: not tried, $work is mounted nosuid"
fi
finish
[ -e /proc/sys/kernel/yama/ptrace_scope ] || echo "Yama: not tried, this kernel has it not"

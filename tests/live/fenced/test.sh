#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim victim.c
"$work/handplan" "$work/victim" "$work/small" || fail "no plan"
"$work/handplan" "$work/victim" "$work/big" --big yes || fail "no plan"
group=
trap 'kill -9 $victim 2>/dev/null; [ -z "$group" ] || leave_group; rm -rf "$work"' EXIT

# under KIND: a victim under that limit, when it says that it is; 1: this kernel does not know it
under() {
	: >"$work/out" # what the one before said is not to be taken for this one's
	"$work/victim" "$1" >"$work/out" 2>&1 &
	victim=$!
	for _ in $(seq 400); do
		grep -q ready "$work/out" && remember children && return # some fork now and then
		kill -0 "$victim" 2>/dev/null || break
		sleep 0.01
	done
	wait "$victim"
	[ $? = 77 ] || fail "$1: not set up"
	echo "$1: not tried: $(cat "$work/out")"
	victim=
	return 1
}

for kind in mdwe sealed advised faulting locked data-limit migrating; do
	under "$kind" && cycle "$kind" "$work/big" && finish
done
under errno && cycle errno "$work/big" && finish
while read -r kind status text; do
	under "$kind" && refused "$kind" "$status" "$text" "$work/small" && finish
done <<-'END'
	strict 5 strict seccomp mode
	kill 5 killed by its own system call filter
	locked-limit 5 RLIMIT_MEMLOCK
	address-limit 5 RLIMIT_AS
	mappings 5 vm.max_map_count
END

# pages KIND KILOBYTES [ARG...]: so many are in huge pages while the plan is applied with ARG...; the process forbids itself what it did before
pages() {
	local forbidden
	under "$1" || return
	forbidden=$(grep THP_enabled "/proc/$victim/status")
	repave-apply apply -p "$victim" --max-pause 2000 "${@:3}" "$work/big" >"$work/log" 2>&1 || fail "$*: apply: exit $?"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "$*: status: exit $?"
	grep -q ", $2 KB in huge pages" "$work/log" || fail "$*: not $2 KB in huge pages"
	[ "$(grep THP_enabled "/proc/$victim/status")" = "$forbidden" ] || fail "$*: what it forbids itself is another"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "$*: undo: exit $?"
	same "$*, undone"
	finish
}
if grep -qE '\[(always|madvise)\]' /sys/kernel/mm/transparent_hugepage/enabled; then
	pages plain 2048
	pages small-pages 0
	grep -q '\[always\]' /sys/kernel/mm/transparent_hugepage/enabled || pages plain 0 --no-huge
else
	echo "huge pages: not tried, there are none"
fi

# A filter of the killing kind: dry, then killed at every step until the refusal.
under kill
for step in $(seq 30); do
	REPAVE_FAULT=$step repave-apply apply -p "$victim" "$work/big" >"$work/tool.log" 2>&1
	status=$?
	rounds "killed at step $step, under a filter that kills"
	[ "$status" = 137 ] || break
done
[ "$status" = 5 ] || fail "killed at step $step: exit $status"
finish

# One that comes after apply: the code is as it was after undo, only the image cannot be unmapped.
under late
repave-apply apply -p "$victim" "$work/small" >"$work/log" 2>&1 || fail "apply before the filter: exit $?"
kill -USR2 "$victim"
progress "a filter that came after apply"
repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo under a filter that came later: exit $?"
grep -q "the image stays mapped: .*system call filter" "$work/log" || fail "undo does not say that the filter is in the way"
"$work/pristine" "$victim" --padding | grep -v ': anonymous and not writable' >"$work/log" && fail "under a filter that came later: code is not as it was"
progress "undone under a filter that came later"
finish

# Without privilege a filter cannot be suspended.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work" && cp "$(command -v repave-apply)" "$work/repave-apply" && chmod 644 "$work/small"
	as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
	victim "${as_nobody[@]}" "$work/victim" errno
	remember
	"${as_nobody[@]}" "$work/repave-apply" apply -p "$victim" "$work/small" >"$work/stdout" 2>"$work/log"
	[ $? = 5 ] && grep -q "suspending the filter needs CAP_SYS_ADMIN" "$work/log" || fail "an ordinary user and a filter"
	pristine "an ordinary user and a filter" --padding
	finish
fi

# new_group CONTROLLER FILE: sets $group to a new cgroup that has this file; 1: there is none to be had
new_group() {
	local parent
	for parent in "/sys/fs/cgroup/$1" /sys/fs/cgroup /sys/fs/cgroup/unified; do
		group=$parent/repave-test-$$
		mkdir "$group" 2>/dev/null || continue
		[ -w "$group/$2" ] && return
		rmdir "$group"
	done
	group=
	return 1
}
leave_group() {
	[ -n "$group" ] || return 0
	for _ in $(seq 100); do
		rmdir "$group" 2>/dev/null && break
		sleep 0.01
	done
	group=
}
inside() {
	echo "$BASHPID" >"$group/cgroup.procs"
	exec "$@"
}

meanwhile=
# freezer CONTROLLER FILE FREEZE THAW
freezer() {
	new_group "$1" "$2" || { echo "freezing by $2: not tried, no such cgroup can be made"; return; }
	victim inside "$work/victim"
	remember
	echo "$3" >"$group/$2"
	sleep 0.1
	repave-apply apply -p "$victim" "$work/small" >"$work/stdout" 2>"$work/log"
	[ $? = 5 ] && grep -q "frozen by its cgroup" "$work/log" || fail "apply to a frozen process ($2)"
	echo "$4" >"$group/$2"
	progress "thawed ($2)"
	pristine "thawed ($2)" --padding
	if [ -z "$meanwhile" ]; then # takes seconds: until the tool gives up
		held 12 apply "$work/small"
		echo "$3" >"$group/$2"
		kill -CONT "$tool"
		wait "$tool"
		meanwhile=$?
		[ "$meanwhile" = 5 ] || [ "$meanwhile" = 75 ] || fail "apply to a process that is frozen meanwhile: exit $meanwhile"
		echo "$4" >"$group/$2"
		progress "frozen meanwhile, thawed"
	fi
	cycle "frozen before" "$work/small"
	finish
	leave_group
}
freezer freezer freezer.state FROZEN THAWED
freezer none cgroup.freeze 1 0

# In a cgroup that is full the kernel would kill the process for the memory that the image needs.
limit=memory.limit_in_bytes usage=memory.usage_in_bytes
new_group memory $limit || { limit=memory.max usage=memory.current; new_group none $limit; } || limit=
if [ -n "$limit" ]; then
	victim inside "$work/victim"
	progress "in a cgroup"
	echo $(($(cat "$group/$usage") + 4096)) >"$group/$limit"
	refused "a full cgroup" 5 "raise its limit" "$work/big"
	echo $(($(cat "$group/$usage") + (8 << 20))) >"$group/$limit"
	cycle "a cgroup with room" "$work/big"
	finish
	leave_group
else
	echo "memory of a cgroup: not tried, none can be limited"
fi

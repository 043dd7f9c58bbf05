# The comparer: what /proc shows of a process, before something was applied to it and after that was undone. Sourced by live.sh, and by tests that do
# without that one; needs $victim, $work and fail.
#
# remember [PART...]   takes it down, but for what the victim itself changes all the time (said by the caller): maps, descriptors, threads, masks,
#                      handlers (of signals), children, arguments
# same STEP            fails unless it is the same now, or was never taken down. Tried for a second: a thread may be blocking signals for a moment just now
# snapshot             prints it
#
# Left out is how much memory is resident (patched pages become private), peaks, and what passes by itself; of standard output and error,
# to which victims answer, how far they were written.

snapshot() {
	local own
	own=$(readlink -f "/proc/$victim") || return
	(
		set +e # not every kernel has all of these files
		cd "$own" 2>/dev/null || exit
		cat limits mountinfo cgroup timers personality coredump_filter oom_score_adj
		varies arguments || cat environ cmdline
		echo
		varies maps || { cat maps; grep '^VmFlags' smaps; }
		snapshot_status
		readlink cwd root exe ns/*
		varies descriptors || snapshot_descriptors
		varies threads || snapshot_threads
		varies children || cat task/*/children
		true
	) 2>/dev/null | tr '\0' '\n'
}

varies() {
	case " $unsteady " in *" $1 "*) return 0 ;; esac
	return 1
}

# Runs, or is stopped by job control: that is all of its state that lasts.
snapshot_status() {
	local without='VmPeak|VmHWM|VmRSS|RssAnon|RssFile|RssShmem|VmPTE|SigQ|.*ctxt_switches'
	! varies maps || without+='|Vm(Size|Data|Stk|Exe|Lib|Swap)'
	! varies threads || without+='|Threads'
	! varies masks || without+='|SigBlk|SigPnd|ShdPnd'
	! varies handlers || without+='|SigIgn|SigCgt'
	grep -vE "^($without)" status | sed -E 's/^(State:.)[RSD].*/\1it runs/'
}

snapshot_descriptors() {
	find fd -type l -printf '%p %l\n' | sort
	grep -H '' fdinfo/* | grep -vE '^fdinfo/[12]:pos|:it_value'
}

snapshot_threads() {
	local fields='Cap.*|Seccomp.*|Cpus.*|Mems.*|NoNewPrivs'
	varies masks || fields+='|SigPnd|SigBlk|ShdPnd'
	varies handlers || fields+='|SigIgn|SigCgt'
	"$work/robust" "$victim"
	grep -H '' task/*/comm task/*/timerslack_ns
	grep -HE "^($fields):" task/*/status
	awk '{ sub(/.*\) /, ""); print FILENAME, "nice", $17, "policy", $39 }' task/*/stat
}

unsteady=
snapshot_directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
remember() {
	unsteady="$*"
	[ -x "$work/robust" ] || gcc -std=gnu11 -O1 -o "$work/robust" "$snapshot_directory/robust.c" >"$work/log" 2>&1 || fail "robust.c does not build"
	snapshot >"$work/shown_before.$victim"
	[ "$(wc -l <"$work/shown_before.$victim")" -gt 60 ] || fail "no snapshot of process $victim"
}

same() {
	local try
	[ -e "$work/shown_before.$victim" ] || fail "nothing is remembered of process $victim ($1)"
	for ((try = 0; try < 20; try++)); do
		snapshot >"$work/shown_after"
		diff "$work/shown_before.$victim" "$work/shown_after" >"$work/log" && return
		sleep 0.05
	done
	fail "/proc shows a difference ($1)"
}

#!/bin/bash
# recorder.sh: what recording costs: bytes per sample and memory of the recorder at a high rate, and the target's CPU time per transaction with
# and without the recorder, at its default rate and at a high one. On a private mariadbd under sysbench; nothing is left behind.
#
#   tests/bench/recorder.sh [RESULT.json]        prints the result as JSON too
# Knobs: RATE (5000) and SECONDS_HIGH (12; 60 for the real figure), ROUNDS (60), ROUNDS_HIGH (ROUNDS), WINDOW (0.5 s), WORKLOAD
# (oltp_point_select), SYSBENCH_THREADS (2), CPUS (the last; empty: all), RECORD_OPTIONS (e.g. --per-thread), B (build/gcc). Exit: 0, else the
# step that failed is named.
#
# user, cpu: CPU time per transaction with the recorder / without, median of the rounds and its 95 % interval. `cpu` holds the work of the sampling
# interrupts, which the kernel charges to whom they interrupt; `user` only what the target itself ran slower.
# overhead: at the default rate. It is about one per cent, which a shared machine hides in noise of three, so there is also
# overhead_high: at RATE, where it stands out, and overhead_scaled: that one brought to the default rate, since each sample costs the same.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
source scripts/lib/mariadb.sh
export B=${B:-build/gcc}
mariadb_cpus=${CPUS-$(($(nproc) - 1))}
work=
recorder=

fail() {
	echo "recorder.sh: $1" >&2
	exit 1
}

cleanup() {
	[[ -z $recorder ]] || kill -KILL "$recorder" 2>/dev/null || :
	[[ ! -s $work/pid ]] || kill -KILL "$(cat "$work/pid")" 2>/dev/null || :
	mariadb_cleanup
	[[ -z $work ]] || rm -rf -- "$work"
}

rss_kib() {
	sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$recorder/status"
}

# One long recording at a high rate: size, and memory after a sixth of the time and near its end.
measure_size() {
	local seconds=${SECONDS_HIGH:-12} early late
	"$B/repave-profile" record -p "$mariadb_pid" --rate "${RATE:-5000}" --seconds "$seconds" -o "$work/high.rprof" --json ${RECORD_OPTIONS:-} \
		>"$work/high.json" &
	recorder=$!
	sleep "$(awk "BEGIN { print $seconds / 6 }")"
	early=$(rss_kib)
	sleep "$(awk "BEGIN { print $seconds * 5 / 6 - 0.5 }")"
	late=$(rss_kib)
	wait "$recorder" || fail "recording failed"
	recorder=
	jq --argjson early "$early" --argjson late "$late" '{rate: .frequency, seconds, samples, bytes, lost,
		bytes_per_sample: (.bytes / .samples), branches, source, whole_cpus, rss_early_kib: $early, rss_late_kib: $late,
		recorder_cpu_percent: .overhead_percent}' "$work/high.json"
}

# The recorder is started and stopped between windows; both states run on the same server and connections.
# measure_overhead ROUNDS [RATE]
measure_overhead() {
	local start="'$B/repave-profile' record -p $mariadb_pid --samples ${2:+--rate $2} -o '$work/low.rprof' --json ${RECORD_OPTIONS:-} >'$work/low.json' & echo \$! >'$work/pid'; sleep 0.3"
	local stop="pid=\$(cat '$work/pid'); kill -INT \$pid; while kill -0 \$pid 2>/dev/null; do sleep 0.01; done; rm '$work/pid'; cp '$work/low.json' '$work/last.json'"
	CPU_SAMPLER=$B/bench/cpu_sampler tests/bench/paired -p "$mariadb_pid" -c "mariadb:$mariadb_socket:Questions" --rounds "$1" \
		--window "${WINDOW:-0.5}" --settle 0.1 --after "$start" --before "$stop" >"$work/rounds.tsv" &
	wait $! || fail "paired rounds failed"
	awk -f tests/bench/paired_stats.awk "$work/rounds.tsv" | jq --slurpfile record "$work/last.json" '
		def cost: {without: .before, with: .after, ratio: (1 / .ratio), low: (1 / .high), high: (1 / .low)};
		{rounds, rate: $record[0].frequency, source: $record[0].source, whole_cpus: $record[0].whole_cpus,
		 user: (.user_ns_per_transaction | cost), cpu: (.cpu_ns_per_transaction | cost), throughput: (.transactions_per_second | cost)}'
}

main() {
	work=$(mktemp -d "${TMPDIR:-/tmp}/repave-recorder.XXXXXX")
	trap cleanup EXIT
	trap 'exit 130' INT TERM
	make --no-print-directory -j2 B="$B" all "$B/bench/cpu_sampler" >/dev/null
	mariadb_start
	mariadb_load 4 10000
	sysbench_start "${WORKLOAD:-oltp_point_select}" "${SYSBENCH_THREADS:-2}"
	sleep 1
	measure_size >"$work/size.json"
	measure_overhead "${ROUNDS:-60}" >"$work/overhead.json"
	measure_overhead "${ROUNDS_HIGH:-${ROUNDS:-60}}" "${RATE:-5000}" >"$work/overhead_high.json"
	sysbench_stop
	jq -n --slurpfile size "$work/size.json" --slurpfile overhead "$work/overhead.json" --slurpfile high "$work/overhead_high.json" \
		--arg load "$(cut -d' ' -f1-3 /proc/loadavg)" '
		def scaled: (. - 1) * $overhead[0].rate / $high[0].rate + 1;
		def interval: {ratio: (.ratio | scaled), low: (.low | scaled), high: (.high | scaled)};
		{load_average: $load, high_rate: $size[0], overhead: $overhead[0], overhead_high: $high[0],
		 overhead_scaled: {user: ($high[0].user | interval), cpu: ($high[0].cpu | interval)}}' | tee "${1:-/dev/null}"
}

main "$@"

# Optimise a loaded process, then measure it with the plan applied and undone in turn. Sourced by scripts/demo and tests/bench/run
# from the root of the tree; needs the tools built in $B.
#
#   measure_optimised NAME PID COUNTER SCALE ROUNDS WINDOW DIRECTORY
#       prints one JSON object, keeps plan, steps and raw rounds in DIRECTORY/NAME.*; leaves the process undone
#   measure_table JSON-FILE          prints the array of such objects as tables for people

# Seconds between a switch and the start of a window: longer than the tool that switched needs to end and the caches to fill.
measure_settle=0.1

measure_fail() {
	echo "measure: $1" >&2
	return 1
}

# steps_json FILE: the report of `repave optimize` as a JSON array.
measure_steps_json() {
	jq -R -s 'split("\n") | map(select(. != "") | split("\t") | {step: .[0], seconds: (.[1] | tonumber), peak_kib: (.[2] | tonumber? // null)})' "$1"
}

# switch_command FILE COMMAND: a shell command that runs COMMAND, result to FILE, again while the process is too busy to be stopped (75).
switch_command() {
	echo "for try in 1 2 3 4 5; do $2 >>'$1'; status=\$?; [ \$status = 75 ] || exit \$status; sleep 0.2; done; exit 75"
}

measure_optimised() {
	local name=$1 pid=$2 counter=$3 scale=$4 rounds=$5 window=$6 base=$7/$1
	local apply=$B/repave-apply
	# MEASURE_OPTIMIZE: more arguments, such as "--samples"
	# shellcheck disable=SC2086
	scripts/repave optimize -p "$pid" ${MEASURE_OPTIMIZE:-} --plan-out "$base.rplan" --report "$base.steps" \
		>"$base.optimize.log" || { measure_fail "$name: optimize failed"; return 1; }
	"$apply" verify -p "$pid" >"$base.verify.log" || { measure_fail "$name: verify failed"; return 1; }
	"$apply" undo -p "$pid" >"$base.undo.log" || { measure_fail "$name: undo failed"; return 1; }
	: >"$base.apply.json"
	: >"$base.undo.json"
	CPU_SAMPLER=$B/bench/cpu_sampler tests/bench/paired -p "$pid" -c "$counter" --scale "$scale" --rounds "$rounds" --window "$window" \
		--settle $measure_settle --after "$(switch_command "$base.apply.json" "'$apply' apply --json -p $pid '$base.rplan'")" \
		--before "$(switch_command "$base.undo.json" "'$apply' undo --json -p $pid")" >"$base.tsv" &
	# Waited for, not run: so that a signal to the script is acted on at once. paired ends by itself when the process is gone.
	wait $! || {
		tail -n 4 "$base.apply.json" "$base.undo.json" >&2
		measure_fail "$name: rounds failed"
		return 1
	}
	"$B/repave-dump" --json "$base.rplan" >"$base.plan.json" || { measure_fail "$name: dump failed"; return 1; }
	awk -f tests/bench/paired_stats.awk "$base.tsv" >"$base.stats.json" || return 1
	measure_steps_json "$base.steps" >"$base.steps.json"
	jq -n --arg name "$name" --slurpfile stats "$base.stats.json" --slurpfile steps "$base.steps.json" \
		--slurpfile applied "$base.apply.json" --slurpfile undone "$base.undo.json" --slurpfile plan "$base.plan.json" \
		-f scripts/lib/measure.jq
}

measure_table() {
	jq -r -f scripts/lib/measure_table.jq "$1" | column -t -s '	'
}

# Counted exits from the command line: plan --count-exits, count, exits on a stock sqlite3.

setup_file() {
	export D=$BATS_FILE_TMPDIR REPAVE_CACHE=$BATS_FILE_TMPDIR/cache root
	root=$(readlink -f "$BATS_TEST_DIRNAME/../..")
	command -v sqlite3 jq >/dev/null || skip "no sqlite3 or jq"
	source "$root/tests/bench/sqlite.sh"
	sqlite_start 3>&-
	export sqlite_pid sqlite_feeder_pid sqlite_directory
	sleep 0.5
	mkdir "$D/maps"
	repave-profile record --samples --rate 4999 -p "$sqlite_pid" --seconds 0.5 -o "$D/s.rprof" >/dev/null
	repave-analyze map -o "$D/maps/" "$(readlink -f "$(command -v sqlite3)")" \
		"$(awk '/libsqlite3/ { print $6; exit }' "/proc/$sqlite_pid/maps")" \
		"$(awk '/libc.so/ { print $6; exit }' "/proc/$sqlite_pid/maps")" >/dev/null
	# Much is left out, so that there are exits of every kind.
	for kind in plain exits; do
		repave-analyze plan --json --coverage 0.8 --profile "$D/s.rprof" -o "$D/$kind.rplan" \
			$([ "$kind" = plain ] || echo --count-exits) "$D"/maps/*.rmap >"$D/$kind.json"
	done
	repave-apply count --json -p "$sqlite_pid" --max-pause 2000 --seconds 0.5 -o "$D/counts.rprof" "$D/exits.rplan" >"$D/count.json"
}

teardown_file() {
	kill "$sqlite_pid" "$sqlite_feeder_pid" || :
	rm -rf "$sqlite_directory"
}

@test "plan --count-exits: the plain plan with counters, proven, the same bytes again" {
	for what in '[.modules[].stats | .functions, .blocks, .hot_bytes, .weight_covered]' '[.modules[] | .patches]'; do
		[ "$(jq -c "$what" "$D/plain.json")" = "$(jq -c "$what" "$D/exits.json")" ]
	done
	repave-analyze plan --coverage 0.8 --profile "$D/s.rprof" -o "$D/again.rplan" --count-exits "$D"/maps/*.rmap >/dev/null
	cmp "$D/again.rplan" "$D/exits.rplan"
	run repave-analyze verify "$D/exits.rplan"
	[ "$status" -eq 0 ]
	# The same instructions in the same order; at an entry a jump may be left out because a counter fills its bytes.
	for kind in plain exits; do
		repave-dump --json --all "$D/$kind.rplan" | jq -c '.modules | to_entries[] | .key as $m | .value |
			(.runs[] | select(.original_size > 0 and .image_size > 0) | range(.original; .original + .original_size) | [$m, .])' >"$D/$kind.order"
		repave-dump --json --all "$D/$kind.rplan" | jq -c '.modules[] | [.functions[].start], [.patches[].at]' >"$D/$kind.patches"
	done
	cmp "$D/plain.patches" "$D/exits.patches"
	[ "$(wc -l <"$D/plain.order")" -gt 1000 ]
	cmp "$D/exits.order" <(awk 'NR == FNR { there[$0] = 1; next } $0 in there' "$D/exits.order" "$D/plain.order")
	[ $(($(wc -l <"$D/plain.order") - $(wc -l <"$D/exits.order"))) -lt $(($(wc -l <"$D/plain.order") / 100)) ]
}

@test "exits: kinds, places with functions, the rest of the numbers" {
	run repave-analyze exits --json --profile "$D/counts.rprof" --plan "$D/exits.rplan" --top 1000000 "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
	jq -e '.seconds >= 0.5 and .instructions > 1000000 and .exits.per_1000 > 0.1 and (.modules | length) >= 1' <<<"$output"
	jq -e '.exits.count == ([.kinds[].count] | add) and .exits.count == ([.top[].count] | add)' <<<"$output"
	jq -e '.kinds.branch.count > 0 and .kinds.slot.count > 0 and .kinds.return.count > 0' <<<"$output"
	jq -e '[.kinds[] | .back <= .count] | all' <<<"$output"
	jq -e '.branches_out > 10 and .uncounted * 10 <= .branches_out' <<<"$output"
	jq -e '([.top[] | select(.function != null)] | length) > 10 and (.top == (.top | sort_by(-.count)))' <<<"$output"
	jq -e '((.exits.per_1000 * .instructions / 1000) - .exits.count | fabs) < 1' <<<"$output"
}

@test "exits as text: rates and the worst places" {
	run repave-analyze exits --profile "$D/counts.rprof" --plan "$D/exits.rplan" --top 7 "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
	[[ $output == *"million instructions in the image"*"branches to blocks that are not in the image"* ]]
	[ "$(grep -cE '^ +[0-9.]+ +[0-9.]+  [a-z]+ +0x' <<<"$output")" -eq 7 ]
	# A module without its map is named.
	run repave-analyze exits --profile "$D/counts.rprof" --plan "$D/exits.rplan" "$D"/maps/libsqlite3*.rmap
	[ "$status" -eq 0 ]
}

@test "errors have their exit codes" {
	cd "$D"
	run repave-analyze plan --counting --count-exits --profile s.rprof -o x.rplan maps/*.rmap
	[ "$status" -eq 2 ]
	run repave-analyze exits --profile counts.rprof maps/*.rmap
	[ "$status" -eq 2 ]
	run repave-analyze exits --profile counts.rprof --plan plain.rplan maps/*.rmap
	[ "$status" -eq 2 ]
	[[ $output == *"has no counters"* ]]
	run repave-analyze exits --profile s.rprof --plan exits.rplan maps/*.rmap
	[ "$status" -eq 2 ]
	[[ $output == *"not made by repave-apply count"* ]]
	run repave-analyze exits --profile missing --plan exits.rplan maps/*.rmap
	[ "$status" -eq 3 ]
	repave-analyze map -o other.rmap "$(command -v jq)" >/dev/null
	run repave-analyze exits --json --profile counts.rprof --plan exits.rplan other.rmap
	[ "$status" -eq 1 ]
	jq -e '.error.code and .error.text' <<<"$output"
	head -c 100 exits.rplan >cut.rplan
	run repave-analyze exits --profile counts.rprof --plan cut.rplan maps/*.rmap
	[ "$status" -eq 3 ]
	run repave-apply apply -p "$sqlite_pid" exits.rplan
	[ "$status" -eq 2 ]
	[ ! -e x.rplan ]
}

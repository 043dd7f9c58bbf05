# Live counting from the command line: plan --counting, count, complete, flow, record --exact on a stock sqlite3.

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
	# The shell runs about a hundred blocks; the work is in the library.
	repave-analyze map -o "$D/maps/" "$(readlink -f "$(command -v sqlite3)")" \
		"$(awk '/libsqlite3/ { print $6; exit }' "/proc/$sqlite_pid/maps")" \
		"$(awk '/libc\.so/ { print $6; exit }' "/proc/$sqlite_pid/maps")" >/dev/null # what unwinders ask
	repave-analyze plan --counting --profile "$D/s.rprof" -o "$D/c.rplan" "$D"/maps/*.rmap >/dev/null
	repave-apply count --json -p "$sqlite_pid" --max-pause 2000 --seconds 0.3 -o "$D/raw.rprof" "$D/c.rplan" >"$D/count.json"
}

teardown_file() {
	kill "$sqlite_pid" "$sqlite_feeder_pid" || :
	rm -rf "$sqlite_directory"
}

@test "plan --counting says so and is proven" {
	run repave-analyze plan --counting --json --profile "$D/s.rprof" -o "$D/again.rplan" "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
	cmp "$D/again.rplan" "$D/c.rplan"
	run repave-analyze verify "$D/c.rplan"
	[ "$status" -eq 0 ]
}

@test "count tells when it counts and what it did" {
	[ "$(jq -r .state "$D/count.json" | tr '\n' ' ')" = "counting done " ]
	jq -es 'last | .counters > 50 and .readings > 10 and .seconds >= 0.3 and .patches > 5' "$D/count.json"
	run repave-profile show "$D/raw.rprof"
	[[ $output == *exact* ]]
}

@test "complete: every instruction of a block as often, few edges guessed" {
	run repave-analyze complete --json --profile "$D/raw.rprof" --plan "$D/c.rplan" -o "$D/full.rprof" "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
	jq -e '.blocks > 1000 and .executions > 100000 and .negative * 1000 <= .executions' <<<"$output"
	run repave-profile show "$D/full.rprof"
	[ "$status" -eq 0 ]
	run repave-analyze plan --profile "$D/full.rprof" -o "$D/opt.rplan" "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
}

@test "flow: what plan infers from samples, comparable with what was counted" {
	run repave-analyze flow --json --profile "$D/s.rprof" -o "$D/flow.rprof" "$D"/maps/*.rmap
	[ "$status" -eq 0 ]
	jq -e '.blocks > 10 and .instructions >= .blocks and .edges > 5' <<<"$output"
	repave-analyze complete --profile "$D/raw.rprof" --plan "$D/c.rplan" -o "$D/full.rprof" "$D"/maps/*.rmap
	run repave-profile diff "$D/flow.rprof" "$D/full.rprof" $(printf -- "--map %s " "$D"/maps/*.rmap)
	[ "$status" -le 1 ]
}

@test "record --exact does all of it" {
	run repave-profile record --exact --json -p "$sqlite_pid" --seconds 0.5 --max-seconds 0.5 --max-slowdown 100 -o "$D/exact.rprof"
	[ "$status" -eq 0 ]
	jq -e '.counters > 50 and .executions > 1000 and .cut_short == false and .slowdown >= 1' <<<"$output"
	repave-profile show "$D/exact.rprof"
	[ "$(repave-apply status --json -p "$sqlite_pid" | jq .applied)" = false ]
}

@test "errors have their exit codes" {
	cd "$D"
	run repave-analyze complete --profile raw.rprof maps/*.rmap
	[ "$status" -eq 2 ]
	run repave-analyze flow maps/*.rmap
	[ "$status" -eq 2 ]
	run repave-analyze flow --profile missing maps/*.rmap
	[ "$status" -eq 3 ]
	[[ $output == *missing* ]]
	head -c 100 c.rplan >cut.rplan
	run repave-analyze complete --json --profile raw.rprof --plan cut.rplan -o x.rprof maps/*.rmap
	[ "$status" -eq 3 ]
	jq -e '.error.code and .error.text' <<<"$output"
	run repave-analyze complete --profile s.rprof --plan c.rplan -o x.rprof maps/*.rmap
	[ "$status" -eq 2 ]
	[[ $output == *"not made by repave-apply count"* ]]
	run repave-profile record --exact -p "$sqlite_pid" --max-seconds 61
	[ "$status" -eq 2 ]
	run repave-profile record --exact -p "$sqlite_pid" --max-slowdown 0.5
	[ "$status" -eq 2 ]
	[ ! -e x.rprof ]
}

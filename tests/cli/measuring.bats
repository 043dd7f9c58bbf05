# The statistics behind demo and bench, on numbers whose answer is known.

setup() {
	root=$(readlink -f "$BATS_TEST_DIRNAME/../..")
}

# rounds BEFORE AFTER: 50 rounds with those user times, a common drift of 2 % a round, and noise of at most 1 %
rounds() {
	awk -v "before=$1" -v "after=$2" 'BEGIN {
		OFS = "\t"
		for (i = 0; i < 50; i++) {
			drift = 1.02 ^ i
			print i, "before", before * drift * (1 + (i * 7 % 11 - 5) / 500), 100, 1000
			print i, "after", after * drift * (1 + (i * 5 % 11 - 5) / 500), 100, 1000
		}
	}'
}

stats() {
	awk -f "$root/tests/bench/paired_stats.awk"
}

@test "a gain is found through drift larger than itself" {
	rounds 1050 1000 | stats >"$BATS_TEST_TMPDIR/json"
	jq -e '.user_ns_per_transaction | (.ratio > 1.045 and .ratio < 1.055 and .low > 1.04 and .high < 1.06)' "$BATS_TEST_TMPDIR/json"
	jq -e '.rounds == 50 and .transactions_per_second.ratio == 1' "$BATS_TEST_TMPDIR/json"
}

@test "no difference gives an interval that holds 1" {
	rounds 1000 1000 | stats | jq -e '.user_ns_per_transaction | (.low <= 1 and .high >= 1 and .high - .low < 0.02)'
}

@test "incomplete rounds do not count and no round is an error" {
	[ "$( (rounds 1 1; printf '50\tbefore\t1\t1\t1\n') | stats | jq .rounds)" = 50 ]
	run stats </dev/null
	[ "$status" -eq 3 ]
}

@test "setup --check names what is missing or says that all is there" {
	run "$root/scripts/setup" --check
	[ "$status" -eq 0 ]
	[[ $output == *"nothing to do"* ]]
	run "$root/scripts/setup" --nonsense
	[ "$status" -eq 2 ]
}

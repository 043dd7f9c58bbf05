# Summary of the output of `paired` as one JSON object.
# For each quantity: medians of both states and the median of the per-round ratios with its 95 % bootstrap interval
# (2000 resamples of rounds, fixed seed: same input, same output). Every ratio is made so that above 1 means "after" is better:
# time before / time after, throughput after / throughput before.

function sort_numbers(list, n,    i, j, gap, held) {
	for (gap = int(n / 2); gap > 0; gap = int(gap / 2))
		for (i = gap + 1; i <= n; i++) {
			held = list[i]
			for (j = i; j > gap && list[j - gap] > held; j -= gap)
				list[j] = list[j - gap]
			list[j] = held
		}
}

function median(list, n,    copy, i) {
	for (i = 1; i <= n; i++)
		copy[i] = list[i]
	sort_numbers(copy, n)
	return n % 2 ? copy[(n + 1) / 2] : (copy[n / 2] + copy[n / 2 + 1]) / 2
}

function summarise(name, column, higher_is_better,    i, k, n, before, after, ratio, drawn, medians) {
	for (i = 0; i in round; i++) {
		n++
		before[n] = value[round[i], "before", column]
		after[n] = value[round[i], "after", column]
		ratio[n] = higher_is_better ? after[n] / before[n] : before[n] / after[n]
	}
	for (k = 1; k <= 2000; k++) {
		for (i = 1; i <= n; i++)
			drawn[i] = ratio[int(rand() * n) + 1]
		medians[k] = median(drawn, n)
	}
	sort_numbers(medians, 2000)
	printf ",\n  \"%s\": {\"before\": %.1f, \"after\": %.1f, \"ratio\": %.4f, \"low\": %.4f, \"high\": %.4f}", name, \
		median(before, n), median(after, n), median(ratio, n), medians[50], medians[1951]
}

/^# user time by ticks/ { ticks = 1 }
/^#/ { next }
{
	for (c = 3; c <= 5; c++)
		value[$1, $2, c] = $c
	if (++seen[$1] == 2)
		round[rounds++] = $1
}
END {
	if (rounds < 1) {
		print "paired_stats: no complete round" >"/dev/stderr"
		exit 3
	}
	srand(1)
	printf "{\n  \"rounds\": %d,\n  \"user_time_source\": \"%s\"", rounds, ticks ? "ticks" : "samples"
	summarise("user_ns_per_transaction", 3, 0)
	summarise("cpu_ns_per_transaction", 4, 0)
	summarise("transactions_per_second", 5, 1)
	print "\n}"
}

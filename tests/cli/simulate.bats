#!/usr/bin/env bats
# simulate: exact against cachegrind, the same for the same seed, and what is refused.

bats_require_minimum_version 1.5.0

setup_file() {
	export W=$BATS_FILE_TMPDIR
	cat >"$W/p.pl" <<-'PERL'
		my %h;
		for my $i (1 .. 60) { my $s = sprintf "u%d:%s", $i % 31, join(",", map { $_ * $i } 1 .. 6); $h{$1} += length $2 if $s =~ /^u(\d+):([\d,]+)$/ }
		print scalar(keys %h), "\n";
	PERL
	cd "$W" || return 1
	repave-analyze map /usr/bin/perl /usr/lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 /usr/bin/sqlite3 -o "$W" >/dev/null
	PERL_HASH_SEED=0 valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file=p.callgrind /usr/bin/perl p.pl >/dev/null 2>&1
	repave-profile import --from callgrind p.callgrind -o p.rprof >/dev/null
	repave-analyze plan --profile p.rprof perl-*.rmap libc*.rmap -o p.rplan >/dev/null
	PERL_HASH_SEED=0 valgrind --tool=lackey -v -v --vex-guest-chase=no --basic-counts=no --trace-superblocks=yes --log-file=p.trace \
		/usr/bin/perl p.pl >/dev/null 2>&1
	cp perl-*.rmap perl.rmap && cp libc*.rmap c.rmap && cp ld-*.rmap ld.rmap && cp sqlite3-*.rmap sqlite.rmap
}

setup() { cd "$W" || return 1; }

@test "the trace of a program gives the I1 misses of cachegrind within 8 %" {
	PERL_HASH_SEED=0 valgrind --tool=cachegrind --cache-sim=yes --I1=16384,4,64 --cachegrind-out-file=/dev/null /usr/bin/perl p.pl >/dev/null 2>cg
	wanted=$(tr -d , <cg | awk '/I +refs/ { refs = $NF } /I1 +misses/ { print 1000 * $NF / refs }')
	seen=$(repave-analyze simulate --trace p.trace --l1i 16384,4,64 --plan p.rplan --json perl.rmap c.rmap ld.rmap | jq .before.l1i_misses)
	echo "cachegrind $wanted, simulated $seen"
	awk -v a="$wanted" -v b="$seen" 'BEGIN { exit !(a > 5 && b > 0.92 * a && b < 1.08 * a) }'
}

@test "a plan that packs perl saves misses and taken branches, by trace and by counts" {
	for what in "--trace p.trace" "--profile p.rprof --instructions 5m"; do
		# shellcheck disable=SC2086
		repave-analyze simulate $what --plan p.rplan --json perl.rmap c.rmap ld.rmap >"$BATS_TEST_TMPDIR/o"
		jq -e '.after.l1i_misses < .before.l1i_misses and .after.taken_branches < .before.taken_branches and .after.in_image > 0.4' "$BATS_TEST_TMPDIR/o"
	done
}

@test "a seed always gives the same answer, without a plan there is no after" {
	repave-analyze simulate --profile p.rprof --instructions 2m --seed 5 --json perl.rmap c.rmap >a
	repave-analyze simulate --profile p.rprof --instructions 2m --seed 5 --json perl.rmap c.rmap >b
	repave-analyze simulate --profile p.rprof --instructions 2m --seed 6 --json perl.rmap c.rmap >c
	cmp a b
	run ! cmp -s a c
	[ "$(jq 'has("after")' a)" = false ]
}

@test "a trace may come through a pipe and be cut short" {
	repave-analyze simulate --trace - --instructions 100k --json perl.rmap c.rmap ld.rmap <p.trace >a
	jq -e '.instructions >= 100000 and .instructions < 110000' a
}

# refused STATUS TEXT ARGUMENTS...
refused() {
	local status=0
	repave-analyze simulate "${@:3}" >out 2>err || status=$?
	[ "$status" = "$1" ] || { echo "exit $status: $(cat err)"; return 1; }
	[ "$(wc -l <err)" = 1 ] && grep -q -- "$2" err || { cat err; return 1; }
}

@test "bad input is refused by name" {
	refused 2 'what was executed' perl.rmap
	refused 2 'what was executed' --profile p.rprof --trace p.trace perl.rmap
	refused 3 'perl, of which no map' --profile p.rprof --plan p.rplan c.rmap
	refused 1 'nothing of the profile' --profile p.rprof sqlite.rmap
	refused 3 'two maps are of the same module' --profile p.rprof perl.rmap perl.rmap
	refused 3 'does not say where' --trace p.trace sqlite.rmap
	refused 3 'no line' --trace p.pl perl.rmap
	refused 3 '' --profile p.rplan perl.rmap
	refused 3 '' --profile p.rprof --plan p.rprof perl.rmap
	refused 2 'l1i takes 3 numbers' --profile p.rprof --l1i 32768,8 perl.rmap
	refused 2 'power of 2' --profile p.rprof --l1i 32768,7,64 perl.rmap
	refused 2 'table of 0 entries' --profile p.rprof --itlb 0 perl.rmap
	refused 2 'instructions must be' --profile p.rprof --instructions 0 perl.rmap
}

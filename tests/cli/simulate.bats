#!/usr/bin/env bats
# simulate: a recorded course against cachegrind, before and after; drawn the same for the same seed; and what is refused.

bats_require_minimum_version 1.5.0

# lackey COMMAND...: what it executes, in order, to stdout
lackey() {
	valgrind --tool=lackey -v -v --vex-guest-chase=no --vex-iropt-unroll-thresh=0 --basic-counts=no --trace-superblocks=yes \
		--child-silent-after-fork=yes --log-fd=9 "$@" 9>&1 >/dev/null 2>&1
}

# cachegrind COMMAND...: I1 misses per 1000 instructions
cachegrind() {
	valgrind --tool=cachegrind --cache-sim=yes --I1=16384,4,64 --cachegrind-out-file=/dev/null "$@" 2>&1 >/dev/null | tr -d , |
		awk '/I +refs/ { refs = $NF } /I1 +misses/ { print 1000 * $NF / refs }'
}

setup_file() {
	export W=$BATS_FILE_TMPDIR
	cat >"$W/p.pl" <<-'PERL'
		my %h;
		for my $i (1 .. 60) { my $s = sprintf "u%d:%s", $i % 31, join(",", map { $_ * $i } 1 .. 6); $h{$1} += length $2 if $s =~ /^u(\d+):([\d,]+)$/ }
		print scalar(keys %h), "\n";
	PERL
	cd "$W" || return 1
	repave-analyze map /usr/bin/perl /usr/lib/x86_64-linux-gnu/{libc.so.6,ld-linux-x86-64.so.2,libm.so.6} /usr/bin/sqlite3 -o "$W" >/dev/null
	PERL_HASH_SEED=0 valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file=p.callgrind /usr/bin/perl p.pl >/dev/null 2>&1
	repave-profile import --from callgrind p.callgrind -o p.rprof >/dev/null
	repave-analyze plan --profile p.rprof perl-*.rmap libc*.rmap -o p.rplan >/dev/null
	export PERL_HASH_SEED=0
	lackey /usr/bin/perl p.pl | tee p.trace | repave-profile import - -o course.rprof >/dev/null
	cp perl-*.rmap perl.rmap && cp libc*.rmap c.rmap && cp ld-*.rmap ld.rmap && cp sqlite3-*.rmap sqlite.rmap
}

setup() { cd "$W" || return 1; }

@test "a course from valgrind gives the I1 misses of cachegrind within 8 %, and of the relaid program" {
	repave-analyze plan --profile p.rprof perl.rmap -o perl.rplan >/dev/null
	repave-apply file /usr/bin/perl perl.rplan -o perl-relaid >/dev/null
	before=$(cachegrind /usr/bin/perl p.pl) after=$(cachegrind ./perl-relaid p.pl)
	repave-analyze simulate --profile course.rprof --l1i 16384,4,64 --plan perl.rplan --json perl.rmap c.rmap ld.rmap >o
	jq -r '[.before.l1i_misses, .after.l1i_misses] | @tsv' o >seen
	echo "cachegrind $before -> $after, simulated $(cat seen)"
	awk -v b="$before" -v a="$after" '{ exit !(b > 5 && a < b && $1 > 0.92 * b && $1 < 1.08 * b && $2 > 0.92 * a && $2 < 1.08 * a) }' seen
}

@test "a plan that packs perl saves misses and taken branches, by course and by counts" {
	for what in "course.rprof" "p.rprof --instructions 5m"; do
		# shellcheck disable=SC2086
		repave-analyze simulate --profile $what --plan p.rplan --json perl.rmap c.rmap ld.rmap >"$BATS_TEST_TMPDIR/o"
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

@test "valgrind, import and simulate are one pipe; a course may be cut short" {
	repave-profile import - -o - <p.trace 2>/dev/null | repave-analyze simulate --profile - --json perl.rmap c.rmap ld.rmap >a
	repave-analyze simulate --profile course.rprof --json perl.rmap c.rmap ld.rmap >b
	cmp a b
	jq -e '.source == "course" and .gaps == 0 and .steps > 100000 and .steps_outside * 20 < .steps' a
	repave-analyze simulate --profile course.rprof --instructions 100k --json perl.rmap c.rmap ld.rmap >a
	jq -e '.instructions >= 100000 and .instructions < 110000' a
}

@test "a course alone makes the plan that callgrind's counts make" {
	repave-analyze flow --profile course.rprof perl.rmap c.rmap ld.rmap -o counts.rprof
	repave-profile diff counts.rprof p.rprof --map perl.rmap --map c.rmap --map ld.rmap --json >d || [ $? = 1 ]
	jq -e '.blocks.overlap > 0.97 and .edges.overlap > 0.95' d || { head -c 600 d; return 1; }
	repave-analyze plan --profile course.rprof perl.rmap -o course.rplan
	repave-analyze plan --profile p.rprof perl.rmap -o counts.rplan
	awk -v a="$(stat -c %s course.rplan)" -v b="$(stat -c %s counts.rplan)" 'BEGIN { exit !(b > 100000 && a > 0.98 * b && a < 1.02 * b) }'
}

@test "what has nothing but a course says so where counts are asked for" {
	for verb in "merge" "export --format text" "diff course.rprof"; do
		# shellcheck disable=SC2086
		run ! repave-profile ${verb%% *} course.rprof ${verb#"${verb%% *}"}
		[[ $output == *"only a recorded course"*"flow"* ]] || { echo "$verb: $output"; return 1; }
	done
	repave-profile show course.rprof | grep -q 'steps of a recorded course in'
	repave-dump course.rprof | grep -q '^course_steps: [1-9]'
	[ "$(repave-profile replay course.rprof | head -n 1000 | grep -c '"type":"step"')" -gt 900 ]
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
	refused 3 'perl, of which no map' --profile p.rprof --plan p.rplan c.rmap
	refused 1 'nothing of the profile' --profile p.rprof sqlite.rmap
	refused 3 'two maps are of the same module' --profile p.rprof perl.rmap perl.rmap
	refused 1 'nothing of what was recorded' --profile course.rprof sqlite.rmap
	refused 3 'not a file of repave' --profile p.trace perl.rmap
	refused 3 '' --profile p.rplan perl.rmap
	refused 3 '' --profile p.rprof --plan p.rprof perl.rmap
	refused 2 'l1i takes 3 numbers' --profile p.rprof --l1i 32768,8 perl.rmap
	refused 2 'power of 2' --profile p.rprof --l1i 32768,7,64 perl.rmap
	refused 2 'table of 0 entries' --profile p.rprof --itlb 0 perl.rmap
	refused 2 'instructions must be' --profile p.rprof --instructions 0 perl.rmap
}

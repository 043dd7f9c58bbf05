# repave-profile merge, diff, replay on recorded and counted profiles of small programs; the plans that come of them.

setup_file() {
	export D=$BATS_FILE_TMPDIR
	cat >"$D/p.c" <<-'SOURCE'
		#include <stdlib.h>
		#include <unistd.h>
		__attribute__((noinline)) unsigned long mix(unsigned long n) { unsigned long s = 1; while (n--) s = n % 3 ? s * 6364136223846793005ul + n : s ^ n; return s; }
		__attribute__((noinline)) unsigned long other(unsigned long n) { unsigned long s = 2; while (n--) s = s * 31 + (s > n ? 7 : 9); return s; }
		/* p SECONDS or p -ROUNDS */
		int main(int argc, char **argv)
		{
			int n = argc > 1 ? atoi(argv[1]) : 1;
			volatile unsigned long sum = 0; /* the work must be done */
			if (n > 0)
				for (alarm(n);;)
					sum += mix(3000 + (sum & 1)) + other(1000 + (sum & 1));
			for (; n < 0; n++)
				sum += mix(3000 + (sum & 1)) + other(1000 + (sum & 1));
			return sum == 7;
		}
	SOURCE
	cc -O1 -Wl,--build-id -o "$D/p" "$D/p.c"
	repave-analyze map "$D/p" -o "$D/p.rmap" >/dev/null
	"$D/p" 20 3>&- &
	local victim=$!
	for i in 1 2 3; do
		repave-profile record -p $victim --seconds 0.7 --rate 1999 -o "$D/$i.rprof" >/dev/null
	done
	kill -KILL $victim
	wait $victim 2>/dev/null || true
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file="$D/p.callgrind" "$D/p" -30 >/dev/null 2>&1
	repave-profile import --from callgrind "$D/p.callgrind" -o "$D/exact.rprof" >/dev/null
	compile_stacks
}

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# stacks IN OUT: a profile of branch stacks, as a walk along the exact edges of IN would record them
compile_stacks() {
	cat >"$D/stacks.c" <<-'SOURCE'
		#include "formats/base/file.h"
		#include "formats/profile.h"
		#include <stdlib.h>
		static struct profile in;
		static uint64_t state = 1;
		static uint64_t below(uint64_t n) { state = state * 6364136223846793005u + 1442695040888963407u; return (state >> 33) % n; }
		/* An edge that leaves soon after `at`; any edge, frequent ones rather, when there is none, and from time to time. */
		static const struct profile_edge *next(uint32_t module, uint64_t at)
		{
			const struct profile_edge *found = NULL;
			uint64_t total = 0, chosen;
			for (size_t i = 0; i < in.edge_count; total += in.edges[i++].count)
				if (in.edges[i].from_module == module && in.edges[i].from >= at && in.edges[i].from < at + 64 && (!found || below(2)))
					found = &in.edges[i];
			if (found && below(12))
				return found;
			chosen = below(total);
			for (found = in.edges; chosen >= found->count; found++)
				chosen -= found->count;
			return found;
		}
		int main(int argc, char **argv)
		{
			enum { SAMPLES = 3000, DEPTH = 16 };
			struct err e;
			struct writer w = {0};
			if (argc != 3 || profile_read(argv[1], &in, &e))
				return 1;
			struct profile out = {.info = in.info, .modules = in.modules, .module_count = in.module_count, .complete = true};
			out.info.source = PROFILE_BRANCH_STACKS;
			out.samples = calloc(SAMPLES, sizeof *out.samples);
			out.branches = calloc(SAMPLES * DEPTH, sizeof *out.branches);
			const struct profile_edge *edge = &in.edges[0];
			for (int i = 0; i < SAMPLES; i++) {
				struct profile_sample *s = &out.samples[out.sample_count++];
				*s = (struct profile_sample){.time_ns = i * 1000000ul, .first_branch = i * DEPTH, .branch_count = DEPTH};
				for (int k = DEPTH; k-- > 0; edge = next(edge->to_module, edge->to))
					out.branches[i * DEPTH + k] = (struct profile_branch){edge->from, edge->to, edge->from_module, edge->to_module, k == 3};
				s->address = out.branches[i * DEPTH].to;
				s->module = out.branches[i * DEPTH].to_module;
			}
			out.branch_count = SAMPLES * DEPTH;
			return profile_encode(&out, &w, &e) || file_write(argv[2], w.data, w.size, &e);
		}
	SOURCE
	local root
	root=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
	cc -D_GNU_SOURCE -I"$root" -o "$D/stacks" "$D/stacks.c" "$B/libformats.a" -llz4 -lxxhash -ljansson
	"$D/stacks" "$D/exact.rprof" "$D/stacks.rprof"
}

# value KEY FILE: of the first line "KEY": VALUE of a JSON file
value() {
	sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$2" | head -n 1
}

# plan PROFILE: the plan's text, without the hash of its inputs
plan() {
	repave-analyze plan --profile "$1" -o plan.rplan "$D/p.rmap" >/dev/null
	repave-dump --all plan.rplan | grep -v inputs_hash
}

@test "a merge has the same bytes for any order and grouping" {
	repave-profile merge "$D"/{1,2,3}.rprof -o abc.rprof
	repave-profile merge "$D"/{3,1,2}.rprof -o cab.rprof
	cmp abc.rprof cab.rprof
	repave-profile merge "$D"/{2,3}.rprof -o - | repave-profile merge "$D/1.rprof" - -o a-bc.rprof
	cmp abc.rprof a-bc.rprof
	printf '%s\n' "$D"/{2,1,3}.rprof | repave-profile merge --list - -o listed.rprof
	cmp abc.rprof listed.rprof
}

@test "a weight is so many copies" {
	repave-profile merge "$D/1.rprof" -w "3:$D/2.rprof" -o weighted.rprof
	repave-profile merge "$D"/{2,2,1,2}.rprof -o copies.rprof
	cmp weighted.rprof copies.rprof
	run repave-profile merge -w "0:$D/2.rprof" -o x.rprof
	[ "$status" = 2 ]
	run repave-profile merge -w "$D/2.rprof" -o x.rprof
	[ "$status" = 2 ]
	[ ! -e x.rprof ]
}

@test "the plan from a merge is the plan from what was merged" {
	for kind in 1 exact stacks; do
		repave-profile merge "$D/$kind.rprof" -o merged.rprof
		plan "$D/$kind.rprof" >direct
		plan merged.rprof >indirect
		[ "$(wc -l <direct)" -gt 20 ]
		diff direct indirect
	done
}

@test "a bad file is refused by name, or skipped and reported" {
	head -c 30 "$D/2.rprof" >cut.rprof
	cp "$D/2.rprof" altered.rprof
	printf 'XXXX' | dd of=altered.rprof bs=1 seek=100 conv=notrunc status=none
	for bad in cut.rprof altered.rprof missing.rprof "$D/p.rmap"; do
		run repave-profile merge "$D/1.rprof" "$bad" -o x.rprof
		[ "$status" = 3 ]
		[[ $output == *"$bad"* ]]
		[ ! -e x.rprof ]
	done
	repave-profile merge "$D/1.rprof" cut.rprof altered.rprof missing.rprof "$D/3.rprof" --skip-bad -o x.rprof --json >r.json
	[ "$(value skipped r.json)" = 3 ]
	grep -q 'missing.rprof' r.json
	repave-profile merge "$D"/{1,3}.rprof -o y.rprof
	cmp x.rprof y.rprof
	run repave-profile merge cut.rprof --skip-bad -o z.rprof
	[ "$status" = 3 ]
	[ ! -e z.rprof ]
}

@test "profiles of different kinds are not added, skip-bad or not" {
	for option in "" --skip-bad; do
		run repave-profile merge "$D/1.rprof" "$D/exact.rprof" $option -o x.rprof
		[ "$status" = 3 ]
		[[ $output == *exact.rprof*"made from exact"* ]]
		[ ! -e x.rprof ]
	done
}

@test "diff: 1 with itself, near 1 with another record of the same work, exit 1 below a minimum" {
	repave-profile diff "$D/1.rprof" "$D/1.rprof" --map "$D/p.rmap" --minimum 1 --json >r.json
	[ "$(value overlap r.json)" = 1.0 ]
	repave-profile diff "$D/1.rprof" "$D/2.rprof" --map "$D/p.rmap" --modules p --minimum 0.7
	run repave-profile diff "$D/1.rprof" "$D/stacks.rprof" --map "$D/p.rmap" --minimum 0.999
	[ "$status" = 1 ]
	[[ $output == *"below 0.9990"* ]]
}

@test "diff: samples and exact counts agree by blocks, and functions have names" {
	run repave-profile diff "$D/1.rprof" "$D/exact.rprof" --map "$D/p.rmap" --modules p --minimum 0.5
	echo "$output"
	[ "$status" = 0 ]
	[[ $output == *mix* ]]
	run repave-profile diff "$D/1.rprof" "$D/exact.rprof"
	[[ $output == *"give the --map"* ]]
	run repave-profile diff "$D/1.rprof" "$D/2.rprof" --modules nothing-of-this-name
	[ "$status" = 3 ]
}

@test "replay is JSON lines in recorded order, the same bytes each time" {
	repave-profile replay "$D/1.rprof" >1.json
	repave-profile replay - <"$D/1.rprof" >2.json
	cmp 1.json 2.json
	head -n 1 1.json | jq -e '.type == "start" and .source != null' >/dev/null
	tail -n 1 1.json | jq -e '.type == "end" and .complete' >/dev/null
	[ "$(jq -r 'select(.type == "module").path' 1.json | grep -c "^$D/p$")" = 1 ]
	[ "$(jq 'select(.type == "sample")' -c 1.json | wc -l)" = "$(repave-profile show "$D/1.rprof" --json | sed -n 's/^ *"samples": \([0-9]*\),/\1/p')" ]
	jq -s '[.[] | select(.type == "sample").time_ns] | . == sort' 1.json | grep -q true
	repave-profile replay "$D/stacks.rprof" | jq -es 'map(select(.type == "sample")) | length == 3000 and (.[7].branches | length == 16)' >/dev/null
}

@test "replay: a window of time as a profile goes into a plan through a pipe" {
	repave-profile replay "$D/1.rprof" --from 0.2 --to 0.5 -o - 2>/dev/null | repave-analyze plan --profile - -o w.rplan "$D/p.rmap"
	repave-analyze verify w.rplan
	repave-profile replay "$D/1.rprof" --from 0.2 --to 0.5 -o w.rprof
	wanted=$(repave-profile replay "$D/1.rprof" | jq -c 'select(.type == "sample" and .time_ns >= 200000000 and .time_ns < 500000000)' | wc -l)
	repave-profile show w.rprof --json >w.json
	[ "$(value samples w.json)" = "$wanted" ]
	[ "$(value seconds w.json)" = 0.29999999999999999 ] || [ "$(value seconds w.json)" = 0.3 ]
	repave-profile replay "$D/1.rprof" --from 0.2 --to 0.5 -o again.rprof
	cmp w.rprof again.rprof
}

@test "replay: totals have no window, empty windows are a mistake, a bad input leaves an old output alone" {
	run repave-profile replay "$D/exact.rprof" --from 1
	[ "$status" = 3 ]
	[[ $output == *totals* ]]
	run repave-profile replay "$D/1.rprof" --from 2 --to 1
	[ "$status" = 2 ]
	echo old >out.rprof
	run repave-profile replay "$D/exact.rprof" --from 1 -o out.rprof
	[ "$status" = 3 ]
	[ "$(cat out.rprof)" = old ]
}

@test "hostile names stay on their line" {
	cp "$D/p" "$(printf 'bad\033[31m"\n\\name')"
	./bad* 5 3>&- &
	victim=$!
	repave-profile record -p $victim --seconds 0.3 -o h.rprof >/dev/null
	kill -KILL $victim
	repave-profile replay h.rprof >h.json
	jq -e . h.json >/dev/null
	! grep -q "$(printf '\033')" h.json
	repave-profile diff h.rprof "$D/1.rprof" >h.txt
	! grep -q "$(printf '\033')" h.txt
}

@test "ten thousand files take the memory of their addresses" {
	for i in $(seq 40); do
		repave-profile replay "$D/$((i % 3 + 1)).rprof" --from 0.0$((i % 10)) --to 0.$((3 + i % 4)) -o "w$i.rprof" >/dev/null
	done
	for i in $(seq 250); do printf '%s\n' w*.rprof; done >list
	[ "$(wc -l <list)" = 10000 ]
	command time -f '%M' -o kib repave-profile merge --list list -o many.rprof --json >r.json
	[ "$(value profiles r.json)" = 10000 ]
	[ "$(value weight r.json)" = "$(repave-profile show many.rprof --json | sed -n 's/^  "weight": \([0-9]*\),/\1/p')" ]
	[ "$(tail -n 1 kib)" -lt 30000 ]
	repave-profile merge w*.rprof -o once.rprof
	options=()
	for f in w*.rprof; do options+=(-w "250:$f"); done
	repave-profile merge "${options[@]}" -o weighted.rprof
	cmp many.rprof weighted.rprof
}

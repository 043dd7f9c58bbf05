# repave-profile import and export: what others measured, in and out; beside perf, valgrind and llvm-bolt where they are installed.

bats_require_minimum_version 1.5.0

setup_file() {
	export W=$BATS_FILE_TMPDIR
	cat >"$W/p.c" <<-'SOURCE'
		#include <stdio.h>
		#include <stdlib.h>
		__attribute__((noinline)) static unsigned long inner(unsigned long n) { unsigned long s = n; while (n--) s = s * 6364136223846793005ul + (n % 3 ? n : s); return s; }
		__attribute__((noinline)) unsigned long outer(unsigned long n) { return inner(n) + 1; }
		int main(int c, char **v) { (void)c; unsigned long s = 0; for (int i = atoi(v[1]); i; i--) s += outer(2000 + (s & 1)); return s == 7; }
	SOURCE
	cc -O1 -Wl,--build-id -o "$W/p" "$W/p.c"
	cp "$W/p" "$W/stripped"
	strip "$W/stripped"
}

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
}

# value KEY FILE: of the first line "KEY": VALUE of a JSON file
value() {
	sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$2" | head -n 1
}

# weight_of PATH FILE: of a module in the JSON of `show`
weight_of() {
	sed -n '/"modules"/,/"places"/p' "$2" | grep -B2 "\"module\": \"$1\"" | sed -n 's/.*"weight": \([0-9]*\).*/\1/p'
}

need_perf() {
	command -v perf >/dev/null || skip "no perf here"
	perf record -q -e cpu-clock:u -o probe.data -- true 2>/dev/null || skip "perf cannot record here"
}

callgrind() {
	command -v valgrind >/dev/null || skip "no valgrind"
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file="$2" "$1" 20 2>/dev/null
}

@test "perf.data: as many samples per module as perf says, in all forms of the file" {
	need_perf
	perf record -q -F 5000 -e cpu-clock:u -o plain.data -- "$W/stripped" 1500
	perf record -q -F 5000 -z -e cpu-clock:u -o packed.data -- "$W/stripped" 1500
	perf record -q -F 5000 -e cpu-clock:u --buildid-mmap -o ids.data -- "$W/stripped" 1500
	perf record -q -F 5000 -g -e cpu-clock:u -o chains.data -- "$W/stripped" 1500
	perf record -q -F 5000 -e cpu-clock:u -o - -- "$W/stripped" 1500 >pipe.data
	for form in plain packed ids chains pipe; do
		repave-profile import $form.data -o $form.rprof --json >$form.json
		[ "$(value format $form.json)" = perf.data ]
		[ "$(value source $form.json)" = clock ]
		[ "$(value modules_unknown $form.json)" = 0 ]
		perf script -G -F ip,dso -i $form.data 2>/dev/null | grep -c . >count
		[ "$(value samples $form.json)" = "$(cat count)" ]
		repave-profile show $form.rprof --json >show.json
		perf script -G -F ip,dso -i $form.data 2>/dev/null | grep -c "($W/stripped)" >count
		[ "$(weight_of "$W/stripped" show.json)" = "$(cat count)" ]
		[ "$(cat count)" -gt 0 ]
	done
	repave-profile import - <pipe.data -o again.rprof
	cmp pipe.rprof again.rprof
}

@test "perf.data: addresses are those of the file, not of the mapping" {
	need_perf
	cc -O1 -Wl,--build-id -Wl,-Ttext=0x55740 -o strange "$W/p.c" # offset and vaddr differ
	perf record -q -F 5000 -e cpu-clock:u -o strange.data -- ./strange 2000
	repave-profile import strange.data -o strange.rprof >/dev/null
	repave-profile export strange.rprof --format text >strange.text
	module=$(sed -n 's,^module \([0-9]*\) .*/strange$,\1,p' strange.text)
	start=$((0x$(nm strange | awk '$3 == "inner" { print $1 }')))
	size=$((0x$(nm -S strange | awk '$4 == "inner" { print $2 }')))
	inside=$(awk -v m="$module" '$1 == "at" && $2 == m { print $3, $4 }' strange.text | while read -r address count; do
		[ $((address)) -lt $start ] || [ $((address)) -ge $((start + size)) ] || echo "$count"
	done | awk '{ n += $1 } END { print n + 0 }')
	all=$(awk -v m="$module" '$1 == "at" && $2 == m { n += $4 } END { print n + 0 }' strange.text)
	[ "$all" -gt 0 ] && [ "$inside" -ge $((all * 9 / 10)) ]
}

@test "perf.data: another file at that path is not asked; --root and --elf find the right one" {
	need_perf
	mkdir -p bin image/"$PWD/bin"
	cp "$W/p" bin/prog
	perf record -q -F 5000 -e cpu-clock:u --buildid-mmap -o p.data -- "$PWD/bin/prog" 3000
	repave-profile import p.data -o here.rprof >/dev/null
	mv bin/prog image/"$PWD/bin/prog"
	cp /bin/true bin/prog
	repave-profile import p.data -o other.rprof --json >other.json
	[ "$(value modules_unknown other.json)" -ge 1 ]
	repave-profile import p.data -o other.rprof | grep -q "file offsets stand for their addresses"
	repave-profile import p.data --elf image/"$PWD/bin/prog" -o elf.rprof --json >elf.json
	[ "$(value modules_unknown elf.json)" = 0 ]
	repave-profile export here.rprof --format text | grep '^at' >here.text
	repave-profile export elf.rprof --format text | grep '^at' >elf.text
	cmp here.text elf.text
	repave-profile import p.data --root "$PWD/image" -o root.rprof >/dev/null # libraries are not in the image
	repave-profile export root.rprof --format text | grep -q "^module .*/bin/prog"
}

@test "perf script: the same profile as from the file" {
	need_perf
	perf record -q -F 5000 -e cpu-clock:u -o p.data -- sh -c "'$W/p' 2000; '$W/stripped' 2000"
	repave-profile import p.data -o p.rprof >/dev/null
	repave-profile export p.rprof --format text | sort >p.text
	for fields in "" "-F pid,ip" "-F comm,pid,tid,time,event,ip,sym,dso" "-F comm,pid,ip,sym"; do
		# shellcheck disable=SC2086
		perf script $fields --show-mmap-events --show-task-events -i p.data 2>/dev/null | repave-profile import - -o s.rprof --json >s.json 2>&1
		repave-profile export s.rprof --format text | sort >s.text
		diff <(grep '^at' p.text) <(grep '^at' s.text)
	done
}

@test "real branch stacks: as many as were recorded, all where they belong" {
	[ -n "${LBR_PERF_DATA:-}" ] || skip "LBR_PERF_DATA is not set"
	repave-profile import "$LBR_PERF_DATA" -o l.rprof --json >l.json
	[ "$(value source l.json)" = branch-stacks ]
	[ "$(value samples l.json)" = 9232 ]
	[ "$(value branches l.json)" = 147712 ]
	repave-profile export l.rprof --format text >l.text
	module=$(sed -n 's,^module \([0-9]*\) .*test.binary$,\1,p' l.text)
	# .text of that program stands at offset 0xb80 to 0x8614
	awk -v m="$module" '$1 == "edge" && $2 != "run" && $3 == m && $5 == m { print $4, $6, $7 }' l.text | while read -r from to count; do
		[ $((from)) -lt $((0xb80)) ] || [ $((from)) -ge $((0x8614)) ] || [ $((to)) -lt $((0xb80)) ] || [ $((to)) -ge $((0x8614)) ] || echo "$count"
	done | awk '{ n += $1 } END { exit n != 142282 }'
}

@test "callgrind to fdata and back: the same edges" {
	callgrind "$W/p" c.out
	repave-profile import c.out -o c.rprof | grep -q "format: callgrind"
	repave-profile export c.rprof --format fdata --elf "$W/p" -o c.fdata
	grep -q "^1 inner/1 " c.fdata
	grep -q "1 outer 0 " c.fdata
	repave-profile import c.fdata --elf "$W/p" -o f.rprof --json >f.json
	[ "$(value format f.json)" = fdata ]
	[ "$(value unresolved f.json)" = 0 ]
	repave-profile export f.rprof --format fdata --elf "$W/p" | cmp - c.fdata
}

lackey() {
	command -v valgrind >/dev/null || skip "no valgrind"
	valgrind --tool=lackey -v -v --vex-guest-chase=no --vex-iropt-unroll-thresh=0 --basic-counts=no --trace-superblocks=yes --log-fd=9 \
		"$@" 9>&1 >/dev/null 2>&1
}

@test "lackey: what was executed, in order, per thread, through a pipe and in bounded memory" {
	cat >threads.c <<-'SOURCE'
		#include <pthread.h>
		static void *work(void *p) { volatile long n = 0; for (int i = 0; i < 300000; i++) n += i; return p; }
		int main(void) { pthread_t t[2]; for (int i = 0; i < 2; i++) pthread_create(&t[i], 0, work, 0); for (int i = 0; i < 2; i++) pthread_join(t[i], 0); return 0; }
	SOURCE
	cc -O1 -Wl,--build-id -o threads threads.c -pthread
	lackey --trace-sched=yes ./threads | tee log | /usr/bin/time -f %M -o rss repave-profile import - -o t.rprof --json >j
	[ "$(value format j)" = lackey ] && [ "$(value threads j)" = 3 ] && [ "$(value modules_unknown j)" = 0 ]
	[ "$(value steps j)" = "$(grep -c '^SB ' log)" ] && [ "$(value steps j)" -gt 600000 ]
	[ "$(value bytes j)" = "$(stat -c %s t.rprof)" ] && [ "$(($(value bytes j) * 2))" -lt "$(value steps j)" ]
	echo "$(cat rss) KiB for $(stat -c %s log) bytes of text"
	[ "$(cat rss)" -lt 40000 ]
	[ "$(repave-profile show --json t.rprof | jq '.modules | map(select(.module | endswith("/threads"))) | .[0].percent > 70')" = true ]
}

@test "lackey: files are found by --elf and --root; forks and other options are refused, and nothing is left" {
	lackey /bin/true >log
	mkdir -p elsewhere && cp /bin/true elsewhere/true
	sed 's|syms from /usr/bin/true|syms from /gone/true|; s|syms from /bin/true|syms from /gone/true|' log >moved
	repave-profile import moved -o m.rprof --json >j
	[ "$(value modules_unknown j)" = 1 ] || [ "$(value steps_in_no_file j)" -gt 100 ]
	repave-profile import moved --elf elsewhere/true -o m.rprof --json >k
	[ "$(value steps_in_no_file k)" -lt "$(value steps_in_no_file j)" ]
	lackey bash -c 'x=$(echo 1; :); /bin/true; echo "$x"' >forks
	run -3 repave-profile import forks -o forks.rprof
	[[ $output == *--child-silent-after-fork=yes* ]] && [ ! -e forks.rprof ]
	sed '/unroll-thresh/d' log >unrolled
	run -3 repave-profile import unrolled -o unrolled.rprof
	[[ $output == *--vex-iropt-unroll-thresh=0* ]] && [ ! -e unrolled.rprof ]
}

@test "a plan can be made of BOLT's profile alone" {
	callgrind "$W/p" c.out
	repave-profile import c.out -o c.rprof >/dev/null
	repave-profile export c.rprof --format fdata --elf "$W/p" -o c.fdata
	repave-profile import c.fdata --elf "$W/p" -o f.rprof >/dev/null
	repave-analyze map "$W/p" -o p.rmap >/dev/null
	repave-analyze plan --profile f.rprof -o f.rplan p.rmap >/dev/null
	repave-analyze verify f.rplan | grep -q proven
}

@test "llvm-bolt takes the exported profile, of a stripped file too, and finds nothing stale" {
	bolt=$(command -v llvm-bolt || command -v llvm-bolt-16 || true)
	[ -n "$bolt" ] || skip "no llvm-bolt here (scripts/setup --bench)"
	for program in p stripped; do
		callgrind "$W/$program" c.out
		repave-profile import c.out -o c.rprof >/dev/null
		repave-profile export c.rprof --format fdata --elf "$W/$program" -o c.fdata
		"$bolt" "$W/$program" -data c.fdata -o bolted >log 2>&1 || { cat log; return 1; }
		cat log
		grep -q "functions in the binary .* have non-empty execution profile" log
		! grep -q "0 out of .* have non-empty" log
		! grep -qi "stale\|invalid (possibly" log
	done
}

@test "names in a profile of perf2bolt are those that we resolve and write" {
	need_perf
	# Under another name, such as perf2bolt-16, it would be llvm-bolt.
	perf2bolt=$(command -v perf2bolt || ls /usr/lib/llvm-*/bin/perf2bolt 2>/dev/null | head -n 1)
	[ -n "$perf2bolt" ] || skip "no perf2bolt here (scripts/setup --bench)"
	for program in p stripped; do
		perf record -q -F 5000 -e cpu-clock:u -o p.data -- "$W/$program" 4000
		"$perf2bolt" -nl -ignore-build-id -p p.data -o theirs.fdata "$W/$program" >log 2>&1 || { cat log; return 1; }
		repave-profile import p.data -o p.rprof >/dev/null
		repave-profile export p.rprof --format fdata --elf "$W/$program" -o ours.fdata
		diff <(grep -a '^1' theirs.fdata | sort) <(grep -a '^1' ours.fdata | sort)
		[ "$(grep -c '^1' ours.fdata)" -gt 0 ]
		repave-profile import theirs.fdata --elf "$W/$program" -o t.rprof --json >t.json
		[ "$(value unresolved t.json)" = 0 ]
	done
}

@test "folded stacks name functions by the map and add up" {
	callgrind "$W/p" c.out
	repave-profile import c.out -o c.rprof --json >c.json
	repave-analyze map "$W/p" -o p.rmap >/dev/null
	repave-profile export c.rprof --format folded --map p.rmap >folded
	head -n 1 folded | grep -q "^$W/p;inner [0-9]*$"
	[ "$(awk '{ n += $NF } END { print n }' folded)" = "$(value instructions c.json)" ]
}

@test "what cannot be read is refused: exit 3 with the place, or 2 for a wrong wish" {
	refused() {
		run repave-profile "${@:3}"
		[ "$status" = "$1" ] || { echo "exit $status: $output"; return 1; }
		[[ "$output" == *"$2"* ]] || { echo "$output"; return 1; }
		[ ! -e out.rprof ]
	}
	printf 'PERFILE2' >short.data
	refused 3 "short.data: offset 0x8" import short.data -o out.rprof
	printf '2ELIFREP\0\0\0\0\0\0\0\0' >other.data
	refused 3 "byte order" import other.data -o out.rprof
	refused 3 "no format that is known" import "$W/p.c" -o out.rprof
	refused 3 "no format that is known" import "$W/p" -o out.rprof
	refused 3 "missing" import missing -o out.rprof
	printf '1 main 0 1 main 4 0 1\nrubbish\n' >bad.fdata
	refused 2 "--elf" import bad.fdata -o out.rprof
	refused 3 "bad.fdata:2:" import bad.fdata --elf "$W/p" -o out.rprof
	refused 2 "not known" import bad.fdata --format gprof -o out.rprof
	printf 'B 1 2 3\nB 1\n' >bad.pre
	refused 3 "bad.pre:2:" import bad.pre --elf "$W/p" -o out.rprof
	printf 'B 401000 401010 3\n' | repave-profile import - --elf "$W/p" -o good.rprof >/dev/null
	refused 2 "--elf" export good.rprof --format fdata -o out.rprof
	refused 2 "Known: fdata, folded, text" export good.rprof --format dot -o out.rprof
	refused 3 "of other files" export good.rprof --format fdata --elf /bin/true -o out.rprof
	refused 3 "bad.pre" export bad.pre --format text -o out.rprof
}

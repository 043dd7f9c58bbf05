# repave-profile on small live victims: what is recorded, what is not, how it ends, what is refused.

setup_file() {
	export V=$BATS_FILE_TMPDIR/victim
	cat >"$V.c" <<-'SOURCE'
		#include <pthread.h>
		#include <signal.h>
		#include <stdio.h>
		#include <stdlib.h>
		#include <unistd.h>
		__attribute__((noinline)) unsigned long spin(unsigned long n) { unsigned long s = 1; while (n--) s = s * 6364136223846793005ul + n; return s; }
		__attribute__((noinline)) unsigned long child_spin(unsigned long n) { unsigned long s = 2; while (n--) s = s * 6364136223846793003ul + n; return s; }
		static void *once(void *a) { return (void *)spin((unsigned long)a); }
		/* victim MODE SECONDS: spin = one thread; storm = short threads, one after the other; fork = a child works too; zombie = has one */
		int main(int argc, char **argv)
		{
			(void)argc;
			alarm(atoi(argv[2]));
			if (argv[1][0] == 'z') {
				signal(SIGCHLD, SIG_DFL);
				pid_t child = fork();
				if (!child)
					_exit(0);
				dprintf(1, "%d\n", (int)child);
				pause();
			}
			if (argv[1][0] == 'f' && !fork())
				for (alarm(atoi(argv[2]));;)
					child_spin(1000000);
			for (;;) {
				pthread_t t;
				if (argv[1][1] != 't') {
					spin(1000000);
					continue;
				}
				if (!pthread_create(&t, 0, once, (void *)3000000ul))
					pthread_join(t, 0);
			}
		}
	SOURCE
	cc -O1 -pthread -Wl,--build-id -o "$V" "$V.c"
}

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	victim=
}

teardown() {
	[ -z "$victim" ] || kill -KILL "$victim" 2>/dev/null || true
}

start() {
	"${2:-$V}" "$1" 20 3>&- &
	victim=$!
	sleep 0.1
}

# value KEY FILE: of the first line "KEY": VALUE of a JSON file
value() {
	sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$2" | head -n 1
}

# enough FILE: the record's JSON has about as many samples as the target's CPU time allows; a busy machine gives it little
enough() {
	local allowed=$(($(value target_cpu_ns "$1") * $(value frequency "$1") / 1000000000)) samples
	samples=$(value samples "$1")
	[ "$samples" -gt 0 ] && [ "$samples" -ge $((allowed / 3)) ] && [ "$samples" -le $((allowed * 12 / 10 + 20)) ]
}

@test "a busy function is found at its linked address" {
	start spin
	repave-profile record -p "$victim" --seconds 0.5 -o p.rprof --json >r.json
	enough r.json
	[ "$(value lost r.json)" = 0 ]
	repave-profile show p.rprof --json >s.json
	[ "$(value complete s.json)" = true ]
	[ "$(value command s.json)" = "$V" ]
	address=$(sed -n '/"places"/,$p' s.json | sed -n 's/.*"address": \([0-9]*\).*/\1/p' | head -n 1)
	[ "$((address / 4096))" = "$((0x$(nm "$V" | awk '$3 == "spin" { print $1 }') / 4096))" ]
}

@test "segments whose offset and vaddr differ, two in one page" {
	cc -O1 -pthread -Wl,--build-id -Wl,-Ttext=0x55740 -o strange "$V.c"
	start spin ./strange
	repave-profile record -p "$victim" --seconds 0.5 -o p.rprof >/dev/null
	repave-profile show p.rprof --json >s.json
	address=$(sed -n '/"places"/,$p' s.json | sed -n 's/.*"address": \([0-9]*\).*/\1/p' | head -n 1)
	[ "$((address / 4096))" = "$((0x55))" ]
}

@test "threads born later are recorded, one count each" {
	start storm
	for way in --per-thread --whole-cpus; do
		repave-profile record -p "$victim" --rate 499 --seconds 2 $way -o p.rprof --json >r.json # twice in the life of each
		[ "$(value threads r.json)" -gt 5 ]
		enough r.json # not twice as many: threads that have inherited and own events
	done
}

@test "children by fork are not recorded" {
	start fork
	for way in --per-thread --whole-cpus; do
		repave-profile record -p "$victim" --seconds 0.5 $way -o p.rprof --json >r.json
		[ "$(value threads r.json)" = 1 ]
		repave-profile show p.rprof --json | sed -n '/"threads"/,$p' | grep -q "\"thread\": $victim,"
	done
	for child in $(cat /proc/"$victim"/task/*/children); do kill -KILL "$child"; done
}

@test "Ctrl-C ends with a complete file" {
	start spin
	repave-profile record --samples -p "$victim" -o p.rprof >out 3>&- &
	recorder=$!
	sleep 0.7
	kill -INT $recorder
	wait $recorder
	repave-profile show p.rprof --json >s.json
	[ "$(value complete s.json)" = true ]
	[ "$(value samples s.json)" -gt 0 ]
}

@test "a killed recorder leaves a readable file that says so" {
	start spin
	repave-profile record --samples -p "$victim" -o p.rprof >out 3>&- &
	recorder=$!
	sleep 2.6
	kill -KILL $recorder
	wait $recorder || true
	repave-profile show p.rprof --json >s.json
	[ "$(value complete s.json)" = false ]
	[ "$(value samples s.json)" -gt 0 ]
	repave-profile show p.rprof | grep -q '^incomplete'
}

@test "a target that exits ends the recording" {
	"$V" spin 3 3>&- &
	victim=$!
	repave-profile record -p "$victim" --seconds 30 -o p.rprof --json >r.json
	[ "$(value target_exited r.json)" = true ]
	enough r.json
	repave-profile show p.rprof >/dev/null
}

@test "stdout is a profile, words go to stderr" {
	start spin
	repave-profile record -p "$victim" --seconds 0.3 -o - 2>words | repave-profile show - --json >s.json
	[ "$(value samples s.json)" -gt 0 ]
	grep -q '^source: ' words
}

@test "refusals: exit status, one line, no file made or emptied" {
	echo precious >old.rprof
	run repave-profile record -o old.rprof
	[ "$status" = 2 ]
	run repave-profile record -p 4194000 -o old.rprof
	[ "$status" = 5 ] && [ "${#lines[@]}" = 1 ]
	run repave-profile record -p 2 -o old.rprof
	[ "$status" = 3 ]
	start spin
	run repave-profile record -p "$victim" -e no_such_event -o old.rprof
	[ "$status" = 2 ] && [ "${#lines[@]}" = 1 ]
	run repave-profile record -p "$victim" --rate 0 -o old.rprof
	[ "$status" = 2 ]
	run repave-profile record -p 4194000 -o new.rprof
	[ "$status" = 5 ]
	[ ! -e new.rprof ]
	[ "$(cat old.rprof)" = precious ]
	run repave-profile record -p 4194000 -o new.rprof --json
	[ "$status" = 5 ]
	[[ $output == '{"error":'* ]]
}

@test "a zombie is refused" {
	start zombie >zombie
	run repave-profile record -p "$(cat zombie)" -o p.rprof
	[ "$status" = 5 ]
	[[ $output == *zombie* ]]
}

@test "another user's process is refused" {
	[ "$(id -u)" = 0 ] || skip "needs root to become somebody else"
	[ "$(cat /proc/sys/kernel/perf_event_paranoid)" -ge 1 ] || skip "everybody may profile everything here"
	start spin
	cp "$(command -v repave-profile)" /tmp/repave-profile.$$
	run setpriv --reuid=65534 --regid=65534 --clear-groups /tmp/repave-profile.$$ record -p "$victim" --seconds 1 -o -
	rm -f /tmp/repave-profile.$$
	[ "$status" = 4 ]
	[[ $output == *"not permitted"* ]]
}

@test "damaged and foreign files are refused" {
	start spin
	repave-profile record -p "$victim" --seconds 0.3 -o p.rprof >/dev/null
	printf 'X' | dd of=p.rprof bs=1 seek=40 conv=notrunc 2>/dev/null
	run repave-profile show p.rprof
	[ "$status" = 3 ]
	run repave-profile show "$V"
	[ "$status" = 3 ]
	run repave-profile show missing.rprof
	[ "$status" = 3 ]
	run repave-profile import --from callgrind "$V" -o x.rprof
	[ "$status" = 3 ]
	run repave-profile import --from dowsing "$V"
	[ "$status" = 2 ]
}

@test "callgrind: every executed instruction is counted once" {
	command -v valgrind || skip "no valgrind"
	cat >t.c <<-'SOURCE'
		#include <stdio.h>
		#include <string.h>
		__attribute__((noinline)) int work(int n) { int s = 0; for (int i = 0; i < n; i++) if (i % 3 == 0) s += i; else s ^= i; return s; }
		__attribute__((noinline)) int rec(int n) { return n < 2 ? n : rec(n - 1) + rec(n - 2); }
		int main(void) { char b[100]; snprintf(b, sizeof b, "%d", work(100) + rec(6)); return strlen(b) > 90; }
	SOURCE
	cc -O1 -Wl,--build-id -o t t.c
	cc -O1 -no-pie -Wl,--build-id -o fixed t.c
	for program in t fixed; do
		valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file=c.out ./$program 2>/dev/null
		repave-profile import --from callgrind c.out -o c.rprof --json >i.json
		[ "$(value instructions i.json)" = "$(awk '/^summary:/ { print $2 }' c.out)" ]
		[ "$(value outside i.json)" = 0 ]
		[ "$(value modules_unknown i.json)" = 0 ]
		repave-profile show c.rprof --json --top 1000 >s.json
		[ "$(value weight s.json)" = "$(value instructions i.json)" ]
		[ "$(value source s.json)" = exact ]
	done
	# names compressed or not, positions compressed or not, parts in one file or several: all the same
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --compress-pos=no --compress-strings=no --separate-threads=yes \
		--callgrind-out-file=u.out ./fixed 2>/dev/null
	repave-profile import --from callgrind u.out-01 -o u.rprof >/dev/null
	repave-profile show u.rprof --json --top 100000 | sed -n '/"places"/,$p' >u.json
	repave-profile show c.rprof --json --top 100000 | sed -n '/"places"/,$p' >c.json
	grep -A8 '"/[^"]*/fixed"' u.json >u.own
	grep -A8 '"/[^"]*/fixed"' c.json >c.own
	[ -s c.own ]
	cmp u.own c.own
	# both parts read as one stream count double
	cat u.out-01 u.out-01 | repave-profile import --from callgrind - -o d.rprof --json >d.json
	[ "$(value instructions d.json)" = "$((2 * $(awk '/^(summary|totals):/ { print $2; exit }' u.out-01)))" ]
}

#!/usr/bin/env bats
# The tools when the machine is hostile: memory, descriptors or space run out, calls are interrupted; and when names are. A clear error and the right
# exit code, or the right result; never half a file, never a byte that controls a terminal.

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR" || return 1
	printf 'int a(int n) { int s = 0; for (int i = 0; i < n; i++) s += i * n; return s; }\nint main(int c, char **v) { (void)v; int r; do r = a(c * 1000) == 7; while (c > 1); return r; }\n' >p.c
	gcc -O1 -o p p.c
	gcc -O1 -shared -fPIC -o failing.so "$BATS_TEST_DIRNAME/failing.c" -ldl
	repave-analyze map "$PWD/p" -o p.rmap >/dev/null
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file=p.callgrind ./p >/dev/null 2>&1
	repave-profile import --from callgrind p.callgrind -o p.rprof >/dev/null
	repave-analyze plan --profile p.rprof -o p.rplan p.rmap >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR" || return 1
	cp "$BATS_FILE_TMPDIR"/p* .
	failing=$BATS_FILE_TMPDIR/failing.so
}

# What each tool does that is worth it, a line each; the output, if there is one, is `out`.
commands() {
	cat <<-'END'
		repave-analyze map p -o out
		repave-analyze plan --profile p.rprof -o out p.rmap
		repave-analyze verify p.rplan
		repave-analyze why p a
		repave-profile import --from callgrind p.callgrind -o out
		repave-profile merge p.rprof p.rprof -o out
		repave-profile export p.rprof --format text -o out
		repave-profile show p.rprof
		repave-dump --json p.rplan
		repave-apply file p p.rplan -o out
	END
}

# refused STATUSES COMMAND...: one of these, one line that says why, no output file and no temporary one
refused() {
	local status=0
	rm -f out
	"${@:2}" >stdout 2>stderr || status=$?
	case " $1 " in *" $status "*) ;; *) echo "${*:2}: exit $status: $(cat stderr)"; return 1 ;; esac
	[ "$(cat stdout stderr | grep -c 'repave-\|"error"')" = 1 ] || { echo "${*:2}: $(cat stdout stderr)"; return 1; }
	[ -z "$(find . -name 'out*')" ] || { echo "${*:2}: a file is left"; return 1; }
}

# fails_or_works COMMAND...: exit 0 with the output that was, or an error as above
fails_or_works() {
	local status=0
	rm -f out
	"$@" >stdout 2>stderr || status=$?
	if [ "$status" = 0 ]; then
		[ ! -e expected ] || cmp out expected || { echo "$*: another result"; return 1; }
		return 0
	fi
	[ "$status" = 4 ] || [ "$status" = 70 ] || { echo "$*: exit $status: $(cat stderr)"; return 1; }
	[ "$(cat stdout stderr | grep -c 'repave-\|"error"')" = 1 ] || { echo "$*: $(cat stdout stderr)"; return 1; }
	[ -z "$(find . -name 'out*')" ] || { echo "$*: a file is left"; return 1; }
}

# The result of a command when nothing goes wrong.
expect_of() {
	rm -f out expected
	"$@" >/dev/null
	[ ! -e out ] || mv out expected
}

@test "memory that runs out at any allocation is an error, and nothing is left" {
	while read -r -a command; do
		expect_of "${command[@]}"
		FAIL_COUNT=$PWD/count LD_PRELOAD=$failing "${command[@]}" >/dev/null
		count=$(cat count)
		[ "$count" -gt 5 ]
		# All of the first and last ones, every fourth between them.
		for ((n = 1; n <= count; n += n < 12 || n > count - 8 ? 1 : 4)); do
			fails_or_works env FAIL_ALLOCATIONS="$n" LD_PRELOAD="$failing" "${command[@]}"
		done
		refused 70 env FAIL_ALLOCATIONS=1 LD_PRELOAD="$failing" "${command[@]}"
	done < <(commands)
}

@test "address space that is too small is an error" {
	for size in 8 10 12 14 16 20 24 32; do
		while read -r -a command; do
			rm -f out
			status=0
			prlimit --as=$((size << 20)) "${command[@]}" >stdout 2>stderr || status=$?
			case $status in
			0 | 4 | 70) ;;
			127) grep -q "shared" stderr ;; # the dynamic linker's word
			*) echo "${command[*]} in $size MB: exit $status: $(cat stderr)"; return 1 ;;
			esac
			[ "$status" = 0 ] || [ -z "$(find . -name 'out*')" ]
		done < <(commands)
	done
}

@test "interrupted and short reads and writes change nothing" {
	while read -r -a command; do
		expect_of "${command[@]}"
		rm -f out
		FAIL_INTERRUPT=1 LD_PRELOAD=$failing "${command[@]}" >/dev/null
		[ ! -e expected ] || cmp out expected
	done < <(commands)
	repave-profile merge p.rprof p.rprof -o expected >/dev/null
	# shellcheck disable=SC2002 # a pipe is what is tested
	cat p.rprof | FAIL_INTERRUPT=1 LD_PRELOAD=$failing repave-profile merge - p.rprof -o - 2>/dev/null | cmp - expected
}

@test "a full device is an error, and nothing is left" {
	while read -r -a command; do
		status=0
		"${command[@]/#out/-}" >/dev/full 2>stderr || status=$?
		[ "$status" = 4 ] || { echo "${command[*]}: exit $status"; return 1; }
		case ${command[*]} in *" out"*) refused 4 "${command[@]/#out//dev/full}" ;; esac
	done < <(commands)
}

# in_small_disk COMMAND...: runs it (functions of this file are known) where `small` is a file system of 12 KB that nobody else sees
in_small_disk() {
	mkdir -p small
	unshare --mount true 2>/dev/null || skip "may not mount"
	unshare --mount bash -c "mount -t tmpfs -o size=12k tmpfs small && $(declare -f commands fill full_disk full_while_recording) && $*"
}

# fill PAGES: all of the disk but these
fill() {
	head -c $(((3 - $1) * 4096)) /dev/zero >small/filler
}

# Every command that writes a file: to a full disk, over a file that is there on a full disk, and where there is room for a part only.
full_disk() {
	local status room command
	while read -r -a command; do
		case ${command[*]} in *" out"*) ;; *) continue ;; esac
		for room in none over part; do
			rm -f small/*
			case $room in
			none) fill 0 ;;
			over) echo old >small/out && fill 0 2>/dev/null ;;
			part) fill 1 ;;
			esac
			status=0
			"${command[@]/#out/small/out}" >stdout 2>stderr || status=$?
			case $room$status in
			part0) cmp small/out <("${command[@]/#out/-}" 2>/dev/null) || return 1 ;;
			none4 | over4 | part4) grep -q "No space left" stderr || { echo "${command[*]}: $(cat stderr)"; return 1; } ;;
			*) echo "${command[*]}: exit $status, room: $room"; return 1 ;;
			esac
			[ "$room" != over ] || [ "$(cat small/out)" = old ] || { echo "${command[*]}: what was there is gone"; return 1; }
			[ "$room$status" != part4 ] && [ "$room$status" != none4 ] || [ "$(ls small)" = filler ] || { echo "${command[*]}: left $(ls small)"; return 1; }
			echo "$room$status" >>seen
		done
	done < <(commands)
}

# A recording that finds the disk full at once leaves no file; one that it becomes full for leaves what can be read.
full_while_recording() {
	local status
	fill 0
	for how in --samples --emulate; do
		status=0
		repave-profile record $how --seconds 0.3 -p "$pid" -o small/out 2>stderr || status=$?
		[ "$status" = 4 ] && grep -q "No space left" stderr && [ "$(ls small)" = filler ] || { echo "$how: exit $status: $(ls small; cat stderr)"; return 1; }
	done
	fill 1
	status=0
	repave-profile record --emulate --seconds 2 --share 1 -p "$pid" -o small/out 2>stderr || status=$?
	[ "$status" = 4 ] && grep -q "No space left" stderr || { echo "exit $status: $(cat stderr)"; return 1; }
	[ "$(ls small)" = filler ] || repave-profile show small/out >stdout
}

@test "a full disk is an error, nothing is left, and what was there stays" {
	in_small_disk full_disk
	[ "$(grep -c 4 seen)" -ge 15 ]
	grep -q part4 seen
}

@test "a disk that is full, or becomes so, while something is recorded" {
	./p loop 3>&- &
	export pid=$!
	in_small_disk full_while_recording || { kill "$pid"; return 1; }
	kill "$pid"
}

@test "a clock that jumps changes neither how long is recorded nor what is found" {
	./p loop 3>&- &
	pid=$!
	begin=$(cut -d ' ' -f 1 /proc/uptime)
	for how in --samples --emulate; do
		FAIL_CLOCK=1 LD_PRELOAD=$failing repave-profile record $how --seconds 0.5 -p "$pid" -o out.rprof >/dev/null 2>stderr ||
			{ cat stderr; kill "$pid"; return 1; }
		repave-profile show --json out.rprof >shown.json
		jq -e '.complete == true and .samples > 0' shown.json || { cat shown.json; kill "$pid"; return 1; }
	done
	kill "$pid"
	awk -v b="$begin" '{ exit !($1 - b >= 1 && $1 - b < 30) }' /proc/uptime
}

@test "an output that is moved away while it is recorded is the whole recording" {
	./p loop 3>&- &
	pid=$!
	repave-profile record --samples --seconds 1 -p "$pid" -o out.rprof >/dev/null 2>stderr 3>&- &
	recorder=$!
	for ((i = 0; i < 300; i++)); do [ ! -e out.rprof ] || break; sleep 0.01; done
	mv out.rprof rotated.rprof
	status=0
	wait "$recorder" || status=$?
	kill "$pid"
	[ "$status" = 0 ] || { cat stderr; return 1; }
	[ ! -e out.rprof ]
	repave-profile show --json rotated.rprof >shown.json
	jq -e '.complete == true and .samples > 0' shown.json || { cat shown.json; return 1; }
}

@test "without descriptors left there is an error" {
	for most in 4 5 6; do # with fewer no library can be loaded
		while read -r -a command; do
			expect_of "${command[@]}"
			fails_or_works prlimit --nofile="$most" "${command[@]}" 3>&- 4>&-
		done < <(commands)
	done
}

@test "devices without an end are no input" {
	refused "3 4 5" repave-analyze map /dev/zero -o out
	refused "3 4 5" repave-analyze verify /dev/zero
	refused "3 4 5" repave-profile show /dev/zero
	refused "3 4 5" repave-apply file p /dev/zero -o out
	refused "3 4 5" repave-dump /dev/full
}

@test "names of files are escaped in every output" {
	name=$(printf 'n\033[31m\n"q\\\377\302\233')
	mkdir "$name"
	cp p "$name/p"
	for json in "" --json; do
		for command in "map DIR/p -o DIR/m" "map DIR/missing -o x" "why DIR/p a" "why DIR/m a" "verify DIR/missing" "plan --profile p.rprof -o x DIR/m" \
			"plan --profile DIR/missing -o x DIR/m"; do
			read -r -a words <<<"$command"
			repave-analyze "${words[0]}" $json "${words[@]/#DIR/$name}" >stdout 2>stderr || true
			[ -z "$(LC_ALL=C tr -d '\n\t -~' <stdout)$(LC_ALL=C tr -d '\n\t -~' <stderr)" ] || { echo "$command: $(cat -v stdout stderr)"; return 1; }
			[ -z "$json" ] || jq -e . stdout >/dev/null || { echo "$command: no JSON: $(cat -v stdout)"; return 1; }
		done
	done
}

@test "names of processes are escaped in every output" {
	name=$(printf 'n\033[31m\n"q\\\377')
	cp "$(command -v sleep)" "$name"
	"./$name" 60 3>&- &
	pid=$!
	for command in "repave-apply status -p $pid" "repave-apply status --json -p $pid" "repave-apply apply -p $pid p.rplan" \
		"repave-apply apply --json -p $pid p.rplan" "repave-apply undo -p $pid" "repave-profile record --samples --seconds 0.2 -p $pid -o r.rprof"; do
		read -r -a words <<<"$command"
		"${words[@]}" >stdout 2>stderr || true
		[ -z "$(LC_ALL=C tr -d '\n\t -~' <stdout)$(LC_ALL=C tr -d '\n\t -~' <stderr)" ] || { kill "$pid"; echo "$command: $(cat -v stdout stderr)"; return 1; }
	done
	kill "$pid"
}

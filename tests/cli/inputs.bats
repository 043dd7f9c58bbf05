#!/usr/bin/env bats
# Bad input to the offline tools: the exit code of the table, one clear line, no output file.

bats_require_minimum_version 1.5.0

setup() {
	work=$BATS_TEST_TMPDIR
	printf 'int a(int n) { int s = 0; for (int i = 0; i < n; i++) s += i * n; return s; }\nint main(int c, char **v) { (void)v; return a(c * 1000) == 7; }\n' >"$work/p.c"
	gcc -O1 -o "$work/p" "$work/p.c"
	repave-analyze map "$work/p" -o "$work/p.rmap" >/dev/null
	valgrind --tool=callgrind --dump-instr=yes --collect-jumps=yes --callgrind-out-file="$work/p.callgrind" "$work/p" >/dev/null 2>&1
	repave-profile import --from callgrind "$work/p.callgrind" -o "$work/p.rprof" >/dev/null
}

# refused STATUS TEXT COMMAND...
refused() {
	local status=0
	"${@:3}" >"$work/stdout" 2>"$work/stderr" || status=$?
	[ "$status" = "$1" ] || { echo "exit $status: $(cat "$work/stderr")"; return 1; }
	[ "$(wc -l <"$work/stderr")" = 1 ] || { cat "$work/stderr"; return 1; }
	grep -q -- "$2" "$work/stderr" || { cat "$work/stderr"; return 1; }
	[ ! -e "$work/out" ]
}

# flip FILE OFFSET: another byte there
flip() {
	local old
	old=$(od -An -tu1 -j "$2" -N 1 "$1")
	printf "\\$(printf '%03o' $((old ^ 64)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

@test "good inputs make a plan that verifies" {
	repave-analyze plan --profile "$work/p.rprof" -o "$work/p.rplan" "$work/p.rmap"
	repave-analyze verify "$work/p.rplan"
}

@test "the same inputs make the same plan, on one thread or more" {
	repave-analyze plan -j 1 --profile "$work/p.rprof" -o "$work/1" "$work/p.rmap"
	repave-analyze plan -j 4 --profile "$work/p.rprof" -o "$work/4" "$work/p.rmap"
	cmp "$work/1" "$work/4"
}

@test "cut and altered maps are refused" {
	size=$(stat -c %s "$work/p.rmap")
	head -c $((size / 2)) "$work/p.rmap" >"$work/cut"
	refused 3 cut repave-analyze plan --profile "$work/p.rprof" -o "$work/out" "$work/cut"
	flip "$work/p.rmap" $((size / 2))
	refused 3 p.rmap repave-analyze plan --profile "$work/p.rprof" -o "$work/out" "$work/p.rmap"
}

@test "altered profiles are refused" {
	flip "$work/p.rprof" $(($(stat -c %s "$work/p.rprof") / 2))
	refused 3 p.rprof repave-analyze plan --profile "$work/p.rprof" -o "$work/out" "$work/p.rmap"
}

@test "cut and altered plans are refused" {
	repave-analyze plan --profile "$work/p.rprof" -o "$work/p.rplan" "$work/p.rmap" >/dev/null
	size=$(stat -c %s "$work/p.rplan")
	head -c $((size - 9)) "$work/p.rplan" >"$work/cut"
	refused 3 cut repave-analyze verify "$work/cut"
	flip "$work/p.rplan" $((size / 2))
	refused 3 p.rplan repave-analyze verify "$work/p.rplan"
}

@test "a map of a binary that was replaced on disk is refused" {
	sed -i 's/i \* n/i + n/' "$work/p.c"
	gcc -O1 -o "$work/p" "$work/p.c"
	refused 3 "map it again" repave-analyze plan --profile "$work/p.rprof" -o "$work/out" "$work/p.rmap"
}

@test "files that are no ELF files, or of another machine, are refused" {
	refused 3 "" repave-analyze map "$work/p.c" -o "$work/out"
	cp "$work/p" "$work/arm"
	printf '\xb7' | dd of="$work/arm" bs=1 seek=18 conv=notrunc status=none
	refused 3 "" repave-analyze map "$work/arm" -o "$work/out"
	head -c 100 "$work/p" >"$work/short"
	refused 3 short repave-analyze map "$work/short" -o "$work/out"
	refused 3 nowhere repave-analyze map "$work/nowhere" -o "$work/out"
}

@test "errors are JSON when asked for" {
	run -3 repave-analyze map --json "$work/nowhere"
	echo "$output" | jq -e '.error.status == 3'
}

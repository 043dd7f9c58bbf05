# The umbrella: order of the pipeline, cache, exit codes. The tools are stand-ins that write down how they were called; the whole
# pipeline with the real ones is a live test.

setup() {
	root=$(readlink -f "$BATS_TEST_DIRNAME/../..")
	tools=$BATS_TEST_TMPDIR/tools
	export CALLS=$BATS_TEST_TMPDIR/calls REPAVE_CACHE=$BATS_TEST_TMPDIR/cache TMPDIR=$BATS_TEST_TMPDIR/tmp
	mkdir -p "$tools" "$TMPDIR"
	# Each writes its call, makes the file after -o (map: one per ELF file, named as the cache wants it), exits with $EXIT_<verb>.
	cat >"$tools/stand-in" <<-'SCRIPT'
		#!/bin/bash
		echo "${0##*/} $*" >>"$CALLS"
		verb=$1 status=EXIT_$1 out=
		while (($#)); do
			[[ $1 == -o ]] && out=$2
			[[ $verb == map && $1 == /* && -f $1 ]] && echo map >"$out/${1##*/}-$(readelf -n "$1" 2>/dev/null | awk '/Build ID/ { print $3 }').rmap"
			shift
		done
		[[ $verb == map || -z $out ]] || echo "$verb" >"$out"
		[[ -z ${BUSY:-} || $verb != apply || $(grep -c '^repave-apply apply' "$CALLS") -gt $BUSY ]] || exit 75
		exit "${!status:-0}"
	SCRIPT
	chmod +x "$tools/stand-in"
	for tool in analyze profile apply; do
		ln -s stand-in "$tools/repave-$tool"
	done
	cp "$root/scripts/repave" "$tools/repave"
	sleep 60 3>&- &
	pid=$!
}

teardown() {
	kill "$pid"
}

@test "optimize runs map, record, plan, apply in this order" {
	run "$tools/repave" optimize -p "$pid" --seconds 1
	[ "$status" -eq 0 ]
	[ "$(awk '{ print $1, $2 }' "$CALLS" | tr '\n' ';')" = "repave-analyze map;repave-profile record;repave-analyze plan;repave-apply apply;" ]
	grep -q "^repave-profile record --samples -p $pid --seconds 1 " "$CALLS"
	[[ $output == *"peak MiB"* ]]
}

@test "without more it counts, emulates where that cannot be, and samples where that cannot be either" {
	"$tools/repave" optimize -p "$pid"
	grep -q "^repave-profile record --exact -p $pid " "$CALLS"
	! grep -q "record --samples" "$CALLS"
	sed -i 's/^exit .*/[[ $* != *--exact* ]] || exit 5; exit 0/; s/^while/all="$*"\nwhile/; s/\$\* != /$all != /' "$tools/stand-in"
	: >"$CALLS"
	run "$tools/repave" optimize -p "$pid"
	[ "$status" -eq 0 ]
	[[ $output == *"emulating instead"* ]]
	grep -q "^repave-profile record --emulate -p $pid --seconds 5 " "$CALLS"
	! grep -q "record --samples" "$CALLS"
	sed -i 's/--exact\*/--e*/' "$tools/stand-in"
	: >"$CALLS"
	run "$tools/repave" optimize -p "$pid"
	[ "$status" -eq 0 ]
	[[ $output == *"sampling instead"* ]]
	grep -q "^repave-profile record --samples -p $pid --seconds 5 " "$CALLS"
}

@test "maps are asked for each time, kept by build-id and given to plan" {
	"$tools/repave" optimize -p "$pid" --seconds 1
	"$tools/repave" optimize -p "$pid" --seconds 1
	[ "$(grep -c ' map -o [^ ]*cache/ ' "$CALLS")" -eq 2 ]
	libc=$(readelf -n /lib/x86_64-linux-gnu/libc.so.6 | awk '/Build ID/ { print $3 }')
	[ "$(grep -c " plan .*/libc.so.6-$libc.rmap" "$CALLS")" -eq 2 ]
}

@test "dry run touches nothing and keeps the plan where asked" {
	"$tools/repave" optimize -p "$pid" --seconds 1 --dry-run --plan-out "$BATS_TEST_TMPDIR/kept.rplan" --report "$BATS_TEST_TMPDIR/report"
	! grep -q repave-apply "$CALLS"
	[ -s "$BATS_TEST_TMPDIR/kept.rplan" ]
	[ "$(cut -f 1 "$BATS_TEST_TMPDIR/report" | tr '\n' ' ')" = "map record plan " ]
}

@test "a failing step ends it with that step's exit code" {
	EXIT_record=4 run "$tools/repave" optimize -p "$pid"
	[ "$status" -eq 4 ]
	[[ $output == *"'record' failed"* ]]
	! grep -q ' plan ' "$CALLS"
	EXIT_apply=6 run "$tools/repave" optimize -p "$pid"
	[ "$status" -eq 6 ]
}

@test "apply is tried again while the process is busy, not for ever" {
	BUSY=2 run "$tools/repave" optimize -p "$pid" --seconds 1
	[ "$status" -eq 0 ]
	[ "$(grep -c '^repave-apply apply' "$CALLS")" -eq 3 ]
	[[ $output == *"trying again"* ]]
	sed -i 's/^apply_tries=.*/apply_tries=2/' "$tools/repave"
	: >"$CALLS"
	EXIT_apply=75 run "$tools/repave" optimize -p "$pid" --seconds 1
	[ "$status" -eq 75 ]
	[ "$(grep -c '^repave-apply apply' "$CALLS")" -eq 2 ]
}

@test "no temporary files stay, also after a failure" {
	EXIT_plan=3 run "$tools/repave" optimize -p "$pid"
	[ "$status" -eq 3 ]
	[ -z "$(ls -A "$TMPDIR")" ]
}

@test "reap goes to the apply tool as undo --reap" {
	"$tools/repave" reap -p 1
	[ "$(cat "$CALLS")" = "repave-apply undo --reap -p 1" ]
	EXIT_undo=75 run "$tools/repave" reap -p 1
	[ "$status" -eq 75 ]
}

@test "undo and status go to the apply tool, other words to the tool of that name" {
	"$tools/repave" undo -p 1
	"$tools/repave" status -p 1
	"$tools/repave" analyze why x
	[ "$(cat "$CALLS")" = "repave-apply undo -p 1
repave-apply status -p 1
repave-analyze why x" ]
}

@test "usage errors exit 2, a missing process 5" {
	run "$tools/repave"
	[ "$status" -eq 2 ]
	run "$tools/repave" optimize
	[ "$status" -eq 2 ]
	run "$tools/repave" optimize -p x
	[ "$status" -eq 2 ]
	run "$tools/repave" optimize -p "$pid" --seconds
	[ "$status" -eq 2 ]
	run "$tools/repave" nonsense
	[ "$status" -eq 2 ]
	run "$tools/repave" optimize -p 4194303999
	[ "$status" -eq 5 ]
}

#!/usr/bin/env bats
# repave-apply symbols: the command line, and what is no core file. What it writes is shown by live/debuggers.

bats_require_minimum_version 1.5.0

setup() {
	cd "$BATS_TEST_TMPDIR"
}

# refused STATUS TEXT ARGUMENT...: this exit code, one line that matches, nothing written
refused() {
	local status=0
	repave-apply symbols "${@:3}" >stdout 2>stderr || status=$?
	[ "$status" = "$1" ] || { echo "exit $status: $(cat stderr)"; return 1; }
	[ "$(wc -l <stderr)" = 1 ] || { cat stderr; return 1; }
	grep -q -- "$2" stderr || { cat stderr; return 1; }
	[ ! -s stdout ] && [ -z "$(compgen -G 'new*')" ]
}

@test "what is asked must be said, and of whom" {
	refused 2 'what for' -p $$
	refused 2 'which process' -o new
	refused 2 'stands alone' -p $$ --core core -o new
	refused 2 'stands alone' --core core -o new --perf-map
}

@test "a process that nothing is applied to" {
	sleep 60 3>&- &
	refused 5 'nothing is applied' -p $! -o new --perf-map
	[ ! -e "/tmp/perf-$!.map" ]
	kill $!
}

@test "a core file must be one" {
	refused 3 'No such file' --core none -o new
	refused 3 'not a core file' --core /bin/sh -o new
	refused 3 'not a core file' --core /dev/null -o new
	head -c 64 /dev/zero >zeros
	refused 3 'not a core file' --core zeros -o new
	# An ELF header of type CORE, with one segment that the file does not have
	printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\4\0\76\0\1\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\70\0\1\0\0\0\0\0\0\0' >short
	refused 3 'truncated' --core short -o new
}

@test "a core file without a journal" {
	{ printf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\4\0\76\0\1\0\0\0\0\0\0\0\0\0\0\0\100\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\100\0\70\0\1\0\0\0\0\0\0\0'
	  head -c 56 /dev/zero; } >empty
	refused 5 'nothing is applied' --core empty -o new
}

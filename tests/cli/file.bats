#!/usr/bin/env bats
# repave-apply file: a plan into a copy of an ELF file. What the copy is, what is refused; that it runs is shown by live/filesink too.

bats_require_minimum_version 1.5.0

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	cat >p.c <<-'C'
		#include <stdio.h>
		int main(int c, char **v)
		{
			unsigned h = 5381;
			for (int i = 0; i < c; i++)
				for (char *p = v[i]; i && *p; p++)
					h = h * 33 + (h % 3 ? *p : *p + 1);
			printf("%u\n", h);
			return 0;
		}
	C
	gcc -O1 -Wl,--build-id -o p p.c
	repave-analyze map p -o p.rmap >/dev/null
	repave-analyze plan --torture 5 -o p.rplan p.rmap >/dev/null
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{p,p.rplan,p.rmap} .
}

# refused STATUS TEXT COMMAND...: this exit code, one line that matches, nothing written
refused() {
	local status=0
	"${@:3}" >stdout 2>stderr || status=$?
	[ "$status" = "$1" ] || { echo "exit $status: $(cat stderr)"; return 1; }
	[ "$(wc -l <stderr)" = 1 ] || { cat stderr; return 1; }
	grep -q -- "$2" stderr || { cat stderr; return 1; }
	[ ! -e new ] && [ -z "$(compgen -G 'new.*')" ]
}

# entry: file offset of the first patch's byte in the new file: the first byte that differs behind the ELF header
first_patch() {
	cmp -l p new | awk '$1 > 64 { print $1 - 1; exit }'
}

@test "the copy runs in the image and does the same" {
	repave-apply file p p.rplan -o new
	[ "$(./new a bc def)" = "$(./p a bc def)" ]
	objdump -d -j .repave.text new | grep -q '<.repave.text>'
	! cmp -s p new
}

@test "tools read the copy without a complaint" {
	repave-apply file p p.rplan -o new
	[ -z "$(readelf -aW new 2>&1 >/dev/null)" ]
	[ -z "$(objdump --dwarf=frames new 2>&1 >/dev/null)" ]
	[ "$(readelf -n p | grep 'Build ID')" = "$(readelf -n new | grep 'Build ID')" ]
	ldd new | grep -q libc.so
}

@test "the same inputs make the same file" {
	repave-apply file p p.rplan -o new
	repave-apply file p p.rplan -o again
	cmp new again
}

@test "figures as JSON" {
	repave-apply file p p.rplan -o new --json >json
	jq -e '.functions > 0 and .entries > 0 and .sections and .size > .size_before and .overlay_bytes == 0' json
	[ "$(jq .size json)" = "$(stat -c %s new)" ]
}

@test "stdin and stdout" {
	repave-apply file p p.rplan -o new
	repave-apply file - p.rplan -o - <p >piped 2>report
	cmp new piped
	grep -q functions report
	repave-apply file p - -o piped2 <p.rplan
	cmp new piped2
	rm new
	refused 2 'both' repave-apply file - - -o new2 <p
}

@test "the mode is kept, set-user-id is dropped and it is said" {
	chmod 4751 p
	repave-apply file p p.rplan -o new >report
	[ "$(stat -c %a new)" = 751 ]
	grep -q 'set-user-id' report
}

@test "an existing file is replaced, the input never" {
	cp p copy
	echo old >new
	repave-apply file p p.rplan -o new
	[ "$(./new x)" = "$(./p x)" ]
	rm new
	refused 2 'input itself' repave-apply file p p.rplan -o p
	ln p hard
	refused 2 'input itself' repave-apply file p p.rplan -o hard
	cmp p copy
}

@test "room for .bss is a hole in the file, and the .bss works" {
	printf 'char big[8 << 20];\nint main(int c, char **v) { (void)v; for (long i = 0; i < 8 << 20; i += 4096) if (big[i]) return 1; else big[i] = c; return 0; }\n' >b.c
	gcc -O1 -Wl,--build-id -o b b.c
	repave-analyze map b -o b.rmap >/dev/null
	repave-analyze plan --torture 5 -o b.rplan b.rmap >/dev/null
	repave-apply file b b.rplan -o new
	./new
	(($(stat -c %s new) > 8 << 20))
	(($(stat -c '%b * %B' new) < 1 << 20))
}

@test "an overlay is kept in place and repeated at the end" {
	size=$(stat -c %s p)
	# The plan's hash is of the code alone, but its size is the file's: plan for the file with the overlay.
	printf 'OVERLAY' >>p
	repave-analyze map p -o p.rmap >/dev/null
	repave-analyze plan --torture 5 -o p.rplan p.rmap >/dev/null
	repave-apply file p p.rplan -o new >report
	grep -q '7 bytes behind' report
	[ "$(tail -c 7 new)" = OVERLAY ]
	[ "$(dd if=new bs=1 skip="$size" count=7 status=none)" = OVERLAY ]
	[ "$(./new q)" = "$(./p q)" ]
}

@test "a second time is refused" {
	repave-apply file p p.rplan -o first
	refused 5 'already' repave-apply file first p.rplan -o new
}

@test "a changed byte in a function is refused with its address" {
	repave-apply file p p.rplan -o new
	at=$(first_patch)
	rm new
	printf '\x90' | dd of=p bs=1 seek="$at" conv=notrunc status=none
	refused 5 'not its code' repave-apply file p p.rplan -o new
}

@test "other files are refused" {
	refused 5 'none of the' repave-apply file "$(command -v jq)" p.rplan -o new
	refused 3 'not an ELF file' repave-apply file p.rmap p.rplan -o new
	refused 3 'passes the end' repave-apply file <(head -c 9000 p) p.rplan -o new
	refused 3 'nowhere' repave-apply file nowhere p.rplan -o new
	refused 3 '' repave-apply file p p.rmap -o new
	refused 2 'where to' repave-apply file p p.rplan
	mkdir directory
	refused 4 'directory' repave-apply file p p.rplan -o directory
}

@test "a plan that others may write is refused" {
	chmod 666 p.rplan
	refused 5 'others may write' repave-apply file p p.rplan -o new
}

@test "errors are JSON when asked for" {
	run -5 repave-apply file --json "$(command -v jq)" p.rplan -o new
	echo "$output" | jq -e '.error.status == 5'
}

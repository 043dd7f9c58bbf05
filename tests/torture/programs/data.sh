# make_data DIRECTORY: files text, code, zeros, noise, tiny, empty, for programs that work on bytes. The same on every run.
make_data() {
	perl -e 'my $s = 7; sub r { $s = ($s * 1103515245 + 12345) & 0x7fffffff; return $s >> 8 }
		my @w = map { join "", map { chr(97 + r() % 26) } 0 .. r() % 9 } 0 .. 400;
		for (1 .. 3000) { print join(" ", map { $w[(r() % 20) * (r() % 20)] } 0 .. r() % 12), (r() % 5 ? "\n" : sprintf(" %d,%x\n", r(), r())) }' >"$1/text"
	head -c 250000 /usr/bin/bash >"$1/code"
	head -c 200000 /dev/zero >"$1/zeros"
	perl -e 'my $s = 99; for (1 .. 40000) { $s = ($s * 6364136223846793005 + 1442695040888963407) & 0xffffffff; print chr($s >> 24) }' >"$1/noise" 2>/dev/null
	echo tiny >"$1/tiny"
	: >"$1/empty"
}

# gzip and sed, moved together with libc: a few cases of each, one of which lasts long enough to be moved while it runs.
prepare() { head -c 300000 /usr/bin/bash >"$input/code"; }
files() { readlink -f /usr/bin/gzip /usr/bin/sed; }
work() {
	local level
	for level in 1 9; do
		try "code-$level" "$bin/gzip" -n -c "-$level" "$input/code"
		try "code-$level.back" "$bin/gzip" -dc "code-$level"
	done
	try_wrong no-gzip "$bin/gzip" -t "$input/code"
	try slowly "$bin/gzip" -c < <(slowly "$input/code")
	try sed "$bin/sed" -E 's/([a-z]+)([^a-z]+)([a-z]+)/\3\2\1/g; y/abc/xyz/; /^#/!s/x(y|z)*/<&>/2; $!N; P; D' "$here/one"
}

# gzip and bash, moved together with libc: a few cases of each, one of which lasts long enough to be moved while it runs.
prepare() { head -c 300000 /usr/bin/bash >"$input/code"; }
files() { readlink -f /usr/bin/gzip /usr/bin/bash; }
work() {
	local level
	for level in 1 9; do
		try "code-$level" "$bin/gzip" -n -c "-$level" "$input/code"
		try "code-$level.back" "$bin/gzip" -dc "code-$level"
	done
	try_wrong no-gzip "$bin/gzip" -t "$input/code"
	try slowly "$bin/gzip" -c < <(slowly "$input/code")
	try bash "$bin/bash" --norc -c 'for ((i = 0; i < 300; i++)); do a[i]=$((i * i)) h+=${a[i]:0:1}; done; echo "${a[@]}" "$h"; case $h in 0*) echo "${h//1/x}" | cat;; esac; (exit 3) || [[ $h =~ 14+ ]] && echo "$BASH_REMATCH"'
}

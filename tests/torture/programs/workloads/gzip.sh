# gzip: round trips at every level, lists and tests, damaged and concatenated files.
source "$here/data.sh"
prepare() { make_data "$input"; }
files() { readlink -f /usr/bin/gzip; }
work() {
	local level data
	for data in text code zeros noise tiny empty; do
		for level in 1 4 6 9; do
			try "$data-$level" "$bin/gzip" -n -c "-$level" "$input/$data"
			try "$data-$level.back" "$bin/gzip" -d -c "$data-$level"
			try "$data-$level.test" "$bin/gzip" -t -v "$data-$level"
		done
		try "$data-rsync" "$bin/gzip" -n --rsyncable -c "$input/$data"
	done
	try slowly "$bin/gzip" -9 -c < <(slowly "$input/text")
	try slowly.back "$bin/gzip" -dc < <(slowly slowly)
	cat text-1 code-9 >joined
	try joined.back "$bin/gzip" -dc joined
	head -c 5000 text-6 >cut.gz
	try_wrong cut.back "$bin/gzip" -dc cut.gz
	{ head -c 3000 code-6; printf 'damage'; tail -c +3007 code-6; } >damaged.gz
	try_wrong damaged.back "$bin/gzip" -dc damaged.gz
	try_wrong list "$bin/gzip" -l cut.gz damaged.gz
}

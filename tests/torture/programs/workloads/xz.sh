# xz with liblzma: round trips over levels, filters, formats, checks, threads, damaged and concatenated files.
source "$here/data.sh"
prepare() { make_data "$input"; }
files() {
	readlink -f /usr/bin/xz
	echo /lib/x86_64-linux-gnu/liblzma.so.5
}
round() {
	local case=$1 data=$2
	shift 2
	try "$case" "$bin/xz" -q -c "$@" "$input/$data"
	try "$case.back" "$bin/xz" -dc -q "$case"
}
work() {
	local data options
	for data in text code zeros noise tiny empty; do
		round "$data-0" "$data" -0
		round "$data-6" "$data" -6
		round "$data-3e" "$data" -3e
		round "$data-alone" "$data" --format=lzma -3
		round "$data-threads" "$data" -T2 --block-size=100000 -1
		try "$data-list" "$bin/xz" -q --robot -lvv "$data-6"
	done
	for options in --x86 --arm --armthumb --powerpc --ia64 --sparc --arm64 --delta=dist=4; do
		round "code$options" code "$options" --lzma2=preset=2,lc=2,lp=2,pb=1
	done
	for options in none crc32 crc64 sha256; do
		round "check-$options" text --check=$options -2
	done
	for options in hc3 hc4 bt2 bt3 bt4; do
		round "finder-$options" text --lzma2=mf=$options,nice=20,dict=65536
	done
	try slowly "$bin/xz" -6 -c < <(slowly "$input/code")
	try slowly.back "$bin/xz" -dc < <(slowly slowly)
	cat text-6 code-3e >joined
	try joined.back "$bin/xz" -dc joined
	head -c 5000 text-6 >cut.xz
	try_wrong cut.back "$bin/xz" -dc cut.xz
	{ head -c 3000 code-6; printf 'damage'; tail -c +3007 code-6; } >damaged.xz
	try_wrong damaged.back "$bin/xz" -dc damaged.xz
	try_wrong damaged.test "$bin/xz" -t damaged.xz
}

# zstd: round trips over levels, strategies, threads, long windows, dictionaries, other formats, damaged files.
source "$here/data.sh"
prepare() {
	make_data "$input"
	mkdir -p "$input/samples"
	split -b 2000 "$input/text" "$input/samples/"
}
files() { readlink -f /usr/bin/zstd; }
round() {
	local case=$1 data=$2
	shift 2
	try "$case" "$bin/zstd" -q -c "$@" "$input/$data"
	try "$case.back" "$bin/zstd" -q -dc "${DICTIONARY[@]}" "$case"
}
work() {
	local data options DICTIONARY=()
	for data in text code zeros noise tiny empty; do
		for options in --fast=5 -1 -3 -8 --long=24 '-T2 -B100000' '-3 --no-check' '-5 --adapt=min=5,max=5' --format=gzip; do
			# shellcheck disable=SC2086
			round "$data${options// /}" "$data" $options
		done
	done
	for options in 1 2 3 4 5 6 7 8 9; do
		round "strategy-$options" text "--zstd=strategy=$options,wlog=18"
	done
	try slowly "$bin/zstd" -q -9 -c < <(slowly "$input/code")
	try slowly.back "$bin/zstd" -q -dc < <(slowly slowly)
	try train "$bin/zstd" -q --train "$input"/samples/* -o dictionary --maxdict=20000
	DICTIONARY=(-D dictionary)
	round with-dictionary text -D dictionary -9
	round slowest tiny -19 --ultra
	DICTIONARY=()
	head -c 5000 text-3 >cut.zst
	try_wrong cut.back "$bin/zstd" -dc cut.zst
	{ head -c 3000 code-3; printf 'damage'; tail -c +3007 code-3; } >damaged.zst
	try_wrong damaged.back "$bin/zstd" -dc damaged.zst
	try_wrong list "$bin/zstd" -l code-3.back text-3
}

# perl: the pieces of perl.txt (each a script of its own), and its own modules compiled, deparsed and their manuals rendered.
prepare() {
	mkdir -p "$input/pieces"
	csplit -s -z -f "$input/pieces/" "$here/perl.txt" '/^#### /' '{*}'
	find /usr/share/perl/5.* /usr/lib/x86_64-linux-gnu/perl-base -name '*.pm' -size -60k | sort | awk 'NR % 17 == 1' | head -n 9 >"$input/modules"
	[[ -s $input/modules ]] || { echo 'no modules of perl here'; return 77; }
}
files() {
	readlink -f /usr/bin/perl
	echo /lib/x86_64-linux-gnu/libm.so.6
}
work() {
	local file
	export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
	for file in "$input"/pieces/*; do
		try "piece-${file##*/}" "$bin/perl" "$file"
	done
	try slowly "$bin/perl" -ne 'while (/(\w+)(?{ $n++ })/g) { $h{$1} .= length($1) ** 1.5; push @s, lc $1 if $1 =~ /[A-Z]{2}/ } END { print "$n @s[0 .. 5] ", map { "$_ $h{$_}\n" } sort keys %h }' < <(slowly "$here/perl.txt")
	while read -r file; do
		try "compile-${file//\//_}" "$bin/perl" -c "$file"
		try "deparse-${file//\//_}" "$bin/perl" -MO=Deparse,-l "$file"
	done <"$input/modules"
	# shellcheck disable=SC2046
	try pod "$bin/perl" -MPod::Text -e 'for (@ARGV) { Pod::Text->new->parse_file($_) }' $(cat "$input/modules")
	try concise "$bin/perl" -MO=Concise,-exec "$input/pieces/00"
}

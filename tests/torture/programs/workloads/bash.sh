# bash: the pieces of bash.txt, scripts of this system read and printed again, and a completion script loaded.
prepare() {
	mkdir -p "$input/pieces"
	csplit -s -z -f "$input/pieces/" "$here/bash.txt" '/^#### /' '{*}'
	grep -IlE '^#! ?/bin/(ba)?sh' /usr/bin/* /usr/sbin/* /usr/lib/git-core/* 2>/dev/null | sort | awk "NR % 5 == 1" | head -n 20 >"$input/scripts"
}
files() { readlink -f /usr/bin/bash; }
work() {
	local file
	for file in "$input"/pieces/*; do
		try "piece-${file##*/}" "$bin/bash" --norc "$file"
	done
	try slowly "$bin/bash" --norc < <(slowly "$input/pieces/01")
	try slowly-read "$bin/bash" --norc -c 'while read -ra w; do n=$((n + ${#w[@]})); for x in "${w[@]^}"; do h[${#x}]+=${x:0:1}; done; done; echo $n; printf "%s\n" "${h[@]}"' < <(slowly "$input/pieces/02")
	while read -r file; do
		try "print-${file//\//_}" "$bin/bash" --pretty-print "$file"
	done <"$input/scripts"
	for file in "$root"/tests/torture/programs/one "$root"/scripts/targets; do
		try "read-${file##*/}" "$bin/bash" -n -v "$file"
	done
}

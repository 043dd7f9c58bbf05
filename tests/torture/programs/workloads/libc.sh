# libc with libm: moved under the programs of this system that use much of it. Live it is moved under gawk.
source "$here/data.sh"
prepare() {
	make_data "$input"
	gawk=$(unpacked gawk usr/bin/gawk)
	[[ -n $gawk ]] && "$gawk" 'BEGIN { }' || { echo 'no gawk that runs'; return 77; }
}
files() {
	readlink -f "$gawk"
	echo /lib/x86_64-linux-gnu/libc.so.6
	echo /lib/x86_64-linux-gnu/libm.so.6
}
work() {
	local key format
	for key in -n -r -f -V -h -R -u '-k2,2 -k1n' '-t, -k3' -M '-s -k4.2,5.1' -g; do
		# shellcheck disable=SC2086
		try "sort${key// /}" sort $key --random-source="$input/noise" "$input/text"
	done
	try words "$gawk" 'function f(x) { return x < 2 ? x : f(x - 1) + f(x - 2) } { for (i = 1; i <= NF; i++) { n[$i]++; l += length($i) } $2 = toupper($3); gsub(/[aeiou]+/, "<&>"); s = s substr($0, 1, 1) } END { for (w in n) print w, n[w] | "sort"; close("sort"); print l, s, f(17) }' "$input/text"
	try numbers "$bin/gawk" 'BEGIN { for (i = -300; i < 300; i++) printf "%d %.17g %e %g %a %x %o %s %10.3f|%-12d|%+d\n", i * 7919, exp(i / 9), sin(i) * 10 ^ (i / 9), atan2(i, 7), i / 3, i + 300, i + 300, log(i + 301), sqrt(i * i), i, i; print strtonum("0x1p-3"), 1e308 * 10, -log(0), int("3abc"), strftime("%c %j %U", 86400 * 400, 1), mktime("2001 02 03 04 05 06") }'
	try heavy "$bin/gawk" 'BEGIN { srand(1); for (i = 0; i < 60000; i++) { x = sprintf("%d:%s", i * 7919 % 10007, substr("abcdefghij", i % 9 + 1)); a[x] = a[x] + i; if (match(x, /[0-9]+:(b|cd*)/)) m += RLENGTH; split(x, p, ":"); t += p[1] } n = asorti(a, b); print n, m, t, b[1], b[n], rand() }'
	try slowly "$bin/gawk" '{ gsub(/[aeiou]/, "<&>"); n += length($0); a[NR % 7] = a[NR % 7] sprintf("%.5g,", log(n)) } END { for (i = 0; i < 7; i++) print a[i], n }' < <(slowly "$input/text")
	try sed sed -E 's/([a-z]+) ([a-z]+)/\2 \1/g; y/abc/xyz/; /foo/d; $!N; P; D' "$input/text"
	try grep grep -nEo '([a-z])\1[a-z]*( |$)' "$input/text"
	try fixed grep -c -F -f <(head -c 300 "$input/text" | tr ' ' '\n' | grep .) "$input/text"
	try perl-regex perl -ne 'print if /(\w+) \1/; $s += unpack("%32C*", $_); END { printf "%d %s\n", $s, join ",", map { sprintf "%.12g", exp(sin $_) ** 1.5 } 1 .. 50 }' "$input/text"
	for format in %Y-%m-%d %c %s.%N%z '%A %B %V' %x%X; do
		try "date${format//[% :]/}" date -d '2001-02-03 04:05:06.7 UTC + 40 days' "+$format"
	done
	try od od -A x -t x2z -t fD -w32 "$input/noise"
	try base base64 "$input/noise"
	try sums sh -c 'cd "$1"; md5sum text code; sha1sum text code; sha512sum noise; cksum text; b2sum code' sh "$input"
	try tar tar -C "$input" --sort=name --mtime=@0 --owner=0 --group=0 -cf - text tiny zeros
	try tar-list sh -c 'tar tvf tar'
	try find find /usr/share/doc /usr/share/perl -maxdepth 2 -name '*[a-f]*.p?' -size -20k -printf '%p %s %m\n'
	try iconv iconv -f latin1 -t utf-16 "$input/code"
	try printf printf '%5.3f %e %q %b %x %c %s\n' 3.14159 1e100 'a b' '\t' 255 xyz end
	try bc sh -c 'seq 1 3000 | paste -sd+ | xargs -I{} expr length {}'
	try python /usr/bin/python3.11 -c 'import math, json, time, locale, ctypes; print([math.gamma(x / 7) for x in range(1, 300)], json.dumps([x ** .5 for x in range(500)]), [math.erf(x / 9) + math.cbrt(x) + math.fmod(x, 7) + math.hypot(x, 2) + math.sinh(x / 50) + math.log1p(x) for x in range(500)], time.strftime("%c", time.gmtime(10 ** 9)))'
	try sqlite sqlite3 :memory: "with recursive n(i) as (select 1 union all select i + 1 from n limit 3000) select printf('%.9f|%e|%s', sqrt(i), exp(i % 300), date(i * 86400, 'unixepoch')) from n"
	try bash bash --norc -c 'for i in {1..2000}; do printf -v x "%05d" $i; a[i]=${x//0/z}; done; echo "${a[@]}"; [[ abc =~ ^(a)(.*)$ ]] && echo "${BASH_REMATCH[2]}"; compgen -u | sort'
	try env env -i A=1 B=2 sh -c 'ulimit -n 100; ulimit -n; umask; getconf ARG_MAX; id -u; hostname >/dev/null; uname -s; echo $A$B; nproc >/dev/null; getent hosts localhost | wc -l; getent passwd root; locale -a | head -n 3'
	try threads /usr/bin/python3.11 -c 'import threading, queue, concurrent.futures as f; p = f.ThreadPoolExecutor(12); print(sum(p.map(lambda i: sum(range(i)), range(3000)))); q = queue.Queue(); t = [threading.Thread(target=lambda: [q.put(i) for i in range(500)]) for _ in range(8)]; [x.start() for x in t]; [x.join() for x in t]; print(q.qsize())'
	try processes sh -c 'for i in 1 2 3 4 5 6 7 8 9; do (echo $i | cat | cat; exit $i); done; echo x | xargs -n1 sh -c "exit 3"; echo $?; sh -c "kill -TERM \$\$" & wait $!; echo $?; timeout 1 sleep 5; echo $?'
}

# mariadbd: transactions that are the same each time, queries, then sysbench with eight connections at once, and the consistency of all tables.
# Its pool may not grow: the 8 TiB that are reserved for that leave no room beside the libraries for images of all of them.
prepare() {
	command -v sysbench >/dev/null && command -v mariadb >/dev/null || { echo 'no sysbench or mariadb'; return 77; }
	mariadb-install-db --no-defaults --datadir="$input/data" --auth-root-authentication-method=normal --skip-test-db --force \
		$( ((EUID == 0)) && echo --user=root)
}
files() {
	readlink -f /usr/sbin/mariadbd
	printf '%s\n' /lib/x86_64-linux-gnu/libc.so.6 /lib/x86_64-linux-gnu/libgcc_s.so.1 /usr/lib/x86_64-linux-gnu/libstdc++.so.6
}
query() { mariadb --no-defaults --force --user=root --socket="$socket" --batch --skip-column-names --execute "$1" sbtest; }
transactions() {
	perl -e 'my $s = 3; sub r { $s = ($s * 1103515245 + 12345) & 0x7fffffff; return ($s >> 8) % $_[0] }
		print "create table d (id int primary key, k int, c char(120), pad char(60), key(k)) engine=innodb;\n";
		print "insert into d select seq, seq * 7919 % 1009, sha2(seq, 384), md5(seq) from seq_1_to_2000;\n";
		for (1 .. 250) {
			print "begin; select sum(k) from d where id between ", r(1900), " and ", r(2000), "; update d set k = k + ", r(9), " where id = ", r(2000), ";";
			print "update d set c = sha2(concat(c, ", r(99), "), 256) where k = ", r(1009), "; delete from d where id = ", r(2000), "; select distinct c from d where id < ", r(40), " order by c;";
			print "insert ignore into d values (", r(2500), ", ", r(1009), ", repeat(md5(", r(999), "), 3), sha1(", r(99), "));", (r(5) ? "commit" : "rollback"), ";\n";
		}'
}
bench() {
	local workload=$1
	shift
	sysbench "$workload" --db-driver=mysql --mysql-socket="$socket" --mysql-user=root --mysql-db=sbtest --tables=2 --table-size=2000 --rand-seed=7 --time=0 "$@" |
		grep -E 'total number of events|FATAL|ignored errors: *[1-9]'
	return "${PIPESTATUS[0]}"
}
work() {
	local socket=$top/socket try pid=
	rm -rf "$top/data"
	cp -r "$input/data" "$top/data"
	setpriv --pdeathsig KILL "$bin/mariadbd" --no-defaults --datadir="$top/data" --socket="$socket" --pid-file="$top/pid" --skip-networking \
		--tmpdir="$top" --log-error="$top/log.err" --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=64M --loose-innodb-buffer-pool-size-max=64M \
		$( ((EUID == 0)) && echo --user=root) >"$top/server" 2>&1 &
	pid=$!
	for ((try = 0; try < 1200; try++)); do
		kill -0 "$pid" && [[ -S $socket ]] && mariadb --no-defaults --user=root --socket="$socket" -e 'create database if not exists sbtest' && break
		sleep 0.1
	done
	try prepare-tables bench oltp_read_write prepare
	try read-write bench oltp_read_write --threads=1 --events=60 run
	try insert bench oltp_insert --threads=1 --events=200 run
	try delete bench oltp_delete --threads=1 --events=100 run
	try ranges bench select_random_ranges --threads=1 --events=30 run
	try transactions query "$(transactions)"
	try sums query 'checksum table d extended; select count(*), sum(k), max(c), min(pad) from d'
	try make query 'create table t (a int primary key auto_increment, b varchar(60), c decimal(12,3), d datetime, e json, key(b), key(c, d), fulltext(b)) engine=innodb; insert into t (b, c, d, e) select concat("w", seq * 7919 % 1009, " x", seq % 13), seq * 1.37, "2001-01-01" + interval seq hour, json_object("k", seq % 17, "l", json_array(seq, "z")) from seq_1_to_3000'
	try queries query 'select b, count(*), sum(c), group_concat(a order by a limit 5) from t group by b order by b limit 40; select a, rank() over (partition by a % 7 order by c desc), lead(b) over (order by d) from t limit 60; with recursive n as (select 1 i union select i * 3 % 1009 from n) select count(*), sum(i) from n join t on a = i; select json_extract(e, "$.l[0]"), date_format(d, "%W %j %H"), md5(b), crc32(b), sha2(b, 256), hex(aes_encrypt(b, "k")), format(c, 2), soundex(b), regexp_replace(b, "[0-9]", "#") from t where match(b) against ("x7") order by a limit 30; select x.a, y.b from t x left join t y on x.a = y.a * 3 where x.c between 100 and 300 order by 1; explain select * from t where b like "w1%"; select * from information_schema.columns where table_name = "t" order by 4'
	try routine query 'delimiter //
create function f(n int) returns bigint deterministic begin declare i, s bigint default 0; declare continue handler for 1365 set s = -1; while i < n do set s = (s * 31 + i) % 1000003, i = i + 1; end while; return s; end//'
	try called query 'select f(3000), f(50), f(0)'
	try change query 'alter table t add column g decimal(14,4) as (c * 2) persistent, drop key b, algorithm=copy; update t set b = upper(b), c = c / 3 where a % 3 = 0; delete from t where a % 11 = 5; start transaction; delete from t; rollback; alter table t engine=aria; alter table t engine=myisam; alter table t engine=innodb; analyze table t'
	try_wrong wrong query 'select * from nothing'
	try_wrong wrong-syntax query 'select from where'
	try many bench oltp_read_write --threads=8 --events=200 --mysql-ignore-errors=1213,1020,1205 run
	try point bench oltp_point_select --threads=8 --events=3000 run
	try check query 'check table sbtest1, sbtest2, t extended'
	try check-all mariadb-check --no-defaults --user=root --socket="$socket" --all-databases --extended
	try sum query 'checksum table t extended; select count(*), sum(c), max(d), min(b) from t'
	try stop query shutdown
	wait "$pid"
	echo "server exit $?" >>cases
	grep -ciE 'signal|assert|corrupt' "$top/log.err" >log-complaints
	sed -i '/ignored errors/d; s/total number of events.*/events/' many
	rm -rf "$top/data" "$top/log.err"
}
sane() {
	[[ $(cat log-complaints) == 0 ]] && awk 'NR == 2 { exit $1 < 1500 }' sums && (($(wc -l <queries) > 200)) && ! grep -vE '(status|check).*OK$' check &&
		! grep -vE ' OK$' check-all
}

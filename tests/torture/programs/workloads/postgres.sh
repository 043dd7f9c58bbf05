# postgres: queries, transactions of several clients, functions, indexes of all kinds, vacuum, and its own checks. It runs as user postgres under root.
server=/usr/lib/postgresql/15/bin
as_user() {
	if ((EUID == 0)); then
		setpriv --reuid=postgres --regid=postgres --clear-groups --pdeathsig KILL "$@"
	else
		setpriv --pdeathsig KILL "$@"
	fi
}
prepare() {
	[[ -x $server/initdb ]] || { echo 'no postgresql-15'; return 77; }
	((EUID)) || id postgres >/dev/null || return 77
	chmod 777 "$input"
	(cd / && as_user "$server/initdb" -D "$input/data" -A trust -U torture --no-sync)
}
files() { echo $server/postgres; }
sql() { psql -X -q -h "$sockets" -U torture -d postgres -v ON_ERROR_STOP=0 -At -c "$1"; }
work() {
	local sockets=$top/sockets try pid i
	rm -rf "$top/data" "$sockets"
	mkdir -m 777 -p "$sockets"
	cp -a "$input/data" "$top/data"
	chmod 711 "$input"
	: >"$top/log"
	chmod 666 "$top/log"
	[[ -z ${live_log:-} ]] || chmod 755 "$plans"
	(cd "$top" && as_user "$bin/postgres" -D "$top/data" -k "$sockets" -c listen_addresses= -c fsync=off -c jit=off -c shared_buffers=32MB >"$top/log" 2>&1) &
	pid=$!
	for ((try = 0; try < 1200; try++)); do
		sql 'select 1' >/dev/null 2>&1 && break
		sleep 0.1
	done
	try make sql "create table t as select i a, 'w' || i * 7919 % 1009 b, (i * 1.37)::numeric c, timestamp '2001-01-01' + i * interval '1 hour' d, jsonb_build_object('k', i % 17, 'l', array[i, 2]) e, point(i % 100, i / 100) p, int4range(i, i + 5) r from generate_series(1, 6000) i; alter table t add primary key (a); create index on t (b); create index on t using gin (e); create index on t using gist (p); create index on t using spgist (r); create index on t using brin (d); create index on t using hash (c); analyze t"
	# A session that takes its time, so that layouts can be applied to the server.
	for ((i = 0; i < 150; i++)); do echo "select md5(string_agg(b, ',' order by a)), sum(c), count(distinct d) from t where a % 150 = $i;"; done >questions
	try asked psql -X -q -h "$sockets" -U torture -d postgres -At < <(slowly questions)
	try group sql "select b, count(*), sum(c), string_agg(a::text, ',' order by a) from t group by b order by b limit 60"
	try window sql "select a, rank() over (partition by a % 7 order by c desc), lag(b) over (order by d), avg(c) over (order by a rows between 3 preceding and 2 following) from t order by a limit 200"
	try recursive sql "with recursive n(i) as (select 1 union select i * 3 % 1009 from n) select count(*), sum(i), max(b) from n join t on a = i"
	try join sql "select x.a, y.b, z.c from t x join t y on x.a = y.a * 3 left join t z on z.b = y.b and z.a < 500 where x.c between 100 and 900 order by 1, 3"
	try lateral sql "select a, k, v from t, lateral jsonb_each(e) as j(k, v) where e @> '{\"k\": 5}' order by a, k limit 80"
	try search sql "select a from t where p <@ box '(10,10),(20,20)' order by p <-> point '(15,15)', a limit 30; select count(*) from t where r && int4range(100, 200); select to_tsvector('english', 'the running foxes jumped') @@ to_tsquery('run & jump'), ts_rank(to_tsvector(b), 'w5') from t limit 3"
	try functions sql "select md5(b), sha256(b::bytea), encode(digest, 'hex') from (select b, decode(md5(b), 'hex') digest from t where a < 30) s; select regexp_replace(b, '([0-9])', '<\\1>', 'g'), to_char(d, 'Day DDD HH24 Q'), to_char(c, '9G999D99'), extract(epoch from d), age(d), b collate \"C\" < 'w5', format('%s-%I-%L', a, b, c), overlay(b placing 'xx' from 2), a::bit(12), (c * 1e30)::numeric(60,5), power(c, 2.5), ln(c), c::float8 ^ 0.3 from t order by a limit 60" 
	sed -i 's/-\?[0-9]* years.*days[^|]*|/AGE|/' functions
	try procedure sql "create function f(n int) returns bigint language plpgsql as \$\$ declare s bigint := 0; begin for i in 1 .. n loop begin s := (s * 31 + i) % 1000003; if i % 50 = 0 then raise exception 'x' using errcode = 'P0001'; end if; exception when others then s := s + 1; end; end loop; return s; end \$\$; select f(2000), f(10); do \$\$ begin perform 1 / 0; exception when division_by_zero then raise notice 'caught'; end \$\$"
	try change sql "begin; update t set b = upper(b), c = c / 3 where a % 3 = 0; savepoint s; delete from t; rollback to s; commit; delete from t where a % 11 = 5; alter table t add g int generated always as (a * 2) stored; cluster t using t_pkey"
	try vacuum sql 'vacuum full t'
	try plans sql "explain (costs off) select * from t x join t y using (b) where x.c > 100 and y.e ? 'k' order by x.d"
	try_wrong wrong-division sql 'select 1 / 0'
	try_wrong wrong-table sql 'select * from nothing'
	try_wrong wrong-syntax sql 'select from where'
	try_wrong wrong-number sql "select 'abc'::int"
	try copy sql 'copy (select a, b, c, d, e from t order by a) to stdout csv header'
	try bench sh -c '/usr/lib/postgresql/15/bin/pgbench -h "$1" -U torture -i -q -s 1 postgres >/dev/null 2>&1; /usr/lib/postgresql/15/bin/pgbench -h "$1" -U torture -c 4 -t 60 --random-seed=5 postgres 2>&1 | grep "actually processed\|failed"' sh "$sockets"
	try balance sql 'select count(*), (select sum(abalance) from pgbench_accounts) = (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history) = (select sum(tbalance) from pgbench_tellers) from pgbench_history'
	try check sql "create extension if not exists amcheck; select c.relname, bt_index_parent_check(c.oid, true, true) from pg_class c join pg_am m on m.oid = c.relam where amname = 'btree' and relkind = 'i' and relnamespace <> 'pg_toast'::regnamespace and relpersistence = 'p' order by 1; select count(*) from t, verify_heapam('t')"
	try sums sql 'select count(*), sum(c), max(d), min(b), sum(hashtext(t::text)) from t'
	as_user kill -INT "$(head -n 1 "$top/data/postmaster.pid")"
	wait "$pid"
	echo "server exit $?" >>cases
	grep -cE 'PANIC|terminated by signal|crash' "$top/log" >log-complaints
	rm -rf "$top/data" "$sockets"
}
sane() {
	[[ $(cat log-complaints) == 0 ]] && grep -q '|t|t$' balance && ! grep -v '|$\|^[0-9]*$' check && (($(wc -l <copy) > 5000))
}

# A stock sqlite3 that answers queries without end. Sourced by bash scripts.
#
#   sqlite_start    sets sqlite_pid; queries arrive through a pipe, data are in memory, answers go to /dev/null
#   sqlite_stop     idempotent
# Each answer is exactly sqlite_bytes_per_query bytes, so the write counter of /proc/PID/io counts queries.

sqlite_pid=
sqlite_feeder_pid=
sqlite_directory=
sqlite_bytes_per_query=256

# Tables of orders and items, 20,000 rows in all.
sqlite_schema() {
	cat <<-'SQL'
		CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, day TEXT, state TEXT);
		CREATE TABLE items (id INTEGER PRIMARY KEY, of_order INTEGER, name TEXT, price INTEGER);
		CREATE INDEX items_by_order ON items (of_order);
		CREATE INDEX orders_by_customer ON orders (customer, day);
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
		INSERT INTO orders SELECT i, i % 500, date('2020-01-01', i || ' days'), CASE i % 3 WHEN 0 THEN 'open' ELSE 'done' END FROM n;
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 15000)
		INSERT INTO items SELECT i, i % 5000 + 1, 'item ' || (i * 7919 % 15000), i * 31 % 1000 FROM n;
	SQL
}

# 1000 different queries: parsing, planning and running all count, as they do for the programs that embed sqlite.
sqlite_queries() {
	awk 'BEGIN {
		for (i = 0; i < 1000; i++) {
			a = i * 37 % 5000 + 1
			if (i % 4 == 0) q = "SELECT price FROM items WHERE id = " a
			if (i % 4 == 1) q = "SELECT sum(i.price) FROM orders o JOIN items i ON i.of_order = o.id WHERE o.customer = " a % 500
			if (i % 4 == 2) q = "SELECT count(*) FROM orders WHERE customer = " a % 500 " AND day > \"2024-01-01\" AND state LIKE \"o%\""
			if (i % 4 == 3) q = "SELECT max(length(upper(name) || state)) FROM items JOIN orders ON orders.id = of_order WHERE of_order BETWEEN " a " AND " a + 5
			printf "SELECT printf(\"%%0255d\", (%s));\n", q
		}
	}'
}

sqlite_start() {
	sqlite_directory=$(mktemp -d "${TMPDIR:-/tmp}/repave-sqlite.XXXXXX")
	mkfifo "$sqlite_directory/input"
	sqlite_queries >"$sqlite_directory/queries"
	sqlite3 -batch :memory: <"$sqlite_directory/input" >/dev/null 2>"$sqlite_directory/errors" &
	sqlite_pid=$!
	{
		sqlite_schema
		while cat "$sqlite_directory/queries"; do :; done
	} >"$sqlite_directory/input" 2>/dev/null &
	sqlite_feeder_pid=$!
}

# Fails if a query failed.
sqlite_stop() {
	[[ -n $sqlite_directory ]] || return 0
	local pid status=0
	for pid in $sqlite_pid $sqlite_feeder_pid; do
		kill "$pid" 2>/dev/null || :
		wait "$pid" 2>/dev/null || :
	done
	if [[ -s $sqlite_directory/errors ]]; then
		head -n 3 "$sqlite_directory/errors" >&2
		status=1
	fi
	rm -rf -- "$sqlite_directory"
	sqlite_directory= sqlite_pid= sqlite_feeder_pid=
	return $status
}

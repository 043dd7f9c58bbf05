# sqlite3 with libsqlite3: generated scripts of queries over generated tables, and the functions, virtual tables and commands of the shell.
prepare() { perl "$here/sql.pl" "$input"; }
files() {
	readlink -f /usr/bin/sqlite3
	echo /usr/lib/x86_64-linux-gnu/libsqlite3.so.0
}
# Scripts go on after mistakes, which some are to have.
run_script() { # CASE FILE
	if grep -qE 'select nothing|no_such' "$2"; then
		try_wrong "$1" "$bin/sqlite3" -batch db
	else
		try "$1" "$bin/sqlite3" -batch db
	fi
}
work() {
	local script
	for script in "$input"/*.sql; do
		run_script "${script##*/}.out" "$script" <"$script"
	done
	run_script slowly "$input/02-queries.sql" < <(slowly "$input/02-queries.sql")
	try dump "$bin/sqlite3" db .dump
	try check "$bin/sqlite3" db 'pragma integrity_check; pragma foreign_key_check; vacuum; pragma integrity_check'
	try stats "$bin/sqlite3" db .stats .schema .indexes
	try sums "$bin/sqlite3" db '.sha3sum'
	head -c 20000 db >cut.db
	try_wrong cut "$bin/sqlite3" cut.db 'pragma integrity_check; select count(*) from t;'
	rm -f cut.db
	# How much memory was used depends on addresses; what the kernel counted for the process includes what it was before it became sqlite3.
	sed -i '/system calls\|Used\|Outstanding\|Heap\|Bytes\|bytes/d' stats
}

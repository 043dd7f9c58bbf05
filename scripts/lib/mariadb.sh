# A private MariaDB server for tests, demo and measurements. Sourced by bash scripts.
#
# Owns one temporary directory (data, socket, log) and the processes started through it. No network, no configuration
# of the host is read, nothing is left behind. Stock defaults except what keeps a run bound to the CPU: see mariadb_options.
#
#   source scripts/lib/mariadb.sh
#   trap mariadb_cleanup EXIT         # the caller's trap must call this; INT and TERM must lead to exit
#   mariadb_start [SERVER [OPTION...]]    sets mariadb_pid and mariadb_socket; needs no server running
#   mariadb_load TABLES ROWS              makes the sysbench tables
#   sysbench_start WORKLOAD THREADS [OPTION...]   runs "for ever" in the background; sets sysbench_pid
#   sysbench_stop / mariadb_stop          idempotent
#
# Start functions are to be called in the script's own shell, not in a subshell: the processes die with the shell that started them,
# also if that is killed (only the directory is left then).
# Every function returns 0, or 4 after one line on stderr that says what could not be done.

mariadb_directory=
mariadb_pid=
mariadb_socket=
sysbench_pid=
# CPUs for server and load, as taskset takes them; empty: all.
mariadb_cpus=
mariadb_tables=4
mariadb_rows=10000

mariadb_fail() {
	echo "mariadb: $1" >&2
	[[ -z $2 || ! -s $2 ]] || tail -n 5 "$2" | sed "s/^/  | /" >&2
	return 4
}

# The options that matter: socket only; no write waits for a disk; all data in memory. Prints one per line.
mariadb_options() {
	printf '%s\n' --no-defaults --datadir="$mariadb_directory/data" --socket="$mariadb_socket" \
		--pid-file="$mariadb_directory/pid" --skip-networking --tmpdir="$mariadb_directory" \
		--log-error="$mariadb_directory/log.err" --innodb-flush-log-at-trx-commit=0 --innodb-buffer-pool-size=256M \
		--innodb-log-file-size=32M --max-connections=300
	((EUID == 0)) && printf '%s\n' --user=root
	return 0
}

# mariadb_launch COMMAND...: becomes that command, on mariadb_cpus, and dies with the shell that called. To be run with &.
mariadb_launch() {
	exec setpriv --pdeathsig KILL ${mariadb_cpus:+taskset -c "$mariadb_cpus"} "$@"
}

# Waits until the server answers, at most 30 s; fails at once if it died.
mariadb_await() {
	local try
	for ((try = 0; try < 600; try++)); do
		kill -0 "$mariadb_pid" 2>/dev/null || return 1
		[[ -S $mariadb_socket ]] && mariadb_query 'SELECT 1' >/dev/null 2>&1 && return 0
		sleep 0.05
	done
	return 1
}

# mariadb_query SQL [DATABASE]: runs one statement, prints tab-separated rows without a heading.
mariadb_query() {
	mariadb --no-defaults --user=root --socket="$mariadb_socket" --batch --skip-column-names --execute "$1" ${2:+"$2"}
}

mariadb_start() {
	local server=${1:-/usr/sbin/mariadbd} options
	shift $(($# > 0))
	if [[ -z $mariadb_directory ]]; then
		# /run and /dev/shm may be small or noexec; the socket path must stay under 108 bytes.
		mariadb_directory=$(mktemp -d "${TMPDIR:-/tmp}/repave-mariadb.XXXXXX") || return 4
		# --force: also on a machine without names for itself, such as a bare container.
		mariadb-install-db --no-defaults --datadir="$mariadb_directory/data" --auth-root-authentication-method=normal \
			--skip-test-db --force $( ((EUID == 0)) && echo --user=root) >"$mariadb_directory/install.log" 2>&1 ||
			{ mariadb_fail "mariadb-install-db failed" "$mariadb_directory/install.log"; return 4; }
	fi
	mariadb_socket=$mariadb_directory/socket
	mapfile -t options < <(mariadb_options)
	mariadb_launch "$server" "${options[@]}" "$@" >>"$mariadb_directory/output" 2>&1 </dev/null &
	mariadb_pid=$!
	mariadb_await || { mariadb_fail "$server did not come up" "$mariadb_directory/log.err"; return 4; }
}

# The sysbench options shared by all runs.
sysbench_options() {
	printf '%s\n' --db-driver=mysql --mysql-socket="$mariadb_socket" --mysql-user=root --mysql-db=sbtest \
		--tables="$mariadb_tables" --table-size="$mariadb_rows"
}

mariadb_load() {
	local options
	mariadb_tables=$1 mariadb_rows=$2
	mapfile -t options < <(sysbench_options)
	mariadb_query 'CREATE DATABASE IF NOT EXISTS sbtest' &&
		sysbench oltp_read_only "${options[@]}" --threads=2 prepare >"$mariadb_directory/load.log" 2>&1 ||
		{ mariadb_fail "sysbench prepare failed" "$mariadb_directory/load.log"; return 4; }
}

# sysbench_start WORKLOAD THREADS [OPTION...]: output in $mariadb_directory/sysbench.log
sysbench_start() {
	local workload=$1 threads=$2 options
	shift 2
	mapfile -t options < <(sysbench_options)
	mariadb_launch sysbench "$workload" "${options[@]}" --threads="$threads" --time=0 --events=0 "$@" run \
		>"$mariadb_directory/sysbench.log" 2>&1 </dev/null &
	sysbench_pid=$!
	local try
	for ((try = 0; try < 200; try++)); do
		kill -0 "$sysbench_pid" 2>/dev/null || break
		grep -qs 'Threads started' "$mariadb_directory/sysbench.log" && return 0
		sleep 0.05
	done
	mariadb_fail "sysbench $workload did not start" "$mariadb_directory/sysbench.log"
	return 4
}

# Fails if sysbench died by itself or saw an error: then the server gave it one.
sysbench_stop() {
	[[ -n $sysbench_pid ]] || return 0
	local pid=$sysbench_pid status=0
	sysbench_pid=
	if ! kill "$pid" 2>/dev/null; then
		mariadb_fail "sysbench ended early" "$mariadb_directory/sysbench.log"
		status=4
	fi
	wait "$pid" 2>/dev/null || :
	if grep -qs FATAL "$mariadb_directory/sysbench.log"; then
		mariadb_fail "sysbench saw errors" "$mariadb_directory/sysbench.log"
		status=4
	fi
	return $status
}

# Ends process $1, which is our child: politely, after 10 s with force.
mariadb_end_child() {
	local try
	kill "$1" 2>/dev/null || return 0
	for ((try = 0; try < 200; try++)); do
		kill -0 "$1" 2>/dev/null || break
		sleep 0.05
	done
	kill -KILL "$1" 2>/dev/null || :
	wait "$1" 2>/dev/null || :
	return 0
}

mariadb_stop() {
	[[ -n $mariadb_pid ]] || return 0
	local pid=$mariadb_pid
	mariadb_pid=
	mariadb_end_child "$pid"
}

# Removes everything, whatever state it is in. For the caller's EXIT trap; keeps the caller's exit status.
mariadb_cleanup() {
	local status=$?
	if [[ -n $sysbench_pid ]]; then
		kill -KILL "$sysbench_pid" 2>/dev/null || :
		wait "$sysbench_pid" 2>/dev/null || :
		sysbench_pid=
	fi
	if [[ -n $mariadb_pid ]]; then
		# The data is thrown away: no orderly shutdown needed.
		kill -KILL "$mariadb_pid" 2>/dev/null || :
		wait "$mariadb_pid" 2>/dev/null || :
		mariadb_pid=
	fi
	[[ -z $mariadb_directory ]] || rm -rf -- "$mariadb_directory"
	mariadb_directory=
	return $status
}

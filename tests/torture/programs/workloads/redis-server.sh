# redis-server: commands on all types of data, scripts, transactions, saving and loading, and its own digest of the data.
prepare() {
	local name library
	for name in 'redis-tools usr/bin/redis-check-rdb' 'redis-tools usr/bin/redis-cli' 'liblzf1 usr/lib/x86_64-linux-gnu/liblzf.so.1' \
		'libjemalloc2 usr/lib/x86_64-linux-gnu/libjemalloc.so.2' 'liblua5.1-0 usr/lib/x86_64-linux-gnu/liblua5.1.so.0' \
		'lua-cjson usr/lib/x86_64-linux-gnu/liblua5.1-cjson.so.0' 'lua-bitop usr/lib/x86_64-linux-gnu/liblua5.1-bitop.so.0'; do
		# shellcheck disable=SC2086
		library=$(unpacked $name)
		[[ -n $library ]] || { echo "no $name"; return 77; }
		cp -L "$library" "$input/"
	done
	cp "$input/redis-check-rdb" "$input/redis-server"
	! LD_LIBRARY_PATH=$input ldd "$input/redis-server" | grep 'not found' || return 77
	perl "$here/redis.pl" >"$input/commands"
}
files() {
	echo "$input/redis-server"
	printf '%s\n' "$input"/libjemalloc.so.2 "$input"/liblua5.1.so.0 "$input"/liblzf.so.1 "$input"/liblua5.1-cjson.so.0 "$input"/liblua5.1-bitop.so.0
}
cli() { "$input/redis-cli" -s "$top/socket" "$@"; }
await_server() {
	local try
	for ((try = 0; try < 600; try++)); do
		[[ $(cli ping 2>/dev/null) == PONG ]] && return
		sleep 0.1
	done
}
launch() {
	setpriv --pdeathsig KILL "$bin/redis-server" --port 0 --unixsocket "$top/socket" --dir "$PWD" --save '' --enable-debug-command yes --hash-max-listpack-entries 20 --appendfsync no "$@" >"$top/log" 2>&1 &
	pid=$!
	await_server
}
work() {
	local pid i
	launch
	try commands cli < <(slowly "$input/commands")
	try digest cli debug digest
	try save cli save
	try reload cli debug reload
	try digest-reloaded cli debug digest
	try aof cli config set appendonly yes
	try more sh -c 'for i in 1 2 3 4 5 6 7 8 9; do "$1" -s "$2" eval "for i = 1, 300 do redis.call(\"set\", KEYS[1] .. i, cjson.encode({i, \"x\", bit.bxor(i, 99)})) end return redis.call(\"get\", KEYS[1] .. 77)" 1 k$i; done' sh "$input/redis-cli" "$top/socket"
	try digest-more cli debug digest
	# It does not end while its first log of commands is being written.
	for ((i = 0; i < 600; i++)); do
		cli info persistence | grep -Eq '^aof_rewrite_(in_progress|scheduled):1' || break
		sleep 0.1
	done
	try stop cli shutdown nosave
	wait "$pid"
	echo "server exit $?" >>cases
	launch --appendonly yes
	try digest-again cli debug digest
	try size cli dbsize
	try stop-again cli shutdown save
	wait "$pid"
	try check-rdb "$input/redis-check-rdb" dump.rdb
	sed -i -E 's/[0-9]{6,}|[0-9.]+ seconds//g' check-rdb
	grep -c 'crashed\|ASSERT' "$top/log" >log-complaints
	rm -rf dump.rdb appendonlydir
}
sane() {
	[[ $(cat log-complaints) == 0 ]] && (($(wc -l <commands) > 4000)) && grep -qxE '[0-9a-f]{40}' digest && cmp digest digest-reloaded &&
		cmp digest-more digest-again && ! cmp -s digest digest-more
}

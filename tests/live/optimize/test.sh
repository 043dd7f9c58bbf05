#!/bin/bash
# See desc. Needs the tools in PATH (tests/run puts them there).
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../../.."
source tests/bench/sqlite.sh
source tests/live/lib/snapshot.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/repave-optimize.XXXXXX")
export REPAVE_CACHE=$work/cache

cleanup() {
	local status=$?
	sqlite_stop || status=1
	rm -rf -- "$work"
	exit $status
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
	echo "$1" >&2
	exit 1
}

bytes_written() {
	awk '$1 == "wchar:" { print $2 }' "/proc/$sqlite_pid/io"
}

# The process answers at least 100 queries more, within ten seconds.
expect_progress() {
	local start now try
	start=$(bytes_written)
	for ((try = 0; try < 100; try++)); do
		now=$(bytes_written) || fail "$1: the process is gone"
		((now - start < 100 * sqlite_bytes_per_query)) || return 0
		sleep 0.1
	done
	fail "$1: no progress"
}

# The executable bytes in memory are those of the files.
expect_original_text() {
	local range access offset device inode path start size
	while read -r range access offset device inode path; do
		[[ $access == *x* && $path == /* ]] || continue
		start=$((16#${range%-*})) size=$((16#${range#*-} - start))
		# The last page of a mapping may reach past the end of the file: compare what the file has.
		cmp -s <(dd if="$path" bs=1M iflag=skip_bytes,count_bytes skip=$((16#$offset)) count=$size status=none) \
			<(dd if="/proc/$sqlite_pid/mem" bs=1M iflag=skip_bytes,count_bytes skip=$start count=$size status=none) ||
			fail "$1: the code of $path differs from the file"
	done <"/proc/$sqlite_pid/maps"
}

sqlite_start
expect_progress 'before apply'
victim=$sqlite_pid
remember maps # it allocates all the time
expect_original_text 'before apply'
repave optimize -p "$sqlite_pid" --seconds 2 --plan-out "$work/plan.rplan"
expect_progress 'after apply'
repave status -p "$sqlite_pid"
repave apply verify -p "$sqlite_pid"
for round in 1 2 3; do
	repave undo -p "$sqlite_pid"
	expect_progress "after undo $round"
	expect_original_text "after undo $round"
	same "after undo $round"
	repave apply apply -p "$sqlite_pid" "$work/plan.rplan"
	expect_progress "after apply $round"
done
repave undo -p "$sqlite_pid"
expect_original_text 'at the end'
same 'at the end'

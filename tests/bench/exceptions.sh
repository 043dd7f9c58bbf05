#!/bin/bash
# Throughput of throw and catch through three libraries (tests/live/exceptions/matrix.cc), with all of them moved against the original, in one process, in
# turn. TURNS (10) pairs of windows of WINDOW (0.5) seconds; THREADS "1 4". Prints, for each number of threads, throws a second and the median ratio.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../live/exceptions"
root=$(readlink -f ../../..)
PATH=$root/${B:-build/gcc}:$PATH
work=$(mktemp -d)
victim=
trap '[ -z "$victim" ] || kill -9 "$victim" 2>/dev/null; rm -rf "$work"' EXIT
roles=(thrower middle catcher)
for role in "${roles[@]}"; do
	g++ -O2 -shared -fPIC -Wl,--build-id -D"${role^^}" -o "$work/lib$role.so" matrix.cc
done
g++ -O2 -pthread -o "$work/throwing" "$root/tests/bench/exceptions.cc" -L"$work" -Wl,--no-as-needed "${roles[@]/#/-l}" -Wl,-rpath,"$work"

# window: throws a second in one window
window() {
	local before after
	before=$(rounds) && sleep "${WINDOW:-0.5}" && after=$(rounds)
	awk -v "b=$before" -v "a=$after" 'BEGIN { split(b, x); split(a, y); print (y[1] - x[1]) / (y[2] - x[2]) }'
}

# rounds: "THROWS SECONDS"
rounds() {
	local count
	count=$(wc -l <"$work/out")
	kill -USR1 "$victim"
	until (($(wc -l <"$work/out") > count)); do sleep 0.005; done
	tail -n 1 "$work/out"
}

for threads in ${THREADS:-1 4}; do
	"$work/throwing" "$threads" >"$work/out" &
	victim=$!
	sleep 0.2
	if [ ! -e "$work/plan" ]; then
		mapfile -t files < <(awk '$6 ~ /\/(lib(thrower|middle|catcher)|libc|libgcc_s)\.so/ && !seen[$6]++ { print $6 }' "/proc/$victim/maps")
		repave-analyze map -o "$work/" "${files[@]}" >/dev/null 2>&1
		repave-analyze plan --torture 7 --modules libthrower.so,libmiddle.so,libcatcher.so -o "$work/plan" "$work"/*.rmap >/dev/null 2>&1
	fi
	: >"$work/pairs"
	for ((turn = 0; turn < ${TURNS:-10}; turn++)); do
		original=$(window)
		# Busy while all threads unwind all the time.
		until repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >/dev/null 2>&1; do kill -0 "$victim"; done
		moved=$(window)
		until repave-apply undo -p "$victim" >/dev/null 2>&1; do kill -0 "$victim"; done
		echo "$original $moved" >>"$work/pairs"
	done
	awk -v "threads=$threads" '{ original[NR] = $1; moved[NR] = $2; ratio[NR] = $2 / $1 }
		function median(list) { asort(list); return list[int((NR + 1) / 2)] }
		END { printf "%d threads: original %.0f, moved %.0f throws a second, ratio %.3f\n", threads, median(original), median(moved), median(ratio) }' \
		"$work/pairs"
	kill "$victim"
	wait "$victim" 2>/dev/null || true
	victim=
done

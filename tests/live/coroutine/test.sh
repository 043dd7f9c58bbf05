#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh

# turn WORD: the next answer must be this
turn() {
	answers "$1"
	[ "$answer" = "$1" ] || fail "not $1"
}

gcc -O2 -fno-optimize-sibling-calls -Wl,--build-id -o "$work/victim" victim.c || fail "the victim does not build"
libc=$(readlink -f "$(ldd "$work/victim" | awk '/libc\.so/ { print $3 }')")
repave-analyze map -o "$work/" "$work/victim" "$libc" >"$work/log" 2>&1 || fail "map"
repave-analyze plan --torture 1 --modules victim -o "$work/plan" "$work"/*.rmap >"$work/log" 2>&1 || fail "plan"
victim "$work/victim"
ready
turn begun # once before, so that all memory that it ever needs is there
turn ended
remember
for again in 1 2; do
	repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
	turn begun
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo: exit $?"
	grep -q "stays mapped: a saved PC may lead into it" "$work/log" || fail "the image is not kept for the coroutine"
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo again: exit $?"
	grep -q "stays mapped" "$work/log" || fail "the image goes although the coroutine needs it"
	repave-apply status -p "$victim" >"$work/log" 2>&1 || fail "status: exit $?"
	grep -q "image stays mapped because: a saved PC" "$work/log" || fail "status does not say why"
	turn ended
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo at last: exit $?"
	grep -q "nothing of ours remains" "$work/log" || fail "the image is not freed when nothing leads into it"
	same "round $again"
done

# Live counting goes in rounds: the image that the coroutine keeps of the first does not keep the second out.
# counted PROFILER: with a coroutine that begins while the first round counts
counted() {
	local try recorder
	REPAVE_CACHE=$work "$1" record --exact --seconds 0.4 --max-seconds 4 -p "$victim" -o "$work/counts" >"$work/record" 2>&1 &
	recorder=$!
	for ((try = 0; try < 1000; try++)); do # for its image to be mapped; it runs in it a moment later, for 0.8 s
		grep -q "r-xp 00000000 00:00 0 $" "/proc/$victim/maps" && break
		sleep 0.02
	done
	sleep 0.3
	turn begun
	wait "$recorder" || fail "record: exit $?, $(cat "$work/record")"
	repave-dump "$work/counts" >"$work/log" 2>&1 && grep -q "counts" "$work/log" || fail "no counts"
	turn ended
	repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "undo of the counting image: exit $?"
	same counting
}
counted repave-profile
grep -q "live counting in 2 rounds" "$work/record" && grep -q "image is still mapped" "$work/record" ||
	fail "the coroutine keeps the second round out, or no image: $(cat "$work/record")"
# A process that stays busy after the first round: what that has counted is delivered.
mkdir "$work/tools"
cp "$(command -v repave-profile)" "$work/tools/"
ln -s "$(command -v repave-analyze)" "$work/tools/"
cat >"$work/tools/repave-apply" <<-END
	#!/bin/bash
	[ "\$1" != count ] || [ ! -e "$work/counted" ] || { echo '{"error":{"code":"BUSY","status":75,"text":"process busy"}}'; exit 75; }
	[ "\$1" != count ] || touch "$work/counted"
	exec "$(command -v repave-apply)" "\$@"
END
chmod +x "$work/tools/repave-apply"
counted "$work/tools/repave-profile"
grep -q "live counting in 1 rounds" "$work/record" && grep -q "no further round: .*process busy" "$work/record" ||
	fail "not cut short by a busy process: $(cat "$work/record")"
kill_victim
echo "a coroutine keeps its image, twice, and that of live counting"

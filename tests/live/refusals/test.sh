#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
others=()
trap 'kill -9 $victim "${others[@]}" 2>/dev/null; rm -rf "$work"' EXIT

# expect STATUS TEXT COMMAND...: that exit status, exactly one line on stderr, and it says TEXT
expect() {
	local want=$1 text=$2 status
	shift 2
	"$@" >"$work/stdout" 2>"$work/log"
	status=$?
	[ "$status" = "$want" ] || fail "$*: exit $status, not $want"
	[ "$(wc -l <"$work/log")" = 1 ] || fail "$*: not one line"
	grep -q -- "$text" "$work/log" || fail "$*: does not say \"$text\": $(cat "$work/log")"
}

mkdir "$work/old" && cp "$work/victim" "$work/old/victim"
victim "$work/old/victim" 4
rounds before
remember
none=$((2 ** 22 - 1))
while kill -0 "$none" 2>/dev/null; do none=$((none - 1)); done
for verb in status undo verify; do
	expect 5 "does not exist" repave-apply "$verb" -p "$none"
	expect 2 "which process" repave-apply "$verb"
done
expect 5 "does not exist" repave-apply apply -p "$none" "$work/plan"
expect 3 "No such file" repave-apply apply -p "$victim" "$work/no-plan"
expect 5 "nothing is applied" repave-apply undo -p "$victim"
expect 1 "nothing is applied" repave-apply verify -p "$victim"

# Plans that are not to be trusted, or not whole.
cp "$work/plan" "$work/open" && chmod 666 "$work/open"
expect 5 "others may write" repave-apply apply -p "$victim" "$work/open"
head -c 500 "$work/plan" >"$work/cut" && chmod 600 "$work/cut"
expect 3 "cut" repave-apply apply -p "$victim" "$work/cut"
cp "$work/plan" "$work/bent" && printf '\377' | dd of="$work/bent" bs=1 seek=400 conv=notrunc 2>/dev/null
expect 3 "bent" repave-apply apply -p "$victim" "$work/bent"

# Another build of the same program.
build_victim ../threads/victim.c -O1
"$work/handplan" "$work/victim" "$work/wrong" || fail "no plan"
expect 5 "another build" repave-apply apply -p "$victim" "$work/wrong"
sleep 1000 &
others+=($!)
expect 5 "not mapped" repave-apply apply -p "${others[0]}" "$work/plan"

# A zombie.
bash -c 'sleep 0.1 & exec sleep 1000' &
others+=($!)
sleep 0.4
zombie=$(ps -o pid= --ppid "${others[1]}" | tr -d ' ')
[ -n "$zombie" ] && expect 5 "zombie" repave-apply apply -p "$zombie" "$work/plan"

# Traced by somebody else.
if command -v strace >/dev/null; then
	strace -o /dev/null -p "$victim" -f 2>/dev/null &
	others+=($!)
	sleep 0.5
	expect 5 "already traced by process" repave-apply apply -p "$victim" "$work/plan"
	kill "${others[-1]}"
	sleep 0.3
fi

# Somebody else's process.
if [ "$(id -u)" = 0 ] && command -v setpriv >/dev/null; then
	chmod 755 "$work" && chmod 644 "$work/plan" && cp "$(command -v repave-apply)" "$work/repave-apply" && chmod 755 "$work/repave-apply"
	expect 4 "ermission" setpriv --reuid=65534 --regid=65534 --clear-groups "$work/repave-apply" apply -p "$victim" "$work/plan"
fi

# 32 bits, where a compiler for it is there.
if echo 'int main(void){for(;;);}' | gcc -m32 -nostdlib -static -Wl,-e,main -x c - -o "$work/small" 2>/dev/null; then
	"$work/small" &
	others+=($!)
	sleep 0.1
	expect 5 "not a 64-bit" repave-apply apply -p "${others[-1]}" "$work/plan"
	kill -9 "${others[-1]}"
fi

pristine "after all refusals" --padding
progress "after all refusals"

# Twice, by another instance at the same time, undone twice, a dead target.
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan" >"$work/log" 2>&1 || fail "apply: exit $?"
expect 5 "applied already" repave-apply apply -p "$victim" "$work/plan"
repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "verify after a refused second apply"
repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo: exit $?"
expect 5 "nothing is applied" repave-apply undo -p "$victim"

# A function that is not what the plan says is left out, alone.
"$work/handplan" "$work/old/victim" "$work/plan2" --spoil hot_mix || fail "no plan"
repave-apply apply -p "$victim" --max-pause 2000 "$work/plan2" >"$work/log" 2>&1 || fail "apply with a left-out function: exit $?"
grep -q "1 functions left out" "$work/log" || fail "does not say that a function was left out"
progress "with a left-out function"
repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "undo: exit $?"
pristine "at the end" --padding
finish

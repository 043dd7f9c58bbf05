#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
build_victim ../threads/victim.c
gcc -std=gnu11 -O1 -D_GNU_SOURCE -I"$root" evil.c "$B/libformats.a" -Wl,--wrap=plan_validate -llz4 -lxxhash -ljansson -o "$work/evil" \
	>"$work/log" 2>&1 || fail "evil does not build"
"$work/handplan" "$work/victim" "$work/plan" || fail "no plan"
victim "$work/victim" 2
rounds before
remember

# expect STATUS TEXT COMMAND...: that exit status, one line on stderr without control characters, and it says TEXT
expect() {
	local want=$1 text=$2 status
	shift 2
	timeout 20 "$@" >"$work/stdout" 2>"$work/log" 3>&-
	status=$?
	[ "$status" = "$want" ] || fail "$*: exit $status, not $want"
	[ "$(wc -l <"$work/log")" = 1 ] || fail "$*: not one line"
	LC_ALL=C grep -q '[^ -~]' "$work/log" && fail "$*: unprintable bytes: $(cat -v "$work/log")"
	grep -q -- "$text" "$work/log" || fail "$*: does not say \"$text\": $(cat "$work/log")"
}

# Each lie, into a live process and into a file.
while read -r kind status; do
	"$work/evil" "$work/plan" "$work/$kind" "$kind" || fail "$kind cannot be made"
	expect "$status" "" repave-apply apply -p "$victim" --max-pause 2000 "$work/$kind"
	case $kind in
	field-cannot-reach | text-reaches-into-data | text-begins-before | no-build-id) ;; # a file has its hash, and other places
	*)
		timeout 20 repave-apply file "$work/victim" "$work/$kind" -o "$work/new" >"$work/stdout" 2>"$work/log"
		file_status=$?
		{ [ "$file_status" = 3 ] || [ "$file_status" = 5 ]; } || fail "$kind into a file: exit $file_status"
		[ ! -e "$work/new" ] || fail "$kind into a file: half of it is there"
		;;
	esac
done < <("$work/evil" list)
repave-apply apply --json -p "$victim" "$work/hostile-name" >"$work/stdout" 2>"$work/log"
jq -e '.error.status == 5' "$work/stdout" >/dev/null || fail "no JSON: $(cat "$work/stdout" "$work/log")"
LC_ALL=C grep -q '[^ -~]' "$work/stdout" && fail "unprintable bytes in JSON"
pristine "after all lies" --padding
progress "after all lies"

# Whose files: links are followed and what they lead to is judged; a FIFO does not keep us waiting; stdin is judged when it is a file.
mkdir -m 1777 "$work/open"
ln -s "$work/plan" "$work/open/link"
repave-apply apply -n -p "$victim" "$work/open/link" >/dev/null 2>"$work/log" || fail "a link to a plan of ours"
cp "$work/plan" "$work/open/loose" && chmod 666 "$work/open/loose"
ln -s loose "$work/open/loose-link"
mkfifo "$work/open/fifo"
expect 5 "others may write" repave-apply apply -p "$victim" "$work/open/loose-link"
expect 5 "regular file" repave-apply apply -p "$victim" "$work/open/fifo"
expect 5 "regular file" repave-apply apply -p "$victim" "$work/open"
expect 5 "regular file" repave-apply apply -p "$victim" /dev/zero
expect 5 "others may write" repave-apply apply -p "$victim" - <"$work/open/loose"
expect 5 "others may write" repave-apply file "$work/victim" "$work/open/loose" -o "$work/new"
expect 0 "runs unchanged.*others may write" repave-apply exec --plan "$work/open/loose" -- /bin/true
cat "$work/plan" | repave-apply apply -n -p "$victim" - >/dev/null 2>"$work/log" || fail "a plan from a pipe: $(cat "$work/log")"
repave-apply apply -n -p "$victim" - <"$work/plan" >/dev/null 2>"$work/log" || fail "a plan of ours as stdin: $(cat "$work/log")"
if [ "$(id -u)" = 0 ]; then
	cp "$work/plan" "$work/foreign" && chmod 644 "$work/foreign" && chown 65534 "$work/foreign"
	expect 5 "owned by user" repave-apply apply -p "$victim" "$work/foreign"
	expect 5 "owned by user" repave-apply apply -p "$victim" - <"$work/foreign"
fi

# A race in a directory that everybody may write: the path is exchanged all the time between a plan of ours and a writable one that lies.
"$work/evil" "$work/plan" "$work/open/bad" no-hash-fits && chmod 666 "$work/open/bad"
(
	while :; do
		ln -sf ../plan "$work/open/next" && mv -T "$work/open/next" "$work/open/raced"
		ln -sf bad "$work/open/next" && mv -T "$work/open/next" "$work/open/raced"
	done
) 2>/dev/null &
racer=$!
good=0 refused=0 bad=
for _ in $(seq 40); do
	timeout 20 repave-apply apply -n -p "$victim" "$work/open/raced" >"$work/stdout" 2>"$work/log"
	case $?:$(cat "$work/log") in
	0:*) good=$((good + 1)) ;;
	5:*"others may write"*) refused=$((refused + 1)) ;;
	3:*"No such file"*) ;;
	*) bad="in the race: $(cat "$work/log")" ;;
	esac
done
kill "$racer"
wait "$racer" 2>/dev/null
[ -z "$bad" ] || fail "$bad"
[ "$good" -gt 0 ] && [ "$refused" -gt 0 ] || fail "no race: $good times ours, $refused times refused"
echo "race: $good times ours, $refused times refused"

pristine "at the end" --padding
progress "at the end"
finish

#!/bin/bash
# stock.sh WORK NAME...: relays stock programs in random order into copies and compares their output on real work with the originals'.
# NAME is sqlite3 perl bash git python3.11 cc1plus (scripts/targets). SEED (default 1) chooses the order. Exit 1: something differs.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(readlink -f "$here/../../..")
work=$1
shift

# lay FILE PLAN NEW
lay() {
	repave-apply file "$1" "$2" -o "$3" >>"$work/log"
	[[ -z $(readelf -aW "$3" 2>&1 >/dev/null) ]] || { echo "readelf complains about $3"; return 1; }
}

# torture NAME ELF...: $work/NAME.rplan
torture() {
	local name=$1 elf map maps=()
	shift
	for elf; do
		map=$work/${elf##*/}.rmap
		repave-analyze map "$elf" -o "$map" >>"$work/log"
		maps+=("$map")
	done
	repave-analyze plan --torture "${SEED:-1}" -o "$work/$name.rplan" "${maps[@]}" >>"$work/log"
}

work_sqlite3() { "$1" :memory: <"$here/work.sql" 2>&1; }
work_perl() { "$1" "$here/work.pl" 2>&1; }
work_bash() { "$1" --norc "$here/work.bash" 2>&1; }
work_python3.11() { PYTHONHASHSEED=0 "$1" "$here/work.py" 2>&1; }
work_git() {
	local git=$1 dir
	dir=$(mktemp -d "$work/git.XXXXXX")
	(
		export GIT_CONFIG_NOSYSTEM=1 HOME=$dir GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
		export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
		cd "$dir"
		"$git" init -q -b main . && cp "$here"/work.* . && "$git" add . && "$git" commit -q -m one
		sed -i 's/print/printf/' work.pl && "$git" mv work.sql moved.sql && "$git" commit -q -a -m two && "$git" gc -q
		"$git" log --stat -M; "$git" diff -M --word-diff HEAD~1; "$git" blame work.pl; "$git" grep -n print; "$git" fsck; "$git" ls-tree -r HEAD
	) 2>&1
	rm -rf "$dir"
}
work_cc1plus() {
	[[ -s $work/big.ii ]] || g++ -std=c++20 -E "$here/work.cc" -o "$work/big.ii"
	"$1" -quiet -std=c++20 -O1 "$work/big.ii" -o - 2>&1
}

try() {
	local name=$1 elf libraries=
	elf=$("$root/scripts/targets" --have "$name" | cut -d' ' -f2)
	[[ -n $elf ]] || { echo "$name: not on this machine"; return 0; }
	if [[ $name == sqlite3 ]]; then
		libraries=$("$root/scripts/targets" --have libsqlite3 | cut -d' ' -f2)
		mkdir -p "$work/lib"
	fi
	torture "$name" "$elf" $libraries
	lay "$elf" "$work/$name.rplan" "$work/$name"
	[[ -z $libraries ]] || lay "$libraries" "$work/$name.rplan" "$work/lib/libsqlite3.so.0"
	"work_$name" "$elf" >"$work/$name.before" || true
	LD_LIBRARY_PATH=${libraries:+$work/lib} "work_$name" "$work/$name" >"$work/$name.after" || true
	[[ -s $work/$name.before ]] || { echo "$name: did no work"; return 1; }
	cmp "$work/$name.before" "$work/$name.after" || { echo "$name: output differs"; return 1; }
	echo "$name: $(wc -c <"$work/$name.after") bytes of output are the same"
}

for name; do
	try "$name"
done

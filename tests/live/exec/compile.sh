#!/bin/bash
# compile.sh WORK: C++ is compiled by g++ run by exec, with a plan for cc1plus, to the same objects; by -wrapper too. The plan is of what
# cc1plus executes for some tenths of a second; EXEC_ALL=1: of all of it, in random order. The helper is killed in some of the runs.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
work=$1
compiler=$(g++ -print-prog-name=cc1plus)
[[ -x $compiler ]] || { echo "no cc1plus"; exit 0; }
source=../filesink/work.cc

repave-analyze map -o "$work/cc1plus.rmap" "$compiler" >"$work/log" 2>&1
repave-analyze map -o "$work/libc.rmap" "$(ldd "$compiler" | awk '/libc\.so/ { print $3 }' | xargs readlink -f)" >"$work/log" 2>&1
maps=("$work/cc1plus.rmap" "$work/libc.rmap") # libc: what unwinders ask
if [[ ${EXEC_ALL:-0} = 1 ]]; then
	repave-analyze plan --torture 3 --modules cc1plus -o "$work/cc1plus.rplan" "${maps[@]}" >"$work/log" 2>&1
else
	g++ -std=c++20 -E "$source" -o "$work/big.ii"
	"$compiler" -quiet -std=c++20 -O1 "$work/big.ii" -o /dev/null &
	repave-profile record --samples --seconds 0.5 --rate 1999 -p $! -o "$work/cc1plus.rprof" >"$work/log" 2>&1
	kill $! && wait $! 2>/dev/null || true
	repave-analyze plan --profile "$work/cc1plus.rprof" --modules cc1plus -o "$work/cc1plus.rplan" "${maps[@]}" >"$work/log" 2>&1
fi

# check NAME: the object is the same, and cc1plus was relaid
check() {
	cmp "$work/stock.o" "$work/new.o" || { echo "$1: another object"; exit 1; }
	jq -se 'any((.program | endswith("/cc1plus")) and .outcome == "applied" and .patches > 10)' "$work/cc.report" >/dev/null ||
		{ echo "$1: cc1plus is not relaid"; cat "$work/cc.report"; exit 1; }
	echo "g++ $1: the same object, $(jq -c 'select(.outcome == "applied") | [.patches, .held_ms]' "$work/cc.report") patches and ms"
}
options=(-std=c++20 -O1 -c victim.cc)
g++ "${options[@]}" -o "$work/stock.o"
rm -f "$work/cc.report"
repave-apply exec --report "$work/cc.report" --plan "$work/cc1plus.rplan" -- g++ "${options[@]}" -o "$work/new.o"
check "by exec"
# The helper is killed while cc1plus is patched.
patches=$(jq -s 'map(select(.outcome == "applied"))[0].patches' "$work/cc.report") kills=$((${EXEC_ALL:-0} == 1 ? 20 : 2))
for ((i = 0; i < kills; i++)); do
	step=$((RANDOM * 32768 + RANDOM)) && step=$((1 + step % patches))
	rm -f "$work/new.o"
	REPAVE_FAULT=$step repave-apply exec --plan "$work/cc1plus.rplan" -- g++ "${options[@]}" -o "$work/new.o"
	cmp "$work/stock.o" "$work/new.o" || { echo "killed at step $step: another object"; exit 1; }
done
echo "$kills times the same object, the helper killed at a random step of $patches"
rm -f "$work/cc.report" "$work/new.o"
g++ -wrapper "repave-apply,exec,-q,--no-follow,--report,$work/cc.report,--plan,$work/cc1plus.rplan,--" "${options[@]}" -o "$work/new.o"
check "-wrapper"

#!/bin/bash
# See desc.
set -u
cd "$(dirname "$0")" || exit 1
. ../lib/live.sh
build_lib
varies=maps # victims allocate
# What unwinders ask, in the plans of all.
libc=$(readlink -f "$(ldd "$(command -v cat)" | awk '/libc\.so/ { print $3 }')")
libgcc=$(readlink -f "$(gcc -print-file-name=libgcc_s.so.1)")
mkdir "$work/asked"
repave-analyze map -o "$work/asked/" "$libc" "$libgcc" >"$work/log" 2>&1 || fail "map libc and libgcc_s"

# build NAME OUTPUT [ARG...]
build() {
	gcc -O2 -g -Wl,--build-id -o "$work/$1" "${@:2}" >"$work/log" 2>&1
}
# plan_of MODULE...: functions of these on a random layout (some are left where they are, which ones $seed decides); sets $plan
seed=$((RANDOM + 1)) tries=0
echo "from seed $seed"
plan_of() {
	local module maps=() patterns="" try
	for module; do
		repave-analyze map -o "$work/$module.rmap" "$work/$module" >"$work/log" 2>&1 || fail "map $module"
		maps+=("$work/$module.rmap")
		patterns+="${patterns:+,}$module"
	done
	plan=$work/$1.rplan
	# Until something of each is moved.
	for ((try = 0; try < 50; try++, seed++)); do
		repave-analyze plan --torture "$seed" --modules "$patterns" --json -o "$plan" "${maps[@]}" "$work"/asked/*.rmap >"$work/stdout" 2>"$work/log" ||
			fail "plan $*"
		[ "$(jq "[.modules[] | select((.path | startswith(\"$work/\")) and .patches > 0)] | length" "$work/stdout")" -ge "$#" ] && return
	done
	fail "no plan that moves something of each of $*"
}

build library.so library.c -shared -fPIC || fail "the library does not build"
build relocated.so library.c -shared -fno-pic -DRELOCATED_TEXT -Wl,-z,notext || fail "the library with text relocations does not build"
linked=(victim.c -L"$work" -l:library.so -Wl,-rpath,"$work")

build pie "${linked[@]}" -DINDIRECT || fail "pie"
plan_of pie library.so
victim "$work/pie"
cycle pie "$plan"
repave-apply apply -p "$victim" "$plan" >"$work/stdout" 2>"$work/log" || fail "pie: apply"
[ "$(grep -c 'so: [1-9]\|pie: [1-9]' "$work/stdout")" -ge 2 ] || fail "not both were moved: $(cat "$work/stdout")"
repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "pie: undo"
finish

build nopie "${linked[@]}" -no-pie -DINDIRECT || fail "nopie"
plan_of nopie library.so
victim "$work/nopie"
[ "$(od -An -tx1 -j16 -N1 "$work/nopie" | tr -d ' ')" = 02 ] || fail "nopie is a PIE"
cycle nopie "$plan"
finish

build apart "${linked[@]}" -no-pie -DAPART -Wl,--section-start=.apart=0x600000 || fail "apart"
[ "$(readelf -lW "$work/apart" | grep -c 'LOAD.*R E')" = 2 ] || fail "apart has not two executable segments"
while [ -z "${apart:-}" ] && [ "$((++tries))" -le 8 ]; do
	plan_of apart library.so
	victim "$work/apart"
	repave-apply apply -n -p "$victim" "$plan" | grep -q 'apart: [1-9]' && cycle "two executable segments" "$plan" && apart=yes
	finish
	seed=$((seed + 1))
done
tries=0
[ "${apart:-}" = yes ] || fail "two executable segments: nothing was moved"

build opener victim.c library.c -DINDIRECT -Wl,-E || fail "opener"
plan_of opener library.so
victim "$work/opener" "$work/library.so"
cycle "a library that is opened" "$plan"
finish
victim "$work/opener" "$work/relocated.so"
grep -q relocated.so "/proc/$victim/maps" || fail "relocated.so is not there"
until repave-apply apply -n -p "$victim" "$plan" 2>"$work/log" | grep -q 'relocated.so: .* left out'; do
	[ "$((++tries))" -le 20 ] || fail "text relocations: no plan moves what was relocated"
	seed=$((seed + 1))
	plan_of opener relocated.so
done
# Where the loader wrote, memory is not what the file has: pristine would say so, too.
repave-apply apply -p "$victim" "$plan" >"$work/stdout" 2>"$work/log" || fail "text relocations: apply"
grep -q 'relocated.so: .*, 1 functions left out' "$work/stdout" || fail "text relocations: $(cat "$work/stdout")"
progress "text relocations, applied"
repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "text relocations: verify"
repave-apply undo -p "$victim" >"$work/log" 2>&1 || fail "text relocations: undo"
progress "text relocations, undone"
finish

seed=$((seed + 1))
for kind in -static -static-pie; do
	build "static" victim.c library.c "$kind" || { echo "$kind: not tried: $(tail -n 1 "$work/log")"; continue; }
	plan_of static
	victim "$work/static"
	refused "$kind" 5 "exceptions could not pass.*--without-unwind" "$plan"
	repave-apply apply -p "$victim" --max-pause 2000 --without-unwind "$plan" >"$work/log" 2>&1 || fail "$kind, --without-unwind: exit $?"
	progress "$kind, applied"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "$kind: verify: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "$kind: undo: exit $?"
	# There may be no table of its frames that could be found at run time, so that its stacks cannot be followed.
	grep -q -e "nothing of ours remains" -e "its stack cannot be followed" "$work/log" || fail "$kind: undo"
	grep -q " 0 patches" "$work/log" && fail "$kind: undo says that nothing was taken back"
	! grep -q "nothing of ours remains" "$work/log" || same "$kind, undone"
	hook=$("$work/pristine" "$victim" --padding | grep -v ': anonymous and not writable')
	[ "$(grep -c . <<<"$hook")" -le 1 ] || fail "$kind: not as it was: $hook"
	progress "$kind, undone"
	finish
done

if build sanitized "${linked[@]}" -fsanitize=address; then
	plan_of sanitized library.so
	victim "$work/sanitized"
	name="address sanitizer"
	progress "$name, before"
	remember maps # its runtime maps what it finds to do
	repave-apply apply -p "$victim" --max-pause 2000 "$plan" >"$work/log" 2>&1 || fail "$name: apply: exit $?"
	progress "$name, applied"
	repave-apply verify -p "$victim" >"$work/log" 2>&1 || fail "$name: verify: exit $?"
	repave-apply undo -p "$victim" --max-pause 2000 >"$work/log" 2>&1 || fail "$name: undo: exit $?"
	# Its runtime notes return addresses wherever memory is allocated, and one of those may look alive.
	grep -Eq "nothing of ours remains|a saved PC may lead into it" "$work/log" || fail "$name: undo left something"
	progress "$name, undone"
	# As long as the image stays unwinders ask it: of the patches, those of libc and libgcc_s stay too.
	"$work/pristine" "$victim" --padding >"$work/differs"
	if grep -q "a saved PC" "$work/log"; then
		grep -vE ': anonymous and not writable|/lib(c|gcc_s)\.so\.[0-9]+: ' "$work/differs" >"$work/stdout"
	else
		cp "$work/differs" "$work/stdout"
		same "$name, undone"
	fi
	[ -s "$work/stdout" ] && fail "$name: its code is not as it was: $(cat "$work/stdout")"
	finish
else
	echo "address sanitizer: not tried: $(tail -n 1 "$work/log")"
fi

# A Go program is one that has their tables. Its functions stay, and so there is no plan; pure ones have not even unwind information.
objcopy --add-section .go.buildinfo="$work/library.so" --remove-section .eh_frame --remove-section .eh_frame_hdr "$work/pie" "$work/gopher" \
	2>"$work/log" || fail "objcopy"
repave-analyze map -o "$work/gopher.rmap" "$work/gopher" >"$work/stdout" 2>"$work/log"
[ $? = 3 ] && grep -q "no unwind information.*(a Go program)" "$work/log" || fail "a map of a pure Go program"
objcopy --add-section .gopclntab="$work/library.so" "$work/pie" "$work/gopher" 2>"$work/log" || fail "objcopy"
repave-analyze map -o "$work/gopher.rmap" "$work/gopher" >"$work/log" 2>&1 || fail "map of a Go program"
repave-analyze why "$work/gopher" mix >"$work/stdout" 2>&1
grep -q "Go program" "$work/stdout" || fail "why does not say that it is a Go program: $(cat "$work/stdout")"
repave-analyze plan --torture 5 --modules gopher -o "$work/gopher.rplan" "$work/gopher.rmap" >"$work/stdout" 2>"$work/log"
[ $? = 1 ] && grep -q "nothing to plan.*Go program: has its own unwinder" "$work/log" || fail "a plan for a Go program"

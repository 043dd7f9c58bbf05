# cc1plus: all headers of the C++ library and generated templates, classes and mistakes, at several levels of optimisation. Its assembly is compared.
prepare() {
	[[ -r /usr/include/x86_64-linux-gnu/c++/12/bits/stdc++.h ]] || { echo 'no headers of g++-12'; return 77; }
	perl "$here/templates.pl" >"$input/templates.cc"
	cp "$root/tests/live/filesink/work.cc" "$input/"
	printf '#include <bits/stdc++.h>\nint main() { std::regex r("a*b"); std::map<std::string, std::vector<int>> m; m["x"].push_back(std::regex_match("aab", r)); return m.size(); }\n' >"$input/headers.cc"
	{
		head -n 60 "$input/templates.cc"
		printf 'template <class T> T f(T x) { return x.g( ; }\nint h = undeclared + "s" * 2;\nstruct S : T0<int> { S(S&) = delete; virtual void v() final; } s = s;\nauto z = f(3) -> ;\nconstexpr int c = 1 / 0; class X { int y }; int i = {1, 2};\n'
	} >"$input/mistakes.cc"
}
files() {
	readlink -f /usr/lib/gcc/x86_64-linux-gnu/12/cc1plus
	echo /lib/x86_64-linux-gnu/libc.so.6
}
compile() { # CASE SOURCE OPTION...
	local case=$1 source=$2 wanted=try
	shift 2
	[[ $source != mistakes ]] || wanted=try_wrong
	$wanted "$case" "$bin/cc1plus" -quiet -imultiarch x86_64-linux-gnu -D_GNU_SOURCE "$input/$source.cc" -dumpbase "$source" -o "$case.s" "$@"
}
work() {
	compile templates-g templates -O0 -g -std=c++20
	compile templates-3 templates -O3 -mavx2 -std=c++17
	compile templates-s templates -Os -fsanitize=undefined,address -fcoroutines -std=c++20
	compile work-1 work -O1 -std=c++20
	compile headers headers -O0 -std=c++20
	compile mistakes mistakes -O2 -Wall -Wextra -Wpedantic -fdiagnostics-color=always
}

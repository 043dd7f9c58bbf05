# libstdc++ and libgcc_s: moved, under a program that uses much of them (cxx.cc) and is moved as well.
prepare() { g++ -O2 -pthread -std=c++17 -w -Wl,--build-id -o "$input/cxx" "$here/cxx.cc"; }
files() {
	echo "$input/cxx"
	echo /usr/lib/x86_64-linux-gnu/libstdc++.so.6
	echo /lib/x86_64-linux-gnu/libgcc_s.so.1
	echo /lib/x86_64-linux-gnu/libc.so.6
}
work() {
	local part
	for part in streams strings patterns containers exceptions threads files; do
		try "$part" "$bin/cxx" "$part"
		try "$part-again" "$bin/cxx" "$part" "$part" exceptions
	done
	try all "$bin/cxx" threads exceptions streams strings patterns containers files threads exceptions containers patterns streams
	try thrown sh -c '"$1" no-such-part; test $? = 134' sh "$bin/cxx"
}

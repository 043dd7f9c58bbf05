# A program that a move does change: f37 calls somebody who looks whether it was called from behind .bss, where the file sink puts an image.
prepare() {
	{
		echo '#include <stdio.h>'
		echo 'extern char _end; static int n;'
		echo '__attribute__((noinline)) static void ask(void) { n += (char *)__builtin_return_address(0) > &_end; }'
		for i in {1..60}; do
			echo "__attribute__((noinline)) int f$i(int x) { volatile int y = x; for (int i = 0; i < x; i++) y += i * $i; $( ((i == 37)) && echo 'ask(); y++;') return y; }"
		done
		echo 'int main(void) { int s = 0;'
		for i in {1..60}; do echo "s += f$i($i);"; done
		echo 'printf("%d %d\n", s, n); return 0; }'
	} >"$input/asks.c"
	gcc -O1 -Wl,--build-id -o "$input/asks" "$input/asks.c"
}
files() { echo "$input/asks"; }
work() { try asks "$bin/asks"; }

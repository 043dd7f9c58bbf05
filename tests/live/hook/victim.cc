/* Reads commands, one a line. "throw": throws through some frames and catches; answers "caught N", or "WRONG". Ends with its input. */
#include <cstdio>

#define NOINLINE __attribute__((noinline))

static NOINLINE int descend(int depth)
{
	if (!depth)
		throw depth + 7;
	return descend(depth - 1) + 1;
}

static NOINLINE int caught(int depth)
{
	try {
		return descend(depth);
	} catch (int value) {
		return value;
	}
}

int main()
{
	char line[64];
	int count = 0;
	while (fgets(line, sizeof line, stdin)) {
		if (caught(5) == 7)
			printf("caught %d\n", ++count);
		else
			puts("WRONG");
		fflush(stdout);
	}
	return 0;
}

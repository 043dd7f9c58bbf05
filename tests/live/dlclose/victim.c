/*
 * Opens and closes a library with hot_ functions, calls them, and puts memory of its own where the library was.
 *
 * victim LIBRARY; commands, a line each on standard input, each answered by a line: "open", "close", "squat" (maps memory where the library was),
 * "check" (the memory is as it was), "leave" (unmaps it), "rounds" (calls; answers "rounds N"). "WRONG" when something is not right.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

typedef uint64_t (*mixer)(uint64_t, uint64_t);
typedef uint64_t (*twice)(mixer, uint64_t);

enum { SPAN = 0x5000 };

static void *library;
static unsigned char *place;

static int call(void)
{
	static uint64_t first;
	static int rounds;
	mixer mix = (mixer)dlsym(library, "hot_mix");
	twice again = (twice)dlsym(library, "hot_twice");
	uint64_t result = again(mix, 42);
	first = first ? first : result;
	return result == first ? ++rounds : -1;
}

static void open_library(const char *path)
{
	struct link_map *map;
	library = dlopen(path, RTLD_NOW);
	if (!library || dlinfo(library, RTLD_DI_LINKMAP, &map)) {
		printf("WRONG: %s\n", dlerror());
		return;
	}
	printf("opened %s\n", (unsigned char *)map->l_addr == place ? "again there" : "elsewhere");
	place = (unsigned char *)map->l_addr;
}

static int check(void)
{
	for (int i = 0; i < SPAN; i++)
		if (place[i] != 0x5a)
			return 0;
	return 1;
}

int main(int argc, char **argv)
{
	char line[64];
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (argc > 1 && fgets(line, sizeof line, stdin)) {
		if (!strncmp(line, "open", 4)) {
			open_library(argv[1]);
		} else if (!strncmp(line, "close", 5)) {
			dlclose(library);
			printf("closed\n");
		} else if (!strncmp(line, "squat", 5)) {
			void *got = mmap(place, SPAN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
			if (got != MAP_FAILED)
				memset(place, 0x5a, SPAN);
			printf("%s\n", got == MAP_FAILED ? "WRONG: taken" : "mapped");
		} else if (!strncmp(line, "check", 5)) {
			printf("%s\n", check() ? "right" : "WRONG: my memory was written to");
		} else if (!strncmp(line, "leave", 5)) {
			munmap(place, SPAN);
			printf("left\n");
		} else {
			int n = call();
			printf(n < 0 ? "WRONG result\n" : "rounds %d\n", n);
		}
	}
	return 0;
}

/*
 * uprobe PID FILE OFFSET: a uprobe at that offset of the file, in that process, until standard input ends. Says "planted" when it is there, and at the end
 * how often it was hit. Exit 77: this kernel, or this user, can plant none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct perf_event_attr attr = {.size = sizeof attr, .sample_period = 1};
	FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	char byte;
	uint64_t hits;
	if (argc != 4 || !type || fscanf(type, "%u", &attr.type) != 1)
		return 77;
	attr.config1 = (uintptr_t)argv[2];
	attr.config2 = strtoull(argv[3], NULL, 0);
	int event = (int)syscall(SYS_perf_event_open, &attr, atoi(argv[1]), -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (event < 0) {
		perror("perf_event_open");
		return 77;
	}
	puts("planted");
	fflush(stdout);
	if (read(0, &byte, 1) < 0 || read(event, &hits, sizeof hits) != sizeof hits)
		return 1;
	printf("%llu hits\n", (unsigned long long)hits);
	return 0;
}

/*
 * uprobe PID FILE OFFSET: a uprobe at that offset of the file, in that process, until standard input ends. Says "planted" when it is there. Exit 77:
 * this kernel, or this user, can plant none.
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
	if (argc != 4 || !type || fscanf(type, "%u", &attr.type) != 1)
		return 77;
	attr.config1 = (uintptr_t)argv[2];
	attr.config2 = strtoull(argv[3], NULL, 0);
	if (syscall(SYS_perf_event_open, &attr, atoi(argv[1]), -1, -1, PERF_FLAG_FD_CLOEXEC) < 0) {
		perror("perf_event_open");
		return 77;
	}
	puts("planted");
	fflush(stdout);
	return read(0, &byte, 1) < 0;
}

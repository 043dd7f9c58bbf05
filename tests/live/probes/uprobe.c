/*
 * uprobe PID FILE OFFSET: a uprobe at that offset of the file, in the first thread of that process, or with PID 0 in all processes, until standard input
 * ends. Says "planted" when it is there, and at the end how often it was hit. Exit 77: this kernel, or this user, can plant none.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPUS_MAX 1024

int main(int argc, char **argv)
{
	struct perf_event_attr attr = {.size = sizeof attr, .sample_period = 1};
	FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r");
	int events[CPUS_MAX], count = 0;
	uint64_t hits, sum = 0;
	char byte;
	if (argc != 4 || !type || fscanf(type, "%u", &attr.type) != 1)
		return 77;
	int pid = atoi(argv[1]), cpus = (int)sysconf(_SC_NPROCESSORS_ONLN);
	attr.config1 = (uintptr_t)argv[2];
	attr.config2 = strtoull(argv[3], NULL, 0);
	for (int cpu = 0; cpu < (pid ? 1 : cpus) && cpu < CPUS_MAX; cpu++) {
		events[count] = (int)syscall(SYS_perf_event_open, &attr, pid ? pid : -1, pid ? -1 : cpu, -1, PERF_FLAG_FD_CLOEXEC);
		if (events[count++] < 0) {
			perror("perf_event_open");
			return 77;
		}
	}
	puts("planted");
	fflush(stdout);
	if (read(0, &byte, 1) < 0)
		return 1;
	for (int i = 0; i < count; i++) {
		if (read(events[i], &hits, sizeof hits) != sizeof hits)
			return 1;
		sum += hits;
	}
	printf("%llu hits\n", (unsigned long long)sum);
	return 0;
}

/*
 * cpu_sampler PID...: tells how much CPU processes have used, and how much of it in user mode.
 *
 * A kernel without VIRT_CPU_ACCOUNTING_GEN (all Debian kernels) knows the sum of user and system time to the nanosecond but splits it
 * by asking at each 4 ms tick where the CPU is: over a 2 s window that is an error of several percent. So we ask more often: a
 * cpu-clock perf event on every CPU samples (pid, user or kernel) about 3,000 times a second, and
 *         user time = exact sum * user samples / all samples of the process.
 * One sampler must serve all processes that are compared: two see different phases of the tick, and differ by several percent.
 * Where the event is not permitted (needs root, CAP_PERFMON or perf_event_paranoid <= 0) the ticks of /proc/PID/stat do it.
 *
 * Protocol: first line "source samples" or "source ticks". Then for each line on stdin one line
 *         MONOTONIC_NS { CPU_NS USER_UNITS ALL_UNITS } for each PID in turn
 * where CPU_NS is user + system of all threads, dead ones included, and units count from the start. All numbers only grow; a caller
 * takes differences. Ends with status 0 at end of input, 1 if a process is gone, 2 usage, 4 if samples were lost.
 */
#include <errno.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	CPUS_MAX = 1024,
	PROCESSES_MAX = 8,
	RING_PAGES = 64, /* 16 bytes a sample: 5 s at 3 kHz, and we drain every second */
	DRAIN_MS = 1000,
	PERIOD_NS = 317003, /* 4 ms tick / 12.618: as far from marching with the tick as a ratio can be */
};

struct ring {
	struct perf_event_mmap_page *control;
	const unsigned char *data;
	size_t size;
};

struct process {
	pid_t pid;
	clockid_t clock;
	uint64_t user, kernel;
};

struct sampler {
	struct process processes[PROCESSES_MAX];
	int process_count;
	struct ring rings[CPUS_MAX];
	unsigned ring_count;
	uint64_t lost;
};

/* The part of a PERF_RECORD_SAMPLE that PERF_SAMPLE_TID makes. */
struct sample_body {
	uint32_t pid, tid;
};

static int ring_open(struct ring *ring, int cpu)
{
	struct perf_event_attr attr = {
	    .type = PERF_TYPE_SOFTWARE,
	    .size = sizeof(attr),
	    .config = PERF_COUNT_SW_CPU_CLOCK,
	    .sample_period = PERIOD_NS,
	    .sample_type = PERF_SAMPLE_TID,
	    .exclude_idle = 1,
	};
	int fd = (int)syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *map;

	if (fd < 0)
		return -errno;
	map = mmap(NULL, (RING_PAGES + 1) * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED) {
		int error = errno;

		close(fd);
		return -error;
	}
	*ring = (struct ring){map, (unsigned char *)map + page, RING_PAGES * page};
	return 0;
}

/* All online CPUs or none; true if sampling is on. */
static bool sampler_open_rings(struct sampler *sampler)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	int cpu;

	for (cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
		int status = ring_open(&sampler->rings[sampler->ring_count], cpu);

		if (status == -ENODEV) /* offline */
			continue;
		if (status < 0)
			return false;
		sampler->ring_count++;
	}
	return sampler->ring_count > 0;
}

/* Records are multiples of 8 bytes, but may wrap around the end of the ring. */
static void ring_copy(const struct ring *ring, uint64_t at, void *to, size_t length)
{
	size_t i;

	for (i = 0; i < length; i++)
		((unsigned char *)to)[i] = ring->data[(at + i) & (ring->size - 1)];
}

static void sampler_count(struct sampler *sampler, const struct perf_event_header *header, const struct sample_body *body)
{
	int i;

	for (i = 0; i < sampler->process_count; i++) {
		struct process *process = &sampler->processes[i];

		if ((pid_t)body->pid != process->pid)
			continue;
		if ((header->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER)
			process->user++;
		else
			process->kernel++;
	}
}

static void sampler_drain_ring(struct sampler *sampler, struct ring *ring)
{
	uint64_t head = __atomic_load_n(&ring->control->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = ring->control->data_tail;

	while (tail < head) {
		struct perf_event_header header;
		struct sample_body body;

		ring_copy(ring, tail, &header, sizeof(header));
		if (header.type == PERF_RECORD_SAMPLE) {
			ring_copy(ring, tail + sizeof(header), &body, sizeof(body));
			sampler_count(sampler, &header, &body);
		} else if (header.type == PERF_RECORD_LOST) {
			sampler->lost++;
		}
		tail += header.size;
	}
	__atomic_store_n(&ring->control->data_tail, tail, __ATOMIC_RELEASE);
}

static void sampler_drain(struct sampler *sampler)
{
	unsigned i;

	for (i = 0; i < sampler->ring_count; i++)
		sampler_drain_ring(sampler, &sampler->rings[i]);
}

/* Fields 14 and 15 of /proc/PID/stat, after the last ')' because the name in field 2 may hold anything. */
static int read_ticks(pid_t pid, uint64_t *ret_user, uint64_t *ret_system)
{
	char path[64], text[1024];
	unsigned long user, kernel;
	const char *after;
	size_t length;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	length = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[length] = '\0';
	after = strrchr(text, ')');
	if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel) != 2)
		return -EINVAL;
	*ret_user = user;
	*ret_system = kernel;
	return 0;
}

static int process_answer(const struct process *process, bool sampled)
{
	uint64_t user = process->user, kernel = process->kernel;
	struct timespec cpu;

	if (clock_gettime(process->clock, &cpu) || (!sampled && read_ticks(process->pid, &user, &kernel))) {
		fprintf(stderr, "cpu_sampler: process %d is gone\n", (int)process->pid);
		return 1;
	}
	printf(" %lld%09ld %llu %llu", (long long)cpu.tv_sec, cpu.tv_nsec, (unsigned long long)user, (unsigned long long)(user + kernel));
	return 0;
}

static int sampler_answer(struct sampler *sampler)
{
	struct timespec now;
	int i, status = 0;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sampler_drain(sampler);
	printf("%lld%09ld", (long long)now.tv_sec, now.tv_nsec);
	for (i = 0; i < sampler->process_count && !status; i++)
		status = process_answer(&sampler->processes[i], sampler->ring_count > 0);
	printf("\n");
	fflush(stdout);
	if (sampler->lost) {
		fprintf(stderr, "cpu_sampler: samples were lost\n");
		status = 4;
	}
	return status;
}

/* Answers until end of input. Every byte '\n' is one question. */
static int sampler_serve(struct sampler *sampler)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	char text[256];

	for (;;) {
		ssize_t length, i;

		if (poll(&input, 1, DRAIN_MS) == 0) {
			sampler_drain(sampler);
			continue;
		}
		length = read(STDIN_FILENO, text, sizeof(text));
		if (length <= 0)
			return 0;
		for (i = 0; i < length; i++) {
			int status = text[i] == '\n' ? sampler_answer(sampler) : 0;

			if (status)
				return status;
		}
	}
}

int main(int argc, char **argv)
{
	static struct sampler sampler;
	int i;

	if (argc < 2 || argc > 1 + PROCESSES_MAX) {
		fprintf(stderr, "usage: cpu_sampler PID... (at most %d)\n", PROCESSES_MAX);
		return 2;
	}
	for (i = 1; i < argc; i++) {
		struct process *process = &sampler.processes[sampler.process_count++];

		process->pid = atoi(argv[i]);
		if (process->pid <= 0 || clock_getcpuclockid(process->pid, &process->clock)) {
			fprintf(stderr, "cpu_sampler: no process '%s'\n", argv[i]);
			return 1;
		}
	}
	if (!sampler_open_rings(&sampler))
		sampler.ring_count = 0;
	/* Rings that are not emptied in time lose samples; best effort, since it takes privilege. */
	setpriority(PRIO_PROCESS, 0, -20);
	printf("source %s\n", sampler.ring_count ? "samples" : "ticks");
	fflush(stdout);
	return sampler_serve(&sampler);
}

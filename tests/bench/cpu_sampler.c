/*
 * cpu_sampler PID [PERIOD_NS]: tells how much CPU a process has used, and how much of it in user mode.
 *
 * A kernel without VIRT_CPU_ACCOUNTING_GEN (all Debian kernels) knows the sum of user and system time to the nanosecond but splits it
 * by asking at each 4 ms tick where the CPU is: over a 2 s window that is an error of several percent. So we ask more often: a
 * cpu-clock perf event on every CPU samples (pid, user or kernel) about 2,000 times a second, and
 *         user time = exact sum * user samples / all samples of the process.
 * Where the event is not permitted (needs root, CAP_PERFMON or perf_event_paranoid <= 0) the ticks of /proc/PID/stat do it.
 *
 * Protocol: first line "source samples" or "source ticks". Then for each line on stdin one line
 *         MONOTONIC_NS CPU_NS USER_UNITS ALL_UNITS
 * where CPU_NS is user + system of all threads, dead ones included, and units count from the start. All numbers only grow; a caller
 * takes differences. Ends with status 0 at end of input, 1 if the process is gone, 2 usage, 4 if samples were lost.
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
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	CPUS_MAX = 1024,
	RING_PAGES = 64, /* 16 bytes a sample: 8 s at 2 kHz, and we drain every second */
	DRAIN_MS = 1000,
	PERIOD_NS = 499979, /* about 2 kHz; a prime, so that it does not march with the 4 ms tick */
};

struct ring {
	struct perf_event_mmap_page *control;
	const unsigned char *data;
	size_t size;
};

struct sampler {
	pid_t pid;
	clockid_t clock;
	struct ring rings[CPUS_MAX];
	unsigned ring_count;
	uint64_t user, kernel, lost;
};

/* The part of a PERF_RECORD_SAMPLE that PERF_SAMPLE_TID makes. */
struct sample_body {
	uint32_t pid, tid;
};

static int ring_open(struct ring *ring, int cpu, uint64_t period_ns)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.sample_period = period_ns,
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
	*ring = (struct ring){ map, (unsigned char *)map + page, RING_PAGES * page };
	return 0;
}

/* All online CPUs or none; true if sampling is on. */
static bool sampler_open_rings(struct sampler *sampler, uint64_t period_ns)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	int cpu;

	for (cpu = 0; cpu < cpus && cpu < CPUS_MAX; cpu++) {
		int status = ring_open(&sampler->rings[sampler->ring_count], cpu, period_ns);

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
	if ((pid_t)body->pid != sampler->pid)
		return;
	if ((header->misc & PERF_RECORD_MISC_CPUMODE_MASK) == PERF_RECORD_MISC_USER)
		sampler->user++;
	else
		sampler->kernel++;
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

static int sampler_answer(struct sampler *sampler)
{
	struct timespec now, cpu;
	uint64_t user = 0, kernel = 0;

	if (clock_gettime(sampler->clock, &cpu) || clock_gettime(CLOCK_MONOTONIC, &now) ||
	    read_ticks(sampler->pid, &user, &kernel))
		return 1;
	sampler_drain(sampler);
	if (sampler->ring_count) {
		user = sampler->user;
		kernel = sampler->kernel;
	}
	printf("%lld%09ld %lld%09ld %llu %llu\n", (long long)now.tv_sec, now.tv_nsec, (long long)cpu.tv_sec, cpu.tv_nsec,
	       (unsigned long long)user, (unsigned long long)(user + kernel));
	fflush(stdout);
	return sampler->lost ? 4 : 0;
}

/* Answers until end of input. Every byte '\n' is one question. */
static int sampler_serve(struct sampler *sampler)
{
	struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
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
	long period = argc == 3 ? atol(argv[2]) : PERIOD_NS;
	int status;

	if (argc < 2 || argc > 3 || atoi(argv[1]) <= 0 || period < 50000) {
		fprintf(stderr, "usage: cpu_sampler PID [PERIOD_NS >= 50000]\n");
		return 2;
	}
	sampler.pid = atoi(argv[1]);
	if (clock_getcpuclockid(sampler.pid, &sampler.clock)) {
		fprintf(stderr, "cpu_sampler: no process %s\n", argv[1]);
		return 1;
	}
	if (!sampler_open_rings(&sampler, (uint64_t)period))
		sampler.ring_count = 0;
	printf("source %s\n", sampler.ring_count ? "samples" : "ticks");
	fflush(stdout);
	status = sampler_serve(&sampler);
	if (status == 1)
		fprintf(stderr, "cpu_sampler: process %s is gone\n", argv[1]);
	if (status == 4)
		fprintf(stderr, "cpu_sampler: samples were lost\n");
	return status;
}

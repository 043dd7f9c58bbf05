/*
 * victim KIND: computes in hot_ functions, checks every result, and lives under one of the limits that a kernel or the program itself can set.
 * SIGUSR1: prints "rounds N". SIGTERM: exits 0 if nothing was ever wrong, 1 otherwise.
 *
 * plain           under none
 * strict          strict seccomp: read, write, exit and sigreturn are all that is left
 * errno, kill     a seccomp filter that answers EPERM to, or kills for, mmap, munmap, mprotect, madvise and prctl
 * late            such a filter that kills, from SIGUSR2 on
 * mdwe            no memory may become executable that was not, and none is writable and executable (PR_SET_MDWE)
 * sealed          its code is sealed (mseal)
 * advised         memory that is marked MADV_DONTFORK, MADV_WIPEONFORK and MADV_MERGEABLE; it forks children that look at theirs, and compute
 * faulting        memory registered with userfaultfd, of which half is missing and nobody would ever fill it
 * locked          mlockall(MCL_CURRENT | MCL_FUTURE)
 * locked-limit    and RLIMIT_MEMLOCK is reached, with no privilege to exceed it
 * address-limit   RLIMIT_AS is reached
 * data-limit      RLIMIT_DATA is reached
 * mappings        vm.max_map_count is reached
 * undumpable      PR_SET_DUMPABLE is 0: its /proc files belong to root
 * migrating       it is sent from one CPU to another all the time
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#define PAGE 4096ul
#define NO_SUCH_KERNEL 77

#define HOT __attribute__((noinline, noclone, used, visibility("default")))

static volatile unsigned long rounds;
static volatile int wrong;
static unsigned char *marked[3]; /* MADV_DONTFORK, MADV_WIPEONFORK, MADV_MERGEABLE: two pages each */
static const char *kind;

HOT uint64_t hot_mix(uint64_t x, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		if (x & 1)
			x += i;
	}
	return x;
}

HOT uint64_t hot_each(uint64_t (*mix)(uint64_t, uint64_t), uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++)
		sum += mix(i + 1, 50);
	return sum;
}

static void say(const char *text, unsigned long value)
{
	char line[64];
	size_t at = sizeof line;
	line[--at] = '\n';
	do
		line[--at] = (char)('0' + value % 10);
	while (value /= 10);
	line[--at] = ' ';
	at -= strlen(text);
	memcpy(line + at, text, strlen(text));
	if (write(1, line + at, sizeof line - at) < 0)
		syscall(SYS_exit, 3);
}

static void on_usr1(int signal)
{
	(void)signal;
	say("rounds", rounds);
}

/* Not _exit, which is exit_group: strict seccomp forbids it. */
static void on_term(int signal)
{
	(void)signal;
	if (strcmp(kind, "strict"))
		_exit(wrong);
	syscall(SYS_exit, wrong);
}

static void check(int right, const char *what)
{
	if (right)
		return;
	say(what, 0);
	wrong = 1;
}

/* For what must succeed. */
static void must(int done, const char *what)
{
	if (done)
		return;
	perror(what);
	exit(errno == ENOSYS || errno == EINVAL ? NO_SUCH_KERNEL : 3);
}

static void filter(unsigned action)
{
	static const unsigned calls[] = {SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_prctl};
	enum { CALLS = sizeof calls / sizeof *calls };
	struct sock_filter code[CALLS + 3] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
	for (unsigned i = 0; i < CALLS; i++)
		code[i + 1] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], (unsigned char)(CALLS - i), 0);
	code[CALLS + 1] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	code[CALLS + 2] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action);
	const struct sock_fprog program = {CALLS + 3, code};
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) && !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "seccomp");
}

static void on_usr2(int signal)
{
	(void)signal;
	filter(SECCOMP_RET_KILL_PROCESS);
}

static void seal(void)
{
	extern const char __executable_start[], etext[];
	uintptr_t start = (uintptr_t)__executable_start & ~(PAGE - 1), end = ((uintptr_t)etext + PAGE - 1) & ~(PAGE - 1);
	must(!syscall(SYS_mseal, start, end - start, 0), "mseal");
	must(mprotect((void *)start, PAGE, PROT_READ) && errno == EPERM, "mseal without effect");
}

static void *pages(size_t count)
{
	void *got = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(got != MAP_FAILED, "mmap");
	return got;
}

static void advise(void)
{
	static const int how[] = {MADV_DONTFORK, MADV_WIPEONFORK, MADV_MERGEABLE};
	for (int i = 0; i < 3; i++) {
		marked[i] = pages(2);
		must(!madvise(marked[i], 2 * PAGE, how[i]), "madvise");
		memset(marked[i], 'a' + i, 2 * PAGE);
	}
}

static void check_advised(uint64_t expected)
{
	for (int i = 0; i < 3; i++)
		check(marked[i][0] == 'a' + i && marked[i][2 * PAGE - 1] == 'a' + i, "WRONG memory");
	pid_t child = fork();
	if (!child) {
		unsigned char in_core;
		int right = mincore(marked[0], PAGE, &in_core) && errno == ENOMEM && !marked[1][0] && marked[2][0] == 'c';
		_exit(right && hot_mix(42, 2000) == expected ? 0 : 1);
	}
	int status = 1;
	check(child > 0 && waitpid(child, &status, 0) == child && !status, "WRONG child");
}

static void register_faults(void)
{
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	struct uffdio_api api = {.api = UFFD_API};
	must(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "userfaultfd");
	unsigned char *memory = pages(4);
	memset(memory, 'x', 2 * PAGE);
	struct uffdio_register range = {.range = {(uintptr_t)memory, 4 * PAGE}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	must(!ioctl(fd, UFFDIO_REGISTER, &range), "UFFDIO_REGISTER");
	marked[0] = memory;
}

static uint64_t status_kilobytes(const char *name)
{
	char line[128];
	uint64_t value = 0;
	FILE *file = fopen("/proc/self/status", "r");
	must(file != NULL, "status");
	while (fgets(line, sizeof line, file))
		if (!strncmp(line, name, strlen(name)))
			value = strtoull(line + strlen(name), NULL, 10);
	fclose(file);
	return value;
}

static void limit(int resource, uint64_t bytes)
{
	const struct rlimit at = {bytes, bytes};
	must(!setrlimit(resource, &at), "setrlimit");
}

static void lock(int reached)
{
	must(!mlockall(MCL_CURRENT | MCL_FUTURE), "mlockall");
	if (!reached)
		return;
	limit(RLIMIT_MEMLOCK, status_kilobytes("VmLck:") * 1024);
	must(!setgroups(0, NULL) && !setgid(65534) && !setuid(65534), "setuid");
}

/* Every other page gets another protection until there may be no more mappings. */
static void split(void)
{
	enum { MANY = 1 << 20 };
	char *memory = mmap(NULL, MANY * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t at = 1;
	must(memory != MAP_FAILED, "mmap");
	while (at < MANY && !mprotect(memory + at * PAGE, PAGE, PROT_NONE))
		at += 2;
	must(at < MANY && errno == ENOMEM, "more mappings than can be");
}

static void *migrate(void *unused)
{
	for (;;) {
		for (int cpu = 0; cpu < 2; cpu++) {
			cpu_set_t one;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(getpid(), sizeof one, &one);
			usleep(300);
		}
	}
	return unused;
}

static void come_under(void)
{
	pthread_t thread;
	if (!strcmp(kind, "errno"))
		filter(SECCOMP_RET_ERRNO | EPERM);
	else if (!strcmp(kind, "kill"))
		filter(SECCOMP_RET_KILL_PROCESS);
	else if (!strcmp(kind, "late"))
		must(signal(SIGUSR2, on_usr2) != SIG_ERR, "signal");
	else if (!strcmp(kind, "mdwe"))
		must(!prctl(PR_SET_MDWE, 1, 0, 0, 0), "PR_SET_MDWE");
	else if (!strcmp(kind, "small-pages"))
		must(!prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
	else if (!strcmp(kind, "sealed"))
		seal();
	else if (!strcmp(kind, "advised"))
		advise();
	else if (!strcmp(kind, "faulting"))
		register_faults();
	else if (!strncmp(kind, "locked", 6))
		lock(kind[6] != 0);
	else if (!strcmp(kind, "address-limit"))
		limit(RLIMIT_AS, status_kilobytes("VmSize:") * 1024);
	else if (!strcmp(kind, "data-limit"))
		limit(RLIMIT_DATA, status_kilobytes("VmData:") * 1024);
	else if (!strcmp(kind, "mappings"))
		split();
	else if (!strcmp(kind, "undumpable"))
		must(!prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "PR_SET_DUMPABLE");
	else if (!strcmp(kind, "migrating"))
		must(!pthread_create(&thread, NULL, migrate, NULL), "thread");
	else if (!strcmp(kind, "strict"))
		must(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT), "seccomp");
}

static void rest(void)
{
	const struct timespec moment = {0, 500000};
	if (strcmp(kind, "strict"))
		nanosleep(&moment, NULL);
}

int main(int argc, char **argv)
{
	uint64_t mix = hot_mix(42, 2000), each = hot_each(hot_mix, 50);
	kind = argc > 1 ? argv[1] : "plain";
	signal(SIGUSR1, on_usr1);
	signal(SIGTERM, on_term);
	come_under();
	say("ready", 0);
	for (;;) {
		check(hot_mix(42, 2000) == mix && hot_each(hot_mix, 50) == each, "WRONG mix");
		if (marked[1])
			check_advised(mix);
		else if (marked[0])
			check(marked[0][0] == 'x' && marked[0][2 * PAGE - 1] == 'x', "WRONG memory");
		rounds++;
		rest();
	}
}

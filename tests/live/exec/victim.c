/*
 * victim ACTION...: says what it has inherited, and ends as it is told. Its hot_ functions are what plans move.
 *
 *   state           all that a program inherits and sees of itself, one thing per line, without addresses
 *   work            "work N", from the hot_ functions
 *   exit N, signal N
 *   wait            until stdin ends
 *   run CMD...      executes the rest, as a child made by fork, vfork, or from a thread (by the environment's HOW), and exits with its status;
 *                   HOW=instead: a thread executes it in place of the process
 */
#include <fcntl.h>
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define HOT __attribute__((noinline, noclone, used, visibility("default")))

extern const char _start[];

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

HOT uint64_t hot_sum(uint64_t (*mix)(uint64_t, uint64_t), uint64_t n)
{
	uint64_t sum = 0;
	for (uint64_t i = 0; i < n; i++)
		sum += mix(i + 1, 20);
	return sum;
}

static void print_status(void)
{
	static const char *const wanted[] = {
	    "Umask:",	"TracerPid:",	    "Uid:",	   "Gid:",    "Groups:", "Threads:", "SigPnd:", "ShdPnd:",
	    "SigBlk:",	"SigIgn:",	    "SigCgt:",	   "CapInh:", "CapPrm:", "CapEff:",  "CapBnd:", "NoNewPrivs:",
	    "Seccomp:", "Seccomp_filters:", "THP_enabled:"};
	char line[512];
	FILE *file = fopen("/proc/self/status", "re");
	while (file && fgets(line, sizeof line, file))
		for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
			if (!strncmp(line, wanted[i], strlen(wanted[i])))
				fputs(line, stdout);
	if (file)
		fclose(file);
}

static void print_descriptors(void)
{
	char path[64], link[512];
	for (int i = 0; i < 1024; i++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", i);
		ssize_t length = readlink(path, link, sizeof link - 1);
		if (length < 0)
			continue;
		link[length] = 0;
		/* The number of a pipe or socket differs from run to run. */
		link[strcspn(link, "[")] = 0;
		printf("descriptor %d %s %x %x\n", i, link, (unsigned)fcntl(i, F_GETFL), (unsigned)fcntl(i, F_GETFD));
	}
}

static void print_children(void)
{
	int count = 0, child;
	FILE *file = fopen("/proc/thread-self/children", "re");
	while (file && fscanf(file, "%d", &child) == 1)
		count++;
	if (file)
		fclose(file);
	int got = waitpid(-1, NULL, WNOHANG | __WALL);
	printf("children %d, %s\n", count, got < 0 ? strerror(errno) : got ? "one has ended" : "none has ended");
}

static void print_state(char **argv)
{
	int reaper = 0, death = 0;
	sigset_t pending;
	print_status();
	print_descriptors();
	print_children();
	for (int i = 0; argv[i]; i++)
		printf("argument %s\n", argv[i]);
	for (char **e = environ; *e; e++)
		if (strncmp(*e, "REPAVE_FAULT=", 13) && strncmp(*e, "_=", 2))
			printf("environment %s\n", *e);
	char *directory = getcwd(NULL, 0);
	printf("directory %s\nname %s\n", directory, (const char *)getauxval(AT_EXECFN));
	free(directory);
	printf("group %d session %d parent %d priority %d\n", getpgrp() == getpid(), getsid(0) == getpid(), getppid() == 1,
	       getpriority(PRIO_PROCESS, 0));
	prctl(PR_GET_CHILD_SUBREAPER, &reaper);
	prctl(PR_GET_PDEATHSIG, &death);
	printf("reaper %d death %d dumpable %d secure %lu\n", reaper, death, prctl(PR_GET_DUMPABLE), getauxval(AT_SECURE));
	printf("begins at %s\n", getauxval(AT_ENTRY) == (uintptr_t)_start ? "its entry" : "another place");
	sigpending(&pending);
	for (int i = 1; i < 65; i++)
		if (sigismember(&pending, i) > 0)
			printf("pending %d\n", i);
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		struct rlimit limit;
		getrlimit(i, &limit);
		printf("limit %d %lx %lx\n", i, limit.rlim_cur, limit.rlim_max);
	}
}

static char **command;
static int command_status;

static void *run_command(void *how)
{
	pid_t child = !strcmp(how, "instead") ? 0 : !strcmp(how, "vfork") ? vfork() : fork();
	if (!child) {
		execvp(command[0], command);
		_exit(127);
	}
	while (waitpid(child, &command_status, 0) < 0 && errno == EINTR)
		;
	return NULL;
}

static int run(char **argv)
{
	const char *how = getenv("HOW");
	pthread_t thread;
	command = argv;
	if (how && (!strcmp(how, "thread") || !strcmp(how, "instead"))) {
		if (pthread_create(&thread, NULL, run_command, (void *)(uintptr_t)how) || pthread_join(thread, NULL))
			return 1;
	} else {
		run_command(how && !strcmp(how, "vfork") ? (char[]){"vfork"} : (char[]){"fork"});
	}
	return WIFEXITED(command_status) ? WEXITSTATUS(command_status) : 128 + WTERMSIG(command_status);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const char *number = i + 1 < argc ? argv[i + 1] : "0";
		if (!strcmp(argv[i], "state"))
			print_state(argv);
		else if (!strcmp(argv[i], "work"))
			printf("work %lx\n", hot_sum(hot_mix, 1000));
		else if (!strcmp(argv[i], "pid"))
			printf("pid %d\n", getpid());
		else if (!strcmp(argv[i], "run"))
			return run(argv + i + 1);
		fflush(stdout);
		if (!strcmp(argv[i], "exit"))
			return atoi(number);
		if (!strcmp(argv[i], "signal"))
			raise(atoi(number));
		if (!strcmp(argv[i], "wait"))
			while (getchar() != EOF)
				;
	}
	return 0;
}

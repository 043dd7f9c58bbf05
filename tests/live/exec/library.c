/* Work before the entry point: by BEFORE in the environment, a thread that stays, another program, blocked signals, a child, a handler. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *stay(void *unused)
{
	for (;;)
		pause();
	return unused;
}

static void handle(int signal)
{
	static const char text[] = "HANDLED\n";
	if (write(2, text, sizeof text - 1) < 0)
		_exit(signal);
}

__attribute__((constructor)) static void before(int argc, char **argv)
{
	const char *what = getenv("BEFORE");
	pthread_t thread;
	sigset_t all;
	if (!what || !argc)
		return;
	if (!strcmp(what, "thread"))
		pthread_create(&thread, NULL, stay, NULL);
	if (!strcmp(what, "child"))
		waitpid(fork() ?: (_exit(0), 0), NULL, 0);
	if (!strcmp(what, "handler"))
		signal(SIGURG, handle);
	if (!strcmp(what, "raise"))
		raise(SIGURG);
	if (!strcmp(what, "block")) {
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
	}
	if (!strcmp(what, "exec")) {
		unsetenv("BEFORE");
		execv("/proc/self/exe", argv);
	}
	if (!strcmp(what, "exit"))
		_exit(9);
}

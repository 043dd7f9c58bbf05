#include "apply/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static long left = -1; /* steps until death; 0 = never */
static pid_t victim;

static void read_environment(void)
{
	const char *text = getenv("REPAVE_FAULT");
	char *end = NULL;
	left = text ? strtol(text, &end, 10) : 0;
	if (left < 0)
		left = 0;
	victim = end && *end == ':' ? (pid_t)strtol(end + 1, NULL, 10) : getpid();
}

void fault_step(void)
{
	if (left < 0)
		read_environment();
	if (left > 0 && --left == 0)
		kill(victim, SIGKILL);
}

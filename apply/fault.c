#include "apply/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static long left = -1; /* steps until it happens; 0 = never */
static pid_t victim;
static int with = SIGKILL;

/* n[:PID[:SIGNAL]] */
static void read_environment(void)
{
	const char *text = getenv("REPAVE_FAULT");
	char *end = NULL;
	left = text ? strtol(text, &end, 10) : 0;
	if (left < 0)
		left = 0;
	if (end && *end == ':')
		victim = (pid_t)strtol(end + 1, &end, 10);
	if (end && *end == ':')
		with = (int)strtol(end + 1, NULL, 10);
	if (victim <= 0)
		victim = getpid();
}

void fault_step(void)
{
	if (left < 0)
		read_environment();
	if (left > 0 && --left == 0)
		kill(victim, with);
}

bool fault_shows_stops(void)
{
	static int shows = -1;
	if (shows < 0)
		shows = getenv("REPAVE_SHOW_STOPS") != NULL;
	return shows;
}

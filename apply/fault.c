#include "apply/fault.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

void fault_step(void)
{
	static long left = -1; /* steps until death; 0 = never */
	if (left == 0)
		return;
	if (left < 0) {
		const char *text = getenv("REPAVE_FAULT");
		left = text ? strtol(text, NULL, 10) : 0;
		if (left <= 0) {
			left = 0;
			return;
		}
	}
	if (--left == 0)
		kill(getpid(), SIGKILL);
}

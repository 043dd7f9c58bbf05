/*
 * fault: dying on purpose, for tests.
 *
 * With REPAVE_FAULT=n in the environment the process kills itself (SIGKILL: no cleanup runs) just before its n-th step that a target can
 * notice: a ptrace call or a write to its memory. With REPAVE_FAULT=n:PID it kills that process instead: the target, say. REPAVE_FAULT=n:PID:SIGNAL
 * sends that signal (a number), and PID 0 is this process: with SIGSTOP it waits at step n while a test does what it likes to the target. Tests
 * sweep n and look at what is left of the target. Without it a step costs one test.
 */
#ifndef APPLY_FAULT_H
#define APPLY_FAULT_H

#include <stdbool.h>

/* Called before every step that a target can notice. */
void fault_step(void);

/* REPAVE_SHOW_STOPS is in the environment: stops are not hidden from interrupted calls, to show what hiding is for. */
bool fault_shows_stops(void);

#endif

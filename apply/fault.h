/*
 * fault: dying on purpose, for tests.
 *
 * With REPAVE_FAULT=n in the environment the process kills itself (SIGKILL: no cleanup runs) just before its n-th step that a target can
 * notice: a ptrace call or a write to its memory. With REPAVE_FAULT=n:PID it kills that process instead: the target, say. Tests sweep n and look at what is left of the target. Without it a step costs one test.
 */
#ifndef APPLY_FAULT_H
#define APPLY_FAULT_H

/* Called before every step that a target can notice. */
void fault_step(void);

#endif

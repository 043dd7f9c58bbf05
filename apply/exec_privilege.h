/*
 * exec_privilege: programs that the kernel runs with other privileges than whoever starts them. It does not when they are traced
 * (ptrace(2), execve(2)), so they must not be.
 */
#ifndef APPLY_EXEC_PRIVILEGE_H
#define APPLY_EXEC_PRIVILEGE_H

#include <stdbool.h>

/*
 * Does executing this file need to be untraced: is it set-user-id or set-group-id to somebody else, or has it capabilities, and may this process not
 * pass them on (CAP_SYS_PTRACE)? False for what is not there.
 */
bool exec_privilege_needed(const char *path);

#endif

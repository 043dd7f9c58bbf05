/*
 * special: what is known about functions by their names: those that save or ask for their caller's address, never return, or must be left
 * alone themselves.
 */
#ifndef ANALYZE_CODE_SPECIAL_H
#define ANALYZE_CODE_SPECIAL_H

enum special {
	SPECIAL_SAVES_PC = 1u << 0,    /* setjmp and the context functions: their callers are not moved */
	SPECIAL_ASKS_CALLER = 1u << 1, /* dlsym and the like */
	SPECIAL_FORKS = 1u << 2,       /* vfork, clone */
	SPECIAL_NO_RETURN = 1u << 3,
	SPECIAL_ITSELF = 1u << 4, /* not to be moved itself */
};

/* Bits of enum special of a function of this name; 0 for most, and for NULL. */
unsigned special_of_name(const char *name);

#endif

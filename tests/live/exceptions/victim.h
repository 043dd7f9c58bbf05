/* Shared between the program and its library: each throws through frames of the other. */
#ifndef VICTIM_H
#define VICTIM_H

#include <string>

struct failure {
	int code;
	explicit failure(int c) : code(c)
	{
	}
	virtual ~failure();
};

struct special_failure : failure {
	std::string text;
	explicit special_failure(int c) : failure(c), text("special")
	{
	}
};

/* Calls back with depth - 1 down to 0, with a local to destroy in each frame. */
typedef void (*callback)(int depth, void *data);
__attribute__((noinline)) void library_descend(int depth, callback callback, void *data);
__attribute__((noinline)) int library_catch(int what, callback callback, void *data);

struct guard {
	int *counter;
	explicit guard(int *c) : counter(c)
	{
		++*counter;
	}
	~guard()
	{
		--*counter;
	}
};

extern thread_local int library_live; /* guards alive in the library */

#endif

#include "analyze/emit/stub.h"

#include <string.h>

/* In stub_find_fde.S and stub_find_object.S. */
extern const struct stub stub_find_fde, stub_find_object __attribute__((visibility("hidden")));

const struct stub *stub_of(const char *function)
{
	if (!function)
		return NULL;
	if (!strcmp(function, "_Unwind_Find_FDE"))
		return &stub_find_fde;
	return !strcmp(function, STUB_FIND_OBJECT) ? &stub_find_object : NULL;
}

#include "analyze/emit/stub.h"

/* In stub_find_fde.S. */
extern const struct stub stub_find_fde_object __attribute__((visibility("hidden")));

const struct stub *stub_find_fde(void)
{
	return &stub_find_fde_object;
}

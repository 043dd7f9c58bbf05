/*
 * module_set: the modules of many profiles, each once.
 *
 * Two are one here when build-id, text hash and size are all equal; those that have neither build-id nor hash also by path. That is
 * narrower than module_same, which takes "not known" for equal and so is not transitive: with it the outcome would depend on the order of the
 * files. A module that is known in full in one profile and by its build-id alone in another thus stands in a set twice; readers (plans) take both.
 */
#ifndef PROFILE_MERGE_MODULE_SET_H
#define PROFILE_MERGE_MODULE_SET_H

#include "formats/base/err.h"
#include "formats/base/vec.h"
#include "formats/module.h"

#include <stddef.h>
#include <stdint.h>

/* Start with {0}; module_set_free. */
struct module_set {
	VEC(struct module_identity) modules; /* in the order of their coming; of the paths one module had, the least */
	uint32_t *slots;		     /* hash table: number + 1, 0 = free */
	size_t capacity;		     /* a power of two */
};

/* Number of the module; it is copied when it is new. ERR_MEMORY. */
int module_set_add(struct module_set *set, const struct module_identity *module, uint32_t *ret_number, struct err *e) MUST_CHECK;

/*
 * Sorts the modules by identity, so that the same set is the same array. *ret_new_number (malloc'ed) is by old number. Nothing may be
 * added afterwards. ERR_MEMORY.
 */
int module_set_sort(struct module_set *set, uint32_t **ret_new_number, struct err *e) MUST_CHECK;
void module_set_free(struct module_set *set);

#endif

/*
 * spaces: the address spaces of any number of processes, fed from the records of a file alone (profile/space.h asks /proc instead).
 *
 * A mapping replaces what it covers; a fork shares all mappings of its parent from then on; exec empties the space. Costs O(log n) a mapping
 * and O(1) a fork whatever the records say: the spaces are persistent trees in one arena, so a hostile file cannot make them large.
 */
#ifndef PROFILE_IMPORT_SPACES_H
#define PROFILE_IMPORT_SPACES_H

#include "formats/base/addr.h"
#include "formats/base/err.h"

#include <stdint.h>

#define SPACES_NONE UINT32_MAX

struct spaces;

int spaces_new(struct spaces **ret_spaces, struct err *e) MUST_CHECK;
void spaces_free(struct spaces *spaces);

/* [start, end) of process `pid` is now `mapping`, a number of the caller's (SPACES_NONE: nothing). An empty range does nothing. ERR_MEMORY. */
int spaces_map(struct spaces *spaces, uint32_t pid, raddr start, raddr end, uint32_t mapping, struct err *e) MUST_CHECK;
/* `child` starts with what `parent` has now. ERR_MEMORY. */
int spaces_fork(struct spaces *spaces, uint32_t parent, uint32_t child, struct err *e) MUST_CHECK;
void spaces_exec(struct spaces *spaces, uint32_t pid);
/* The mapping that holds `address`, SPACES_NONE if none does or the process is unknown. */
uint32_t spaces_find(const struct spaces *spaces, uint32_t pid, raddr address);

#endif

/*
 * space: the executable mappings of a process while it is recorded, for turning an address into (module, vaddr).
 *
 * Starts from /proc/PID/maps and follows the kernel's mapping records. A new mapping replaces what it covers. An address that lies in no
 * file, or in a file that is no ELF, has no module (PROFILE_NO_MODULE).
 */
#ifndef PROFILE_SPACE_H
#define PROFILE_SPACE_H

#include "formats/base/addr.h"
#include "formats/base/err.h"
#include "formats/base/procmaps.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct space;

/*
 * Where relaid code runs in the process, its addresses mean nothing in any file. The owner of its address map may install a translator: it is
 * asked for addresses that lie in no file, and answers with the address of the same instruction in the original code, or false.
 */
struct space_translator {
	bool (*translate)(void *context, raddr address, raddr *ret_original);
	void *context; /* borrowed */
};

int space_new(pid_t pid, struct space **ret_space, struct err *e) MUST_CHECK;
void space_free(struct space *space);
void space_set_translator(struct space *space, const struct space_translator *translator);

/* Forgets all mappings (the process called exec) and reads /proc/PID/maps. Modules keep their numbers. ERR_GONE, ERR_PERMISSION, ERR_MEMORY. */
int space_read(struct space *space, struct err *e) MUST_CHECK;

/*
 * An executable mapping appeared. `map` is what the kernel's record says; /proc is asked for the rest while it still shows the mapping. Only
 * ERR_MEMORY: a mapping that cannot be identified has no module.
 */
int space_add(struct space *space, const struct procmap *map, struct err *e) MUST_CHECK;

/* Number of the module and vaddr of an address; PROFILE_NO_MODULE and the address itself when it is in none. */
void space_find(struct space *space, raddr address, uint32_t *ret_module, uint64_t *ret_address);

size_t space_module_count(const struct space *space);
/* Borrowed until the next space_add or space_read. */
const struct module_identity *space_module(const struct space *space, uint32_t module);

#endif

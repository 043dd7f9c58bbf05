/*
 * procmaps: /proc/PID/maps as an array.
 */
#ifndef FORMATS_BASE_PROCMAPS_H
#define FORMATS_BASE_PROCMAPS_H

#include "formats/base/addr.h"
#include "formats/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct procmap {
	raddr start, end; /* [start, end) */
	uint64_t offset;  /* file offset of start */
	uint64_t inode;
	uint32_t device_major, device_minor;
	bool read, write, execute, shared;
	bool deleted;	  /* the kernel said " (deleted)"; cut from path */
	const char *path; /* unescaped; "" for anonymous; "[heap]", "[vdso]", "anon:..." as the kernel says. Owned by the table */
};

struct procmaps {
	struct procmap *maps; /* sorted by start */
	size_t count;
	char *text; /* owned */
};

/* ERR_GONE when the process does not exist (or is a zombie: empty maps), ERR_PERMISSION, ERR_MEMORY. A zombie leader with live threads is
   read through /proc/PID/task/TID. */
int procmaps_read(pid_t pid, struct procmaps *ret_maps, struct err *e) MUST_CHECK;
void procmaps_free(struct procmaps *maps);
/* The mapping that holds `address`, or NULL. */
const struct procmap *procmaps_find(const struct procmaps *maps, raddr address);

#endif

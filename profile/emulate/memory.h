/*
 * memory: what an emulated thread sees of its process's memory: pages copied on first touch, written to only here.
 *
 * The process is only read. What other threads write after a page was copied is not seen until memory_forget.
 */
#ifndef PROFILE_EMULATE_MEMORY_H
#define PROFILE_EMULATE_MEMORY_H

#include "formats/base/addr.h"
#include "formats/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MEMORY_PAGE = 4096 };

struct memory;

/* Room for `pages` pages. ERR_PERMISSION, ERR_GONE when the memory may not be read; ERR_MEMORY. */
int memory_new(pid_t pid, uint32_t pages, struct memory **ret_memory, struct err *e) MUST_CHECK;
void memory_free(struct memory *m);

/*
 * The kernel's pages for the clock ([vvar] beside the vDSO) cannot be read in another process, but every process has the same: those of this one
 * are taken. Looks where they are in both. ERR_GONE, ERR_PERMISSION, ERR_MEMORY.
 */
int memory_share_clock(struct memory *m, pid_t pid, struct err *e) MUST_CHECK;

/* Drops all copies: the process ran on. */
void memory_forget(struct memory *m);

/* The copy of the byte at `address`, up to the end of its page. NULL: not mapped, or no room is left. */
uint8_t *memory_at(struct memory *m, raddr address);

/* Copies over page ends. false: not all of it can be had; nothing is written then. */
bool memory_load(struct memory *m, raddr address, void *ret_bytes, size_t size);
bool memory_store(struct memory *m, raddr address, const void *bytes, size_t size);

#endif

/*
 * moves: PCs of stopped threads, from original code into the image and back, by the plan's address map.
 *
 * By state identity a thread may be moved at any instruction boundary: nothing but the PC changes.
 */
#ifndef APPLY_MOVES_H
#define APPLY_MOVES_H

#include "apply/patch.h"
#include "apply/stage.h"
#include "apply/tracee.h"

/* Index of a region's runs by original address. */
struct moves {
	struct moves_region {
		const struct region *region; /* borrowed */
		uint32_t *runs;		     /* owned: indices of runs that can be entered, sorted by original */
		uint32_t count;
	} * regions;
	uint32_t count;
};

int moves_init(const struct stage *s, struct moves *ret_moves, struct err *e) MUST_CHECK;
void moves_free(struct moves *m);

/* The place in the image that corresponds to `pc`; 0 when there is none. */
raddr moves_into_image(const struct moves *m, raddr pc);

/*
 * Moves every stopped thread whose PC is byte 1 to 4 of a wanted patch into the image and marks it changed; where that cannot be done the
 * patch is dropped (PATCH_PC_INSIDE). Registers reach the thread with moves_commit. How many were moved. Requires: stopped.
 */
uint32_t moves_out_of_patches(const struct moves *m, struct patch_set *set, struct tracees *s);

/*
 * Drops every wanted patch of which some word on the stack of a stopped thread points at byte 1 to 4: perhaps a PC saved by a signal or a return
 * address. Reads each stack from its red zone up, at most MOVES_STACK_MAX bytes, and where a thread has another stack (it is on a signal
 * stack) that one too. `buffer` holds MOVES_STACK_MAX bytes. How many stacks were longer than that. Requires: stopped.
 */
#define MOVES_STACK_MAX (256u << 10)
uint32_t moves_drop_saved(struct patch_set *set, const struct tracees *s, void *buffer);

/* Takes moves_out_of_patches back in our memory, before moves_commit: the threads keep their PCs. */
void moves_forget(struct tracees *s);

/* Writes changed registers back while the threads stay stopped. */
void moves_commit(struct tracees *s);

#endif

#include "analyze/simulate/follow.h"

#include <stdlib.h>
#include <string.h>

#define SEARCH 64 /* frames that an exception or longjmp may skip */

int follow_init(struct follow *f, struct machine *machine, struct err *e)
{
	*f = (struct follow){.machine = machine, .program = machine->program, .last = PROGRAM_NONE};
	f->frames = malloc(FOLLOW_DEPTH_MAX * sizeof *f->frames);
	return f->frames ? 0 : err_set(e, ERR_MEMORY, "simulate: no memory for a call stack");
}

void follow_free(struct follow *f)
{
	free(f->frames);
	*f = (struct follow){0};
}

void follow_push(struct follow *f, uint32_t next, bool from_image)
{
	if (f->depth == FOLLOW_DEPTH_MAX) {
		f->depth /= 2;
		memmove(f->frames, f->frames + f->depth, f->depth * sizeof *f->frames);
	}
	f->frames[f->depth++] = (struct follow_frame){next, from_image};
}

void follow_forget(struct follow *f)
{
	f->depth = 0;
	f->last = PROGRAM_NONE;
}

static void step(struct follow *f, uint32_t node, enum machine_way way)
{
	machine_step(f->machine, node, way);
	f->last = node;
}

void follow_start(struct follow *f, uint32_t node)
{
	step(f, node, MACHINE_START);
}

static void push_call(struct follow *f)
{
	const struct program_node *from = &f->program->nodes[f->last];
	if (from->kind == PROGRAM_CALL && from->next != PROGRAM_NONE)
		follow_push(f, from->next, f->machine->at.in_image);
}

void follow_arc(struct follow *f, uint32_t node)
{
	push_call(f);
	step(f, node, MACHINE_ARC);
}

void follow_over(struct follow *f)
{
	step(f, f->program->nodes[f->last].next, f->machine->at.in_image ? MACHINE_RETURN_IMAGE : MACHINE_RETURN);
}

bool follow_return(struct follow *f)
{
	if (!f->depth)
		return false;
	struct follow_frame frame = f->frames[--f->depth];
	step(f, frame.next, frame.from_image ? MACHINE_RETURN_IMAGE : MACHINE_RETURN);
	return true;
}

/* Unwinds to the frame that returns to `node`; false when there is none near the top. */
static bool unwind_to(struct follow *f, uint32_t node)
{
	for (uint32_t i = 0; i < SEARCH && i < f->depth; i++)
		if (f->frames[f->depth - 1 - i].next == node) {
			f->depth -= i;
			return true;
		}
	return false;
}

void follow_to(struct follow *f, uint32_t node)
{
	bool lost = f->last == PROGRAM_NONE;
	if ((lost || f->program->nodes[f->last].kind == PROGRAM_RETURN) && unwind_to(f, node))
		(void)follow_return(f);
	else if (lost)
		follow_start(f, node);
	else if (f->program->nodes[f->last].kind == PROGRAM_RETURN)
		step(f, node, MACHINE_RETURN);
	else
		follow_arc(f, node);
}

/*
 * Modules with an unwinder linked in (-static-libgcc): may exceptions pass through moved code there, and which functions are the unwinder?
 */
#include "analyze/code/build.h"
#include "analyze/elf/cfi.h"

#include <stdlib.h>
#include <string.h>

enum { RAX = 0, RDX = 1 }; /* DWARF numbers */

/* Compares `length` bytes; sizeof a name is all of it. */
static bool imports(const struct image *image, const char *name, size_t length)
{
	for (size_t i = 0; i < image->import_count; i++)
		if (image->imports[i].name && !strncmp(image->imports[i].name, name, length))
			return true;
	return false;
}

static bool exports(const struct image *image, const char *name)
{
	for (size_t i = 0; i < image->symbol_count; i++)
		if (image->symbols[i].is_global && !strcmp(image->symbols[i].name, name))
			return true;
	return false;
}

static bool has_personality(const struct image *image)
{
	for (size_t i = 0; i < image->fde_count; i++)
		if (image->fdes[i].personality)
			return true;
	return false;
}

/*
 * Is an unwinder linked in, and none of those that ask somebody who can be hooked (analyze/emit/stub.h)? One of GCC before 12.
 * A personality routine is what an unwinder calls: where there is none nothing can be thrown.
 * That of a static program finds moved code in a relaid file, whose own tables tell it; a live one is refused by apply, which finds no hook.
 */
static bool cannot_be_told(const struct image *image)
{
	if (imports(image, "_dl_find_object", sizeof "_dl_find_object") || exports(image, "_Unwind_Find_FDE"))
		return false;
	return imports(image, "dl_iterate_phdr", sizeof "dl_iterate_phdr") && !imports(image, "_Unwind_", 8) && has_personality(image);
}

/* Does it save rax and rdx for its caller? So do those that leave by __builtin_eh_return, which only the unwinder does. */
static bool leaves_to_handler(const struct image *image, const struct image_fde *fde)
{
	struct cfi_rows rows;
	bool saves = false;
	if (cfi_evaluate(image, fde, &rows, NULL))
		return false;
	for (uint32_t i = 0; i < rows.count; i++)
		saves |= rows.rows[i].registers[RAX].kind == CFI_OFFSET && rows.rows[i].registers[RDX].kind == CFI_OFFSET;
	cfi_rows_free(&rows);
	return saves;
}

enum mark { LEAVES = 1, CALLED = 2, CALLS = 4 };

/* Index of the function that starts at text offset `offset`, or MAP_NONE. */
static uint32_t starting_at(const struct map *m, uint32_t offset)
{
	uint32_t f = map_function_at(m, offset);
	return f != MAP_NONE && m->functions[f].start == offset ? f : MAP_NONE;
}

/* Gives `mark` to those that functions with `from` call directly, or, the other way round, to the callers of such. */
static void mark_calls(const struct map *m, uint8_t *marks, uint8_t from, uint8_t mark, bool callers)
{
	for (uint32_t i = 0; i < m->call_count; i++) {
		if (m->calls[i].kind != MAP_CALL_DIRECT)
			continue;
		uint32_t caller = map_function_at(m, m->calls[i].site), callee = starting_at(m, m->calls[i].target);
		if (caller == MAP_NONE || callee == MAP_NONE)
			continue;
		if (callers && marks[callee] & from)
			marks[caller] |= mark;
		if (!callers && marks[caller] & from)
			marks[callee] |= mark;
	}
}

/*
 * An unwinder looks at its own frames, and keeps their addresses where no undo finds them. Where it has no names it is known by those of its functions
 * that leave to a handler; the others that use the same helpers (_Unwind_Backtrace) belong to it.
 */
static void leave_unwinder_alone(const struct builder *b, struct map *m)
{
	uint8_t *marks = calloc(m->function_count + 1, 1);
	for (uint32_t i = 0; marks && i < m->function_count; i++)
		if (leaves_to_handler(b->image, &b->image->fdes[b->drafts[i].fde]))
			marks[i] = LEAVES;
	if (marks) {
		mark_calls(m, marks, LEAVES, CALLED, false);
		mark_calls(m, marks, CALLED, CALLS, true);
	}
	for (uint32_t i = 0; i < m->function_count; i++)
		if (!marks || marks[i] & (LEAVES | CALLS))
			m->functions[i].reasons |= 1u << MAP_REASON_READS_CODE;
	free(marks);
}

void builder_grade_unwinder(const struct builder *b, struct map *m)
{
	if (imports(b->image, "_dl_find_object", sizeof "_dl_find_object"))
		leave_unwinder_alone(b, m);
	if (!cannot_be_told(b->image))
		return;
	for (uint32_t i = 0; i < m->function_count; i++)
		m->functions[i].reasons |= 1u << MAP_REASON_OWN_UNWINDER;
}

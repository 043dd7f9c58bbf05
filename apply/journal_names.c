/*
 * The part of the journal that tells debuggers and profilers about the images: since version 1.2.
 */
#include "apply/journal_parts.h"

#include <stdlib.h>
#include <string.h>

#define FUNCTION_SIZE_ENCODED 12
#define FDE_ENTRY_SIZE 8

static int alloc_names(struct journal *j, uint64_t functions, uint64_t strings, struct err *e)
{
	if (functions > UINT32_MAX || strings > UINT32_MAX)
		return err_set(e, ERR_MEMORY, "too many names for the journal");
	j->functions = malloc((functions + 1) * sizeof *j->functions);
	j->strings = strings ? malloc(strings) : NULL;
	if (!j->functions || (strings && !j->strings))
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	return 0;
}

static void build_region(const struct plan_module *plan, struct journal *j, struct journal_region *r)
{
	r->fde_table = plan->fde_table;
	r->fde_count = plan->fde_count;
	r->eh_frame = plan->eh_frame;
	r->eh_frame_size = plan->eh_frame_size;
	r->first_function = j->function_count;
	r->function_count = plan->function_count;
	for (uint32_t i = 0; i < plan->function_count; i++) {
		const struct plan_function *f = &plan->functions[i];
		j->functions[j->function_count++] = (struct journal_function){f->start, f->size, f->name ? j->string_size + f->name : 0};
	}
	if (plan->string_size)
		memcpy(j->strings + j->string_size, plan->strings, plan->string_size);
	j->string_size += plan->string_size;
}

int journal_build_names(const struct stage *s, struct journal *j, struct err *e)
{
	uint64_t functions = 0, strings = 0;
	for (uint32_t i = 0; i < s->region_count; i++) {
		functions += s->regions[i].plan->function_count;
		strings += s->regions[i].plan->string_size;
	}
	int status = alloc_names(j, functions, strings, e);
	for (uint32_t i = 0; !status && i < s->region_count; i++)
		build_region(s->regions[i].plan, j, &j->regions[i]);
	return status;
}

void journal_encode_names(struct writer *w, const struct journal *j)
{
	write_u32(w, j->function_count);
	write_u32(w, j->string_size);
	for (uint32_t i = 0; i < j->region_count; i++) {
		const struct journal_region *r = &j->regions[i];
		const uint32_t numbers[] = {r->fde_table,     r->fde_count,	 r->eh_frame,
					    r->eh_frame_size, r->first_function, r->function_count};
		for (size_t k = 0; k < sizeof numbers / sizeof *numbers; k++)
			write_u32(w, numbers[k]);
	}
	for (uint32_t i = 0; i < j->function_count; i++) {
		write_u32(w, j->functions[i].start);
		write_u32(w, j->functions[i].size);
		write_u32(w, j->functions[i].name);
	}
	write_bytes(w, j->strings, j->string_size);
}

/* Do `size` bytes at this region offset lie in the region's data? */
static bool in_data(const struct journal_region *r, uint64_t offset, uint64_t size)
{
	uint64_t data = r->data.v - r->code.v;
	return offset >= data && size <= r->data_size && offset - data <= r->data_size - size;
}

static int decode_region(struct reader *r, const struct journal *j, struct journal_region *to, struct err *e)
{
	to->fde_table = read_u32(r);
	to->fde_count = read_u32(r);
	to->eh_frame = read_u32(r);
	to->eh_frame_size = read_u32(r);
	to->first_function = read_u32(r);
	to->function_count = read_u32(r);
	if (r->failed || to->first_function > j->function_count || to->function_count > j->function_count - to->first_function)
		return err_set(e, ERR_FORMAT, "journal: bad functions of a region");
	if (to->fde_count && (!in_data(to, to->fde_table, (uint64_t)to->fde_count * FDE_ENTRY_SIZE) ||
			      !in_data(to, to->eh_frame, to->eh_frame_size) || to->data.v - to->code.v > UINT32_MAX))
		return err_set(e, ERR_FORMAT, "journal: the frames of a region are not in its data");
	return 0;
}

static int decode_functions(struct reader *r, struct journal *j, struct err *e)
{
	for (uint32_t i = 0; i < j->function_count; i++) {
		struct journal_function *f = &j->functions[i];
		f->start = read_u32(r);
		f->size = read_u32(r);
		f->name = read_u32(r);
		if (f->name && f->name >= j->string_size)
			return err_set(e, ERR_FORMAT, "journal: bad name of function %u", i);
	}
	return 0;
}

int journal_decode_names(struct reader *r, struct journal *j, struct err *e)
{
	if (!reader_left(r))
		return 0;
	uint32_t functions = read_u32(r), strings = read_u32(r);
	if (r->failed || (uint64_t)functions * FUNCTION_SIZE_ENCODED + strings > reader_left(r))
		return err_set(e, ERR_FORMAT, "journal: counts of names exceed its size");
	int status = alloc_names(j, functions, strings, e);
	j->function_count = functions;
	j->string_size = strings;
	for (uint32_t i = 0; !status && i < j->region_count; i++)
		status = decode_region(r, j, &j->regions[i], e);
	if (!status)
		status = decode_functions(r, j, e);
	if (status)
		return status;
	const uint8_t *bytes = read_bytes(r, strings);
	if (r->failed)
		return err_set(e, ERR_FORMAT, "journal: truncated");
	if (strings && (bytes[0] || bytes[strings - 1]))
		return err_set(e, ERR_FORMAT, "journal: bad names");
	if (strings)
		memcpy(j->strings, bytes, strings);
	return 0;
}

#include "formats/plan_chunks.h"

#include <string.h>

void plan_stats_fields(struct plan_stats *stats, uint64_t *fields[PLAN_STATS_COUNT])
{
	uint64_t *all[] = {&stats->functions,	      &stats->blocks,	      &stats->hot_bytes,    &stats->code_bytes,
			   &stats->weight_total,      &stats->weight_covered, &stats->taken_before, &stats->taken_after,
			   &stats->executed_branches, &stats->pages_before,   &stats->pages_after,  &stats->lines_before,
			   &stats->lines_after,	      &stats->exits};
	_Static_assert(sizeof all / sizeof *all == PLAN_STATS_COUNT, "all of struct plan_stats");
	_Static_assert(sizeof all / sizeof *all * sizeof(uint64_t) == sizeof *stats, "all of struct plan_stats");
	memcpy(fields, all, sizeof all);
}

static void put_module(const struct plan_module *m, struct writer *w)
{
	struct plan_stats stats = m->stats;
	uint64_t *fields[PLAN_STATS_COUNT];
	module_encode(w, &m->module);
	write_u64(w, m->text_base);
	write_u64(w, m->text_size);
	write_u64(w, m->load_low);
	write_u64(w, m->load_high);
	write_u64(w, m->region_vaddr);
	const uint32_t numbers[] = {m->code_size, m->data_offset,   m->data_size, m->fde_table,	       m->fde_count,
				    m->eh_frame,  m->eh_frame_size, m->directory, m->directory_entries};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		write_u32(w, numbers[i]);
	plan_stats_fields(&stats, fields);
	for (size_t i = 0; i < PLAN_STATS_COUNT; i++)
		write_u64(w, *fields[i]);
}

static void put_code(const struct plan_module *m, struct writer *w)
{
	write_bytes(w, m->code, m->code_size);
}

static void put_data(const struct plan_module *m, struct writer *w)
{
	write_bytes(w, m->data, m->data_size);
}

static void put_relocations(const struct plan_module *m, struct writer *w)
{
	column_put(w, m->relocation_count);
	for (uint32_t i = 0; i < m->relocation_count; i++)
		column_put(w, m->relocations[i] - (i ? m->relocations[i - 1] : 0));
}

static void put_strings(const struct plan_module *m, struct writer *w)
{
	if (m->string_size)
		write_bytes(w, m->strings, m->string_size);
	else
		write_u8(w, 0);
}

static void put_functions(const struct plan_module *m, struct writer *w)
{
	uint32_t end = 0;
	column_put(w, m->function_count);
	for (uint32_t i = 0; i < m->function_count; i++) {
		const struct plan_function *f = &m->functions[i];
		column_put(w, f->start - end);
		column_put(w, f->size);
		end = f->start + f->size;
		write_u64(w, f->hash);
		column_put(w, f->entry == PLAN_NONE ? 0 : (uint64_t)f->entry + 1);
		column_put(w, f->patch_count);
		column_put(w, f->name);
	}
}

/* The function of a patch follows from the functions' patch counts. */
static void put_patches(const struct plan_module *m, struct writer *w)
{
	column_put(w, m->patch_count);
	for (uint32_t i = 0; i < m->patch_count; i++) {
		const struct plan_patch *p = &m->patches[i];
		column_put(w, p->at - m->functions[p->function].start);
		column_put(w, p->target);
		write_bytes(w, p->original, sizeof p->original);
		write_u8(w, p->kind);
	}
}

static void put_runs(const struct plan_module *m, struct writer *w)
{
	const struct plan_run *runs = m->runs;
	uint32_t count = m->run_count, image = 0, original = 0;
	column_put(w, count);
	for (uint32_t i = 0; i < count; i++) {
		column_put(w, zigzag((uint64_t)runs[i].image - image));
		image = runs[i].image + runs[i].image_size;
	}
	for (uint32_t i = 0; i < count; i++)
		column_put(w, runs[i].image_size);
	for (uint32_t i = 0; i < count; i++)
		column_put(w, runs[i].original_size);
	for (uint32_t i = 0; i < count; i++)
		write_u8(w, runs[i].kind);
	for (uint32_t i = 0; i < count; i++) {
		column_put(w, zigzag((uint64_t)runs[i].original - original));
		original = runs[i].original + runs[i].original_size;
	}
}

static void put_slots(const struct plan_module *m, struct writer *w)
{
	uint64_t slot = 0;
	uint32_t at = 0;
	column_put(w, m->slot_count);
	for (uint32_t i = 0; i < m->slot_count; i++) {
		column_put(w, m->slots[i].at - at);
		at = m->slots[i].at;
		column_put(w, zigzag(m->slots[i].slot - slot));
		slot = m->slots[i].slot;
	}
}

static void put_counters(const struct plan_module *m, struct writer *w)
{
	const struct plan_counter *c = m->counters;
	uint32_t from = 0;
	write_u32(w, m->counter_offset);
	column_put(w, m->counter_count);
	for (uint32_t i = 0; i < m->counter_count; i++) {
		column_put(w, zigzag((uint64_t)c[i].from - from));
		from = c[i].from;
	}
	for (uint32_t i = 0; i < m->counter_count; i++)
		column_put(w, c[i].to == PLAN_NONE ? 0 : 1 + zigzag((uint64_t)c[i].to - c[i].from));
	for (uint32_t i = 0; i < m->counter_count; i++)
		write_u8(w, c[i].kind);
}

static void encode_module(struct container_writer *cw, struct writer *w, const struct plan_module *m)
{
	static const struct {
		uint32_t tag;
		void (*put)(const struct plan_module *m, struct writer *w);
	} chunks[] = {
	    {PLAN_CHUNK_MODULE, put_module},	       {PLAN_CHUNK_CODE, put_code},	  {PLAN_CHUNK_DATA, put_data},
	    {PLAN_CHUNK_RELOCATIONS, put_relocations}, {PLAN_CHUNK_STRINGS, put_strings}, {PLAN_CHUNK_FUNCTIONS, put_functions},
	    {PLAN_CHUNK_PATCHES, put_patches},	       {PLAN_CHUNK_RUNS, put_runs},	  {PLAN_CHUNK_SLOTS, put_slots},
	};
	struct writer raw = {0};
	for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
		raw.size = 0;
		chunks[i].put(m, &raw);
		w->failed |= raw.failed;
		container_put_chunk(cw, w, chunks[i].tag, CONTAINER_REQUIRED, raw.data, raw.size);
	}
	if (m->counter_count) {
		raw.size = 0;
		put_counters(m, &raw);
		w->failed |= raw.failed;
		container_put_chunk(cw, w, PLAN_CHUNK_COUNTERS, CONTAINER_REQUIRED, raw.data, raw.size);
	}
	writer_free(&raw);
}

int plan_encode(const struct plan *p, struct writer *w, struct err *e)
{
	int status = plan_validate(p, "plan", e);
	if (status)
		return status;
	struct container_writer cw;
	struct writer raw = {0};
	const char *options = p->options ? p->options : "";
	container_put_header(&cw, w, CONTAINER_PLAN, PLAN_MAJOR, plan_counts(p) ? PLAN_MINOR : 0); /* without counters it is a 1.0 */
	write_u64(&raw, p->inputs_hash);
	column_put(&raw, p->module_count);
	column_put(&raw, strlen(options));
	write_bytes(&raw, options, strlen(options));
	w->failed |= raw.failed;
	container_put_chunk(&cw, w, PLAN_CHUNK_HEAD, CONTAINER_REQUIRED, raw.data, raw.size);
	writer_free(&raw);
	for (uint32_t i = 0; i < p->module_count; i++)
		encode_module(&cw, w, &p->modules[i]);
	container_put_end(&cw, w);
	return w->failed ? err_set(e, ERR_MEMORY, "plan: no memory to encode it") : 0;
}

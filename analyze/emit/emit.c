#include "analyze/emit/emit.h"

#include "analyze/emit/emit_work.h"
#include "formats/base/hash.h"

#include <string.h>

#define REGION_GAP (64ull << 20) /* above the module, so that no link-time address is in both */

const char *emit_drop_text(unsigned reason)
{
	static const char *const texts[] = {
#define X(name, text) text,
	    EMIT_DROPS(X)
#undef X
	};
	return reason < EMIT_DROP_COUNT ? texts[reason] : "?";
}

void emit_report_free(struct emit_report *report)
{
	free(report->dropped);
	*report = (struct emit_report){0};
}

struct emit_options emit_options_default(void)
{
	return (struct emit_options){.reentry_maximum = 4, .reentry_share = 2e-5};
}

static uint64_t round_up(uint64_t value, uint64_t to)
{
	return (value + to - 1) / to * to;
}

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "emit: no memory");
}

struct text {
	VEC(char) bytes;
};

static int add_name(struct text *text, const char *name, uint32_t *ret_offset)
{
	*ret_offset = 0;
	size_t size = name && *name ? strlen(name) + 1 : 0;
	if (!size)
		return 0;
	if (vec_reserve(&text->bytes, size))
		return -1;
	*ret_offset = (uint32_t)text->bytes.count;
	memcpy(text->bytes.data + text->bytes.count, name, size);
	text->bytes.count += size;
	return 0;
}

static uint32_t entry_of(const struct emitter *m, uint32_t function)
{
	const struct map_function *f = &m->map->functions[function];
	uint32_t chunk = f->block_count && m->map->blocks[f->first_block].start == f->start ? m->chunk_of[f->first_block] : EMIT_NONE;
	return chunk == EMIT_NONE ? PLAN_NONE : m->chunks.data[chunk].image - m->chunks.data[chunk].lead_stub;
}

static int add_function(const struct emitter *m, uint32_t function, struct text *names, struct plan_module *module, struct err *e)
{
	const struct map_function *f = &m->map->functions[function];
	struct plan_function *p = &module->functions[module->function_count++];
	const uint8_t *bytes = image_bytes(m->image, map_vaddr(m->map, f->start), f->size);
	if (!bytes)
		return err_set(e, ERR_MISMATCH, "emit: function at 0x%llx is not in the file",
			       (unsigned long long)map_vaddr(m->map, f->start).v);
	*p = (struct plan_function){.start = f->start, .size = f->size, .hash = hash_bytes(bytes, f->size), .entry = entry_of(m, function)};
	return add_name(names, map_function_name(m->map, function), &p->name) ? no_memory(e) : 0;
}

/* All functions that have a chunk, in the map's order, which is by address. */
static int add_functions(const struct emitter *m, struct plan_module *module, uint32_t *plan_index, struct err *e)
{
	struct text names = {0};
	int status = vec_push(&names.bytes, 0) ? no_memory(e) : 0;
	module->functions = calloc(m->chunks.count + 1, sizeof *module->functions);
	if (!module->functions && !status)
		status = no_memory(e);
	memset(plan_index, 0, (m->map->function_count + 1) * sizeof *plan_index);
	for (size_t i = 0; i < m->chunks.count; i++)
		plan_index[m->chunks.data[i].function] = 1;
	for (uint32_t f = 0; f < m->map->function_count && !status; f++) {
		if (!plan_index[f])
			continue;
		plan_index[f] = module->function_count;
		status = add_function(m, f, &names, module, e);
	}
	module->strings = names.bytes.data;
	module->string_size = (uint32_t)names.bytes.count;
	return status;
}

/* Where a patch at text offset `at` leads: the copy of that instruction; at the function's start with all that comes before it. */
static uint32_t patch_target(const struct emitter *m, const struct emit_patch *patch)
{
	uint32_t chunk = m->chunk_of[map_block_at(m->map, patch->at)];
	const struct emit_chunk *c = &m->chunks.data[chunk];
	if (patch->kind == PLAN_PATCH_ENTRY && c->lead_stub)
		return c->image - c->lead_stub;
	return c->image +
	       (patch->at -
		m->map->blocks[c->block].start); /* plain instructions stand between: no size changed, and counters come after them */
}

static int add_patches(const struct emitter *m, struct plan_module *module, const uint32_t *plan_index, struct err *e)
{
	module->patches = calloc(m->patches.count + 1, sizeof *module->patches);
	if (!module->patches)
		return no_memory(e);
	for (size_t i = 0; i < m->patches.count; i++) {
		const struct emit_patch *from = &m->patches.data[i];
		struct plan_patch *to = &module->patches[module->patch_count];
		const uint8_t *bytes = image_bytes(m->image, map_vaddr(m->map, from->at), PLAN_PATCH_SIZE);
		if (!bytes)
			return err_set(e, ERR_MISMATCH, "emit: patch at text offset 0x%x is not in the file", from->at);
		*to = (struct plan_patch){.at = from->at, .target = patch_target(m, from), .function = plan_index[from->function]};
		to->kind = from->kind;
		memcpy(to->original, bytes, PLAN_PATCH_SIZE);
		struct plan_function *f = &module->functions[to->function];
		if (!f->patch_count++)
			f->first_patch = module->patch_count;
		module->patch_count++;
	}
	/* Functions without patches point to where theirs would be. */
	for (uint32_t f = module->function_count, next = module->patch_count; f-- > 0;) {
		if (module->functions[f].patch_count)
			next = module->functions[f].first_patch;
		else
			module->functions[f].first_patch = next;
	}
	return 0;
}

/* Hands over the arrays; the emitter keeps none of them. */
static int take_results(struct emitter *m, struct plan_module *module, struct err *e)
{
	uint32_t *plan_index = malloc((m->map->function_count + 1) * sizeof *plan_index);
	if (!plan_index)
		return no_memory(e);
	int status = module_copy(&m->image->identity, &module->module, e);
	if (!status)
		status = add_functions(m, module, plan_index, e);
	if (!status)
		status = add_patches(m, module, plan_index, e);
	free(plan_index);
	if (status)
		return status;
	emit_statistics(m, &module->stats);
	module->stats.functions = module->function_count;
	module->text_base = m->map->text_base;
	module->text_size = m->map->text_size;
	module->load_low = m->image->load_low;
	module->load_high = m->image->load_high;
	module->region_vaddr = m->region;
	module->code_size = m->code_size;
	module->counter_count = (uint32_t)m->counters.count;
	module->counter_offset = m->counters.count ? m->counter_offset : 0;
	module->counters = m->counters.data;
	module->data_offset = plan_code_span(m->code_size) + (uint32_t)plan_counter_span(module->counter_count);
	module->directory = PLAN_NONE;
	module->code = m->code;
	module->runs = m->runs.data;
	module->run_count = (uint32_t)m->runs.count;
	module->relocations = m->relocations.data;
	module->relocation_count = (uint32_t)m->relocations.count;
	module->slots = m->slots.data;
	module->slot_count = (uint32_t)m->slots.count;
	m->code = NULL;
	m->runs.data = NULL;
	m->relocations.data = NULL;
	m->slots.data = NULL;
	m->counters.data = NULL;
	return 0;
}

static int check_subject(const struct emitter *m, struct err *e)
{
	if (!module_same(&m->image->identity, &m->map->module))
		return err_set(e, ERR_MISMATCH, "%s: the map is of another file", m->image->identity.path);
	if (m->map->text_base != m->image->text_base || m->map->text_size != m->image->text_size)
		return err_set(e, ERR_MISMATCH, "%s: the map has another executable span", m->image->identity.path);
	return 0;
}

static int emit_stages(struct emitter *m, struct err *e)
{
	int status = emit_set_order(m, e);
	if (!status)
		status = emit_choose_patches(m, e);
	if (!status)
		status = emit_set_chunks(m, e);
	if (!status && (m->options.counting || m->options.count_exits))
		status = emit_choose_probes(m, e);
	if (!status)
		status = emit_place(m, e);
	if (status)
		return status;
	m->counter_offset = plan_code_span(m->code_size);
	if (m->region + m->code_size + (256u << 20) - m->image->load_low > INT32_MAX)
		return err_set(e, ERR_UNSUPPORTED, "%s: no place within 2 GiB of all of the module", m->image->identity.path);
	return emit_write(m, e);
}

static int compare_drops(const void *va, const void *vb)
{
	const struct emit_dropped *a = va, *b = vb;
	return a->function < b->function ? -1 : a->function > b->function;
}

static void emitter_free(struct emitter *m)
{
	free(m->chunk_of);
	free(m->dropped);
	free(m->code);
	vec_free(&m->order);
	vec_free(&m->chunks);
	vec_free(&m->patches);
	vec_free(&m->runs);
	vec_free(&m->relocations);
	vec_free(&m->slots);
	vec_free(&m->drops);
	vec_free(&m->probes);
	vec_free(&m->ways_out);
	vec_free(&m->counters);
}

int emit_module_with(const struct image *image, const struct map *map, const struct flow *flow, const struct layout *layout,
		     const struct emit_options *options, struct plan_module *ret_module, struct emit_report *ret_report, struct err *e)
{
	struct emitter m = {.image = image, .map = map, .flow = flow, .layout = layout, .options = *options, .hook = EMIT_NONE};
	struct plan_module module = {0};
	m.region = round_up(image->load_high + REGION_GAP, PLAN_REGION_ALIGN);
	int status = check_subject(&m, e);
	if (status)
		return status;
	m.chunk_of = malloc((map->block_count + 1) * sizeof *m.chunk_of);
	m.dropped = calloc(map->function_count + 1, 1);
	status = m.chunk_of && m.dropped ? emit_stages(&m, e) : no_memory(e);
	if (!status)
		status = take_results(&m, &module, e);
	if (status) {
		plan_module_free(&module);
	} else {
		if (m.drops.count)
			qsort(m.drops.data, m.drops.count, sizeof *m.drops.data, compare_drops);
		*ret_report = (struct emit_report){.dropped = m.drops.data, .dropped_count = m.drops.count};
		m.drops.data = NULL;
		*ret_module = module;
	}
	emitter_free(&m);
	return status;
}

int emit_module(const struct image *image, const struct map *map, const struct flow *flow, const struct layout *layout,
		struct plan_module *ret_module, uint32_t *ret_dropped, struct err *e)
{
	struct emit_options options = emit_options_default();
	struct emit_report report;
	int status = emit_module_with(image, map, flow, layout, &options, ret_module, &report, e);
	if (status)
		return status;
	*ret_dropped = (uint32_t)report.dropped_count;
	emit_report_free(&report);
	return 0;
}

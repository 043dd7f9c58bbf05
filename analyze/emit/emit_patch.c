/*
 * Where original code jumps into the image.
 *
 * ENTRY: behind the function's first instruction where that is possible, else at it (always after an endbr64). A uprobe on the function is a
 * breakpoint on its first byte: the kernel runs the instruction that the file has there and goes on behind it, which must not be the middle of
 * our jump. REENTRY: at blocks that are executed in the original although they are in the image, because control came from an exit, a jump
 * table (the copied `jmp *reg` lands in original code) or a landing pad; and at the head of a loop whose function is hardly ever entered, since
 * a thread that sits in it would never meet the entry patch.
 *
 * Every block that the 5 bytes overlap must be in the image: a thread that stands in them is moved to the copy. Missing ones are added.
 */
#include "analyze/code/flags.h"
#include "analyze/emit/emit_work.h"
#include "analyze/layout/random.h"

#define LONG_LIVED 16 /* a loop head executed this many times per entry */
#define PAGE 4096u

struct candidate {
	uint64_t benefit; /* executions per profile that it brings into the image */
	uint32_t function, block;
};

struct choice {
	uint64_t *inside; /* [block_count] executions that arrive from copied code */
	uint64_t threshold;
	struct insn_second *second; /* of an image that counts; NULL otherwise */
	VEC(struct candidate) candidates;
};

static bool in_set(const struct emitter *m, uint32_t block)
{
	return m->chunk_of[block] != EMIT_NONE;
}

/* A thread blocked in a system call restarts it at its PC minus 2, which must not lie behind the first byte of a patch. */
static bool overlaps_syscall(const struct map *map, uint32_t at)
{
	uint32_t low = 0, high = map->syscall_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (map->syscalls[middle] <= at)
			low = middle + 1;
		else
			high = middle;
	}
	return low < map->syscall_count && map->syscalls[low] < at + PLAN_PATCH_SIZE;
}

static bool overlaps_patch(const struct emitter *m, uint32_t function, uint32_t at)
{
	for (size_t i = m->patches.count; i-- > 0 && m->patches.data[i].function == function;) {
		uint32_t other = m->patches.data[i].at;
		if (at < other + PLAN_PATCH_SIZE && other < at + PLAN_PATCH_SIZE)
			return true;
	}
	return false;
}

/*
 * Does a word of the data look like a pointer to a byte behind the first? It is seldom one when no instruction begins there, but that nobody
 * jumps to it cannot be proven.
 */
static bool overlaps_pointer(const struct emitter *m, uint32_t at)
{
	uint64_t address = m->map->text_base + at;
	size_t low = 0, high = m->image->code_pointer_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (m->image->code_pointers[middle] <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->image->code_pointer_count && m->image->code_pointers[low] < address + PLAN_PATCH_SIZE;
}

static bool takes_patch(const struct emitter *m, uint32_t function, uint32_t at, uint32_t *ret_last_block)
{
	return map_block_at(m->map, at) != MAP_NONE && map_patchable(m->map, at, ret_last_block) && !overlaps_syscall(m->map, at) &&
	       !overlaps_pointer(m, at) && !overlaps_patch(m, function, at);
}

/* Adds the patch and the blocks it needs, or nothing when the place cannot take one. 0 or ERR_MEMORY. */
static int try_patch(struct emitter *m, struct emit_patch patch, struct err *e)
{
	uint32_t first = map_block_at(m->map, patch.at), last;
	if (!takes_patch(m, patch.function, patch.at, &last))
		return 0;
	for (uint32_t b = first; b <= last; b++) {
		if (in_set(m, b))
			continue;
		m->chunk_of[b] = 0;
		if (vec_push(&m->order, b))
			return err_set(e, ERR_MEMORY, "emit: no memory");
	}
	return vec_push(&m->patches, patch) ? err_set(e, ERR_MEMORY, "emit: no memory") : 0;
}

/* The same for a block or function whatever else is in the layout. */
static uint64_t drawn(const struct emitter *m, uint32_t index)
{
	uint64_t state = m->options.reentry_seed + index;
	return random_next(&state);
}

static bool crosses_page(const struct emitter *m, uint32_t at)
{
	return map_vaddr(m->map, at).v % PAGE > PAGE - PLAN_PATCH_SIZE;
}

/* What comes in behind the flags' death would not be counted. */
static bool counted_at(const struct emitter *m, const struct choice *c, uint32_t at)
{
	return !c->second || flags_dead_second(c->second, m->image, map_vaddr(m->map, at));
}

/* What answers unwinders stands for the function's start, so the patch that leads there does too. Of random layouts every second one has it at the start. */
static uint32_t entry_place(const struct emitter *m, const struct choice *c, uint32_t function)
{
	const struct map_function *f = &m->map->functions[function];
	const uint8_t *bytes = image_bytes(m->image, map_vaddr(m->map, f->start), f->size);
	struct insn first;
	if (!bytes || insn_decode(bytes, f->size, map_vaddr(m->map, f->start), &first) || first.length >= f->size)
		return f->start;
	uint32_t behind = f->start + first.length;
	if (first.is_endbr)
		return behind;
	if (!(f->flags & MAP_FUNCTION_BEHIND) || first.kind != INSN_PLAIN || function == m->hook)
		return f->start;
	bool wanted = !(m->options.reentry_seed && drawn(m, function) & 1) && counted_at(m, c, behind);
	bool fits = takes_patch(m, function, behind, NULL) && (!crosses_page(m, behind) || crosses_page(m, f->start));
	return wanted && fits ? behind : f->start;
}

static int patch_entry(struct emitter *m, const struct choice *c, uint32_t function, struct err *e)
{
	const struct map_function *f = &m->map->functions[function];
	if (f->grade != MAP_MOVABLE || (f->flags & MAP_FUNCTION_PART) || !f->block_count || !in_set(m, f->first_block) ||
	    m->map->blocks[f->first_block].start != f->start)
		return 0;
	return try_patch(m, (struct emit_patch){.at = entry_place(m, c, function), .function = function, .kind = PLAN_PATCH_ENTRY}, e);
}

static void count_inside(const struct emitter *m, struct choice *c)
{
	for (size_t i = 0; m->flow && i < m->order.count; i++) {
		const struct map_block *b = &m->map->blocks[m->order.data[i]];
		/* Where the entry cannot be patched, whoever calls from outside the image runs it in the original. */
		if ((b->flags & MAP_BLOCK_ENTRY) &&
		    m->map->functions[map_function_of_block(m->map, m->order.data[i])].grade == MAP_ENTRY_FIXED)
			continue;
		if (b->taken != MAP_NONE)
			c->inside[b->taken] += m->flow->taken[m->order.data[i]];
		if (b->next != MAP_NONE)
			c->inside[b->next] += m->flow->next[m->order.data[i]];
	}
}

static bool is_loop_head(const struct map *map, const struct map_function *f, uint32_t block)
{
	for (uint32_t b = block; b < f->first_block + f->block_count; b++)
		if (map->blocks[b].taken == block)
			return true;
	return false;
}

static uint64_t benefit_of(const struct emitter *m, const struct choice *c, const struct map_function *f, uint32_t block)
{
	if (m->options.reentry_everywhere)
		return m->options.reentry_seed ? drawn(m, block) | 1 : 1;
	if (m->options.counting && (m->map->blocks[block].flags & MAP_BLOCK_TABLE_TARGET))
		return UINT64_MAX;
	if (!m->flow)
		return 0;
	uint64_t executed = m->flow->block[block], entered = m->flow->block[f->first_block];
	if (executed < c->threshold)
		return 0;
	uint64_t outside = executed > c->inside[block] ? executed - c->inside[block] : 0;
	if (outside >= c->threshold)
		return outside;
	if (entered < c->threshold && entered < executed / LONG_LIVED && is_loop_head(m->map, f, block))
		return executed / LONG_LIVED;
	return 0;
}

static int find_candidates(const struct emitter *m, struct choice *c, struct err *e)
{
	for (size_t i = 0; i < m->order.count; i++) {
		uint32_t block = m->order.data[i], function = map_function_of_block(m->map, block);
		const struct map_function *f = &m->map->functions[function];
		if (f->grade == MAP_UNTOUCHABLE || (f->flags & MAP_FUNCTION_UNKNOWN_JUMP) || m->dropped[function])
			continue;
		if (block == f->first_block && !(f->flags & MAP_FUNCTION_PART))
			continue;
		struct candidate one = {.benefit = benefit_of(m, c, f, block), .function = function, .block = block};
		if (one.benefit && vec_push(&c->candidates, one))
			return err_set(e, ERR_MEMORY, "emit: no memory");
	}
	return 0;
}

static int compare_candidates(const void *va, const void *vb)
{
	const struct candidate *a = va, *b = vb;
	if (a->function != b->function)
		return a->function < b->function ? -1 : 1;
	if (a->benefit != b->benefit)
		return a->benefit > b->benefit ? -1 : 1;
	return a->block < b->block ? -1 : a->block > b->block;
}

static uint32_t reentry_maximum(const struct emitter *m, uint32_t function)
{
	static const uint32_t few[] = {0, 1, 4};
	if (!m->options.reentry_everywhere || !m->options.reentry_seed)
		return m->options.reentry_maximum;
	uint64_t k = drawn(m, UINT32_MAX - function) % (sizeof few / sizeof *few + 1);
	return k < sizeof few / sizeof *few && few[k] < m->options.reentry_maximum ? few[k] : m->options.reentry_maximum;
}

/* The best candidates of each function, up to the maximum. Candidates are sorted; entry patches of the function are there already. */
static int patch_function(struct emitter *m, const struct choice *c, size_t *index, struct err *e)
{
	uint32_t function = c->candidates.data[*index].function, maximum = reentry_maximum(m, function);
	int status = patch_entry(m, c, function, e);
	size_t before = m->patches.count;
	for (; *index < c->candidates.count && c->candidates.data[*index].function == function; ++*index) {
		if (status || m->patches.count - before >= maximum)
			continue;
		uint32_t at = m->map->blocks[c->candidates.data[*index].block].start;
		status = try_patch(m, (struct emit_patch){.at = at, .function = function, .kind = PLAN_PATCH_REENTRY}, e);
	}
	return status;
}

static int compare_patches(const void *va, const void *vb)
{
	const struct emit_patch *a = va, *b = vb;
	if (a->function != b->function)
		return a->function < b->function ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

static int compare_indices(const void *va, const void *vb)
{
	uint32_t a = *(const uint32_t *)va, b = *(const uint32_t *)vb;
	return a < b ? -1 : a > b;
}

/* Functions of the set in ascending order, each once. */
static int list_functions(const struct emitter *m, uint32_t **ret_functions, size_t *ret_count, struct err *e)
{
	uint32_t *functions = malloc((m->order.count + 1) * sizeof *functions);
	if (!functions)
		return err_set(e, ERR_MEMORY, "emit: no memory");
	for (size_t i = 0; i < m->order.count; i++)
		functions[i] = map_function_of_block(m->map, m->order.data[i]);
	qsort(functions, m->order.count, sizeof *functions, compare_indices);
	size_t count = 0;
	for (size_t i = 0; i < m->order.count; i++)
		if (!count || functions[count - 1] != functions[i])
			functions[count++] = functions[i];
	*ret_functions = functions;
	*ret_count = count;
	return 0;
}

static int choose(struct emitter *m, struct choice *c, const uint32_t *functions, size_t count, struct err *e)
{
	count_inside(m, c);
	int status = find_candidates(m, c, e);
	if (status)
		return status;
	if (c->candidates.count)
		qsort(c->candidates.data, c->candidates.count, sizeof *c->candidates.data, compare_candidates);
	size_t next = 0;
	for (size_t i = 0; i < count && !status; i++) {
		if (m->dropped[functions[i]])
			continue;
		if (next < c->candidates.count && c->candidates.data[next].function == functions[i])
			status = patch_function(m, c, &next, e);
		else
			status = patch_entry(m, c, functions[i], e);
	}
	if (!status && m->patches.count)
		qsort(m->patches.data, m->patches.count, sizeof *m->patches.data, compare_patches);
	return status;
}

static uint64_t total_executions(const struct emitter *m)
{
	uint64_t total = 0;
	for (uint32_t b = 0; m->flow && b < m->map->block_count; b++)
		total += m->flow->block[b];
	return total;
}

int emit_choose_patches(struct emitter *m, struct err *e)
{
	struct choice c = {.inside = calloc(m->map->block_count + 1, sizeof *c.inside)};
	bool counts = m->options.counting;
	uint32_t *functions = NULL;
	size_t count = 0;
	c.second = counts ? insn_second_new() : NULL;
	if (!c.inside || (counts && !c.second)) {
		free(c.inside);
		insn_second_free(c.second);
		return err_set(e, ERR_MEMORY, "emit: no memory");
	}
	c.threshold = (uint64_t)((double)total_executions(m) * m->options.reentry_share) + 1;
	int status = list_functions(m, &functions, &count, e);
	if (!status)
		status = choose(m, &c, functions, count, e);
	free(functions);
	free(c.inside);
	insn_second_free(c.second);
	vec_free(&c.candidates);
	return status;
}

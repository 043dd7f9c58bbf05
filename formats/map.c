#include "formats/map.h"

#include "formats/base/file.h"

#include <stdlib.h>
#include <string.h>

#define INSN_SIZE_MAX 15u
#define PATCH_SIZE 5u

static const char *const grade_names[] = {"movable", "entry-fixed", "untouchable"};

static const char *const reason_texts[] = {
#define X(name, grade, text) text,
    MAP_REASONS(X)
#undef X
};

/* Spelled out rather than derived, so that they can be searched for. */
static const char *const reason_names[] = {
    [MAP_REASON_UNDECODABLE] = "undecodable",
    [MAP_REASON_OVERLAPPING_CODE] = "overlapping-code",
    [MAP_REASON_OVERLAPPING_FDE] = "overlapping-fde",
    [MAP_REASON_LEAVES_RANGE] = "leaves-range",
    [MAP_REASON_CALLS_NEXT] = "calls-next",
    [MAP_REASON_CALLS_SETJMP] = "calls-setjmp",
    [MAP_REASON_ASKS_CALLER] = "asks-caller",
    [MAP_REASON_CALLS_VFORK] = "calls-vfork",
    [MAP_REASON_SIGNAL_FRAME] = "signal-frame",
    [MAP_REASON_RSEQ] = "rseq",
    [MAP_REASON_GO_RUNTIME] = "go-runtime",
    [MAP_REASON_IFUNC_RESOLVER] = "ifunc-resolver",
    [MAP_REASON_INIT_FINI] = "init-fini",
    [MAP_REASON_UNSUPPORTED_INSN] = "unsupported-insn",
    [MAP_REASON_CFI_UNREADABLE] = "cfi-unreadable",
    [MAP_REASON_LSDA_UNREADABLE] = "lsda-unreadable",
    [MAP_REASON_READS_CODE] = "reads-code",
    [MAP_REASON_ENTRY_SHORT] = "entry-short",
    [MAP_REASON_ENTRY_TARGETED] = "entry-targeted",
    [MAP_REASON_ENTRY_UNKNOWN_JUMPS] = "entry-unknown-jumps",
    [MAP_REASON_NOT_REACHED] = "not-reached",
    [MAP_REASON_PLT] = "plt",
    [MAP_REASON_OWN_UNWINDER] = "own-unwinder",
};
_Static_assert(sizeof reason_names / sizeof *reason_names == MAP_REASON_COUNT, "every reason has a name");
_Static_assert(MAP_REASON_COUNT <= 32, "reasons are bits of a uint32_t");

const char *map_grade_name(unsigned grade)
{
	return grade <= MAP_UNTOUCHABLE ? grade_names[grade] : "unknown";
}

const char *map_reason_name(unsigned reason)
{
	return reason < MAP_REASON_COUNT ? reason_names[reason] : "unknown";
}

const char *map_reason_text(unsigned reason)
{
	return reason < MAP_REASON_COUNT ? reason_texts[reason] : "a reason that this program does not know";
}

uint32_t map_function_at(const struct map *m, uint32_t offset)
{
	uint32_t low = 0, high = m->function_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->functions[middle].start <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low && offset - m->functions[low - 1].start < m->functions[low - 1].size ? low - 1 : MAP_NONE;
}

uint32_t map_block_at(const struct map *m, uint32_t offset)
{
	uint32_t low = 0, high = m->block_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->blocks[middle].start <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low && offset - m->blocks[low - 1].start < m->blocks[low - 1].size ? low - 1 : MAP_NONE;
}

uint32_t map_function_of_block(const struct map *m, uint32_t block)
{
	return block < m->block_count ? map_function_at(m, m->blocks[block].start) : MAP_NONE;
}

uint32_t map_call_from(const struct map *m, uint32_t offset)
{
	uint32_t low = 0, high = m->call_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (m->calls[middle].site < offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const char *map_function_name(const struct map *m, uint32_t function)
{
	if (function >= m->function_count || !m->functions[function].name)
		return NULL;
	return m->strings + m->functions[function].name;
}

/* Does a call return to a byte in (offset, offset + PATCH_SIZE)? */
static bool call_returns_inside(const struct map *m, uint32_t offset)
{
	uint64_t end = (uint64_t)offset + PATCH_SIZE;
	for (uint32_t i = map_call_from(m, offset < INSN_SIZE_MAX ? 0 : offset - INSN_SIZE_MAX); i < m->call_count; i++) {
		const struct map_call *call = &m->calls[i];
		uint64_t back = (uint64_t)call->site + call->size;
		if (call->site >= end)
			break;
		if (call->kind != MAP_TAIL_IMPORT && back > offset && back < end)
			return true;
	}
	return false;
}

bool map_patchable(const struct map *m, uint32_t offset, uint32_t *ret_last_block)
{
	uint32_t block = map_block_at(m, offset), function = map_function_at(m, offset);
	if (block == MAP_NONE || function == MAP_NONE)
		return false;
	uint64_t blocks_end = (uint64_t)m->functions[function].first_block + m->functions[function].block_count;
	uint64_t end = (uint64_t)offset + PATCH_SIZE;
	const struct map_block *b = &m->blocks[block];
	while ((uint64_t)b->start + b->size < end) {
		if (block + 1 >= blocks_end || b[1].start != b->start + b->size)
			return false;
		/* Any flag means that somebody comes here by address. */
		if (b[1].flags)
			return false;
		block++;
		b++;
	}
	if (call_returns_inside(m, offset))
		return false;
	if (ret_last_block)
		*ret_last_block = block;
	return true;
}

int map_read(const char *path, struct map *ret_map, struct err *e)
{
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	status = map_decode(file.data, file.size, path, ret_map, e);
	file_data_free(&file);
	return status;
}

void map_free(struct map *m)
{
	module_free(&m->module);
	free(m->functions);
	free(m->blocks);
	free(m->calls);
	free(m->imports);
	free(m->tables);
	free(m->table_targets);
	free(m->syscalls);
	free(m->strings);
	*m = (struct map){0};
}

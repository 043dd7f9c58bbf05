#include "analyze/emit/unwind.h"

#include "analyze/elf/cfi_pointer.h"
#include "analyze/elf/lsda.h"
#include "analyze/emit/stub.h"
#include "analyze/emit/unwind_parts.h"

#include <string.h>

enum {
	DIRECTORY_ENTRIES = 65, /* modules of one plan, and the terminator */
	HEADER_SIZE = 12,	/* of .eh_frame_hdr before its table */
};

static int no_memory(struct unwind *u)
{
	return err_set(u->e, ERR_MEMORY, "unwind: no memory");
}

int unwind_write_module_pointer(struct unwind *u, uint64_t target)
{
	uint32_t at = unwind_position(u);
	int64_t distance = (int64_t)(target - (u->module->region_vaddr + at));
	if (!target) {
		write_u32(&u->data, 0);
		return 0;
	}
	if (distance != (int32_t)distance)
		return err_set(u->e, ERR_INTERNAL, "unwind: 0x%lx is too far from the region", (unsigned long)target);
	write_u32(&u->data, (uint32_t)distance);
	return vec_push(&u->relocations, at) ? no_memory(u) : 0;
}

static const struct image_fde *fde_at(const struct image *image, uint64_t address)
{
	size_t index = image_fde_at(image, address);
	return index == SIZE_MAX ? NULL : &image->fdes[index];
}

/* Cuts the image into fragments. Runs without image bytes belong to none. */
static int find_fragments(struct unwind *u)
{
	for (uint32_t i = 0; i < u->module->run_count; i++) {
		const struct plan_run *run = &u->module->runs[i];
		if (!run->image_size)
			continue;
		const struct image_fde *fde = fde_at(u->image, unwind_original(u, run));
		/* The way home after a call that does not return leads to the padding behind the range; it belongs to the call's. */
		if (!fde && (run->kind == PLAN_RUN_INSERTED || run->kind == PLAN_RUN_COUNTER) && u->fragments.count)
			fde = u->fragments.data[u->fragments.count - 1].fde;
		if (!fde)
			return err_set(u->e, ERR_FORMAT, "unwind: no FDE describes 0x%lx", (unsigned long)unwind_original(u, run));
		size_t count = u->fragments.count;
		if (!count || u->fragments.data[count - 1].fde != fde) {
			if (vec_push(&u->fragments, (struct unwind_fragment){.fde = fde, .first_run = i, .start = run->image}))
				return no_memory(u);
			count++;
		}
		u->fragments.data[count - 1].end_run = i + 1;
		u->fragments.data[count - 1].end = run->image + run->image_size;
	}
	return 0;
}

/* The run of the stub, if this module holds one. */
static const struct plan_run *find_stub(const struct plan_module *m)
{
	for (uint32_t i = 0; i < m->run_count; i++)
		if (m->runs[i].kind == PLAN_RUN_STUB)
			return &m->runs[i];
	return NULL;
}

/* Room for the directory and its address into the stub. */
static int place_directory(struct unwind *u)
{
	struct plan_module *m = u->module;
	const struct plan_run *run = find_stub(m);
	m->directory = PLAN_NONE;
	m->directory_entries = 0;
	if (!run)
		return 0;
	const struct image_symbol *symbol = image_symbol_at(u->image, (vaddr){unwind_original(u, run)});
	const struct stub *stub = symbol ? stub_of(symbol->name) : NULL;
	uint8_t *code = m->code + run->image;
	if (!stub || run->image_size != stub->size || run->image > m->code_size - stub->size ||
	    memcmp(code, stub->code, stub->directory_field))
		return err_set(u->e, ERR_INTERNAL, "unwind: the run at region offset 0x%x is not the stub", run->image);
	m->directory = unwind_position(u);
	m->directory_entries = DIRECTORY_ENTRIES;
	store_u32(code + stub->directory_field, m->directory - (uint32_t)(run->image + stub->directory_field + 4));
	for (unsigned j = 0; j < DIRECTORY_ENTRIES * STUB_DIRECTORY_ENTRY_SIZE / 8; j++)
		write_u64(&u->data, 0);
	return 0;
}

static int write_exception_tables(struct unwind *u)
{
	int status = 0;
	for (size_t i = 0; i < u->fragments.count && !status; i++) {
		struct unwind_fragment *f = &u->fragments.data[i];
		if (f->fde->lsda && f->fde->personality)
			status = unwind_write_lsda(u, f);
	}
	return status;
}

/*
 * Both tables of one fragment: ours, relative to the region, and that of the .eh_frame_hdr, relative to the header. Unwinders search the second
 * (Linux Standard Base 5.0, section 10.6.2).
 */
static void set_entry(struct unwind *u, size_t index, uint32_t fde)
{
	const struct plan_module *m = u->module;
	size_t table = m->fde_table - m->data_offset, header = table + 8 * (size_t)m->fde_count;
	uint32_t start = u->fragments.data[index].start, header_at = m->fde_table + 8 * m->fde_count;
	store_u32(u->data.data + table + 8 * index, start);
	store_u32(u->data.data + table + 8 * index + 4, fde);
	store_u32(u->data.data + header + HEADER_SIZE + 8 * index, start - header_at);
	store_u32(u->data.data + header + HEADER_SIZE + 8 * index + 4, fde - header_at);
}

/* Room for both tables, and what comes before the entries of the second but the place of .eh_frame. */
static void place_tables(struct unwind *u)
{
	static const uint8_t encodings[4] = {1, CFI_POINTER_PCREL | CFI_POINTER_SDATA4, CFI_POINTER_UDATA4,
					     CFI_POINTER_DATAREL | CFI_POINTER_SDATA4};
	struct plan_module *m = u->module;
	m->fde_table = unwind_position(u);
	m->fde_count = (uint32_t)u->fragments.count;
	for (size_t i = 0; i < u->fragments.count; i++)
		write_u64(&u->data, 0);
	write_bytes(&u->data, encodings, sizeof encodings);
	write_u32(&u->data, 0);
	write_u32(&u->data, m->fde_count);
	for (size_t i = 0; i < u->fragments.count; i++)
		write_u64(&u->data, 0);
}

static int write_frames(struct unwind *u)
{
	struct plan_module *m = u->module;
	size_t pointer = m->fde_table - m->data_offset + 8 * (size_t)m->fde_count + 4;
	write_pad(&u->data, 8, 0);
	m->eh_frame = unwind_position(u);
	if (u->data.failed)
		return no_memory(u);
	store_u32(u->data.data + pointer, m->eh_frame - (m->data_offset + (uint32_t)pointer));
	for (size_t i = 0; i < u->fragments.count; i++) {
		uint32_t at;
		int status = unwind_write_fde(u, &u->fragments.data[i], &at);
		if (status)
			return status;
		if (u->data.failed)
			return no_memory(u);
		set_entry(u, i, at);
	}
	write_u32(&u->data, 0);
	m->eh_frame_size = unwind_position(u) - m->eh_frame;
	return 0;
}

static int write_all(struct unwind *u)
{
	int status = find_fragments(u);
	if (!status)
		status = place_directory(u);
	if (status)
		return status;
	place_tables(u);
	status = write_exception_tables(u);
	if (!status)
		status = write_frames(u);
	if (!status && u->data.failed)
		status = no_memory(u);
	if (!status && u->data.size > UINT32_MAX / 2)
		status = err_set(u->e, ERR_UNSUPPORTED, "unwind: more than 2 GiB of tables");
	return status;
}

static int compare_offsets(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static int add_relocations(struct unwind *u)
{
	struct plan_module *m = u->module;
	size_t count = m->relocation_count + u->relocations.count;
	if (!u->relocations.count)
		return 0;
	uint32_t *grown = realloc(m->relocations, count * sizeof *grown);
	if (!grown)
		return no_memory(u);
	memcpy(grown + m->relocation_count, u->relocations.data, u->relocations.count * sizeof *grown);
	qsort(grown, count, sizeof *grown, compare_offsets);
	m->relocations = grown;
	m->relocation_count = (uint32_t)count;
	return 0;
}

int unwind_emit(const struct image *image, const struct map *map, struct plan_module *module, struct err *e)
{
	(void)map;
	struct unwind u = {.image = image, .module = module, .e = e};
	module->data_offset = plan_code_span(module->code_size) + (uint32_t)plan_counter_span(module->counter_count);
	int status = write_all(&u);
	if (!status)
		status = add_relocations(&u);
	if (!status) {
		free(module->data);
		module->data = u.data.data;
		module->data_size = (uint32_t)u.data.size;
	} else {
		writer_free(&u.data);
	}
	vec_free(&u.relocations);
	vec_free(&u.fragments);
	vec_free(&u.cies);
	return status;
}

bool unwind_supported(const struct image *image, const struct image_fde *fde)
{
	struct cfi_cie cie;
	struct lsda lsda;
	if (fde->signal_frame || cfi_read_cie(image, fde->cie, &cie, NULL) || cie.initial.cfa.kind == CFI_UNSPECIFIED)
		return false;
	if (image->pie && cie.personality && !(cie.personality_encoding & CFI_POINTER_BASE))
		return false;
	if (cfi_evaluate(image, fde, NULL, NULL))
		return false;
	if (!fde->lsda)
		return true;
	if (lsda_read(image, fde, &lsda, NULL))
		return false;
	lsda_free(&lsda);
	return true;
}

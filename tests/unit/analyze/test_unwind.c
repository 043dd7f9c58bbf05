/*
 * unwind_emit, read back: functions of real libraries are cut into pieces and shuffled as a layout would do; then at every byte of the image
 * the emitted row must equal the original row at its counterpart, and so must the call site of the exception table.
 */
#include "analyze/emit/unwind.h"

#include "analyze/elf/cfi.h"
#include "analyze/elf/lsda.h"
#include "analyze/emit/stub.h"
#include "formats/base/bytes.h"
#include "formats/base/vec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static uint32_t seed = 1;

static uint32_t dice(uint32_t sides)
{
	seed = seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)seed * sides >> 32);
}

/* What the region looks like to a reader at `vaddr`: the original segments, and the data as a further one. */
struct view {
	struct image image;
	struct image_segment *segments;
	uint8_t *file;
};

static void make_view(const struct image *image, const struct plan_module *m, uint64_t delta, struct view *ret_view)
{
	size_t count = image->segment_count, size = image->file.size;
	struct view v = {.image = *image};
	v.file = malloc(size + m->data_size);
	memcpy(v.file, image->file.data, size);
	memcpy(v.file + size, m->data, m->data_size);
	for (uint32_t i = 0; i < m->relocation_count; i++) {
		assert_in_range(m->relocations[i], m->data_offset, m->data_offset + m->data_size - 4);
		assert_true(!i || m->relocations[i - 1] < m->relocations[i]);
		uint8_t *field = v.file + size + m->relocations[i] - m->data_offset;
		store_u32(field, load_u32(field) - (uint32_t)delta);
	}
	v.segments = calloc(count + 1, sizeof *v.segments);
	memcpy(v.segments, image->segments, count * sizeof *v.segments);
	v.segments[count] = (struct image_segment){.vaddr = m->region_vaddr + delta + m->data_offset,
						   .memory_size = m->data_size,
						   .offset = size,
						   .file_size = m->data_size,
						   .readable = true};
	v.image.segments = v.segments;
	v.image.segment_count = count + 1;
	v.image.file = (struct file_data){.data = v.file, .size = size + m->data_size};
	*ret_view = v;
}

static void free_view(struct view *v)
{
	free(v->segments);
	free(v->file);
}

/* ---- a layout ---- */

struct pieces {
	VEC(struct plan_run) pieces;
};

static void cut(struct pieces *p, uint32_t from, uint32_t to)
{
	while (from < to) {
		uint32_t size = 1 + dice(dice(4) ? 24 : 200);
		if (size > to - from)
			size = to - from;
		struct plan_run run = {.original = from, .image_size = (uint16_t)size, .original_size = (uint16_t)size};
		assert_int_equal(vec_push(&p->pieces, run), 0);
		from += size;
	}
}

static void shuffle(struct pieces *p)
{
	for (size_t i = p->pieces.count; i > 1; i--) {
		size_t j = dice(8) ? i - 1 : dice((uint32_t)i); /* mostly in order, so that fragments hold several pieces */
		struct plan_run t = p->pieces.data[i - 1];
		p->pieces.data[i - 1] = p->pieces.data[j];
		p->pieces.data[j] = t;
	}
}

/* A way out of the image that is counted: a counter and a jump that stand for code of any function. */
static void place_way_out(const struct pieces *p, struct plan_run *ret_runs, uint32_t at)
{
	uint32_t to = p->pieces.data[dice((uint32_t)p->pieces.count)].original;
	ret_runs[0] = (struct plan_run){.image = at, .original = to, .image_size = 7, .kind = PLAN_RUN_COUNTER};
	ret_runs[1] = (struct plan_run){.image = at + 7, .original = to, .image_size = 5, .kind = PLAN_RUN_INSERTED};
}

/* Gives the pieces kinds and places: copies, a few one-instruction rewrites, inserted jumps, deleted jumps, ways out, padding. */
static void place(struct pieces *p, struct plan_module *m)
{
	VEC(struct plan_run) runs = {0};
	uint32_t at = 0;
	for (size_t i = 0; i < p->pieces.count; i++) {
		struct plan_run run = p->pieces.data[i];
		unsigned what = dice(8);
		run.image = at;
		run.kind = PLAN_RUN_COPY;
		if (what == 0 && run.original_size <= 15) {
			run.kind = PLAN_RUN_REWRITTEN;
			run.image_size = (uint16_t)(2 + dice(5));
		} else if (what == 1 && run.original_size <= 6) {
			run.kind = PLAN_RUN_DELETED;
			run.image_size = 0;
		}
		assert_int_equal(vec_push(&runs, run), 0);
		at += run.image_size;
		if (what == 2) {
			struct plan_run jump = {
			    .image = at, .original = run.original + run.original_size - 1, .image_size = 5, .kind = PLAN_RUN_INSERTED};
			assert_int_equal(vec_push(&runs, jump), 0);
			at += 5;
		} else if (what == 3 && !dice(4)) {
			struct plan_run way_out[2];
			place_way_out(p, way_out, at);
			assert_int_equal(vec_push(&runs, way_out[0]), 0);
			assert_int_equal(vec_push(&runs, way_out[1]), 0);
			at += 12;
		}
		at += dice(16) ? 0 : dice(70);
	}
	m->runs = runs.data;
	m->run_count = (uint32_t)runs.count;
	m->code_size = at;
	m->code = calloc(1, at + 1);
}

static void lay_out(const struct image *image, size_t step, struct plan_module *ret_module)
{
	struct pieces p = {0};
	*ret_module = (struct plan_module){.text_base = image->text_base,
					   .text_size = image->text_size,
					   .region_vaddr = (image->load_high + 3 * PLAN_REGION_ALIGN) & ~(uint64_t)(PLAN_REGION_ALIGN - 1)};
	for (size_t i = 0; i < image->fde_count; i += step) {
		const struct image_fde *fde = &image->fdes[i];
		if (!unwind_supported(image, fde) || (i && image->fdes[i - 1].start + image->fdes[i - 1].size > fde->start) ||
		    (i + 1 < image->fde_count && image->fdes[i + 1].start < fde->start + fde->size))
			continue;
		cut(&p, (uint32_t)(fde->start - image->text_base), (uint32_t)(fde->start + fde->size - image->text_base));
	}
	shuffle(&p);
	place(&p, ret_module);
	vec_free(&p.pieces);
}

/* ---- reading back ---- */

struct emitted {
	struct image_fde fde; /* as image would read it; start at the view's address */
	struct cfi_rows rows;
	struct lsda lsda;
};

static void read_emitted(const struct view *v, const struct plan_module *m, uint64_t delta, uint32_t index, struct emitted *ret)
{
	const uint8_t *pair = m->data + m->fde_table - m->data_offset + 8 * index;
	uint64_t region = m->region_vaddr + delta;
	uint32_t pc = load_u32(pair), at = load_u32(pair + 4);
	struct err e;
	assert_in_range(at, m->eh_frame, m->eh_frame + m->eh_frame_size - 16);
	const uint8_t *fde = m->data + at - m->data_offset;
	*ret = (struct emitted){.fde = {.start = region + pc, .size = load_u32(fde + 12), .fde = region + at}};
	ret->fde.cie = region + at + 4 - load_u32(fde + 4);
	assert_int_equal((uint64_t)(int64_t)(int32_t)load_u32(fde + 8) + at + 8, pc);
	struct cfi_cie cie;
	if (cfi_read_cie(&v->image, ret->fde.cie, &cie, &e))
		fail_msg("%s", e.text);
	ret->fde.personality = cie.personality;
	if (cie.personality) {
		assert_int_equal(fde[16], 4);
		if (load_u32(fde + 17))
			ret->fde.lsda = region + at + 17 + (uint64_t)(int64_t)(int32_t)load_u32(fde + 17);
	}
	if (cfi_evaluate(&v->image, &ret->fde, &ret->rows, &e) || (ret->fde.lsda && lsda_read(&v->image, &ret->fde, &ret->lsda, &e)))
		fail_msg("%s", e.text);
}

static const struct lsda_call_site *site_at(const struct lsda *l, uint64_t pc)
{
	for (uint32_t i = 0; i < l->site_count; i++)
		if (pc >= l->sites[i].start && pc < l->sites[i].end)
			return &l->sites[i];
	return NULL;
}

static void check_tables_equal(const struct lsda *a, const struct lsda *b)
{
	assert_int_equal(a->has_types, b->has_types);
	assert_int_equal(a->type_indirect, b->type_indirect);
	assert_true(a->type_count <= b->type_count); /* a fragment may reach fewer */
	for (uint32_t i = 0; i < a->type_count; i++)
		assert_int_equal(a->types[i], b->types[i]);
	assert_true(a->actions_size <= b->actions_size && a->specifications_size <= b->specifications_size);
	if (a->actions_size)
		assert_memory_equal(a->actions, b->actions, a->actions_size);
	if (a->specifications_size)
		assert_memory_equal(a->specifications, b->specifications, a->specifications_size);
}

struct original {
	size_t index;
	struct cfi_rows rows;
	struct lsda lsda;
	bool valid;
};

static void load_original(const struct image *image, uint64_t address, struct original *o)
{
	size_t index = image_fde_at(image, address);
	if (o->valid && o->index == index)
		return;
	if (o->valid) {
		cfi_rows_free(&o->rows);
		lsda_free(&o->lsda);
	}
	o->valid = true;
	o->index = index;
	assert_int_equal(cfi_evaluate(image, &image->fdes[index], &o->rows, NULL), 0);
	o->lsda = (struct lsda){0};
	if (image->fdes[index].lsda)
		assert_int_equal(lsda_read(image, &image->fdes[index], &o->lsda, NULL), 0);
}

static unsigned checked_rows, checked_sites, checked_pads;

static void check_boundary(const struct emitted *m, const struct original *o, uint64_t image_pc, uint64_t pc, uint64_t site_pc,
			   bool covered)
{
	checked_rows++;
	if (!cfi_row_equal(cfi_row_at(&m->rows, image_pc), cfi_row_at(&o->rows, pc)))
		fail_msg("row of 0x%lx differs from 0x%lx", (unsigned long)image_pc, (unsigned long)pc);
	if (!m->fde.lsda || !covered)
		return;
	const struct lsda_call_site *a = site_at(&m->lsda, image_pc), *b = site_at(&o->lsda, site_pc);
	if (!a != !b || (a && (a->pad != b->pad || a->action != b->action)))
		fail_msg("call site of 0x%lx differs from 0x%lx", (unsigned long)image_pc, (unsigned long)site_pc);
	checked_sites += !!a;
	checked_pads += a && a->pad;
}

static void check_run(const struct plan_module *m, const struct plan_run *run, const struct emitted *f, const struct original *o,
		      uint64_t region)
{
	uint64_t pc = m->text_base + run->original, image_pc = region + run->image;
	bool copy = run->kind == PLAN_RUN_COPY;
	for (uint32_t d = 0; d < run->image_size; d++)
		check_boundary(f, o, image_pc + d, copy ? pc + d : pc, copy ? pc + d : pc + run->original_size - 1,
			       run->kind != PLAN_RUN_INSERTED && run->kind != PLAN_RUN_COUNTER);
}

static void check_module(const struct image *image, const struct plan_module *m, uint64_t delta)
{
	struct view v;
	struct emitted f = {0};
	struct original o = {0};
	uint32_t index = 0;
	uint64_t region = m->region_vaddr + delta;
	make_view(image, m, delta, &v);
	assert_true(m->fde_count > 10);
	read_emitted(&v, m, delta, 0, &f);
	for (uint32_t i = 0; i < m->run_count; i++) {
		const struct plan_run *run = &m->runs[i];
		if (!run->image_size)
			continue;
		while (region + run->image >= f.fde.start + f.fde.size) {
			uint64_t end = f.fde.start + f.fde.size;
			cfi_rows_free(&f.rows);
			lsda_free(&f.lsda);
			assert_true(++index < m->fde_count);
			read_emitted(&v, m, delta, index, &f);
			assert_true(f.fde.start >= end);
		}
		assert_true(region + run->image >= f.fde.start);
		assert_true(region + run->image + run->image_size <= f.fde.start + f.fde.size);
		load_original(image, m->text_base + run->original, &o);
		const struct image_fde *fde = &image->fdes[o.index];
		assert_int_equal(f.fde.personality, fde->personality);
		assert_int_equal(!!f.fde.lsda, !!fde->lsda);
		check_tables_equal(&f.lsda, &o.lsda);
		check_run(m, run, &f, &o, region);
	}
	assert_int_equal(index + 1, m->fde_count);
	cfi_rows_free(&f.rows);
	lsda_free(&f.lsda);
	cfi_rows_free(&o.rows);
	lsda_free(&o.lsda);
	free_view(&v);
}

static void check_file(const char *path, size_t step, bool has_pads)
{
	struct image image;
	struct plan_module m;
	struct err e;
	if (access(path, R_OK)) {
		print_message("%s: not here\n", path);
		return;
	}
	if (image_open(path, &image, &e))
		fail_msg("%s", e.text);
	lay_out(&image, step, &m);
	if (unwind_emit(&image, NULL, &m, &e))
		fail_msg("%s", e.text);
	assert_int_equal(m.data_offset % PLAN_PAGE, 0);
	assert_int_equal(m.directory, PLAN_NONE);
	assert_int_equal(load_u32(m.data + m.eh_frame + m.eh_frame_size - 4 - m.data_offset), 0);
	checked_rows = checked_sites = checked_pads = 0;
	check_module(&image, &m, 0);
	check_module(&image, &m, (uint64_t) - (int64_t)PLAN_REGION_ALIGN);
	print_message("%s: %u fragments of %u bytes of code, %u of tables; %u rows, %u call sites, %u with landing pads\n", path,
		      m.fde_count, m.code_size, m.data_size, checked_rows, checked_sites, checked_pads);
	assert_true(!has_pads || checked_pads > 100);
	free(m.code);
	free(m.data);
	free(m.runs);
	free(m.relocations);
	image_close(&image);
}

static void rows_and_sites_survive_shuffling(void **state)
{
	(void)state;
	check_file("/lib/x86_64-linux-gnu/libc.so.6", 5, false);
	check_file("/lib/x86_64-linux-gnu/libgcc_s.so.1", 1, false);
	check_file("/lib/x86_64-linux-gnu/libstdc++.so.6", 5, true);
	check_file("/usr/sbin/mariadbd", 40, true);
}

static void stub_gets_its_directory(void **state)
{
	(void)state;
	const struct stub *stub = stub_of("_Unwind_Find_FDE");
	struct image image;
	assert_int_equal(image_open("/lib/x86_64-linux-gnu/libgcc_s.so.1", &image, NULL), 0);
	const struct image_symbol *found = NULL;
	for (size_t i = 0; i < image.symbol_count; i++)
		if (!strcmp(image.symbols[i].name, "_Unwind_Find_FDE"))
			found = &image.symbols[i];
	assert_non_null(found);
	uint32_t original = (uint32_t)(found->vaddr - image.text_base), size = (uint32_t)stub->size;
	struct plan_run runs[] = {{0x10, original, (uint16_t)size, 0, PLAN_RUN_STUB}, {0x10 + size, original, 20, 20, PLAN_RUN_COPY}};
	uint8_t code[1024] = {0};
	memcpy(code + 0x10, stub->code, stub->size);
	struct plan_module m = {.text_base = image.text_base,
				.text_size = image.text_size,
				.region_vaddr = 0x4000000,
				.code = code,
				.code_size = sizeof code,
				.runs = runs,
				.run_count = 2};
	assert_int_equal(unwind_emit(&image, NULL, &m, NULL), 0);
	assert_int_equal(m.fde_count, 1);
	assert_int_equal(load_u32(m.data + m.fde_table - m.data_offset), 0x10);
	/* The .eh_frame_hdr behind it: version and encodings, .eh_frame, one entry that says the same. */
	uint32_t header_at = m.fde_table + 8, fde = load_u32(m.data + m.fde_table - m.data_offset + 4);
	const uint8_t *header = m.data + header_at - m.data_offset;
	assert_int_equal(load_u32(header), 0x3b031b01);
	assert_int_equal(header_at + 4 + load_u32(header + 4), m.eh_frame);
	assert_int_equal(load_u32(header + 8), 1);
	assert_int_equal((uint32_t)(header_at + load_u32(header + 12)), 0x10);
	assert_int_equal(header_at + load_u32(header + 16), fde);
	assert_int_equal(m.directory % 8, 0);
	assert_true(m.directory_entries > 1);
	assert_in_range(m.directory, m.data_offset, m.data_offset + m.data_size - m.directory_entries * STUB_DIRECTORY_ENTRY_SIZE);
	uint32_t field = 0x10 + (uint32_t)stub->directory_field;
	assert_int_equal(field + 4 + load_u32(code + field), m.directory);
	for (uint32_t i = 0; i < m.directory_entries * STUB_DIRECTORY_ENTRY_SIZE; i++)
		assert_int_equal(m.data[m.directory - m.data_offset + i], 0);
	free(m.data);
	free(m.relocations);
	code[0x10] ^= 1;
	struct plan_module damaged = {.text_base = image.text_base,
				      .text_size = image.text_size,
				      .region_vaddr = 0x4000000,
				      .code = code,
				      .code_size = sizeof code,
				      .runs = runs,
				      .run_count = 2};
	assert_int_equal(unwind_emit(&image, NULL, &damaged, NULL), -ERR_INTERNAL);
	assert_null(damaged.data);
	image_close(&image);
}

static void supported_is_true_of_nearly_all(void **state)
{
	(void)state;
	static const char *const paths[] = {"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libstdc++.so.6", "/bin/bash"};
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct image image;
		size_t refused = 0;
		assert_int_equal(image_open(paths[i], &image, NULL), 0);
		for (size_t j = 0; j < image.fde_count; j++)
			refused += !unwind_supported(&image, &image.fdes[j]);
		print_message("%s: %zu of %zu FDEs not supported\n", paths[i], refused, image.fde_count);
		assert_in_range(refused, 1, 8); /* at least the PLT, whose rows depend on the pc */
		image_close(&image);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows_and_sites_survive_shuffling),
	    cmocka_unit_test(stub_gets_its_directory),
	    cmocka_unit_test(supported_is_true_of_nearly_all),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Exception tables: hand-made ones with each feature, damaged ones, and all of libstdc++'s. */
#include "analyze/elf/lsda.h"

#include "formats/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TEXT = 0x1000, TEXT_SIZE = 0x1000, TABLE = 0x8000, SLOT = 0x9000 };

struct sample {
	struct image image;
	struct image_segment segments[2];
	struct image_fde fde;
	uint8_t *file;
};

/* Text at TEXT (its bytes do not matter) and a table at TABLE that ends the file. */
static void make_sample(struct sample *s, const uint8_t *table, size_t size)
{
	*s = (struct sample){0};
	s->file = calloc(1, TEXT_SIZE + size + 1);
	if (size)
		memcpy(s->file + TEXT_SIZE, table, size);
	s->segments[0] = (struct image_segment){.vaddr = TEXT, .file_size = TEXT_SIZE, .memory_size = TEXT_SIZE, .executable = true};
	s->segments[1] = (struct image_segment){.vaddr = TABLE, .offset = TEXT_SIZE, .file_size = size, .memory_size = size};
	s->image =
	    (struct image){.file = {.data = s->file, .size = TEXT_SIZE + size}, .segments = s->segments, .segment_count = 2, .pie = true};
	s->fde = (struct image_fde){.start = TEXT, .size = 0x100, .lsda = TABLE};
}

/* No landing pad base; types pcrel|indirect|sdata4; sites: [0,16) pad 0x40 action 1, [16,20) no pad, hole, [32,48) pad 0x50 cleanup,
   [48,64) pad 0x60 action 3; records: 0 {1, 0}, 2 {-1, next at 4}, 4 {2, 0}; two types, one list {1, 2}. */
static const uint8_t full[] = {
    0xff, 0x9b, 33, 0x01, 16, 0,    16, 0x40, 1, 16,   4, 0, 0, 32,
    16,	  0x50, 0,  48,	  16, 0x60, 3,	1,    0, 0x7f, 1, 2, 0, 0, /* aligns nothing: part of no record */
    0xe8, 0x0f, 0,  0,						   /* type 2: at TABLE + 28 */
    0,	  0,	0,  0,						   /* type 1: catch all */
    1,	  2,	0,
};

static void every_part_is_read(void **state)
{
	(void)state;
	struct sample s;
	struct lsda l;
	struct err e;
	make_sample(&s, full, sizeof full);
	if (lsda_read(&s.image, &s.fde, &l, &e))
		fail_msg("%s", e.text);
	assert_int_equal(l.site_count, 4);
	assert_true(l.sites[0].start == TEXT && l.sites[0].end == TEXT + 16 && l.sites[0].pad == TEXT + 0x40 && l.sites[0].action == 1);
	assert_true(l.sites[1].pad == 0 && l.sites[1].action == 0);
	assert_true(l.sites[2].start == TEXT + 32 && l.sites[2].pad == TEXT + 0x50 && l.sites[2].action == 0);
	assert_true(l.sites[3].end == TEXT + 64 && l.sites[3].action == 3);
	assert_int_equal(l.actions_size, 6);
	assert_ptr_equal(l.actions, s.file + TEXT_SIZE + 21);
	assert_true(l.has_types && l.type_indirect);
	assert_int_equal(l.type_count, 2);
	assert_int_equal(l.types[0], 0);
	assert_int_equal(l.types[1], TABLE + 28 + 0xfe8);
	assert_int_equal(l.specifications_size, 3);
	assert_int_equal(l.specifications[1], 2);
	lsda_free(&l);
	free(s.file);
}

static void landing_pads_count_from_their_base(void **state)
{
	(void)state;
	/* base, pcrel|sdata4; no types; sites as udata4: [1, 6) pad 0x81 cleanup */
	static const uint8_t table[] = {0x1b, 0, 0, 0, 0, 0xff, 0x03, 13, 1, 0, 0, 0, 5, 0, 0, 0, 0x81, 0, 0, 0, 0};
	struct sample s;
	struct lsda l;
	make_sample(&s, table, sizeof table);
	store_u32(s.file + TEXT_SIZE + 1, (uint32_t)(TEXT + 0x80 - (TABLE + 1)));
	assert_int_equal(lsda_read(&s.image, &s.fde, &l, NULL), 0);
	assert_int_equal(l.site_count, 1);
	assert_true(l.sites[0].start == TEXT + 1 && l.sites[0].end == TEXT + 6 && l.sites[0].pad == TEXT + 0x101);
	assert_true(!l.has_types && !l.type_count && !l.specifications);
	lsda_free(&l);
	free(s.file);
}

static void refuse(const uint8_t *table, size_t size, enum err_code code)
{
	struct sample s;
	struct lsda l = {.site_count = 77};
	struct err e = {0};
	make_sample(&s, table, size);
	assert_int_equal(lsda_read(&s.image, &s.fde, &l, &e), -(int)code);
	assert_int_equal(e.code, code);
	assert_int_equal(l.site_count, 77);
	free(s.file);
}
#define REFUSE(code, ...) refuse((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}), code)

static void bad_tables_are_refused(void **state)
{
	(void)state;
	refuse(NULL, 0, ERR_FORMAT);
	REFUSE(ERR_FORMAT, 0xff, 0x9b, 100, 1, 0);				     /* types outside */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 9, 0);				     /* sites outside */
	REFUSE(ERR_UNSUPPORTED, 0xff, 0xff, 0x1b, 0);				     /* pc-relative sites */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 4, 0xf0, 32, 0, 0);			     /* a LEB that runs into the rest */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 5, 0xf0, 1, 32, 0, 0);		     /* site past the function */
	REFUSE(ERR_UNSUPPORTED, 0xff, 0xff, 1, 8, 8, 8, 0, 0, 4, 8, 0, 0);	     /* out of order */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 6, 0, 8, 0x80, 0x80, 1, 0);		     /* landing pad outside of code */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 4, 0, 8, 9, 1, 1, 0);			     /* a type without a type table */
	REFUSE(ERR_FORMAT, 0xff, 0xff, 1, 4, 0, 8, 9, 9, 0, 0);			     /* action outside */
	REFUSE(ERR_UNSUPPORTED, 0xff, 0x03, 12, 1, 4, 0, 8, 9, 1, 1, 0, 1, 2, 3, 4); /* absolute types in a PIE */
	REFUSE(ERR_FORMAT, 0xff, 0x9b, 8, 1, 4, 0, 8, 9, 1, 5, 0);		     /* type index before the table's start */
	REFUSE(ERR_UNSUPPORTED, 0x9b, 1, 0, 0, 0, 0xff, 1, 0);			     /* indirect base */
}

static void cyclic_actions_end(void **state)
{
	(void)state;
	static const uint8_t table[] = {0xff, 0xff, 1, 4, 0, 8, 9, 1, 0, 0x7f};
	struct sample s;
	struct lsda l;
	make_sample(&s, table, sizeof table);
	assert_int_equal(lsda_read(&s.image, &s.fde, &l, NULL), 0);
	assert_int_equal(l.actions_size, 2);
	lsda_free(&l);
	free(s.file);
}

/* Each truncation and each byte set to several values; the sanitizers watch. Truncation must always be noticed. */
static void damage_never_crashes(void **state)
{
	(void)state;
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0x9b, 0xff};
	struct sample s;
	struct lsda l;
	for (size_t size = 0; size < sizeof full; size++)
		refuse(full, size, ERR_FORMAT);
	unsigned refused = 0;
	make_sample(&s, full, sizeof full);
	for (size_t i = 0; i < sizeof full; i++) {
		for (size_t j = 0; j < sizeof values; j++) {
			s.file[TEXT_SIZE + i] = values[j];
			if (lsda_read(&s.image, &s.fde, &l, NULL))
				refused++;
			else
				lsda_free(&l);
		}
		s.file[TEXT_SIZE + i] = full[i];
	}
	assert_in_range(refused, 20, sizeof full * sizeof values - 1);
	free(s.file);
}

static void all_tables_of_a_library_are_read(void **state)
{
	(void)state;
	struct image image;
	struct err e;
	size_t pads = 0, types = 0;
	assert_int_equal(image_open("/lib/x86_64-linux-gnu/libstdc++.so.6", &image, NULL), 0);
	for (size_t i = 0; i < image.fde_count; i++) {
		struct lsda l;
		if (!image.fdes[i].lsda)
			continue;
		if (lsda_read(&image, &image.fdes[i], &l, &e))
			fail_msg("%s", e.text);
		for (uint32_t j = 0; j < l.site_count; j++)
			pads += l.sites[j].pad != 0;
		types += l.type_count;
		lsda_free(&l);
	}
	print_message("%zu landing pads, %zu types\n", pads, types);
	assert_true(pads > 1000 && types > 100);
	image_close(&image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_part_is_read),     cmocka_unit_test(landing_pads_count_from_their_base),
	    cmocka_unit_test(bad_tables_are_refused), cmocka_unit_test(cyclic_actions_end),
	    cmocka_unit_test(damage_never_crashes),   cmocka_unit_test(all_tables_of_a_library_are_read),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

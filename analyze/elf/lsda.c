#include "analyze/elf/lsda.h"

#include "analyze/elf/cfi_pointer.h"
#include "formats/base/vec.h"

#include <string.h>

enum { ACTIONS_MAX = 1 << 16, TYPES_MAX = 1 << 16 };

struct table {
	const struct image *image;
	const struct image_fde *fde;
	struct reader r;     /* from the table's start to the end of its segment */
	uint64_t pad_base;   /* LPStart */
	uint64_t types_base; /* offset in r.data of the type table's end, 0 = no type table */
	uint8_t types_encoding, sites_encoding;
	uint64_t actions; /* offset in r.data */
	uint64_t actions_size, type_count, specifications_size;
	VEC(struct lsda_call_site) sites;
	uint64_t *types;
	uint8_t seen[ACTIONS_MAX / 8]; /* action records already walked: each is walked once, cycles end */
	struct err *e;
};

static int bad(struct table *t, enum err_code code, const char *what)
{
	return err_set(t->e, code, "exception table at 0x%lx of the function at 0x%lx: %s", (unsigned long)t->fde->lsda,
		       (unsigned long)t->fde->start, what);
}

static int read_header(struct table *t)
{
	uint8_t encoding = read_u8(&t->r);
	t->pad_base = t->fde->start;
	if (encoding != CFI_POINTER_OMIT)
		t->pad_base = cfi_pointer_read(&t->r, t->fde->lsda, encoding);
	if (encoding != CFI_POINTER_OMIT && (encoding & CFI_POINTER_INDIRECT))
		return bad(t, ERR_UNSUPPORTED, "indirect landing pad base");
	t->types_encoding = read_u8(&t->r);
	if (t->types_encoding != CFI_POINTER_OMIT) {
		uint64_t distance = read_uleb(&t->r);
		if (distance > reader_left(&t->r))
			return bad(t, ERR_FORMAT, "type table lies outside the segment");
		t->types_base = t->r.position + distance;
	}
	t->sites_encoding = read_u8(&t->r);
	if (t->sites_encoding & ~CFI_POINTER_FORM)
		return bad(t, ERR_UNSUPPORTED, "call sites are not plain numbers");
	uint64_t length = read_uleb(&t->r);
	if (t->r.failed || length > reader_left(&t->r))
		return bad(t, ERR_FORMAT, "call site table lies outside the segment");
	t->actions = t->r.position + length;
	return 0;
}

static int check_site(struct table *t, uint64_t start, uint64_t length, uint64_t pad, uint64_t previous_end)
{
	if (start > t->fde->size || length > t->fde->size - start)
		return bad(t, ERR_FORMAT, "a call site lies outside the function");
	if (start < previous_end)
		return bad(t, ERR_UNSUPPORTED, "call sites are not in order");
	if (pad && !image_executable(t->image, (vaddr){t->pad_base + pad}))
		return bad(t, ERR_FORMAT, "a landing pad is not in executable code");
	return 0;
}

static int read_sites(struct table *t)
{
	struct reader r = t->r;
	r.size = t->actions;
	uint64_t previous_end = 0;
	while (reader_left(&r)) {
		uint64_t start = cfi_pointer_read(&r, 0, t->sites_encoding);
		uint64_t length = cfi_pointer_read(&r, 0, t->sites_encoding);
		uint64_t pad = cfi_pointer_read(&r, 0, t->sites_encoding);
		uint64_t action = read_uleb(&r);
		if (r.failed)
			return bad(t, ERR_FORMAT, "a call site is cut off");
		int status = check_site(t, start, length, pad, previous_end);
		if (status)
			return status;
		if (!length)
			continue;
		previous_end = start + length;
		struct lsda_call_site site = {t->fde->start + start, t->fde->start + start + length, pad ? t->pad_base + pad : 0, action};
		if (vec_push(&t->sites, site))
			return bad(t, ERR_MEMORY, "no memory");
	}
	return 0;
}

/* A list of type indices, ended by 0, that exception specification number -filter names. */
static int read_specification(struct table *t, uint64_t offset)
{
	struct reader r = t->r;
	uint64_t index;
	if (offset > r.size - t->types_base)
		return bad(t, ERR_FORMAT, "an exception specification lies outside the segment");
	r.position = t->types_base + offset;
	do {
		index = read_uleb(&r);
		if (r.failed || index > TYPES_MAX)
			return bad(t, ERR_FORMAT, "an exception specification is damaged");
		if (index > t->type_count)
			t->type_count = index;
	} while (index);
	if (r.position - t->types_base > t->specifications_size)
		t->specifications_size = r.position - t->types_base;
	return 0;
}

static int read_filter(struct table *t, int64_t filter)
{
	if (filter && !t->types_base)
		return bad(t, ERR_FORMAT, "an action names a type but there is no type table");
	if (filter > TYPES_MAX || filter < -(1 << 24))
		return bad(t, ERR_FORMAT, "an action's type is out of range");
	if (filter > 0 && (uint64_t)filter > t->type_count)
		t->type_count = (uint64_t)filter;
	return filter < 0 ? read_specification(t, (uint64_t)(-filter) - 1) : 0;
}

/* Walks the chain of records from offset `at` in the action table. */
static int read_actions(struct table *t, uint64_t at)
{
	for (;;) {
		if (at >= ACTIONS_MAX)
			return bad(t, ERR_UNSUPPORTED, "an action record lies too far away");
		if (t->seen[at / 8] & 1u << at % 8)
			return 0;
		t->seen[at / 8] |= (uint8_t)(1u << at % 8);
		struct reader r = t->r;
		if (at > r.size - t->actions)
			return bad(t, ERR_FORMAT, "an action record lies outside the segment");
		r.position = t->actions + at;
		int64_t filter = read_sleb(&r);
		uint64_t next_field = r.position - t->actions;
		int64_t next = read_sleb(&r);
		if (r.failed)
			return bad(t, ERR_FORMAT, "an action record is cut off");
		if (r.position - t->actions > t->actions_size)
			t->actions_size = r.position - t->actions;
		int status = read_filter(t, filter);
		if (status || !next)
			return status;
		at = next_field + (uint64_t)next; /* wraps below 0 to something that is too far */
	}
}

static int read_types(struct table *t)
{
	unsigned size = cfi_pointer_size(t->types_encoding);
	if (!t->type_count)
		return 0;
	if (!size)
		return bad(t, ERR_UNSUPPORTED, "type table of an unknown encoding");
	if (t->image->pie && !(t->types_encoding & CFI_POINTER_BASE))
		return bad(t, ERR_UNSUPPORTED, "absolute type table in position independent code");
	if (t->type_count * size > t->types_base)
		return bad(t, ERR_FORMAT, "the type table is too short");
	t->types = calloc(t->type_count, sizeof *t->types);
	if (!t->types)
		return bad(t, ERR_MEMORY, "no memory");
	for (uint64_t i = 0; i < t->type_count; i++) {
		struct reader r = t->r;
		r.position = t->types_base - (i + 1) * size;
		t->types[i] = cfi_pointer_read(&r, t->fde->lsda, t->types_encoding);
		if (r.failed)
			return bad(t, ERR_UNSUPPORTED, "type table of an unknown encoding");
	}
	return 0;
}

static int read_table(struct table *t)
{
	int status = read_header(t);
	if (!status)
		status = read_sites(t);
	for (size_t i = 0; !status && i < t->sites.count; i++)
		if (t->sites.data[i].action)
			status = read_actions(t, t->sites.data[i].action - 1);
	return status ? status : read_types(t);
}

int lsda_read(const struct image *image, const struct image_fde *fde, struct lsda *ret_lsda, struct err *e)
{
	struct table t = {.image = image, .fde = fde, .e = e};
	size_t left;
	const uint8_t *bytes = image_bytes_left(image, (vaddr){fde->lsda}, &left);
	if (!bytes)
		return bad(&t, ERR_FORMAT, "not in the file");
	t.r = reader_of(bytes, left);
	int status = read_table(&t);
	if (status) {
		vec_free(&t.sites);
		free(t.types);
		return status;
	}
	*ret_lsda = (struct lsda){
	    .sites = t.sites.data,
	    .site_count = (uint32_t)t.sites.count,
	    .actions = bytes + t.actions,
	    .actions_size = (uint32_t)t.actions_size,
	    .types = t.types,
	    .type_count = (uint32_t)t.type_count,
	    .type_indirect = t.types_encoding != CFI_POINTER_OMIT && (t.types_encoding & CFI_POINTER_INDIRECT),
	    .has_types = t.types_encoding != CFI_POINTER_OMIT,
	    .specifications = t.types_base ? bytes + t.types_base : NULL,
	    .specifications_size = (uint32_t)t.specifications_size,
	};
	return 0;
}

void lsda_free(struct lsda *lsda)
{
	free(lsda->sites);
	free(lsda->types);
	*lsda = (struct lsda){0};
}

#include "apply/release.h"

#include "apply/inject.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_MAX 8

/* A mapping as a journal tells of it. */
struct piece {
	raddr address;
	uint64_t mapped, size, hash; /* `size` bytes of content with this hash; size 0: not known */
	const char *mark;	     /* it may begin with this instead */
	bool writable, executable;   /* the first: it may be */
};

struct range {
	raddr address;
	uint64_t size;
};

struct release {
	struct target *target;
	VEC(struct range) ranges; /* to be unmapped, in this order */
	struct release_report report;
};

static bool begins_with(const struct target *t, raddr address, const char *mark)
{
	char begin[MARK_MAX];
	size_t size = strlen(mark);
	return target_read_some(t, address, begin, size) == size && !memcmp(begin, mark, size);
}

static int has_content(const struct target *t, const struct piece *p, bool *ret_has, struct err *e)
{
	uint8_t *bytes = malloc(p->size ? p->size : 1);
	if (!bytes)
		return err_set(e, ERR_MEMORY, "no memory for %" PRIu64 " bytes", p->size);
	*ret_has = p->size && target_read_some(t, p->address, bytes, p->size) == p->size && hash_bytes(bytes, p->size) == p->hash;
	free(bytes);
	return 0;
}

/* Notes what is ours. *ret_altered: it has our place and shape, but somebody wrote to it. */
static int add_piece(struct release *r, const struct piece *p, bool *ret_altered, struct err *e)
{
	const struct procmap *m = p->mapped ? procmaps_find(&r->target->maps, p->address) : NULL;
	bool ours = false;
	if (!m || m->inode || m->shared || (m->write && !p->writable) || m->end.v - p->address.v < p->mapped)
		return 0;
	int status = 0;
	ours = begins_with(r->target, p->address, p->mark);
	if (!ours)
		status = has_content(r->target, p, &ours, e);
	if (status)
		return status;
	if (!ours) {
		*ret_altered |=
		    p->size && m->start.v == p->address.v && m->end.v == p->address.v + p->mapped && m->read && m->execute == p->executable;
		return 0;
	}
	return vec_push(&r->ranges, (struct range){p->address, p->mapped}) ? err_set(e, ERR_MEMORY, "no memory to free images") : 0;
}

static int add_region(struct release *r, const struct journal_region *from, bool *ret_altered, struct err *e)
{
	const struct piece pieces[] = {
	    {from->code, from->code_mapped, from->code_size, from->code_hash, STAGE_MARK, false, true},
	    {from->counters, from->counters_mapped, 0, 0, PLAN_COUNTER_MAGIC, true, false},
	    {from->data, from->data_mapped, from->data_size, from->data_hash, STAGE_MARK, false, false},
	};
	int status = 0;
	for (size_t i = 0; !status && i < sizeof pieces / sizeof *pieces; i++)
		status = add_piece(r, &pieces[i], ret_altered, e);
	return status;
}

static int add_journal(struct release *r, struct journal *j, struct err *e)
{
	bool altered = false;
	const struct piece self = {j->address, j->mapped, 0, 0, JOURNAL_MAGIC, false, false};
	size_t first = r->ranges.count;
	int status = 0;
	for (uint32_t i = 0; !status && i < j->region_count; i++)
		status = add_region(r, &j->regions[i], &altered, e);
	if (status)
		return status;
	if (!altered || !journal_is_entered(j)) {
		status = add_piece(r, &self, &altered, e);
		return status || j->state == JOURNAL_UNMAPPING ? status : journal_set_state(r->target, j, JOURNAL_UNMAPPING, NULL, e);
	}
	r->ranges.count = first;
	snprintf(r->report.kept, sizeof r->report.kept, "it is not what was written, somebody else changed it");
	return journal_set_state(r->target, j, JOURNAL_REVERTED, r->report.kept, e);
}

static int unmap_all(struct release *r, struct err *e)
{
	struct inject i;
	int status = r->ranges.count ? inject_begin(r->target, &i, e) : 0;
	if (status || !r->ranges.count)
		return status;
	for (size_t k = 0; !status && k < r->ranges.count; k++) {
		status = inject_unmap(&i, r->ranges.data[k].address, r->ranges.data[k].size, e);
		if (!status)
			r->report.freed += r->ranges.data[k].size;
	}
	inject_end(&i);
	return status;
}

int release_images(struct target *t, struct journal *journals, uint32_t count, const bool *pinned, struct release_report *ret_report,
		   struct err *e)
{
	struct release r = {.target = t};
	int status = target_refresh(t, e);
	for (uint32_t k = 0; !status && k < count; k++)
		if (!pinned[k])
			status = add_journal(&r, &journals[k], e);
	if (!status)
		status = unmap_all(&r, e);
	vec_free(&r.ranges);
	if (!status)
		*ret_report = r.report;
	return status;
}

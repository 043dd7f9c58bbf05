#include "formats/profile_chunks.h"

#include <string.h>

#define TEXT_SIZE_MAX 4096u

static int malformed(const struct container *c, const struct section *s, const char *what, struct err *e)
{
	return err_set(e, ERR_FORMAT, "%s: chunk at offset %llu: %s", c->name, (unsigned long long)s->chunk.offset, what);
}

static int get_text(const struct container *c, struct section *s, char **ret_text, struct err *e)
{
	uint64_t length = column_get(&s->r);
	if (length > TEXT_SIZE_MAX)
		return malformed(c, s, "a text of more than 4096 bytes", e);
	const uint8_t *bytes = read_bytes(&s->r, (size_t)length);
	if (!bytes)
		return malformed(c, s, "a text is cut off", e);
	if (memchr(bytes, 0, (size_t)length))
		return malformed(c, s, "NUL in a text", e);
	char *text = strndup((const char *)bytes, (size_t)length);
	if (!text)
		return err_set(e, ERR_MEMORY, "%s: no memory for a text", c->name);
	free(*ret_text);
	*ret_text = text;
	return 0;
}

/* A later INFO replaces an earlier one. */
static int get_info(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	struct profile_info *info = &g->info;
	info->source = read_u8(&s->r);
	char **texts[] = {&info->event, &info->kernel, &info->cpu, &info->command};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		int status = get_text(c, s, texts[i], e);
		if (status)
			return status;
	}
	uint64_t *numbers[] = {&info->period, &info->frequency, &info->start_ns,      &info->duration_ns,
			       &info->lost,   &info->throttled, &info->target_cpu_ns, &info->recorder_cpu_ns};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		*numbers[i] = read_u64(&s->r);
	g->has_info = true;
	return 0;
}

static int get_modules(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	uint32_t count;
	int status = section_count(c, s, 18, &count, e); /* size, two numbers, path length */
	if (status)
		return status;
	if (vec_reserve(&g->modules, count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %u modules", c->name, count);
	for (uint32_t i = 0; i < count; i++) {
		status = module_decode(&s->r, &g->modules.data[g->modules.count], e);
		if (status)
			return e ? err_prefix(e, "%s", c->name) : status;
		g->modules.count++;
	}
	return 0;
}

static int get_counts(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	uint32_t count, module = 0;
	int status = section_count(c, s, 3, &count, e);
	if (status || !count)
		return status;
	if (vec_reserve(&g->counts, count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %u counts", c->name, count);
	struct profile_count *counts = g->counts.data + g->counts.count;
	memset(counts, 0, count * sizeof *counts);
	for (uint32_t i = 0; i < count; i++)
		counts[i].module = module = column_get_gap(&s->r, module);
	for (uint32_t i = 0; i < count; i++) {
		bool same = i && counts[i].module == counts[i - 1].module;
		counts[i].address = column_get(&s->r) + (same ? counts[i - 1].address : 0);
	}
	for (uint32_t i = 0; i < count; i++)
		counts[i].count = column_get(&s->r);
	g->counts.count += count;
	return 0;
}

static int get_edges(const struct container *c, struct section *s, struct profile_growing *g, struct err *e)
{
	uint32_t count, module = 0;
	int status = section_count(c, s, 7, &count, e);
	if (status || !count)
		return status;
	if (vec_reserve(&g->edges, count))
		return err_set(e, ERR_MEMORY, "%s: no memory for %u edges", c->name, count);
	struct profile_edge *edges = g->edges.data + g->edges.count;
	struct reader *r = &s->r;
	memset(edges, 0, count * sizeof *edges);
	for (uint32_t i = 0; i < count; i++)
		edges[i].from_module = module = column_get_gap(r, module);
	for (uint32_t i = 0; i < count; i++) {
		bool same = i && edges[i].from_module == edges[i - 1].from_module;
		edges[i].from = column_get(r) + (same ? edges[i - 1].from : 0);
	}
	for (uint32_t i = 0; i < count; i++)
		edges[i].to_module = column_get_delta(r, edges[i].from_module);
	for (uint32_t i = 0; i < count; i++)
		edges[i].to = edges[i].from + unzigzag(column_get(r));
	for (uint32_t i = 0; i < count; i++)
		edges[i].kind = read_u8(r);
	for (uint32_t i = 0; i < count; i++)
		edges[i].count = column_get(r);
	for (uint32_t i = 0; i < count; i++)
		edges[i].mispredicted = column_get(r);
	g->edges.count += count;
	return 0;
}

static const struct {
	uint32_t tag;
	int (*get)(const struct container *c, struct section *s, struct profile_growing *g, struct err *e);
} chunks[] = {
    {PROFILE_CHUNK_INFO, get_info},	{PROFILE_CHUNK_MODULES, get_modules}, {PROFILE_CHUNK_SAMPLES, profile_get_samples},
    {PROFILE_CHUNK_COUNTS, get_counts}, {PROFILE_CHUNK_EDGES, get_edges},     {PROFILE_CHUNK_COURSE, profile_get_course},
};
#define CHUNK_COUNT (sizeof chunks / sizeof *chunks)

static int decode_chunk(const struct container *c, const struct container_chunk *chunk, struct profile_growing *g, struct err *e)
{
	size_t i = 0;
	while (i < CHUNK_COUNT && chunks[i].tag != chunk->tag)
		i++;
	if (i == CHUNK_COUNT)
		return 0; /* not required: container_refuse_unknown has looked */
	struct section s;
	int status = section_load(c, chunk, &s, e);
	if (status)
		return status;
	status = chunks[i].get(c, &s, g, e);
	if (!status)
		status = section_finish(c, &s, e);
	section_free(&s);
	return status;
}

/* Each chunk into `g`; after each, `next` (may be NULL). */
static int decode_chunks(const struct container *c, struct profile_growing *g, int (*next)(void *context, struct err *e), void *context,
			 struct err *e)
{
	uint32_t known[CHUNK_COUNT];
	for (size_t i = 0; i < CHUNK_COUNT; i++)
		known[i] = chunks[i].tag;
	int status = container_refuse_unknown(c, known, CHUNK_COUNT, e);
	struct container_chunk k = {0};
	for (bool more = container_next(c, NULL, &k); more && !status; more = container_next(c, &k, &k)) {
		status = decode_chunk(c, &k, g, e);
		if (!status && next)
			status = next(context, e);
	}
	if (!status && !g->has_info)
		status = err_set(e, ERR_FORMAT, "%s: says nothing about how it was made%s", c->name,
				 c->complete ? "" : " (cut off at the start)");
	return status;
}

static uint64_t last_time(const struct profile *p)
{
	uint64_t last = 0;
	for (size_t i = 0; i < p->sample_count; i++)
		if (last < p->samples[i].time_ns)
			last = p->samples[i].time_ns;
	return last;
}

/* A recorder that was killed could not say how long it ran: the last sample or window does. */
static void finish_incomplete(struct profile *p, uint64_t last_ns)
{
	if (p->info.duration_ns < last_ns)
		p->info.duration_ns = last_ns;
}

/* What `g` holds; still owned by it. */
static struct profile view(const struct profile_growing *g, bool complete)
{
	return (struct profile){
	    .info = g->info,
	    .modules = g->modules.data,
	    .samples = g->samples.data,
	    .branches = g->branches.data,
	    .counts = g->counts.data,
	    .edges = g->edges.data,
	    .module_count = g->modules.count,
	    .sample_count = g->samples.count,
	    .branch_count = g->branches.count,
	    .count_count = g->counts.count,
	    .edge_count = g->edges.count,
	    .course = g->course,
	    .places = g->places.data,
	    .steps = g->steps.data,
	    .windows = g->windows.data,
	    .place_count = g->places.count,
	    .step_count = g->steps.count,
	    .window_count = g->windows.count,
	    .complete = complete,
	};
}

static void drop_course(struct profile_growing *g)
{
	vec_free(&g->places);
	vec_free(&g->steps);
	vec_free(&g->windows);
}

int profile_decode(const void *data, size_t size, const char *name, struct profile *ret_profile, struct err *e)
{
	struct container c;
	struct profile_growing g = {0};
	int status = container_check(data, size, name, CONTAINER_PROFILE, PROFILE_MAJOR, &c, e);
	if (status)
		return status;
	status = decode_chunks(&c, &g, NULL, NULL, e);
	drop_course(&g);
	struct profile p = view(&g, c.complete);
	if (!status)
		status = profile_validate(&p, name, e);
	if (status) {
		profile_free(&p);
		return status;
	}
	if (!p.complete)
		finish_incomplete(&p, g.last_window_ns > last_time(&p) ? g.last_window_ns : last_time(&p));
	*ret_profile = p;
	return 0;
}

struct walk {
	const struct container *c;
	struct profile_growing g;
	profile_visitor *visit;
	void *context;
	struct profile_count last_count; /* of the chunks before: the order goes over all of them */
	struct profile_edge last_edge;
	bool has_count, has_edge;
	uint64_t last_ns;
};

static int check_order(struct walk *w, struct err *e)
{
	struct profile_growing *g = &w->g;
	if (g->counts.count && w->has_count && profile_compare_counts(&w->last_count, &g->counts.data[0]) >= 0)
		return err_set(e, ERR_FORMAT, "%s: the first count of a chunk is not after the last one before", w->c->name);
	if (g->edges.count && w->has_edge && profile_compare_edges(&w->last_edge, &g->edges.data[0]) >= 0)
		return err_set(e, ERR_FORMAT, "%s: the first edge of a chunk is not after the last one before", w->c->name);
	if (g->counts.count)
		w->last_count = g->counts.data[g->counts.count - 1];
	if (g->edges.count)
		w->last_edge = g->edges.data[g->edges.count - 1];
	w->has_count |= g->counts.count > 0;
	w->has_edge |= g->edges.count > 0;
	return 0;
}

static int walk_chunk(void *context, struct err *e)
{
	struct walk *w = context;
	struct profile part = view(&w->g, w->c->complete);
	int status = profile_validate_records(&part, w->c->name, e);
	if (!status)
		status = check_order(w, e);
	if (!status && w->visit)
		status = w->visit(w->context, &part, e);
	uint64_t last = last_time(&part);
	if (w->last_ns < last)
		w->last_ns = last;
	w->g.samples.count = w->g.branches.count = w->g.counts.count = w->g.edges.count = 0;
	w->g.places.count = w->g.steps.count = w->g.windows.count = 0;
	return status;
}

int profile_walk(const void *data, size_t size, const char *name, profile_visitor *visit, void *context, struct profile *ret_rest,
		 struct err *e)
{
	struct container c;
	struct walk w = {.c = &c, .visit = visit, .context = context};
	int status = container_check(data, size, name, CONTAINER_PROFILE, PROFILE_MAJOR, &c, e);
	if (status)
		return status;
	status = decode_chunks(&c, &w.g, walk_chunk, &w, e);
	vec_free(&w.g.samples);
	vec_free(&w.g.branches);
	vec_free(&w.g.counts);
	vec_free(&w.g.edges);
	drop_course(&w.g);
	struct profile rest = view(&w.g, c.complete);
	if (!status)
		status = profile_validate(&rest, name, e);
	if (status) {
		profile_free(&rest);
		return status;
	}
	if (!rest.complete)
		finish_incomplete(&rest, w.last_ns > w.g.last_window_ns ? w.last_ns : w.g.last_window_ns);
	*ret_rest = rest;
	return 0;
}

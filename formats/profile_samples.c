/*
 * One chunk of samples, self-contained. Addresses (of samples and branches) go through a dictionary, sorted by module and address, since a hot
 * program is sampled at the same places again and again; times, threads and dictionary indices are then packed columns.
 */
#include "formats/bitpack.h"
#include "formats/profile_chunks.h"

#include <string.h>

struct hop {
	uint32_t from, to; /* indices into the dictionary */
};

/* All the scratch memory of one chunk; freed in one place. */
struct packing {
	struct profile_place *places;
	struct hop *hops;
	uint32_t *threads, *branch_hop;
	uint64_t *column;
	size_t place_count, hop_count, thread_count;
};

static int compare_hops(const void *a, const void *b)
{
	const struct hop *x = a, *y = b;
	if (x->from != y->from)
		return x->from < y->from ? -1 : 1;
	return (x->to > y->to) - (x->to < y->to);
}

static int compare_threads(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* Sorts and removes what is there twice; returns how many are left. */
static size_t sort_unique(void *array, size_t count, size_t size, int (*compare)(const void *, const void *))
{
	uint8_t *bytes = array;
	size_t kept = 0;
	qsort(array, count, size, compare);
	for (size_t i = 0; i < count; i++)
		if (!i || compare(bytes + i * size, bytes + (kept - 1) * size))
			memmove(bytes + kept++ * size, bytes + i * size, size);
	return kept;
}

static uint32_t find(const void *array, size_t count, size_t size, int (*compare)(const void *, const void *), const void *key)
{
	const uint8_t *found = bsearch(key, array, count, size, compare);
	return (uint32_t)((size_t)(found - (const uint8_t *)array) / size);
}

static uint32_t find_place(const struct packing *p, uint32_t module, uint64_t address)
{
	struct profile_place key = {.address = address, .module = module};
	return find(p->places, p->place_count, sizeof key, profile_compare_places, &key);
}

static void packing_free(struct packing *p)
{
	free(p->places);
	free(p->hops);
	free(p->threads);
	free(p->branch_hop);
	free(p->column);
}

static int packing_init(struct packing *p, size_t samples, size_t branches)
{
	size_t places = samples + 2 * branches;
	*p = (struct packing){
	    .places = calloc(places, sizeof *p->places),
	    .hops = calloc(branches + 1, sizeof *p->hops),
	    .threads = calloc(samples, sizeof *p->threads),
	    .branch_hop = calloc(branches + 1, sizeof *p->branch_hop),
	    .column = calloc(places, sizeof *p->column),
	};
	return p->places && p->hops && p->threads && p->branch_hop && p->column ? 0 : -1;
}

static void collect(struct packing *p, const struct profile_sample *samples, size_t count, const struct profile_branch *branches)
{
	size_t places = 0;
	for (size_t i = 0; i < count; i++) {
		const struct profile_sample *s = &samples[i];
		p->threads[i] = s->thread;
		p->places[places++] = (struct profile_place){s->address, s->module};
		for (uint32_t j = 0; j < s->branch_count; j++) {
			const struct profile_branch *b = &branches[s->first_branch + j];
			p->places[places++] = (struct profile_place){b->from, b->from_module};
			p->places[places++] = (struct profile_place){b->to, b->to_module};
		}
	}
	p->thread_count = sort_unique(p->threads, count, sizeof *p->threads, compare_threads);
	p->place_count = sort_unique(p->places, places, sizeof *p->places, profile_compare_places);
}

static void put_threads(struct packing *p, struct writer *raw)
{
	column_put(raw, p->thread_count);
	for (size_t i = 0; i < p->thread_count; i++)
		p->column[i] = p->threads[i] - (i ? p->threads[i - 1] : 0);
	bitpack_put(raw, p->column, p->thread_count, 0);
}

static uint64_t time_units(const struct profile_sample *s)
{
	return s->time_ns / PROFILE_TIME_UNIT_NS;
}

static void put_times(struct packing *p, struct writer *raw, const struct profile_sample *samples, size_t count, bool backward)
{
	uint64_t previous = time_units(&samples[0]);
	column_put(raw, previous);
	for (size_t i = 0; i < count; i++) {
		uint64_t now = time_units(&samples[i]);
		p->column[i] = backward ? zigzag(now - previous) : now - previous;
		previous = now;
	}
	bitpack_put(raw, p->column, count, 1);
}

/* Edges taken, as a dictionary of pairs, then one number per branch in recorded order: loops repeat, which LZ4 sees. */
static void put_branches(struct packing *p, struct writer *raw, const struct profile_sample *samples, size_t count,
			 const struct profile_branch *branches)
{
	size_t total = 0;
	for (size_t i = 0; i < count; i++) {
		p->column[i] = samples[i].branch_count;
		for (uint32_t j = 0; j < samples[i].branch_count; j++) {
			const struct profile_branch *b = &branches[samples[i].first_branch + j];
			p->hops[total++] = (struct hop){find_place(p, b->from_module, b->from), find_place(p, b->to_module, b->to)};
		}
	}
	bitpack_put(raw, p->column, count, 0);
	struct hop *in_order = malloc(total * sizeof *in_order);
	if (!in_order) {
		raw->failed = true;
		return;
	}
	memcpy(in_order, p->hops, total * sizeof *in_order);
	p->hop_count = sort_unique(p->hops, total, sizeof *p->hops, compare_hops);
	column_put(raw, p->hop_count);
	for (size_t i = 0; i < p->hop_count; i++) {
		column_put(raw, p->hops[i].from - (i ? p->hops[i - 1].from : 0));
		column_put(raw, p->hops[i].to);
	}
	for (size_t i = 0, n = 0; i < count; i++) {
		for (uint32_t j = 0; j < samples[i].branch_count; j++, n++) {
			uint64_t hop = find(p->hops, p->hop_count, sizeof *p->hops, compare_hops, &in_order[n]);
			column_put(raw, hop << 1 | branches[samples[i].first_branch + j].mispredicted);
		}
	}
	free(in_order);
}

void profile_put_samples(struct container_writer *cw, struct writer *w, const struct profile_sample *samples, size_t count,
			 const struct profile_branch *branches)
{
	size_t total = 0;
	bool backward = false;
	struct packing p;
	struct writer raw = {0};
	for (size_t i = 0; i < count; i++) {
		total += samples[i].branch_count;
		backward |= i && time_units(&samples[i]) < time_units(&samples[i - 1]);
	}
	if (packing_init(&p, count, total)) {
		packing_free(&p);
		w->failed = true;
		return;
	}
	collect(&p, samples, count, branches);
	column_put(&raw, count);
	write_u8(&raw, (uint8_t)((backward ? PROFILE_TIME_BACKWARD : 0) | (total ? PROFILE_HAS_BRANCHES : 0)));
	put_threads(&p, &raw);
	profile_put_places(&raw, p.places, p.place_count, p.column);
	put_times(&p, &raw, samples, count, backward);
	for (size_t i = 0; i < count; i++)
		p.column[i] = find(p.threads, p.thread_count, sizeof *p.threads, compare_threads, &samples[i].thread);
	bitpack_put(&raw, p.column, count, 0);
	for (size_t i = 0; i < count; i++)
		p.column[i] = find_place(&p, samples[i].module, samples[i].address);
	bitpack_put(&raw, p.column, count, 0);
	if (total)
		put_branches(&p, &raw, samples, count, branches);
	w->failed |= raw.failed;
	container_put_sparse_chunk(cw, w, PROFILE_CHUNK_SAMPLES, CONTAINER_REQUIRED, raw.data, raw.size,
				   (count + total + PROFILE_PER_STORED_BYTE - 1) / PROFILE_PER_STORED_BYTE);
	writer_free(&raw);
	packing_free(&p);
}

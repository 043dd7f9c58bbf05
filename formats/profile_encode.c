#include "formats/profile_chunks.h"

#include <string.h>

#define TEXT_SIZE_MAX 4096u

static void put_text(struct writer *w, const char *text)
{
	size_t length = text ? strnlen(text, TEXT_SIZE_MAX) : 0;
	column_put(w, length);
	write_bytes(w, text, length);
}

static void put_raw(struct container_writer *cw, struct writer *w, uint32_t tag, struct writer *raw)
{
	w->failed |= raw->failed;
	container_put_chunk(cw, w, tag, CONTAINER_REQUIRED, raw->data, raw->size);
	writer_free(raw);
}

void profile_put_info(struct container_writer *cw, struct writer *w, const struct profile_info *info)
{
	struct writer raw = {0};
	write_u8(&raw, info->source);
	put_text(&raw, info->event);
	put_text(&raw, info->kernel);
	put_text(&raw, info->cpu);
	put_text(&raw, info->command);
	const uint64_t numbers[] = {info->period, info->frequency, info->start_ns,	info->duration_ns,
				    info->lost,	  info->throttled, info->target_cpu_ns, info->recorder_cpu_ns};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		write_u64(&raw, numbers[i]);
	put_raw(cw, w, PROFILE_CHUNK_INFO, &raw);
}

void profile_put_modules(struct container_writer *cw, struct writer *w, const struct module_identity *modules, size_t count)
{
	struct writer raw = {0};
	column_put(&raw, count);
	for (size_t i = 0; i < count; i++)
		module_encode(&raw, &modules[i]);
	put_raw(cw, w, PROFILE_CHUNK_MODULES, &raw);
}

static void put_counts(struct container_writer *cw, struct writer *w, const struct profile_count *counts, size_t count)
{
	struct writer raw = {0};
	column_put(&raw, count);
	for (size_t i = 0; i < count; i++)
		column_put(&raw, counts[i].module - (i ? counts[i - 1].module : 0));
	for (size_t i = 0; i < count; i++) {
		bool same = i && counts[i].module == counts[i - 1].module;
		column_put(&raw, counts[i].address - (same ? counts[i - 1].address : 0));
	}
	for (size_t i = 0; i < count; i++)
		column_put(&raw, counts[i].count);
	put_raw(cw, w, PROFILE_CHUNK_COUNTS, &raw);
}

static void put_edges(struct container_writer *cw, struct writer *w, const struct profile_edge *edges, size_t count)
{
	struct writer raw = {0};
	column_put(&raw, count);
	for (size_t i = 0; i < count; i++)
		column_put(&raw, edges[i].from_module - (i ? edges[i - 1].from_module : 0));
	for (size_t i = 0; i < count; i++) {
		bool same = i && edges[i].from_module == edges[i - 1].from_module;
		column_put(&raw, edges[i].from - (same ? edges[i - 1].from : 0));
	}
	for (size_t i = 0; i < count; i++)
		column_put(&raw, zigzag((uint64_t)edges[i].to_module - edges[i].from_module));
	for (size_t i = 0; i < count; i++)
		column_put(&raw, zigzag(edges[i].to - edges[i].from));
	for (size_t i = 0; i < count; i++)
		write_u8(&raw, edges[i].kind);
	for (size_t i = 0; i < count; i++)
		column_put(&raw, edges[i].count);
	for (size_t i = 0; i < count; i++)
		column_put(&raw, edges[i].mispredicted);
	put_raw(cw, w, PROFILE_CHUNK_EDGES, &raw);
}

/* Cuts the samples into chunks: as many as fit by both limits. */
static void put_all_samples(struct container_writer *cw, struct writer *w, const struct profile *p)
{
	for (size_t first = 0, next; first < p->sample_count && !w->failed; first = next) {
		size_t branches = 0;
		for (next = first; next < p->sample_count && next - first < PROFILE_CHUNK_SAMPLES_MAX; next++) {
			if (branches + p->samples[next].branch_count > PROFILE_CHUNK_BRANCHES_MAX)
				break;
			branches += p->samples[next].branch_count;
		}
		profile_put_samples(cw, w, p->samples + first, next - first, p->branches);
	}
}

static size_t step(size_t total, size_t first)
{
	return total - first < PROFILE_CHUNK_RECORDS_MAX ? total - first : PROFILE_CHUNK_RECORDS_MAX;
}

void profile_put_totals(struct container_writer *cw, struct writer *w, const struct profile_count *counts, size_t count_count,
			const struct profile_edge *edges, size_t edge_count)
{
	for (size_t i = 0; i < count_count && !w->failed; i += step(count_count, i))
		put_counts(cw, w, counts + i, step(count_count, i));
	for (size_t i = 0; i < edge_count && !w->failed; i += step(edge_count, i))
		put_edges(cw, w, edges + i, step(edge_count, i));
}

int profile_encode(const struct profile *p, struct writer *w, struct err *e)
{
	int status = profile_validate(p, "profile", e);
	if (status)
		return status;
	if (p->course.steps)
		return err_set(e, ERR_INTERNAL, "profile: a course of %llu steps must be copied by a stream",
			       (unsigned long long)p->course.steps);
	struct container_writer cw;
	container_put_header(&cw, w, CONTAINER_PROFILE, PROFILE_MAJOR, PROFILE_MINOR);
	profile_put_info(&cw, w, &p->info);
	if (p->module_count)
		profile_put_modules(&cw, w, p->modules, p->module_count);
	put_all_samples(&cw, w, p);
	profile_put_totals(&cw, w, p->counts, p->count_count, p->edges, p->edge_count);
	container_put_end(&cw, w);
	return w->failed ? err_set(e, ERR_MEMORY, "profile: no memory to encode it") : 0;
}

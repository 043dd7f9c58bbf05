#include "profile/summary.h"

#include "profile/tally.h"

#include <stdlib.h>

static const struct map *map_of(const struct profile *p, uint32_t module, const struct map *maps, size_t map_count)
{
	for (size_t i = 0; module != PROFILE_NO_MODULE && i < map_count; i++)
		if (module_same(&p->modules[module], &maps[i].module))
			return &maps[i];
	return NULL;
}

struct summary_item summary_place(const struct map *map, uint32_t module, uint64_t address, uint64_t weight)
{
	struct summary_item item = {.weight = weight, .module = module};
	uint32_t f = MAP_NONE;
	if (map && address >= map->text_base && address - map->text_base < map->text_size)
		f = map_function_at(map, map_offset(map, (vaddr){address}));
	if (f != MAP_NONE) {
		f = map->functions[f].parent;
		item.address = map_vaddr(map, map->functions[f].start).v;
		item.size = map->functions[f].size;
		item.name = map_function_name(map, f);
		item.is_function = true;
	} else {
		item.address = address & ~(uint64_t)(SUMMARY_PAGE - 1);
		item.size = SUMMARY_PAGE;
	}
	return item;
}

static int by_key(const void *left, const void *right)
{
	const struct summary_item *a = left, *b = right;
	if (a->module != b->module)
		return a->module < b->module ? -1 : 1;
	if (a->address != b->address)
		return a->address < b->address ? -1 : 1;
	if (a->is_function != b->is_function)
		return a->is_function - b->is_function;
	return a->thread < b->thread ? -1 : a->thread > b->thread;
}

static int by_weight(const void *left, const void *right)
{
	const struct summary_item *a = left, *b = right;
	if (a->weight != b->weight)
		return a->weight > b->weight ? -1 : 1;
	return by_key(a, b);
}

/* Joins items of equal key and sorts by weight; returns how many are left. */
static size_t join(struct summary_item *items, size_t count)
{
	size_t kept = 0;
	qsort(items, count, sizeof *items, by_key);
	for (size_t i = 0; i < count; i++) {
		if (kept && !by_key(&items[kept - 1], &items[i]))
			items[kept - 1].weight += items[i].weight;
		else
			items[kept++] = items[i];
	}
	qsort(items, kept, sizeof *items, by_weight);
	return kept;
}

int summary_make(const struct profile *profile, const struct map *maps, size_t map_count, struct summary *ret_summary, struct err *e)
{
	size_t total = profile->sample_count + profile->count_count, n = 0;
	struct summary s = {0};
	const struct map **by_module = calloc(profile->module_count + 1, sizeof *by_module);
	s.modules = calloc(total + 1, sizeof *s.modules);
	s.places = calloc(total + 1, sizeof *s.places);
	s.threads = calloc(profile->sample_count + 1, sizeof *s.threads);
	if (!by_module || !s.modules || !s.places || !s.threads) {
		free(by_module);
		summary_free(&s);
		return err_set(e, ERR_MEMORY, "no memory for %zu samples and counts", total);
	}
	for (uint32_t i = 0; i < profile->module_count; i++)
		by_module[i] = map_of(profile, i, maps, map_count);
	for (size_t i = 0; i < total; i++, n++) {
		bool is_sample = i < profile->sample_count;
		const struct profile_sample *sample = is_sample ? &profile->samples[i] : NULL;
		const struct profile_count *count = is_sample ? NULL : &profile->counts[i - profile->sample_count];
		uint64_t weight = is_sample ? 1 : count->count, address = is_sample ? sample->address : count->address;
		uint32_t module = is_sample ? sample->module : count->module;
		s.weight += weight;
		s.modules[n] = (struct summary_item){.weight = weight, .module = module};
		s.places[n] = summary_place(module == PROFILE_NO_MODULE ? NULL : by_module[module], module, address, weight);
		if (is_sample)
			s.threads[s.thread_count++] = (struct summary_item){.weight = 1, .thread = sample->thread};
	}
	free(by_module);
	s.module_count = join(s.modules, n);
	s.place_count = join(s.places, n);
	s.thread_count = join(s.threads, s.thread_count);
	*ret_summary = s;
	return 0;
}

static int add_steps(void *context, const struct profile *part, struct err *e)
{
	struct tally *tally = context;
	uint64_t *times = calloc(part->place_count + 1, sizeof *times);
	int status = times ? 0 : err_set(e, ERR_MEMORY, "no memory for %zu places", part->place_count);
	for (size_t i = 0; i < part->step_count && !status; i++)
		times[part->steps[i]]++;
	for (size_t i = 0; i < part->place_count && !status; i++)
		status = tally_add_count(tally, &(struct profile_count){part->places[i].address, times[i], part->places[i].module}, e);
	free(times);
	return status;
}

int summary_count_steps(const void *data, size_t size, const char *name, struct profile *profile, struct err *e)
{
	struct tally tally = {0};
	struct profile rest;
	int status = profile_walk(data, size, name, add_steps, &tally, &rest, e);
	if (!status) {
		profile_free(&rest);
		tally_finish(&tally, NULL, profile);
	}
	tally_free(&tally);
	return status;
}

void summary_free(struct summary *summary)
{
	free(summary->modules);
	free(summary->places);
	free(summary->threads);
	*summary = (struct summary){0};
}

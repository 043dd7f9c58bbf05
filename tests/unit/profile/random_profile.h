/*
 * random_profile: small profiles of any kind that overlap in part: a few modules known in full, in part or by path alone, few addresses.
 */
#ifndef TESTS_RANDOM_PROFILE_H
#define TESTS_RANDOM_PROFILE_H

#include "formats/profile.h"
#include "profile/tally.h"

#include <stdlib.h>
#include <string.h>

struct random_source {
	uint64_t state;
};

static inline uint64_t random_below(struct random_source *r, uint64_t limit)
{
	r->state = r->state * 6364136223846793005u + 1442695040888963407u;
	return (r->state >> 33) % limit;
}

static inline uint32_t random_module(struct random_source *r, const struct profile *p)
{
	return random_below(r, 9) && p->module_count ? (uint32_t)random_below(r, p->module_count) : PROFILE_NO_MODULE;
}

static inline uint64_t random_amount(struct random_source *r)
{
	return random_below(r, 50) ? random_below(r, 1000) : UINT64_MAX - random_below(r, 2000);
}

/* The kinds of identity: all of it, the same file by build-id alone, another file with that build-id, one without any identity. */
static inline struct module_identity random_identity(struct random_source *r)
{
	static const char *const paths[] = {"/usr/bin/a", "/bin/a", "/lib/b.so", ""};
	struct module_identity m = {.path = strdup(paths[random_below(r, 4)])};
	uint64_t kind = random_below(r, 5);
	if (kind < 4) {
		m.build_id_size = 20;
		m.build_id[0] = (uint8_t)random_below(r, 3);
	}
	if (kind < 2)
		m.file_size = 1000 + m.build_id[0];
	if (kind < 3)
		m.text_hash = 77 + m.build_id[0] + kind / 2;
	return m;
}

static inline void random_samples(struct random_source *r, struct profile *p, bool with_branches)
{
	size_t count = random_below(r, 60);
	p->samples = calloc(count + 1, sizeof *p->samples);
	p->branches = calloc(8 * count + 1, sizeof *p->branches);
	for (size_t i = 0; i < count; i++) {
		struct profile_sample *s = &p->samples[p->sample_count++];
		*s = (struct profile_sample){.time_ns = 1000 * (i * 500 + random_below(r, 900)),
					     .address = 16 * random_below(r, 20),
					     .module = random_module(r, p),
					     .thread = 100 + (uint32_t)random_below(r, 3),
					     .first_branch = (uint32_t)p->branch_count};
		s->branch_count = with_branches ? (uint16_t)random_below(r, 8) : 0;
		for (unsigned k = 0; k < s->branch_count; k++)
			p->branches[p->branch_count++] =
			    (struct profile_branch){16 * random_below(r, 9), 16 * random_below(r, 9), random_module(r, p),
						    random_module(r, p), (uint8_t)random_below(r, 2)};
	}
}

static inline void random_totals(struct random_source *r, struct profile *p)
{
	struct tally tally = {0};
	size_t count = random_below(r, 40);
	int status = 0;
	for (size_t i = 0; i < count; i++) {
		struct profile_count c = {.address = 16 * random_below(r, 20), .count = random_amount(r), .module = random_module(r, p)};
		struct profile_edge edge = {.from = 16 * random_below(r, 9), .to = 16 * random_below(r, 9), .count = random_amount(r)};
		edge.from_module = random_module(r, p);
		edge.to_module = random_module(r, p);
		edge.kind = (uint8_t)random_below(r, 4);
		edge.mispredicted = random_below(r, 5);
		status |= tally_add_count(&tally, &c, NULL) | tally_add_edge(&tally, &edge, NULL);
	}
	if (status)
		abort();
	tally_finish(&tally, NULL, p);
}

/* A valid profile with this source; free it with profile_free. */
static inline struct profile random_profile(struct random_source *r, enum profile_source source)
{
	static const char *const texts[] = {"", "cycles:u", "cpu-clock:u"};
	struct profile p = {.complete = true};
	p.info = (struct profile_info){.source = (uint8_t)source,
				       .event = strdup(texts[random_below(r, 3)]),
				       .kernel = strdup("6.1"),
				       .cpu = strdup(""),
				       .command = strdup(texts[random_below(r, 3)]),
				       .frequency = 799 + random_below(r, 2),
				       .start_ns = random_below(r, 3) * 1000,
				       .duration_ns = 100000000,
				       .lost = random_amount(r),
				       .target_cpu_ns = random_below(r, 1000)};
	size_t modules = random_below(r, 5);
	p.modules = calloc(modules + 1, sizeof *p.modules);
	while (p.module_count < modules)
		p.modules[p.module_count++] = random_identity(r);
	random_samples(r, &p, source == PROFILE_BRANCH_STACKS);
	random_totals(r, &p);
	return p;
}

#endif

/*
 * sample_profile: a small profile that uses every array and every special value. It is what tests/golden/profile-1.rprof holds.
 */
#ifndef TESTS_GOLDEN_SAMPLE_PROFILE_H
#define TESTS_GOLDEN_SAMPLE_PROFILE_H

#include "formats/profile.h"

#define SAMPLE_PROFILE_SAMPLES 40u

static inline struct profile_info sample_profile_info(void)
{
	static char event[] = "cpu-clock:u", kernel[] = "6.1.0-18-amd64", cpu[] = "Some CPU", command[] = "/usr/sbin/mariadbd --x";
	return (struct profile_info){
	    .source = PROFILE_CLOCK,
	    .event = event,
	    .kernel = kernel,
	    .cpu = cpu,
	    .command = command,
	    .frequency = 5000,
	    .start_ns = 1700000000000000000,
	    .duration_ns = 5000000000,
	    .lost = 3,
	    .throttled = 1,
	    .target_cpu_ns = 4900000000,
	    .recorder_cpu_ns = 12345678,
	};
}

/* Points into static arrays: not to be freed. */
static inline struct profile sample_profile(void)
{
	static char path0[] = "/usr/sbin/mariadbd", path1[] = "/usr/lib/x86_64-linux-gnu/libc.so.6";
	static struct module_identity modules[2];
	static struct profile_sample samples[SAMPLE_PROFILE_SAMPLES];
	static struct profile_branch branches[4] = {
	    {0x100, 0x40, 0, 0, 0}, {0x48, 0x90, 0, 1, 1}, {0x100, 0x40, 0, 0, 1}, {0xffffffffff600000, 0x48, PROFILE_NO_MODULE, 0, 0}};
	static struct profile_count counts[] = {{0x40, 7, 0}, {0x48, UINT64_MAX, 0}, {0x20, 1, 1}, {0x7f0000000000, 2, PROFILE_NO_MODULE}};
	static struct profile_edge edges[] = {
	    {.from = 0x48, .to = 0x90, .count = 5, .from_module = 0, .to_module = 1, .kind = PROFILE_EDGE_CALL},
	    {.from = 0x100, .to = 0x40, .count = 1000000, .mispredicted = 17, .kind = PROFILE_EDGE_JUMP},
	    {.from = 0x98, .to = 0x4d, .count = 5, .from_module = 1, .kind = PROFILE_EDGE_RETURN},
	    {.from = 0x98, .to = 0x4d, .count = 1, .from_module = 1, .to_module = PROFILE_NO_MODULE, .kind = PROFILE_EDGE_RETURN},
	};
	modules[0] = (struct module_identity){
	    .build_id = {1, 2, 3, 0xff}, .build_id_size = 20, .file_size = 25000000, .text_hash = 0xfedcba9876543210, .path = path0};
	modules[1] = (struct module_identity){.text_hash = 42, .path = path1};
	for (uint32_t i = 0; i < SAMPLE_PROFILE_SAMPLES; i++)
		samples[i] = (struct profile_sample){
		    .time_ns = (uint64_t)i * 200000 - (i == 20 ? 1000000 : 0) + 3000 * (i % 3),
		    .address = i == 7 ? 0xffffffff81000000 : 0x1000 + 64 * (i * i % 11),
		    .module = i == 7 ? PROFILE_NO_MODULE : i % 2,
		    .thread = 4000 + i % 4,
		    .branch_count = i == 9    ? 3
				    : i == 29 ? 1
					      : 0,
		};
	for (uint32_t i = 0; i < SAMPLE_PROFILE_SAMPLES; i++)
		samples[i].first_branch = i <= 9 ? 0 : i <= 29 ? 3 : 4;
	return (struct profile){
	    .info = sample_profile_info(),
	    .modules = modules,
	    .samples = samples,
	    .branches = branches,
	    .counts = counts,
	    .edges = edges,
	    .module_count = 2,
	    .sample_count = SAMPLE_PROFILE_SAMPLES,
	    .branch_count = 4,
	    .count_count = sizeof counts / sizeof *counts,
	    .edge_count = sizeof edges / sizeof *edges,
	    .complete = true,
	};
}

#endif

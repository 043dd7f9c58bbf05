/*
 * profile: where a process spent its time and which way its branches went. Spec: formats/profile.md.
 *
 * On disk an append-only stream of self-contained chunks; in memory arrays. Addresses are (module index, vaddr), so profiles of different
 * processes and hosts can be merged. A profile holds samples, exact counts, a recorded course, or several of them; how it was made is in `info`.
 */
#ifndef FORMATS_PROFILE_H
#define FORMATS_PROFILE_H

#include "formats/base/addr.h"
#include "formats/base/bytes.h"
#include "formats/base/err.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROFILE_MAJOR 1
#define PROFILE_MINOR 1
#define PROFILE_NO_MODULE UINT32_MAX /* anonymous memory, JIT code, vdso, a place that could not be attributed */

/* How the numbers came about, best first. */
enum profile_source {
	PROFILE_BRANCH_STACKS, /* hardware branch records: edges */
	PROFILE_EXACT,	       /* counted or simulated executions: counts and edges are exact */
	PROFILE_CYCLES,	       /* IP samples of a hardware event */
	PROFILE_CLOCK,	       /* IP samples of cpu-clock or task-clock: no PMU */
};

struct profile_info {
	uint8_t source;			/* enum profile_source */
	char *event;			/* "cycles:u", "cpu-clock:u", "callgrind"; owned */
	char *kernel, *cpu, *command;	/* uname -r; model name; command of the target. Owned, may be empty, never NULL after decoding */
	uint64_t period;		/* events per sample, 0 if frequency was used */
	uint64_t frequency;		/* samples per second and thread asked for, 0 if none */
	uint64_t start_ns, duration_ns; /* start: CLOCK_REALTIME, for people only; no plan depends on it */
	uint64_t lost;			/* samples the kernel could not deliver */
	uint64_t throttled;		/* times the kernel throttled us */
	uint64_t target_cpu_ns;		/* CPU time of the target while recording */
	uint64_t recorder_cpu_ns;	/* CPU time of the recorder */
};

/* One IP sample. In recorded order (by time within one flush; time_ns is since start). */
struct profile_sample {
	uint64_t time_ns; /* files keep microseconds: rounded down */
	uint64_t address; /* vaddr in the module; raddr when module is PROFILE_NO_MODULE */
	uint32_t module, thread;
	uint32_t first_branch; /* into branches; newest branch first */
	uint16_t branch_count;
};

struct profile_branch {
	uint64_t from, to; /* vaddr in their modules */
	uint32_t from_module, to_module;
	uint8_t mispredicted;
};

/*
 * A total without time. In a profile whose source is PROFILE_EXACT: the instruction at `address` was executed `count` times. In any other:
 * `count` samples were taken there (merged and aggregated profiles). Sorted by (module, address), unique.
 */
struct profile_count {
	uint64_t address, count;
	uint32_t module;
};

/*
 * What was counted. JUMP also stands for a branch of unknown kind, as branch records are. A RUN is no transfer: from where one branch record
 * landed (`from`) to the instruction at which the next one left (`to`) everything was executed in a row.
 */
enum profile_edge_kind { PROFILE_EDGE_JUMP, PROFILE_EDGE_CALL, PROFILE_EDGE_RETURN, PROFILE_EDGE_RUN };

/* Control went `count` times from the instruction at `from` to `to`. Sorted by (from_module, from, to_module, to, kind), unique. */
struct profile_edge {
	uint64_t from, to, count, mispredicted;
	uint32_t from_module, to_module;
	uint8_t kind;
};

/* An instruction. */
struct profile_place {
	uint64_t address; /* vaddr in the module; raddr when module is PROFILE_NO_MODULE */
	uint32_t module;
};

/*
 * A recorded course is what threads executed, in order. A step is the place of an instruction that was executed next. Each instruction that was
 * executed right after a branch (taken or not), call, return, or other transfer of control is a step: between two steps control went straight
 * on. More may be steps, so a recorder that knows only instructions may give them all. (valgrind's superblocks are one every few instructions.)
 * A window is a piece of one thread's course. `gap`: what the thread did before it was not recorded, so nothing follows from its predecessor and
 * nobody knows what the caches held. Otherwise it goes on where the thread's last window ended; its first one is then where the thread began.
 * The last step before a gap may have been executed only in part.
 */
struct profile_window {
	uint64_t time_ns; /* of its first step, since start; files keep microseconds */
	uint32_t thread;
	uint32_t first_step, step_count; /* into steps; at least one */
	bool gap;
};

/* How much of a course there is. */
struct profile_course {
	uint64_t steps, windows, gaps; /* windows: pieces; a writer cuts long ones. gaps: of them, those with one before */
};

struct profile {
	struct profile_info info;
	struct module_identity *modules;
	struct profile_sample *samples;
	struct profile_branch *branches;
	struct profile_count *counts;
	struct profile_edge *edges;
	size_t module_count, sample_count, branch_count, count_count, edge_count;
	struct profile_course course; /* of all chunks so far: courses are long, so the arrays below are only there during profile_walk */
	struct profile_place *places; /* each once, sorted by module and address */
	uint32_t *steps;	      /* indices of places */
	struct profile_window *windows;
	size_t place_count, step_count, window_count;
	bool complete; /* false: the recorder was killed; everything up to then is here */
};

/*
 * Whole-file encode (imports, merges) and decode of untrusted bytes. Decoding checks a course, but keeps only its length; encoding refuses a
 * profile that has one (ERR_INTERNAL), so that none gets lost on the way: profile_walk and a stream copy it.
 */
int profile_encode(const struct profile *p, struct writer *w, struct err *e) MUST_CHECK;
int profile_decode(const void *data, size_t size, const char *name, struct profile *ret_profile, struct err *e) MUST_CHECK;
int profile_read(const char *path, struct profile *ret_profile, struct err *e) MUST_CHECK;
void profile_free(struct profile *p);

/*
 * Decodes chunk by chunk, in memory for one chunk. `visit` (NULL: only check) is called after each chunk: `part` has the info and all modules
 * so far, but of samples, branches, counts, edges, places, steps and windows only those of this chunk; it is valid during the call. Its info is
 * not checked yet. Not 0 ends the walk with that code. *ret_rest gets the last info, all modules and `complete`, no records (profile_free). Errors as profile_decode.
 */
typedef int profile_visitor(void *context, const struct profile *part, struct err *e);
int profile_walk(const void *data, size_t size, const char *name, profile_visitor *visit, void *context, struct profile *ret_rest,
		 struct err *e) MUST_CHECK;

/* The order of counts and of edges in a profile; for qsort. Amounts are not compared. */
int profile_compare_counts(const void *count, const void *other);
int profile_compare_edges(const void *edge, const void *other);

/* Index of the module with this identity, or PROFILE_NO_MODULE. */
uint32_t profile_find_module(const struct profile *p, const struct module_identity *module);
const char *profile_source_name(unsigned source);

/*
 * Streaming writer for the recorder. Modules and threads may be added at any time before the samples that name them. Each flush writes one
 * self-contained chunk to `fd` with one write; profile_stream_close writes the final info and END. Killed in between, the file stays readable.
 */
struct profile_stream;
int profile_stream_open(int fd, const char *name, const struct profile_info *info, struct profile_stream **ret_stream,
			struct err *e) MUST_CHECK;
int profile_stream_module(struct profile_stream *s, const struct module_identity *module, uint32_t *ret_index, struct err *e) MUST_CHECK;
/* `branches` (may be NULL) has sample->branch_count entries; sample->first_branch is ignored. Flushes by itself every 64 K samples or 1 MiB. */
int profile_stream_sample(struct profile_stream *s, const struct profile_sample *sample, const struct profile_branch *branches,
			  struct err *e) MUST_CHECK;
/*
 * `count` (1 or more) steps of window->thread, in order; first_step and step_count of `window` are ignored. Calls that go on without a gap are one
 * window in the file. Flushes by itself every 2^20 steps. ERR_INTERNAL if a step names no module that was added.
 */
int profile_stream_course(struct profile_stream *s, const struct profile_window *window, const struct profile_place *steps, size_t count,
			  struct err *e) MUST_CHECK;
int profile_stream_flush(struct profile_stream *s, struct err *e) MUST_CHECK;
/* Flushes, then writes totals. Over all calls they must stay sorted and unique, as in struct profile; ERR_INTERNAL if they name no module. */
int profile_stream_totals(struct profile_stream *s, const struct profile_count *counts, size_t count_count,
			  const struct profile_edge *edges, size_t edge_count, struct err *e) MUST_CHECK;
/* Frees the stream and writes nothing: the file then looks like that of a killed recorder. */
void profile_stream_abandon(struct profile_stream *s);
/* `info` may differ from the one at open in duration, lost, throttled and CPU times. Frees the stream also on error. */
int profile_stream_close(struct profile_stream *s, const struct profile_info *info, struct err *e) MUST_CHECK;

#endif

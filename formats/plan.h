/*
 * plan: new code for the hot part of one or more modules and all that is needed to lay it into a process, a fresh process or a file, and to
 * take it back. Spec: formats/plan.md. A plan is a pure function of (ELF files, maps, profile, options).
 *
 * Per module there is one *region*: [0, code_size) is code (to be mapped r-x), [data_offset, data_offset + data_size) is unwind data
 * (r--); data_offset is a whole number of pages, for large code of huge pages (plan_code_span), so that the code may become huge pages. The bytes are linked as if
 * the region stood at vaddr `region_vaddr` of the module. Where it stands elsewhere, by `delta` = actual - linked address, every 32-bit field
 * listed in `relocations` gets `delta` subtracted (they are pc-relative references to the module); references inside the region need nothing.
 * A *region offset* is an offset from the region's start, a *text offset* is as in map.h: vaddr minus text_base.
 */
#ifndef FORMATS_PLAN_H
#define FORMATS_PLAN_H

#include "formats/base/addr.h"
#include "formats/base/bytes.h"
#include "formats/base/err.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAJOR 1
#define PLAN_MINOR 1
#define PLAN_NONE UINT32_MAX
#define PLAN_REGION_ALIGN (2u << 20)
#define PLAN_PAGE 4096u
#define PLAN_HUGE_MINIMUM (64u << 10) /* less code than this is not worth a huge page, nor the search for an aligned gap */
#define PLAN_PATCH_SIZE 5	      /* jmp rel32: e9 xx xx xx xx */
#define PLAN_STUB_SIZE_MAX 512
#define PLAN_COUNTER_MAGIC "RePaveC1"
#define PLAN_COUNTER_HEADER 64u /* bytes before the first counter: the magic, then zeros */
#define PLAN_COUNTER_SIZE 8u

/* Alignment that code of this size wants for its region and its data: huge pages, or pages when it is small. */
static inline uint32_t plan_code_alignment(uint32_t code_size)
{
	return code_size < PLAN_HUGE_MINIMUM ? PLAN_PAGE : PLAN_REGION_ALIGN;
}

/* Bytes from the start of the region to its data, as the planner lays it out. */
static inline uint32_t plan_code_span(uint32_t code_size)
{
	uint32_t alignment = plan_code_alignment(code_size);
	return (code_size + alignment - 1) & ~(alignment - 1);
}

/* One moved function (one FDE range of the map). Sorted by start. */
struct plan_function {
	uint32_t start, size; /* text offset, bytes of the original range */
	uint64_t hash;	/* XXH3-64 of the original bytes [start, start + size): compared with live memory before anything is patched */
	uint32_t entry; /* region offset of the copy of its entry block, PLAN_NONE if that is not in the image. The 5 bytes there
				       belong to this function alone, so a function that is left out at apply time gets a jump home there */
	uint32_t first_patch, patch_count; /* into patches */
	uint32_t name;			   /* offset into strings, 0 = none */
};

enum plan_patch_kind {
	PLAN_PATCH_ENTRY, /* at the function's start, or behind its first instruction, which control goes through: an endbr64, or one that others put uprobes on */
	PLAN_PATCH_REENTRY,
};

/* `original` at text offset `at` becomes e9 rel32 to region offset `target`. Sorted by function, then at; never overlapping. */
struct plan_patch {
	uint32_t at, target, function;
	uint8_t original[PLAN_PATCH_SIZE];
	uint8_t kind;
};

/*
 * Address map, sorted by (image, original). Every instruction boundary of the image lies in exactly one run with image_size > 0.
 *   COPY      bytes correspond one to one (same instruction lengths): boundary image + d is boundary original + d
 *   REWRITTEN one instruction for one instruction of other form or length (branch, call): only d = 0 maps. A return address image + image_size
 *             of a call maps to original + original_size
 *   INSERTED  image only: an added jump; its start maps to `original`, which is where it leads. original_size 0
 *   DELETED   original only: a jump left out; `original` maps to `image`. image_size 0
 *   STUB      image only: code of ours that runs before the function's first instruction; any boundary maps to `original`
 *   COUNTER   image only: one instruction that counts; changes nothing but counters and what is dead there. Its start maps to `original`,
 *             which is what is executed next: the next run is that, or another counter, or an INSERTED jump there. Only in front of such a
 *             jump may `original` lie in a function that is not in the plan
 * A return address is looked up by the byte before it, since the next byte may belong to another block.
 */
enum plan_run_kind { PLAN_RUN_COPY, PLAN_RUN_REWRITTEN, PLAN_RUN_INSERTED, PLAN_RUN_DELETED, PLAN_RUN_STUB, PLAN_RUN_COUNTER };

struct plan_run {
	uint32_t image;	   /* region offset */
	uint32_t original; /* text offset */
	uint16_t image_size, original_size;
	uint8_t kind;
};

/* A 6-byte `call *slot(%rip)` (ff 15) or `jmp *slot(%rip)` (ff 25): the original's own, or in place of a call or jump to a PLT stub. */
struct plan_slot {
	uint32_t at;   /* region offset of the instruction */
	uint64_t slot; /* vaddr of the GOT slot */
};

enum plan_counter_kind {
	PLAN_COUNTER_BLOCK,  /* u64: executions of the block that starts at `from` */
	PLAN_COUNTER_EDGE,   /* u64: times control went from the branch at `from` to `to` */
	PLAN_COUNTER_SEEN,   /* u8: not 0 once the block that starts at `from` ran */
	PLAN_COUNTER_TARGET, /* u64: where the indirect call or jump at `from` went last, as an address of the process */
};

/*
 * What one counter of a counting image means. Counter i is the PLAN_COUNTER_SIZE bytes at region offset counter_offset +
 * PLAN_COUNTER_HEADER + i * PLAN_COUNTER_SIZE. Threads add without a lock: increments may be lost, never more than that.
 */
struct plan_counter {
	uint32_t from, to; /* text offsets; to: EDGE only, otherwise PLAN_NONE */
	uint8_t kind;
};

struct plan_stats {
	uint64_t functions, blocks, hot_bytes, code_bytes;
	uint64_t weight_total, weight_covered;			       /* profile weight in this module; of it inside the image */
	uint64_t taken_before, taken_after;			       /* weighted taken branches */
	uint64_t executed_branches;				       /* weighted branches, taken or not */
	uint64_t pages_before, pages_after, lines_before, lines_after; /* 4096-byte pages and 64-byte lines touched by hot blocks */
	uint64_t exits;						       /* weighted edges that leave the image for original code */
};

struct plan_module {
	struct module_identity module;
	uint64_t text_base, text_size; /* as in the map */
	uint64_t load_low, load_high;  /* vaddr span of all PT_LOADs: the region must lie within 2 GiB of all of it */
	uint64_t region_vaddr;	       /* linked position of the region, a multiple of PLAN_REGION_ALIGN */
	uint8_t *code, *data;
	uint32_t code_size, data_offset, data_size;
	uint32_t *relocations; /* region offsets of 32-bit fields, sorted; code and data */
	struct plan_function *functions;
	struct plan_patch *patches;
	struct plan_run *runs;
	struct plan_slot *slots;
	char *strings;
	uint32_t relocation_count, function_count, patch_count, run_count, slot_count, string_size;
	/* A counting image only: [counter_offset, data_offset) is mapped rw-, zero at first; it stands behind the code, before the data. */
	struct plan_counter *counters;
	uint32_t counter_count, counter_offset; /* 0, 0: not a counting image */
	/* Unwind table in `data`: fde_count pairs {int32 pc, int32 fde}, both relative to the region's start, sorted by pc, at region offset
	   fde_table (as .eh_frame_hdr's, so a stub searches it); the .eh_frame bytes they point into lie in [eh_frame, eh_frame + eh_frame_size),
	   terminated by a zero length. fde_count 0: no unwind data. */
	uint32_t fde_table, fde_count, eh_frame, eh_frame_size;
	/* In a module that holds what unwinders ask (_dl_find_object, _Unwind_Find_FDE): region offset (in data) of the directory that the stub reads, else PLAN_NONE. Apply fills it at
	   stage time: for each region of the plan {u64 code_start, u64 code_end, u64 table, u64 count} (target addresses), ended by zeros.
	   directory_entries is the room, including the terminator. */
	uint32_t directory, directory_entries;
	struct plan_stats stats;
};

struct plan {
	struct plan_module *modules; /* heaviest first */
	uint32_t module_count;
	uint64_t inputs_hash; /* XXH3-64 over identities, map bytes, profile bytes and options */
	char *options;	      /* the options that made it, as text; owned */
};

/* Bytes of the counters' part of the region, whole pages. */
static inline uint64_t plan_counter_span(uint32_t counter_count)
{
	return counter_count
		   ? (PLAN_COUNTER_HEADER + (uint64_t)counter_count * PLAN_COUNTER_SIZE + PLAN_PAGE - 1) & ~(uint64_t)(PLAN_PAGE - 1)
		   : 0;
}

/* Region offset of a counter. */
static inline uint32_t plan_counter_at(const struct plan_module *m, uint32_t counter)
{
	return m->counter_offset + PLAN_COUNTER_HEADER + counter * PLAN_COUNTER_SIZE;
}

/* Does the plan count what runs (plan --counting), or how often its image is left (--count-exits)? Then it is to be taken out again soon. */
static inline bool plan_counts(const struct plan *p)
{
	for (uint32_t i = 0; i < p->module_count; i++)
		if (p->modules[i].counter_count)
			return true;
	return false;
}

/* What plan_decode checks beyond the encoding, of a plan in memory. ERR_FORMAT names the module and the first thing that is wrong. */
int plan_validate(const struct plan *p, const char *name, struct err *e) MUST_CHECK;
/* Appends to `w`; the same plan gives the same bytes. ERR_FORMAT when plan_validate refuses it: what is written can be read. */
int plan_encode(const struct plan *p, struct writer *w, struct err *e) MUST_CHECK;
/*
 * Decodes and validates untrusted bytes: sizes before allocation; sorted, in-range, non-overlapping arrays; patches inside text and inside
 * their function, targets inside code; relocations inside code or data; runs tiling the code. It cannot judge the code bytes themselves.
 */
int plan_decode(const void *data, size_t size, const char *name, struct plan *ret_plan, struct err *e) MUST_CHECK;
int plan_read(const char *path, struct plan *ret_plan, struct err *e) MUST_CHECK;
void plan_free(struct plan *p);
void plan_module_free(struct plan_module *m);

/* Address map look-ups. Region offset -> text offset of the same boundary, or PLAN_NONE when it is no mappable boundary. */
uint32_t plan_run_original(const struct plan_run *runs, uint32_t run_count, uint32_t image);
/* The same for a return address (looked up by the call before it). */
uint32_t plan_run_original_return(const struct plan_run *runs, uint32_t run_count, uint32_t image);

#endif

/*
 * map: what is known about the code of one module, worked out offline from the ELF file alone. Spec: formats/map.md.
 *
 * Everything is arrays and 32-bit indices. A *text offset* is vaddr minus map->text_base; only the executable span is covered, so it fits 32
 * bits (wider modules are refused by the mapper). MAP_NONE means "no such index / offset".
 */
#ifndef FORMATS_MAP_H
#define FORMATS_MAP_H

#include "formats/base/addr.h"
#include "formats/base/bytes.h"
#include "formats/base/err.h"
#include "formats/module.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAP_MAJOR 1
#define MAP_MINOR 0
#define MAP_NONE UINT32_MAX

/* What may be done with a function. Order: from best to worst. */
enum map_grade {
	MAP_MOVABLE,	 /* blocks may be copied and the entry patched */
	MAP_ENTRY_FIXED, /* blocks may be copied, but the first bytes cannot take a jump: reached only by direct calls from the image */
	MAP_UNTOUCHABLE, /* left alone */
};

/* X(name, grade it forces, text). A function's `reasons` is a bit set of 1 << MAP_REASON_name. Append only: the numbers are in files. */
#define MAP_REASONS(X)                                                                                                                     \
	X(UNDECODABLE, MAP_UNTOUCHABLE, "a reachable instruction does not decode")                                                         \
	X(OVERLAPPING_CODE, MAP_UNTOUCHABLE, "two reachable instruction streams overlap")                                                  \
	X(OVERLAPPING_FDE, MAP_UNTOUCHABLE, "its FDE range overlaps another")                                                              \
	X(LEAVES_RANGE, MAP_UNTOUCHABLE, "control falls out of its FDE range")                                                             \
	X(CALLS_NEXT, MAP_UNTOUCHABLE, "calls the next instruction to read its own address")                                               \
	X(CALLS_SETJMP, MAP_UNTOUCHABLE, "calls a function that saves its PC (setjmp, getcontext, swapcontext, makecontext)")              \
	X(ASKS_CALLER, MAP_UNTOUCHABLE, "calls a function that looks at its caller's address (dlopen, dlsym, ...)")                        \
	X(CALLS_VFORK, MAP_UNTOUCHABLE, "calls vfork or clone")                                                                            \
	X(SIGNAL_FRAME, MAP_UNTOUCHABLE, "signal trampoline")                                                                              \
	X(RSEQ, MAP_UNTOUCHABLE, "referenced from __rseq_cs")                                                                              \
	X(GO_RUNTIME, MAP_UNTOUCHABLE, "Go program: has its own unwinder")                                                                 \
	X(IFUNC_RESOLVER, MAP_UNTOUCHABLE, "IFUNC resolver: runs once")                                                                    \
	X(INIT_FINI, MAP_UNTOUCHABLE, "initialisation or termination code: runs once")                                                     \
	X(UNSUPPORTED_INSN, MAP_UNTOUCHABLE, "contains an instruction that cannot be copied (xbegin, far branch, ...)")                    \
	X(CFI_UNREADABLE, MAP_UNTOUCHABLE, "its unwind rows cannot be evaluated")                                                          \
	X(LSDA_UNREADABLE, MAP_UNTOUCHABLE, "its exception table cannot be read")                                                          \
	X(READS_CODE, MAP_UNTOUCHABLE, "reads its own code as data or is a special loader routine")                                        \
	X(ENTRY_SHORT, MAP_ENTRY_FIXED, "fewer than 5 bytes to patch at the entry")                                                        \
	X(ENTRY_TARGETED, MAP_ENTRY_FIXED, "something jumps, returns or points into the first 5 bytes")                                    \
	X(ENTRY_UNKNOWN_JUMPS, MAP_ENTRY_FIXED, "an indirect jump with unknown targets might reach the first 5 bytes")                     \
	X(NOT_REACHED, MAP_UNTOUCHABLE, "no reachable code")                                                                               \
	X(PLT, MAP_UNTOUCHABLE, "linkage stub (PLT): replaced at its call sites instead")                                                  \
	X(OWN_UNWINDER, MAP_UNTOUCHABLE,                                                                                                   \
	  "its module has an unwinder linked in that cannot be told of moved code: exceptions could not pass through it")

enum map_reason {
#define X(name, grade, text) MAP_REASON_##name,
	MAP_REASONS(X)
#undef X
	    MAP_REASON_COUNT
};

enum map_function_flag {
	MAP_FUNCTION_LSDA = 1u << 0,	     /* has an exception table */
	MAP_FUNCTION_PART = 1u << 1,	     /* split part (.cold): parent != own index; never called at its start */
	MAP_FUNCTION_ENDBR = 1u << 2,	     /* starts with endbr64: the patch goes after it */
	MAP_FUNCTION_UNKNOWN_JUMP = 1u << 3, /* has an indirect jump, not a tail call, whose targets are not known at all */
	MAP_FUNCTION_BEHIND = 1u << 4, /* the patch may go behind the first instruction: nothing leads into the 5 bytes there either */
};

/* One FDE range. Sorted by start, no overlaps (overlapping FDEs are marked and cut). */
struct map_function {
	uint32_t start, size; /* text offset, bytes */
	uint32_t parent;      /* index of the function it is a part of; its own index otherwise */
	uint32_t first_block, block_count;
	uint32_t name;	  /* offset into strings; 0 = no name */
	uint32_t reasons; /* bit set of 1 << enum map_reason; explains the grade */
	uint8_t grade, flags;
};

enum map_terminator {
	MAP_FALLS,	   /* no branch: the next block is a leader */
	MAP_JUMP,	   /* jmp rel */
	MAP_BRANCH,	   /* jcc, jrcxz, loop */
	MAP_JUMP_INDIRECT, /* jmp *: jump table, computed goto or tail call (see map_table; none = tail call or unknown) */
	MAP_RETURN,	   /* ret, iret-like */
	MAP_CALL_NORETURN, /* the last instruction is a call and control does not come back (end of range or padding follows) */
	MAP_STOP,	   /* ud2, hlt, int3: does not continue */
};

enum map_block_flag {
	MAP_BLOCK_ENTRY = 1u << 0,  /* first block of its function */
	MAP_BLOCK_TARGET = 1u << 1, /* reached other than by falling into it: branch, table, landing pad, pointer; ENTRY too */
	MAP_BLOCK_LANDING_PAD = 1u << 2,
	MAP_BLOCK_TABLE_TARGET = 1u << 3, /* target of a jump table or computed goto */
	MAP_BLOCK_POINTED = 1u << 4,	  /* its address stands in data or in a lea */
};

/* Basic block; calls do not end blocks. Sorted by start over the whole map, no overlaps, inside their function's range; blocks of one function
   are contiguous in the array, and the functions' ranges of blocks follow one another. A function whose code overlaps itself has none. */
struct map_block {
	uint32_t start, size; /* text offset, bytes */
	uint32_t taken;	      /* JUMP, BRANCH: index of the target block, also in another function; MAP_NONE: not in any mapped block */
	uint32_t next;	      /* FALLS, BRANCH: index of the fall-through block; MAP_NONE otherwise */
	uint16_t insns;	      /* instruction count, saturating */
	uint8_t terminator, flags;
};

enum map_call_kind { MAP_CALL_DIRECT, MAP_CALL_IMPORT, MAP_CALL_INDIRECT, MAP_TAIL_IMPORT /* jmp to a PLT stub or *slot */ };

/* Sorted by site. */
struct map_call {
	uint32_t site;	 /* text offset of the instruction */
	uint32_t block;	 /* index of the block that holds it */
	uint32_t target; /* DIRECT: text offset called; IMPORT, TAIL_IMPORT: index into imports; INDIRECT: MAP_NONE */
	uint8_t size, kind;
};

/* A function of another module (or an own preemptible one), reached through a GOT slot. */
struct map_import {
	uint64_t slot; /* vaddr of the 8-byte GOT slot */
	uint32_t stub; /* text offset of the PLT stub that jumps through it, or MAP_NONE */
	uint32_t name; /* offset into strings, 0 = none */
};

enum map_table_kind { MAP_TABLE_RELATIVE32, MAP_TABLE_ABSOLUTE64, MAP_TABLE_ABSOLUTE32 };

struct map_table {
	uint64_t address;      /* vaddr of the first entry */
	uint32_t block;	       /* index of the block that ends with the indirect jump */
	uint32_t first, count; /* into table_targets */
	uint8_t kind;
	uint8_t proven; /* 1: the bound was read off a compare; 0: `count` is an upper bound (a superset of the targets) */
};

struct map {
	struct module_identity module;
	uint32_t mapper;	       /* revision of the analysis that made it: another one may see more; 0: not said */
	uint64_t text_base, text_size; /* vaddr and bytes of the executable span */
	uint8_t pie;		       /* ET_DYN */
	struct map_function *functions;
	struct map_block *blocks;
	struct map_call *calls;
	struct map_import *imports;
	struct map_table *tables;
	uint32_t *table_targets; /* block indices */
	uint32_t *syscalls;	 /* text offsets of syscall instructions, sorted */
	char *strings;		 /* NUL-terminated, strings[0] = 0 */
	uint32_t function_count, block_count, call_count, import_count, table_count, table_target_count, syscall_count, string_size;
};

static inline vaddr map_vaddr(const struct map *m, uint32_t offset)
{
	return (vaddr){m->text_base + offset};
}

/* Text offset of a vaddr, or MAP_NONE outside the span. */
static inline uint32_t map_offset(const struct map *m, vaddr a)
{
	return a.v - m->text_base < m->text_size ? (uint32_t)(a.v - m->text_base) : MAP_NONE;
}

/* Index of the function / block whose range holds the text offset, or MAP_NONE. O(log n). */
uint32_t map_function_at(const struct map *m, uint32_t offset);
uint32_t map_block_at(const struct map *m, uint32_t offset);
/* Index of the function that owns a block. */
uint32_t map_function_of_block(const struct map *m, uint32_t block);
/* Index of the first call whose site is >= offset (call_count if none). */
uint32_t map_call_from(const struct map *m, uint32_t offset);
/* Name of a function, or NULL. */
const char *map_function_name(const struct map *m, uint32_t function);

/*
 * May a 5-byte jump be written at `offset`? True when [offset, offset + 5) lies inside one function's blocks, starts at an instruction
 * boundary that the caller vouches for, and nothing but falling through reaches the bytes after the first: no block flagged TARGET starts
 * in (offset, offset + 5) and no call ends there (a return address). `*ret_interior` (may be NULL) gets the index of the last block that
 * overlaps the patch: all blocks from the one at `offset` to that one must be in the image when the patch is written.
 */
bool map_patchable(const struct map *m, uint32_t offset, uint32_t *ret_last_block);

/* What map_decode checks beyond the encoding, of a map in memory. ERR_FORMAT names the first thing that breaks the contract above. */
int map_validate(const struct map *m, const char *name, struct err *e) MUST_CHECK;

/* Encodes into `w` (owned by the caller); the same map gives the same bytes. ERR_FORMAT when map_validate refuses it: what is written can be read. */
int map_encode(const struct map *m, struct writer *w, struct err *e) MUST_CHECK;
/* Decodes and validates untrusted bytes: all indices in range, arrays sorted, blocks inside functions. ERR_FORMAT says which. */
int map_decode(const void *data, size_t size, const char *name, struct map *ret_map, struct err *e) MUST_CHECK;
int map_read(const char *path, struct map *ret_map, struct err *e) MUST_CHECK;
void map_free(struct map *m);

const char *map_grade_name(unsigned grade);
const char *map_reason_name(unsigned reason); /* short, lower case with dashes: "entry-short" */
const char *map_reason_text(unsigned reason);

#endif

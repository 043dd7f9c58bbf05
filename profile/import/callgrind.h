/*
 * callgrind: reads the profile format of valgrind's callgrind (version 1; spec: "Callgrind Format Specification" in the valgrind manual) made
 * with --dump-instr=yes --collect-jumps=yes: how often each instruction ran, and each jump and call.
 *
 * Streams: memory is for distinct addresses, not for lines. Several parts in one file (--combine-dumps=yes, --separate-threads=yes)
 * add up. Callgrind writes addresses as the object's linker did (run-time address minus text bias), so they are vaddrs; an address that
 * lies in no executable segment of its object is dropped and counted. Facts about what it counts:
 *  - a jump that leaves its function (tail call, PLT) is a call; returns are not written at all
 *  - an instruction with a repeat prefix counts once per repetition
 */
#ifndef PROFILE_IMPORT_CALLGRIND_H
#define PROFILE_IMPORT_CALLGRIND_H

#include "formats/base/err.h"
#include "formats/profile.h"

#include <stdint.h>
#include <stdio.h>

/*
 * Identity of the object file at `path`, as the format wrote it. Not found: ERR_MISSING or any other error but ERR_MEMORY; the module then
 * gets its path and nothing more. `ret_is_code` says of a vaddr whether it lies in the object's executable segments; see below.
 */
struct callgrind_object {
	struct module_identity module;
	uint64_t (*code)[2]; /* executable segments [start, end); owned */
	uint32_t code_count;
	bool known; /* the file was found and read */
};

struct callgrind_source {
	int (*open_object)(void *context, const char *path, struct callgrind_object *ret_object, struct err *e);
	void *context;
};

struct callgrind_result {
	uint64_t lines, parts;
	uint64_t instructions;		   /* executed, in all parts */
	uint64_t outside;		   /* of them, dropped: in a known object, but outside its executable segments */
	uint64_t anonymous;		   /* of them, in no object ("???") */
	uint32_t objects, objects_unknown; /* with counts; of those, whose file could not be read */
};

/*
 * Reads `file` to its end into a new profile (source PROFILE_EXACT; free it with profile_free). `name` is for messages. ERR_UNSUPPORTED: no
 * instruction addresses, or no Ir event; ERR_FORMAT with the line number; ERR_IO; ERR_MEMORY.
 */
int callgrind_read(FILE *file, const char *name, const struct callgrind_source *source, struct profile *ret_profile,
		   struct callgrind_result *ret_result, struct err *e) MUST_CHECK;

#endif

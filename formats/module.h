/*
 * module: the identity of one ELF file (executable or shared library), as every file of ours names its subject.
 *
 * Two files are the same module when build-id, size and the hash of the executable bytes are equal. The build-id alone says "probably"; the
 * hash says "these bytes". A module without a build-id has build_id_size 0 and is identified by size and hash.
 */
#ifndef FORMATS_MODULE_H
#define FORMATS_MODULE_H

#include "formats/base/bytes.h"
#include "formats/base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define MODULE_BUILD_ID_MAX 32

struct module_identity {
	uint8_t build_id[MODULE_BUILD_ID_MAX];
	uint8_t build_id_size; /* bytes, 0..32; longer notes are cut to 32 */
	uint64_t file_size;    /* bytes; 0 when not known (a profile of a module whose file was gone) */
	uint64_t text_hash;    /* XXH3-64 over the file bytes of all PT_LOAD segments with PF_X, in file order; 0 when not known */
	char *path;	       /* a hint for people and for finding the file again; owned; never NULL after decoding */
};

/* Same module? Compares what both sides know; false when the build-ids differ or neither side has any identity. */
bool module_same(const struct module_identity *a, const struct module_identity *b);

/* Lower-case hex of the build-id ("-" when there is none); `text` holds at least MODULE_HEX_SIZE bytes. */
#define MODULE_HEX_SIZE (2 * MODULE_BUILD_ID_MAX + 1)
void module_build_id_hex(const struct module_identity *module, char *text);

void module_encode(struct writer *w, const struct module_identity *module);
int module_decode(struct reader *r, struct module_identity *ret_module, struct err *e) MUST_CHECK;
int module_copy(const struct module_identity *from, struct module_identity *ret_copy, struct err *e) MUST_CHECK;
void module_free(struct module_identity *module);

#endif

#include "apply/verify.h"

#include "formats/base/hash.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int verify_bytes(const struct target *t, raddr address, uint64_t size, uint64_t hash, const char *what, struct err *e)
{
	uint8_t *bytes = malloc(size ? size : 1);
	if (!bytes)
		return err_set(e, ERR_MEMORY, "no memory for %" PRIu64 " bytes", size);
	int status = target_read(t, address, bytes, size, e);
	if (!status && hash_bytes(bytes, size) != hash)
		status = err_set(e, ERR_NO, "process %d: the %s at 0x%" PRIx64 " is not what was written", t->pid, what, address.v);
	if (status == -ERR_IO)
		status = err_set(e, ERR_NO, "process %d: the %s at 0x%" PRIx64 " is not mapped", t->pid, what, address.v);
	free(bytes);
	return status;
}

static int verify_patches(const struct target *t, const struct journal *j, struct err *e)
{
	struct patch_set set;
	int status = patch_set_alloc(j->patch_count, &set, e);
	if (status)
		return status;
	if (j->patch_count)
		memcpy(set.list, j->patches, j->patch_count * sizeof *set.list);
	status = patch_compare(t, &set, j->state == JOURNAL_APPLIED ? PATCH_WRITTEN : PATCH_EITHER, e);
	if (status == -ERR_IO)
		status = err_set(e, ERR_NO, "process %d: patched code is not mapped any more", t->pid);
	patch_set_free(&set);
	return status;
}

int verify_journal(const struct target *t, const struct journal *j, struct err *e)
{
	int status = 0;
	if (j->state != JOURNAL_APPLIED)
		return err_set(e, ERR_NO, "process %d: the plan is not applied but %s", t->pid, journal_state_text(j->state));
	for (uint32_t i = 0; !status && i < j->region_count; i++) {
		const struct journal_region *r = &j->regions[i];
		const struct procmap *m = procmaps_find(&t->maps, r->code);
		if (!m || !m->execute || m->write)
			return err_set(e, ERR_NO, "process %d: the image at 0x%" PRIx64 " is not mapped r-x", t->pid, r->code.v);
		status = verify_bytes(t, r->code, r->code_size, r->code_hash, "image", e);
		if (!status)
			status = verify_bytes(t, r->data, r->data_size, r->data_hash, "unwind data", e);
	}
	return status ? status : verify_patches(t, j, e);
}

#include "apply/modules.h"

#include "formats/base/elfhead.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

/* Modules are mapped privately; to read shared memory would make pages of it. */
static bool may_be_header(const struct procmap *m)
{
	return !m->offset && m->inode && !m->shared;
}

/* Build-id and bias of the ELF file whose header is mapped at `header`; false when it is no ELF file of our kind. */
static bool identify(const struct target *t, const struct procmap *header, uint8_t *id, size_t *ret_size, uint64_t *ret_bias)
{
	struct elf_source source = elf_source_of_fd(t->mem_fd, header->start.v);
	struct elfhead head;
	uint64_t bias;
	if (elfhead_read(&source, header->path, &head, NULL) || !elfhead_bias(&head, header->start, (foff){0}, &bias))
		return false;
	source = elf_source_of_fd(t->mem_fd, bias);
	elfhead_build_id(&head, &source, true, id, MODULE_BUILD_ID_MAX, ret_size);
	*ret_bias = bias;
	return true;
}

/* Code that is private to the process: writing to a shared mapping would change the file. */
static int check_range(const struct target *t, const struct plan_module *plan, raddr at, uint64_t end, struct err *e)
{
	while (at.v < end) {
		const struct procmap *m = procmaps_find(&t->maps, at);
		if (!m || !m->execute)
			return err_set(e, ERR_MISMATCH, "%s: not executable at 0x%" PRIx64, plan->module.path, at.v);
		if (m->shared || m->write)
			return err_set(e, ERR_MISMATCH, "%s: its code is mapped %s", plan->module.path, m->shared ? "shared" : "writable");
		at = m->end;
	}
	return 0;
}

/*
 * Both ends of the text, and all functions, patches and places that PCs are moved to, must be in such code. What is between them need not be: there may be holes between executable
 * segments.
 */
static int check_text(const struct target *t, const struct plan_module *plan, uint64_t bias, struct err *e)
{
	uint64_t text = raddr_of_vaddr((vaddr){plan->text_base}, bias).v, last = text + plan->text_size - 1;
	int status = plan->text_size ? check_range(t, plan, (raddr){text}, text + 1, e) : 0;
	if (!status && plan->text_size)
		status = check_range(t, plan, (raddr){last}, last + 1, e);
	for (uint32_t i = 0; !status && i < plan->function_count; i++) {
		uint64_t start = text + plan->functions[i].start;
		status = check_range(t, plan, (raddr){start}, start + plan->functions[i].size, e);
	}
	for (uint32_t i = 0; !status && i < plan->patch_count; i++) {
		uint64_t start = text + plan->patches[i].at;
		status = check_range(t, plan, (raddr){start}, start + PLAN_PATCH_SIZE, e);
	}
	for (uint32_t i = 0; !status && i < plan->run_count; i++) { /* where PCs go home to */
		uint64_t start = text + plan->runs[i].original;
		status = check_range(t, plan, (raddr){start}, start + plan->runs[i].original_size, e);
	}
	return status;
}

int modules_find(const struct target *t, const struct plan_module *plan, uint64_t *ret_bias, struct err *e)
{
	const struct module_identity *want = &plan->module;
	bool other = false;
	if (!want->build_id_size)
		return err_set(e, ERR_MISMATCH, "%s: has no build-id, so it cannot be recognised", want->path);
	for (size_t i = 0; i < t->maps.count; i++) {
		const struct procmap *m = &t->maps.maps[i];
		uint8_t id[MODULE_BUILD_ID_MAX];
		size_t size = 0;
		uint64_t bias;
		if (!may_be_header(m) || !identify(t, m, id, &size, &bias))
			continue;
		if (size == want->build_id_size && !memcmp(id, want->build_id, size)) {
			int status = check_text(t, plan, bias, e);
			if (!status)
				*ret_bias = bias;
			return status;
		}
		other |= !strcmp(base_name(m->path), base_name(want->path));
	}
	return err_set(e, ERR_MISMATCH, other ? "%s: process %d has another build of it mapped" : "%s: not mapped by process %d",
		       want->path, t->pid);
}

bool modules_present(const struct target *t, const struct module_identity *module, uint64_t bias)
{
	for (size_t i = 0; i < t->maps.count; i++) {
		const struct procmap *m = &t->maps.maps[i];
		uint8_t id[MODULE_BUILD_ID_MAX];
		size_t size = 0;
		uint64_t found;
		if (may_be_header(m) && identify(t, m, id, &size, &found) && found == bias && size == module->build_id_size &&
		    !memcmp(id, module->build_id, size))
			return true;
	}
	return false;
}

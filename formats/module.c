#include "formats/module.h"

#include <stdlib.h>
#include <string.h>

#define PATH_SIZE_MAX 4096

bool module_same(const struct module_identity *a, const struct module_identity *b)
{
	bool known = false;
	if (a->build_id_size && b->build_id_size) {
		if (a->build_id_size != b->build_id_size || memcmp(a->build_id, b->build_id, a->build_id_size))
			return false;
		known = true;
	}
	if (a->text_hash && b->text_hash) {
		if (a->text_hash != b->text_hash)
			return false;
		known = true;
	}
	/* The size alone identifies nothing; it can only contradict. */
	if (a->file_size && b->file_size && a->file_size != b->file_size)
		return false;
	return known;
}

void module_build_id_hex(const struct module_identity *module, char *text)
{
	static const char digits[] = "0123456789abcdef";
	char *p = text;
	for (unsigned i = 0; i < module->build_id_size && i < MODULE_BUILD_ID_MAX; i++) {
		*p++ = digits[module->build_id[i] >> 4];
		*p++ = digits[module->build_id[i] & 15];
	}
	if (p == text)
		*p++ = '-';
	*p = 0;
}

void module_encode(struct writer *w, const struct module_identity *module)
{
	const char *path = module->path ? module->path : "";
	size_t length = strnlen(path, PATH_SIZE_MAX);
	write_u8(w, module->build_id_size);
	write_bytes(w, module->build_id, module->build_id_size);
	write_u64(w, module->file_size);
	write_u64(w, module->text_hash);
	write_uleb(w, length);
	write_bytes(w, path, length);
}

int module_decode(struct reader *r, struct module_identity *ret_module, struct err *e)
{
	struct module_identity module = {0};
	size_t at = r->position;
	module.build_id_size = read_u8(r);
	if (module.build_id_size > MODULE_BUILD_ID_MAX)
		return err_set(e, ERR_FORMAT, "module identity at offset %zu: build-id of %u bytes, at most %u are allowed", at,
			       module.build_id_size, MODULE_BUILD_ID_MAX);
	const uint8_t *build_id = read_bytes(r, module.build_id_size);
	module.file_size = read_u64(r);
	module.text_hash = read_u64(r);
	uint64_t length = read_uleb(r);
	if (r->failed)
		return err_set(e, ERR_FORMAT, "module identity at offset %zu: cut off", at);
	if (length > PATH_SIZE_MAX)
		return err_set(e, ERR_FORMAT, "module identity at offset %zu: path of %llu bytes, at most %u are allowed", at,
			       (unsigned long long)length, PATH_SIZE_MAX);
	const uint8_t *path = read_bytes(r, (size_t)length);
	if (!path)
		return err_set(e, ERR_FORMAT, "module identity at offset %zu: path cut off", at);
	if (memchr(path, 0, (size_t)length))
		return err_set(e, ERR_FORMAT, "module identity at offset %zu: NUL in the path", at);
	if (module.build_id_size)
		memcpy(module.build_id, build_id, module.build_id_size);
	module.path = strndup((const char *)path, (size_t)length);
	if (!module.path)
		return err_set(e, ERR_MEMORY, "module identity: no memory for a path");
	*ret_module = module;
	return 0;
}

int module_copy(const struct module_identity *from, struct module_identity *ret_copy, struct err *e)
{
	struct module_identity copy = *from;
	copy.path = strdup(from->path ? from->path : "");
	if (!copy.path)
		return err_set(e, ERR_MEMORY, "module identity: no memory for a path");
	*ret_copy = copy;
	return 0;
}

void module_free(struct module_identity *module)
{
	free(module->path);
	*module = (struct module_identity){0};
}

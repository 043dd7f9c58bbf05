#include "profile/import/files.h"

#include "formats/base/elfhead.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"
#include "profile/identity.h"
#include "profile/idmap.h"
#include "profile/import/spaces.h"

#include <stdio.h>
#include <string.h>

enum { BUILD_ID_SIZE = 20, PAGE = 4096 };

/* A path with a build-id, or without. */
struct file {
	char *path; /* owned */
	uint8_t build_id[BUILD_ID_SIZE];
	uint8_t build_id_size;
	bool opened, known; /* known: `head` is valid */
	uint32_t module;
	struct elfhead *head; /* owned or of a given file */
	bool own_head;
};

struct mapping {
	uint64_t start, end, offset, bias;
	uint32_t file;
	bool resolved;
};

struct given {
	struct module_identity module;
	struct elfhead head;
	uint32_t number; /* of the module once used */
};

struct files {
	const char *root;
	VEC(struct given) given;
	VEC(struct file) files;
	VEC(struct mapping) mappings;
	VEC(struct module_identity) modules;
	VEC(bool) module_known;
	struct idmap by_name;	  /* hash of path and build-id -> files */
	struct idmap ids;	  /* hash of path -> build_ids */
	struct idmap by_identity; /* hash of build-id or text -> modules */
	VEC(struct file) build_ids;
};

static int no_memory(struct err *e)
{
	return err_set(e, ERR_MEMORY, "no memory for more modules");
}

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

int files_new(const struct files_options *options, struct files **ret_files, struct err *e)
{
	struct files *f = calloc(1, sizeof *f);
	if (!f)
		return no_memory(e);
	f->root = options->root ? options->root : "";
	for (size_t i = 0; i < options->given_count; i++) {
		struct given given = {.number = PROFILE_NO_MODULE};
		int status = identity_of_path(options->given[i], &given.module, &given.head, e);
		if (!status && vec_push(&f->given, given)) {
			module_free(&given.module);
			status = no_memory(e);
		}
		if (status) {
			files_free(f);
			return status;
		}
	}
	*ret_files = f;
	return 0;
}

static void file_free(struct file *file)
{
	free(file->path);
	if (file->own_head)
		free(file->head);
}

void files_free(struct files *f)
{
	if (!f)
		return;
	for (size_t i = 0; i < f->given.count; i++)
		module_free(&f->given.data[i].module);
	for (size_t i = 0; i < f->files.count; i++)
		file_free(&f->files.data[i]);
	for (size_t i = 0; i < f->build_ids.count; i++)
		file_free(&f->build_ids.data[i]);
	for (size_t i = 0; i < f->modules.count; i++)
		module_free(&f->modules.data[i]);
	vec_free(&f->given);
	vec_free(&f->files);
	vec_free(&f->build_ids);
	vec_free(&f->mappings);
	vec_free(&f->modules);
	vec_free(&f->module_known);
	idmap_free(&f->by_name);
	idmap_free(&f->ids);
	idmap_free(&f->by_identity);
	free(f);
}

/* A key that is not 0. Two names of equal hash would share one entry: with 64 bits that does not happen by accident, and nothing trusts it. */
static uint64_t key_of(const char *path, const uint8_t *build_id, size_t size)
{
	uint64_t hash = hash_bytes(path, strlen(path)) * 0x9e3779b97f4a7c15u ^ (size ? hash_bytes(build_id, size) : 0);
	return hash ? hash : 1;
}

static int make_file(const char *path, const uint8_t *build_id, size_t size, struct file *ret_file, struct err *e)
{
	struct file file = {.path = strdup(path), .module = PROFILE_NO_MODULE};
	if (!file.path)
		return no_memory(e);
	file.build_id_size = (uint8_t)(size < BUILD_ID_SIZE ? size : BUILD_ID_SIZE);
	if (size)
		memcpy(file.build_id, build_id, file.build_id_size);
	*ret_file = file;
	return 0;
}

int files_build_id(struct files *f, const char *path, const uint8_t *build_id, size_t size, struct err *e)
{
	struct file file;
	uint64_t key = key_of(path, NULL, 0);
	if (idmap_get(&f->ids, key) != IDMAP_NONE)
		return 0;
	int status = make_file(path, build_id, size, &file, e);
	if (status)
		return status;
	if (vec_push(&f->build_ids, file)) {
		file_free(&file);
		return no_memory(e);
	}
	return idmap_set(&f->ids, key, (uint32_t)f->build_ids.count - 1) ? no_memory(e) : 0;
}

/* Memory that has a name but no file with code in it. */
static bool is_file(const char *path)
{
	static const char *const others[] = {"//", "/dev/", "/memfd:", "/SYSV", "/anon_hugepage", "/i915"};
	if (path[0] != '/')
		return false;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (!strncmp(path, others[i], strlen(others[i])))
			return false;
	return true;
}

/* Index of the file with this name; it is added when it is new. */
static int add_file(struct files *f, const char *path, const uint8_t *build_id, size_t size, uint32_t *ret_file, struct err *e)
{
	uint64_t key = key_of(path, build_id, size);
	struct file new;
	*ret_file = idmap_get(&f->by_name, key);
	if (*ret_file != IDMAP_NONE)
		return 0;
	int status = make_file(path, build_id, size, &new, e);
	if (status)
		return status;
	if (vec_push(&f->files, new)) {
		file_free(&new);
		return no_memory(e);
	}
	*ret_file = (uint32_t)f->files.count - 1;
	return idmap_set(&f->by_name, key, *ret_file) ? no_memory(e) : 0;
}

int files_add(struct files *f, const struct files_mapping *m, uint32_t *ret_mapping, struct err *e)
{
	const uint8_t *build_id = m->build_id;
	size_t size = m->build_id_size;
	uint32_t file;
	*ret_mapping = SPACES_NONE;
	if (!is_file(m->path))
		return 0;
	if (!size) {
		uint32_t said = idmap_get(&f->ids, key_of(m->path, NULL, 0));
		if (said != IDMAP_NONE) {
			build_id = f->build_ids.data[said].build_id;
			size = f->build_ids.data[said].build_id_size;
		}
	}
	int status = add_file(f, m->path, build_id, size, &file, e);
	if (status)
		return status;
	struct mapping mapping = {.start = m->start, .end = m->end, .offset = m->offset, .file = file};
	if (f->mappings.count >= SPACES_NONE || vec_push(&f->mappings, mapping))
		return no_memory(e);
	*ret_mapping = (uint32_t)f->mappings.count - 1;
	return 0;
}

static bool same_build_id(const struct file *file, const struct module_identity *module)
{
	size_t size = file->build_id_size;
	return size && module->build_id_size >= size && !memcmp(file->build_id, module->build_id, size);
}

static struct given *find_given(struct files *f, const struct file *file)
{
	for (size_t i = 0; i < f->given.count; i++) {
		struct given *g = &f->given.data[i];
		if (file->build_id_size && g->module.build_id_size ? same_build_id(file, &g->module)
								   : !strcmp(base_of(file->path), base_of(g->module.path)))
			return g;
	}
	return NULL;
}

/* Number of the module with this identity; `module` is moved in or freed. Those of equal build-id (or text) are one, whatever their paths. */
static int keep_module(struct files *f, struct module_identity *module, bool known, uint32_t *ret_module, struct err *e)
{
	uint64_t key = module->build_id_size ? hash_bytes(module->build_id, module->build_id_size) : module->text_hash;
	uint32_t number = key ? idmap_get(&f->by_identity, key) : IDMAP_NONE;
	if (number != IDMAP_NONE) {
		if (known && !f->module_known.data[number]) { /* the same module by another path, whose file is here */
			struct module_identity old = f->modules.data[number];
			f->modules.data[number] = *module;
			f->module_known.data[number] = true;
			*module = old;
		}
		module_free(module);
		*ret_module = number;
		return 0;
	}
	if (vec_reserve(&f->module_known, 1) || vec_push(&f->modules, *module)) {
		module_free(module);
		return no_memory(e);
	}
	f->module_known.data[f->module_known.count++] = known;
	*ret_module = (uint32_t)f->modules.count - 1;
	return key && idmap_set(&f->by_identity, key, *ret_module) ? no_memory(e) : 0;
}

static int use_given(struct files *f, struct given *g, uint32_t *ret_module, struct err *e)
{
	struct module_identity copy;
	if (g->number == PROFILE_NO_MODULE) {
		int status = module_copy(&g->module, &copy, e);
		if (!status)
			status = keep_module(f, &copy, true, &g->number, e);
		if (status)
			return status;
	}
	*ret_module = g->number;
	return 0;
}

/* A replaced or deleted file would give wrong addresses: a recorded build-id must agree. */
static bool open_here(const struct files *f, const struct file *file, struct module_identity *ret_module, struct elfhead *ret_head)
{
	char path[8192];
	if ((size_t)snprintf(path, sizeof path, "%s%s", f->root, file->path) >= sizeof path)
		return false;
	if (identity_of_path(path, ret_module, ret_head, NULL))
		return false;
	char *own_path = strdup(file->path);
	if (!own_path || (file->build_id_size && !same_build_id(file, ret_module))) {
		free(own_path);
		module_free(ret_module);
		return false;
	}
	free(ret_module->path);
	ret_module->path = own_path;
	return true;
}

static int open_file(struct files *f, struct file *file, struct err *e)
{
	struct given *given = find_given(f, file);
	struct module_identity module = {0};
	struct elfhead head;
	file->opened = true;
	if (given) {
		file->known = true;
		file->head = &given->head;
		return use_given(f, given, &file->module, e);
	}
	file->known = open_here(f, file, &module, &head);
	if (file->known) {
		file->head = malloc(sizeof *file->head);
		if (!file->head) {
			module_free(&module);
			return no_memory(e);
		}
		*file->head = head;
		file->own_head = true;
	} else {
		module = (struct module_identity){.build_id_size = file->build_id_size, .path = strdup(file->path)};
		memcpy(module.build_id, file->build_id, file->build_id_size);
		if (!module.path)
			return no_memory(e);
	}
	return keep_module(f, &module, file->known, &file->module, e);
}

int files_open(struct files *f, const char *path, uint32_t *ret_module, const struct elfhead **ret_head, struct err *e)
{
	uint32_t number;
	int status = add_file(f, path, NULL, 0, &number, e);
	struct file *file = status ? NULL : &f->files.data[number];
	if (!status && !file->opened && is_file(path))
		status = open_file(f, file, e);
	if (status)
		return status;
	*ret_module = file->module;
	*ret_head = file->known ? file->head : NULL;
	return 0;
}

const struct module_identity *files_module(const struct files *f, uint32_t module)
{
	return &f->modules.data[module];
}

/*
 * Where the executable segments of the file would stand if the segment `guess` were what is mapped, and what really is there, goes to `maps`:
 * two segments may begin in one page of the file, and only their neighbours tell which of them a mapping of that page is.
 */
static size_t add_neighbours(const struct files *f, const struct mapping *m, const struct files_address *a, const struct elf_segment *guess,
			     struct procmap *maps)
{
	const struct elfhead *head = f->files.data[m->file].head;
	uint64_t bias = m->start - m->offset + guess->offset - guess->address.v;
	size_t count = 0;
	for (uint32_t i = 0; i < head->segment_count; i++) {
		const struct elf_segment *s = &head->segments[i];
		if (s->type != ELFHEAD_LOAD || !(s->flags & ELFHEAD_EXECUTE))
			continue;
		uint32_t number = spaces_find(a->spaces, a->pid, (raddr){(bias + s->address.v) & ~(uint64_t)(PAGE - 1)});
		const struct mapping *there = number == SPACES_NONE ? NULL : &f->mappings.data[number];
		if (there && there->file == m->file)
			maps[count++] =
			    (struct procmap){.start = {there->start}, .end = {there->end}, .offset = there->offset, .execute = true};
	}
	return count;
}

static int by_start(const void *left, const void *right)
{
	const struct procmap *a = left, *b = right;
	return (a->start.v > b->start.v) - (a->start.v < b->start.v);
}

static bool find_bias(const struct files *f, struct mapping *m, const struct files_address *a)
{
	const struct elfhead *head = f->files.data[m->file].head;
	struct procmap map = {.start = {m->start}, .end = {m->end}, .offset = m->offset, .execute = true};
	struct procmap *around = calloc((size_t)head->segment_count * head->segment_count + 1, sizeof *around);
	struct procmaps maps = {.maps = around};
	for (uint32_t i = 0; around && i < head->segment_count; i++)
		if (head->segments[i].type == ELFHEAD_LOAD && (head->segments[i].flags & ELFHEAD_EXECUTE))
			maps.count += add_neighbours(f, m, a, &head->segments[i], around + maps.count);
	if (around)
		qsort(around, maps.count, sizeof *around, by_start);
	bool found = elfhead_bias_of_mapping(head, around ? &maps : NULL, &map, &m->bias);
	free(around);
	return found;
}

static int resolve(struct files *f, struct mapping *m, const struct files_address *a, struct err *e)
{
	struct file *file = &f->files.data[m->file];
	if (!file->opened) {
		int status = open_file(f, file, e);
		if (status)
			return status;
	}
	if (!file->known || !find_bias(f, m, a))
		m->bias = m->start - m->offset;
	m->resolved = true;
	return 0;
}

int files_find(struct files *f, const struct files_address *a, struct files_place *ret_place, struct err *e)
{
	uint32_t number = spaces_find(a->spaces, a->pid, (raddr){a->address});
	*ret_place = (struct files_place){PROFILE_NO_MODULE, a->address};
	if (number == SPACES_NONE)
		return 0;
	struct mapping *m = &f->mappings.data[number];
	if (!m->resolved) {
		int status = resolve(f, m, a, e);
		if (status)
			return status;
	}
	*ret_place = (struct files_place){f->files.data[m->file].module, a->address - m->bias};
	return 0;
}

int files_finish(struct files *f, struct profile *profile, struct err *e)
{
	profile->modules = calloc(f->modules.count + 1, sizeof *profile->modules);
	if (!profile->modules)
		return no_memory(e);
	for (size_t i = 0; i < f->modules.count; i++) {
		int status = module_copy(&f->modules.data[i], &profile->modules[i], e);
		if (status)
			return status;
		profile->module_count++;
	}
	return 0;
}

size_t files_unknown(const struct files *f)
{
	size_t count = 0;
	for (size_t i = 0; i < f->module_known.count; i++)
		count += !f->module_known.data[i];
	return count;
}

const char *files_unknown_path(const struct files *f)
{
	for (size_t i = 0; i < f->module_known.count; i++)
		if (!f->module_known.data[i])
			return f->modules.data[i].path;
	return NULL;
}

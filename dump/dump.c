#include "dump/dump.h"

#include "formats/base/file.h"

static const char *const kinds[] = {"unknown", "map", "profile", "plan"};

void dump_module(struct out *o, const char *name, const struct module_identity *module)
{
	char hex[MODULE_HEX_SIZE];
	module_build_id_hex(module, hex);
	out_open_object(o, name);
	out_text(o, "path", module->path);
	out_text(o, "build_id", hex);
	out_number(o, "file_size", module->file_size);
	out_hex(o, "text_hash", module->text_hash);
	out_close(o);
}

void dump_container(struct out *o, const struct container *c)
{
	struct container_chunk k = {0};
	out_number(o, "size", c->size);
	out_number(o, "good_size", c->good_size);
	out_bool(o, "complete", c->complete);
	out_open_array(o, "chunks");
	for (bool more = container_next(c, NULL, &k); more; more = container_next(c, &k, &k)) {
		char tag[5];
		out_open_object(o, NULL);
		out_text(o, "tag", container_tag_text(k.tag, tag));
		out_bool(o, "required", k.flags & CONTAINER_REQUIRED);
		out_bool(o, "lz4", k.flags & CONTAINER_LZ4);
		out_number(o, "offset", k.offset);
		out_number(o, "stored", k.stored_length);
		out_number(o, "raw", k.raw_length);
		out_hex(o, "checksum", k.checksum);
		out_close(o);
	}
	out_close(o);
}

static uint16_t newest_major(enum container_kind kind)
{
	return kind == CONTAINER_MAP ? MAP_MAJOR : kind == CONTAINER_PROFILE ? PROFILE_MAJOR : PLAN_MAJOR;
}

static void begin(struct out *o, FILE *file, bool json, const struct container *c)
{
	char version[16];
	snprintf(version, sizeof version, "%u.%u", c->major, c->minor);
	out_begin(o, file, json);
	out_text(o, "kind", kinds[c->kind]);
	out_text(o, "version", version);
}

/* The container has been checked; the rest is decoded before anything is printed, so that a bad file prints nothing but its error. */
static int dump_contents(const struct container *c, FILE *file, bool json, bool all, struct err *e)
{
	struct out o;
	struct map map;
	struct profile profile;
	struct plan plan;
	int status;
	switch (c->kind) {
	case CONTAINER_MAP:
		status = map_decode(c->data, c->size, c->name, &map, e);
		if (status)
			return status;
		begin(&o, file, json, c);
		dump_map(&o, &map, all);
		map_free(&map);
		break;
	case CONTAINER_PROFILE:
		status = profile_decode(c->data, c->size, c->name, &profile, e);
		if (status)
			return status;
		begin(&o, file, json, c);
		dump_profile(&o, &profile, all);
		status = all && profile.course.steps ? dump_course(&o, c, e) : 0;
		profile_free(&profile);
		if (status)
			return status;
		break;
	default:
		status = plan_decode(c->data, c->size, c->name, &plan, e);
		if (status)
			return status;
		begin(&o, file, json, c);
		dump_plan(&o, &plan, all);
		plan_free(&plan);
	}
	return out_end(&o, e);
}

int dump_file(const char *path, FILE *file, bool json, bool all, bool header, struct err *e)
{
	struct file_data data;
	struct container c;
	struct out o;
	int status = file_read(path, &data, e);
	if (status)
		return status;
	enum container_kind kind = container_sniff(data.data, data.size);
	if (!kind)
		status = err_set(e, ERR_FORMAT, "%s: not a map, profile or plan", path);
	else
		status = container_check(data.data, data.size, path, kind, newest_major(kind), &c, e);
	if (!status && header) {
		begin(&o, file, json, &c);
		dump_container(&o, &c);
		status = out_end(&o, e);
	} else if (!status) {
		status = dump_contents(&c, file, json, all, e);
	}
	file_data_free(&data);
	return status;
}

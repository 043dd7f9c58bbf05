#include "profile/import/perfdata_parts.h"

#include <stdio.h>
#include <string.h>

enum { FEATURE_OSRELEASE = 4, FEATURE_ARCH = 6, FEATURE_CPUDESC = 8, FEATURE_CMDLINE = 11, FEATURE_EVENT_DESC = 12 };
enum { BUILD_ID_SIZE = 20, BUILD_ID_PLACE = 24, MISC_BUILD_ID_SIZE = 1 << 15, COMMAND_MAX = 4096 };

/* A counted string: u32 length with padding, bytes with a NUL somewhere. NULL and failed when it is cut. */
static const char *read_text(struct reader *r)
{
	uint32_t size = read_u32(r);
	const uint8_t *text = read_bytes(r, size);
	if (text && !memchr(text, 0, size))
		r->failed = true;
	return r->failed ? NULL : (const char *)text;
}

static int keep_text(struct perfdata *p, struct reader *r, char **text)
{
	const char *read = read_text(r);
	if (!read || *text)
		return 0;
	*text = strdup(read);
	return *text ? 0 : perfdata_no_memory(p);
}

/* u32 count, then the words. */
static int read_command(struct perfdata *p, struct reader *r)
{
	char command[COMMAND_MAX];
	size_t used = 0;
	for (uint32_t count = read_u32(r); count && used + 1 < sizeof command; count--) {
		const char *word = read_text(r);
		if (!word)
			break;
		used += (size_t)snprintf(command + used, sizeof command - used, "%s%s", used ? " " : "", word);
	}
	if (r->failed || p->command)
		return 0;
	p->command = strdup(used ? command : "");
	return p->command ? 0 : perfdata_no_memory(p);
}

/* u32 count, u32 attr size, then each: attr, u32 number of ids, name, ids. Only the names are not known yet. */
static int read_event_names(struct perfdata *p, struct reader *r)
{
	uint32_t count = read_u32(r), attr_size = read_u32(r);
	for (uint32_t i = 0; i < count && !r->failed; i++) {
		read_bytes(r, attr_size);
		uint32_t ids = read_u32(r);
		const char *name = read_text(r);
		if (name && i < p->events.count)
			snprintf(p->events.data[i].name, sizeof p->events.data[i].name, "%s", name);
		if (ids > r->size / 8)
			r->failed = true;
		else
			read_bytes(r, (size_t)ids * 8);
	}
	return 0;
}

static int check_architecture(struct perfdata *p, struct reader *r)
{
	const char *name = read_text(r);
	if (name && strcmp(name, "x86_64") != 0)
		return err_set(p->e, ERR_UNSUPPORTED, "%s: recorded on %.40s, not on x86_64", p->input->name, name);
	return 0;
}

int perfdata_build_id(struct perfdata *p, const uint8_t *entry, size_t size, uint64_t offset)
{
	struct reader r = reader_of(entry, size);
	read_u32(&r);
	uint16_t misc = read_u16(&r);
	read_u16(&r);
	read_u32(&r); /* pid: -1, or of a guest */
	const uint8_t *id = read_bytes(&r, BUILD_ID_PLACE);
	size_t left = reader_left(&r);
	const uint8_t *path = read_bytes(&r, left);
	if (r.failed || !memchr(path, 0, left))
		return perfdata_bad(p, offset, "a build-id without its path");
	size_t id_size = misc & MISC_BUILD_ID_SIZE ? id[BUILD_ID_SIZE] : BUILD_ID_SIZE;
	if (id_size > BUILD_ID_SIZE)
		return perfdata_bad(p, offset, "a build-id of more than 20 bytes");
	if (!id_size || path[0] != '/')
		return 0;
	return files_build_id(p->input->files, (const char *)path, id, id_size, p->e);
}

static int read_build_ids(struct perfdata *p, const uint8_t *data, size_t size, uint64_t offset)
{
	for (size_t at = 0, length; at < size; at += length) {
		if (size - at < 8)
			return perfdata_bad(p, offset + at, "half a build-id");
		length = (size_t)(data[at + 6] | data[at + 7] << 8);
		if (length < 8 || length > size - at)
			return perfdata_bad(p, offset + at, "a build-id of impossible length");
		int status = perfdata_build_id(p, data + at, length, offset + at);
		if (status)
			return status;
	}
	return 0;
}

int perfdata_feature(struct perfdata *p, unsigned feature, const uint8_t *data, size_t size, uint64_t offset)
{
	struct reader r = reader_of(data, size);
	int status = 0;
	switch (feature) {
	case PERFDATA_FEATURE_BUILD_ID:
		status = read_build_ids(p, data, size, offset);
		break;
	case FEATURE_OSRELEASE:
		status = keep_text(p, &r, &p->kernel);
		break;
	case FEATURE_CPUDESC:
		status = keep_text(p, &r, &p->cpu);
		break;
	case FEATURE_ARCH:
		status = check_architecture(p, &r);
		break;
	case FEATURE_CMDLINE:
		status = read_command(p, &r);
		break;
	case FEATURE_EVENT_DESC:
		status = read_event_names(p, &r);
		break;
	default:
		break;
	}
	return !status && r.failed ? perfdata_bad(p, offset, "a feature section that ends too early") : status;
}

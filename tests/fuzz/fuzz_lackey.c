/*
 * Any bytes as a log of lackey: what is accepted is a profile whose course has the steps that the importer says. The file that a log may name is this
 * program's own ("/x/fuzz_lackey"), given by name; nothing else is looked up in the file system.
 */
#include "profile/import/import.h"
#include "profile/import/lackey.h"
#include "tests/golden/stream_profile.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                                    \
	do {                                                                                                                               \
		if (!(condition)) {                                                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                                    \
			abort();                                                                                                           \
		}                                                                                                                          \
	} while (0)

static void check(const struct writer *w, const struct lackey_result *r)
{
	struct profile p;
	MUST(!profile_decode(w->data, w->size, "output", &p, NULL));
	MUST(p.complete && p.course.steps == r->steps && !p.course.gaps && r->outside <= r->steps && p.module_count == r->modules);
	MUST(r->threads >= 1 && r->lines >= r->steps);
	profile_free(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char own[4096];
	static const struct lackey_options options = {0};
	const char *given = own;
	struct files_options where = {.root = "/nonexistent", .given = &given, .given_count = 1};
	struct files *files;
	struct input in;
	struct lackey_result result;
	struct err e = {0};
	struct writer w = {0};
	if (!*own)
		MUST(readlink("/proc/self/exe", own, sizeof own - 1) > 0);
	import_detect(data, size);
	int fd = memfd_create("log", 0), out = memfd_create("profile", 0);
	MUST(fd >= 0 && out >= 0 && write(fd, data, size) == (ssize_t)size && !lseek(fd, 0, SEEK_SET));
	MUST(!files_new(&where, &files, NULL) && !input_of_fd(fd, "log", &in, NULL));
	int status = lackey_read(&in, files, out, "profile", &options, &result, &e);
	MUST(!status || (e.code > 0 && e.text[0]));
	MUST(!stream_take(out, &w, NULL));
	if (!status)
		check(&w, &result);
	writer_free(&w);
	input_close(&in);
	files_free(files);
	close(fd);
	return 0;
}

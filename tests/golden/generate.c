/*
 * generate: writes the golden samples of the current versions into a directory. Run it only when a new version is added:
 * the samples of a version never change once they are there.
 */
#include "formats/base/file.h"
#include "tests/golden/sample_map.h"
#include "tests/golden/sample_plan.h"
#include "tests/golden/sample_profile.h"
#include "tests/golden/stream_profile.h"

#include <stdio.h>

static int save(const char *directory, const char *name, int status, struct writer *w, struct err *e)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s", directory, name);
	if (!status)
		status = file_write(path, w->data, w->size, e);
	if (status)
		fprintf(stderr, "%s: %s\n", path, e->text);
	writer_free(w);
	return status;
}

int main(int argc, char **argv)
{
	struct err e = {0};
	struct writer w = {0};
	if (argc != 2) {
		fprintf(stderr, "usage: generate DIRECTORY\n");
		return 2;
	}
	struct map map = sample_map();
	struct plan plan = sample_plan();
	int status = map_encode(&map, &w, &e);
	int failed = save(argv[1], "map-1.rmap", status, &w, &e);
	status = stream_sample_profile(&w, &e);
	failed |= save(argv[1], "profile-1.1.rprof", status, &w, &e);
	status = plan_encode(&plan, &w, &e);
	failed |= save(argv[1], "plan-1.rplan", status, &w, &e);
	return failed ? 1 : 0;
}

/* replay: a plain main for fuzz targets: runs every file named, and every file in every directory named, once. */
#include "formats/base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay_file(const char *path)
{
	struct file_data file;
	struct err e;
	if (file_read(path, &file, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	LLVMFuzzerTestOneInput(file.data, file.size);
	file_data_free(&file);
	return 1;
}

/* How many files were run, or -1. */
static int replay_directory(const char *path)
{
	int count = 0;
	DIR *directory = opendir(path);
	if (!directory) {
		perror(path);
		return -1;
	}
	for (struct dirent *entry; count >= 0 && (entry = readdir(directory));) {
		char name[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		count = replay_file(name) < 0 ? -1 : count + 1;
	}
	closedir(directory);
	return count;
}

int main(int argc, char **argv)
{
	int total = 0;
	for (int i = 1; i < argc; i++) {
		struct stat st;
		int count = !stat(argv[i], &st) && S_ISDIR(st.st_mode) ? replay_directory(argv[i]) : replay_file(argv[i]);
		if (count < 0)
			return 1;
		total += count;
	}
	printf("%d inputs\n", total);
	return total ? 0 : 1;
}

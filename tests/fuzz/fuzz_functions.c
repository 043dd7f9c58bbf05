/* Any bytes as an ELF file whose functions are asked for: none overlaps the next, and each is found again by its address and by its name. */
#include "profile/import/functions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Follows the functions upward from one address to the next; both ends of each must agree. */
static void walk(const struct functions *functions, uint64_t from)
{
	const struct function *f = functions_at(functions, (vaddr){from});
	for (int i = 0; f && i < 100; i++) {
		struct writer w = {0};
		vaddr start;
		if (f->start >= f->end || functions_at(functions, (vaddr){f->start}) != f ||
		    functions_at(functions, (vaddr){f->end - 1}) != f)
			abort();
		functions_put_name(f, false, &w);
		/* A name may stand for another function too (a bad file), but not for none. */
		if (!functions_find(functions, (const char *)w.data, w.size, &start))
			abort();
		writer_free(&w);
		f = functions_at(functions, (vaddr){f->end});
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct functions *functions;
	struct err e = {0};
	int fd = memfd_create("elf", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (!functions_read(path, &functions, &e)) {
		for (uint64_t at = 0; at < 0x404000; at += 0x40)
			walk(functions, at);
		functions_free(functions);
	} else if (e.code <= 0 || !e.text[0]) {
		abort();
	}
	close(fd);
	return 0;
}

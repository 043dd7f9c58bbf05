/*
 * robust PID: where each thread of the process has its robust list, as the kernel knows it. A thread that ends meanwhile is left out.
 */
#include <dirent.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char path[64];
	if (argc != 2)
		return 2;
	snprintf(path, sizeof path, "/proc/%d/task", atoi(argv[1]));
	DIR *tasks = opendir(path);
	for (struct dirent *entry; tasks && (entry = readdir(tasks));) {
		void *head;
		size_t size;
		long tid = atol(entry->d_name);
		if (tid && !syscall(SYS_get_robust_list, tid, &head, &size))
			printf("robust list of %ld: %p, %zu bytes\n", tid, head, size);
	}
	return tasks ? 0 : 1;
}

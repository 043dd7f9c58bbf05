#include "apply/children.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t children_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	long hertz = sysconf(_SC_CLK_TCK);
	return (uint64_t)t.tv_sec * (uint64_t)hertz + (uint64_t)t.tv_nsec * (uint64_t)hertz / 1000000000u;
}

/* Field 22 of /proc/PID/stat; 0 when the process is gone. The name in field 2 may hold anything but ends at the last parenthesis. */
static uint64_t start_time(pid_t pid)
{
	char path[64], text[1024];
	unsigned long long start = 0;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return 0;
	size_t n = fread(text, 1, sizeof text - 1, file);
	fclose(file);
	text[n] = 0;
	char *field = strrchr(text, ')');
	for (int i = 2; field && i < 22; i++)
		field = strchr(field + 1, ' ');
	if (!field || sscanf(field, " %llu", &start) != 1)
		return 0;
	return start;
}

/* 1: it had inherited the plan and is undone. 0: it has nothing to do with it. */
static int undo_child(const struct target *parent, pid_t pid, uint64_t plan_hash, const struct undo_options *options, struct err *e)
{
	struct target t;
	struct journal *list;
	struct undo_report report;
	uint32_t count;
	if (target_open(pid, &t, NULL))
		return 0; /* gone, or somebody else's */
	bool inherited = false;
	if (!target_refresh(&t, NULL) && !journals_load(&t, &list, &count, NULL)) {
		const struct journal *live = journals_live(list, count);
		inherited = live && live->plan_hash == plan_hash && live->start_time == parent->start_time;
		journals_free(list, count);
	}
	int status = inherited ? target_check(&t, e) : 0;
	t.cut_calls = true; /* rather than going on counting */
	if (inherited && !status)
		status = undo_process(&t, options, &report, e);
	target_close(&t);
	return status == -ERR_GONE ? 0 : status ? status : inherited;
}

int children_undo(const struct target *parent, uint64_t plan_hash, uint64_t since, const struct undo_options *options, uint32_t *ret_undone,
		  uint32_t *ret_failed, struct err *e)
{
	uint32_t undone = 0, failed = 0;
	DIR *proc = opendir("/proc");
	if (!proc)
		return err_set_errno(e, errno, "/proc");
	for (struct dirent *entry; (entry = readdir(proc));) {
		char *end;
		long pid = strtol(entry->d_name, &end, 10);
		if (*end || pid <= 0 || pid == parent->pid || start_time((pid_t)pid) < since)
			continue;
		int status = undo_child(parent, (pid_t)pid, plan_hash, options, e);
		undone += status > 0;
		failed += status < 0;
	}
	closedir(proc);
	*ret_undone = undone;
	*ret_failed = failed;
	return 0;
}

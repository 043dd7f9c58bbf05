#include "profile/emulate/chooser.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { TRIES = 20, TRY_NS = 200000 };

uint64_t chooser_random(struct chooser *c)
{
	/* splitmix64 (Steele, Lea, Flood 2014) */
	uint64_t z = c->seed += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* The start of a small file of a thread; false when the thread is gone. */
static bool read_start(pid_t pid, pid_t tid, const char *name, char *text, size_t size)
{
	char path[96];
	snprintf(path, sizeof path, "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t got = read(fd, text, size - 1);
	close(fd);
	text[got > 0 ? got : 0] = 0;
	return got > 0;
}

static uint64_t ran_ns(pid_t pid, pid_t tid)
{
	char text[96];
	return read_start(pid, tid, "schedstat", text, sizeof text) ? strtoull(text, NULL, 10) : 0;
}

static bool is_running(pid_t pid, pid_t tid)
{
	char text[512];
	const char *name_end = read_start(pid, tid, "stat", text, sizeof text) ? strrchr(text, ')') : NULL;
	return name_end && !strncmp(name_end, ") R", 3);
}

static const struct chooser_thread *find(const struct chooser *c, pid_t tid, size_t expected)
{
	size_t n = c->threads.count;
	for (size_t i = 0; i < n; i++) { /* the order of /proc hardly changes: it is at the place where it was, or near */
		size_t k = (expected + i) % n;
		if (c->threads.data[k].tid == tid)
			return &c->threads.data[k];
	}
	return NULL;
}

static int look(struct chooser *c, struct err *e)
{
	char path[64];
	struct chooser now = *c;
	snprintf(path, sizeof path, "/proc/%d/task", (int)c->pid);
	DIR *directory = opendir(path);
	bool failed = false;
	now.threads.data = NULL;
	now.threads.count = now.threads.capacity = 0;
	for (struct dirent *entry; directory && (entry = readdir(directory));) {
		struct chooser_thread t = {.tid = (pid_t)strtol(entry->d_name, NULL, 10)};
		if (t.tid <= 0)
			continue;
		const struct chooser_thread *old = find(c, t.tid, now.threads.count);
		t.ran_ns = ran_ns(c->pid, t.tid);
		t.credit_ns = (old ? old->credit_ns : 0) + (old && t.ran_ns > old->ran_ns ? t.ran_ns - old->ran_ns : 0);
		failed |= vec_push(&now.threads, t) != 0;
	}
	if (directory)
		closedir(directory);
	vec_free(&c->threads);
	*c = now;
	return failed ? err_set(e, ERR_MEMORY, "no memory for threads") : 0;
}

static struct chooser_thread *draw(struct chooser *c)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < c->threads.count; i++)
		sum += c->threads.data[i].credit_ns;
	if (!sum)
		return &c->threads.data[chooser_random(c) % c->threads.count];
	uint64_t at = chooser_random(c) % sum;
	for (size_t i = 0; i < c->threads.count; i++) {
		if (at < c->threads.data[i].credit_ns)
			return &c->threads.data[i];
		at -= c->threads.data[i].credit_ns;
	}
	return &c->threads.data[0];
}

int chooser_next(struct chooser *c, pid_t *ret_tid, struct err *e)
{
	int status = look(c, e);
	*ret_tid = 0;
	if (status || !c->threads.count)
		return status;
	struct chooser_thread *chosen = draw(c);
	for (int i = 0; i < TRIES && !is_running(c->pid, chosen->tid); i++) {
		nanosleep(&(struct timespec){0, TRY_NS}, NULL);
		chosen = draw(c);
	}
	/* All is answered for; a thread that keeps running earns new credit. */
	for (size_t i = 0; i < c->threads.count; i++)
		c->threads.data[i].credit_ns /= 2;
	*ret_tid = chosen->tid;
	return 0;
}

void chooser_free(struct chooser *c)
{
	vec_free(&c->threads);
}

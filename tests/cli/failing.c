/*
 * failing: a library to be preloaded into a tool, which makes calls fail that rarely do.
 *
 *	FAIL_ALLOCATION=N	the N-th malloc, calloc, realloc or the like from the start of main fails; 0: none
 *	FAIL_ALLOCATIONS=N	so do all after it
 *	FAIL_INTERRUPT=1	each read and write is interrupted at first, and moves at most 7 bytes when it is made again; pread and pwrite, which
 *				also go to the memory of another process, move half of what they should
 *	FAIL_CLOCK=1		the time of day jumps by a day at each look, back and forth
 *	FAIL_COUNT=FILE		writes the number of allocations there at the end
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define PIECE 7u

static unsigned long allocations, fail_at, fail_from;
static int started, interrupt, clock_jumps;

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static unsigned long number(const char *name)
{
	const char *value = getenv(name);
	return value ? strtoul(value, NULL, 10) : 0;
}

static __attribute__((constructor)) void begin(void)
{
	fail_at = number("FAIL_ALLOCATION");
	fail_from = number("FAIL_ALLOCATIONS");
	interrupt = getenv("FAIL_INTERRUPT") != NULL;
	clock_jumps = getenv("FAIL_CLOCK") != NULL;
	started = 1;
}

static __attribute__((destructor)) void end(void)
{
	char text[32];
	const char *path = getenv("FAIL_COUNT");
	started = interrupt = 0;
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
	if (fd < 0)
		return;
	int size = snprintf(text, sizeof text, "%lu\n", allocations);
	if (write(fd, text, (size_t)size) != size)
		_exit(99);
	close(fd);
}

static int fails(void)
{
	if (!started)
		return 0;
	unsigned long n = __atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	if (n != fail_at && (!fail_from || n < fail_from))
		return 0;
	errno = ENOMEM;
	return 1;
}

void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
	return size && fails() ? NULL : __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : __libc_memalign(alignment, size);
}

/* Every other call. */
static int is_interrupted(void)
{
	static _Thread_local int again;
	if (!started || !interrupt || (again = !again) == 0)
		return 0;
	errno = EINTR;
	return 1;
}

static size_t piece(size_t size)
{
	return interrupt && size > PIECE ? PIECE : size;
}

ssize_t read(int fd, void *buffer, size_t size)
{
	static ssize_t (*next)(int fd, void *buffer, size_t size);
	if (!next)
		next = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
	return is_interrupted() ? -1 : next(fd, buffer, piece(size));
}

ssize_t write(int fd, const void *buffer, size_t size)
{
	static ssize_t (*next)(int fd, const void *buffer, size_t size);
	if (!next)
		next = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	return is_interrupted() ? -1 : next(fd, buffer, piece(size));
}

static size_t half(size_t size)
{
	return interrupt && size > PIECE ? size / 2 : size;
}

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
	static ssize_t (*next)(int fd, void *buffer, size_t size, off_t offset);
	if (!next)
		next = (ssize_t(*)(int, void *, size_t, off_t))dlsym(RTLD_NEXT, "pread");
	return is_interrupted() ? -1 : next(fd, buffer, half(size), offset);
}

ssize_t pwrite(int fd, const void *buffer, size_t size, off_t offset)
{
	static ssize_t (*next)(int fd, const void *buffer, size_t size, off_t offset);
	if (!next)
		next = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
	return is_interrupted() ? -1 : next(fd, buffer, half(size), offset);
}

static time_t jump(void)
{
	static int looks;
	return !clock_jumps ? 0 : __atomic_add_fetch(&looks, 1, __ATOMIC_RELAXED) % 2 ? 86400 : -86400;
}

int clock_gettime(clockid_t clock, struct timespec *ret_time)
{
	int status = (int)syscall(SYS_clock_gettime, clock, ret_time);
	if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ret_time->tv_sec += jump();
	return status;
}

time_t time(time_t *ret_time)
{
	struct timespec now = {0};
	clock_gettime(CLOCK_REALTIME, &now);
	if (ret_time)
		*ret_time = now.tv_sec;
	return now.tv_sec;
}

int gettimeofday(struct timeval *restrict ret_time, void *restrict zone)
{
	struct timespec now;
	(void)zone;
	int status = clock_gettime(CLOCK_REALTIME, &now);
	*ret_time = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
	return status;
}

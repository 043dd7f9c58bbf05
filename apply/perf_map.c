#include "apply/perf_map.h"

#include "formats/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE 10 /* seconds */

struct map {
	char name[PERF_MAP_PATH_SIZE]; /* in the directory */
	int root;		       /* of the process, O_PATH */
	int directory;		       /* its /tmp; in the child */
	struct target_user user;
	const struct writer *contents;
};

/* What the child tells. */
struct answer {
	struct err e;
	bool removed;
};

int perf_map_path(const struct target *t, char path[PERF_MAP_PATH_SIZE], struct err *e)
{
	struct target_user user;
	int status = target_user(t, &user, e);
	if (!status)
		snprintf(path, PERF_MAP_PATH_SIZE, "/tmp/perf-%d.map", user.own_pid);
	return status;
}

static int open_map(const struct target *t, const struct writer *contents, struct map *ret_map, struct err *e)
{
	struct map m = {.directory = -1, .contents = contents};
	char path[64];
	int status = target_user(t, &m.user, e);
	if (status)
		return status;
	snprintf(m.name, sizeof m.name, "perf-%d.map", m.user.own_pid);
	snprintf(path, sizeof path, "/proc/%d/root", t->task);
	m.root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (m.root < 0)
		return err_set_errno(e, errno, "%s", path);
	status = target_alive(t, e); /* else the number may be another's by now */
	if (status)
		close(m.root);
	else
		*ret_map = m;
	return status;
}

/* Links on the way to /tmp lead where they lead the process: not out of its root. */
static int open_directory(struct map *m)
{
	const struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	m->directory = (int)syscall(SYS_openat2, m->root, "tmp", &how, sizeof how);
	return m->directory < 0 ? -1 : 0;
}

/* For good: only in the child. */
static int become(const struct target_user *user, struct err *e)
{
	if (user->uid == geteuid() && geteuid())
		return 0;
	prctl(PR_SET_DUMPABLE, 0);
	if ((setgroups(0, NULL) && geteuid() == 0) || setresgid(user->gid, user->gid, user->gid) ||
	    setresuid(user->uid, user->uid, user->uid))
		return err_set_errno(e, errno, "becoming user %u", user->uid);
	return 0;
}

/* --- in the child --- */

static void limit_time(void)
{
	sigset_t alarms;
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	signal(SIGALRM, SIG_DFL);
	sigprocmask(SIG_UNBLOCK, &alarms, NULL);
	alarm(PATIENCE);
}

static uint64_t first_line(const struct writer *contents)
{
	const uint8_t *end = contents->size ? memchr(contents->data, '\n', contents->size) : NULL;
	return end ? (uint64_t)(end - contents->data) + 1 : 0;
}

static bool read_equal(int fd, const uint8_t *expected, size_t size)
{
	uint8_t buffer[16384];
	size_t done = 0;
	while (done < size) {
		ssize_t got = read(fd, buffer, sizeof buffer < size - done ? sizeof buffer : size - done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0 || memcmp(buffer, expected + done, (size_t)got))
			return false;
		done += (size_t)got;
	}
	return true;
}

/* Is the file at our name ours, and still that at the end of the look? */
static bool is_ours(const struct map *m)
{
	struct stat opened, named;
	int fd = openat(m->directory, m->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return false;
	bool ours = !fstat(fd, &opened) && S_ISREG(opened.st_mode) && opened.st_uid == m->user.uid &&
		    (uint64_t)opened.st_size >= first_line(m->contents) && (uint64_t)opened.st_size <= m->contents->size &&
		    opened.st_size && read_equal(fd, m->contents->data, (size_t)opened.st_size) &&
		    !fstatat(m->directory, m->name, &named, AT_SYMLINK_NOFOLLOW) && named.st_ino == opened.st_ino &&
		    named.st_dev == opened.st_dev;
	close(fd);
	return ours;
}

static int remove_file(const struct map *m, bool *ret_removed, struct err *e)
{
	if (!is_ours(m))
		return 0;
	if (unlinkat(m->directory, m->name, 0))
		return err_set_errno(e, errno, "/tmp/%s", m->name);
	*ret_removed = true;
	return 0;
}

static int create_file(const struct map *m, struct err *e)
{
	int fd = openat(m->directory, m->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return err_set(e, ERR_REFUSED,
			       "/tmp/%s is there already: of a JIT compiler, or of an earlier process with this number; left alone",
			       m->name);
	if (fd < 0)
		return err_set_errno(e, errno, "/tmp/%s", m->name);
	int failed = fchmod(fd, 0600) || file_write_all(fd, m->contents->data, m->contents->size), saved = errno;
	if (close(fd) && !failed) {
		failed = -1;
		saved = errno;
	}
	if (!failed)
		return 0;
	unlinkat(m->directory, m->name, 0);
	return err_set_errno(e, saved, "/tmp/%s", m->name);
}

static void work(struct map *m, bool write, struct answer *a)
{
	limit_time();
	int status = become(&m->user, &a->e);
	if (!status && open_directory(m))
		status = !write && errno == ENOENT ? 0 : err_set_errno(&a->e, errno, "/tmp of the process");
	if (!status && m->directory >= 0)
		status = remove_file(m, &a->removed, &a->e);
	if (!status && write)
		status = create_file(m, &a->e);
	if (status && !a->e.code)
		err_set(&a->e, ERR_INTERNAL, "/tmp/%s: failed without a reason", m->name);
}

/* --- */

/* Fills `a`, unless the child was killed. */
static int in_child(struct map *m, bool write, struct answer *a, struct err *e)
{
	int channel[2], wait_status;
	if (pipe2(channel, O_CLOEXEC))
		return err_set_errno(e, errno, "pipe");
	pid_t child = fork();
	if (child == 0) {
		struct answer mine = {0};
		work(m, write, &mine);
		_exit(file_write_all(channel[1], &mine, sizeof mine) ? 1 : 0);
	}
	int saved = errno;
	close(channel[1]);
	size_t got = 0;
	ssize_t piece = 1;
	while (child > 0 && got < sizeof *a && piece) {
		piece = read(channel[0], (char *)a + got, sizeof *a - got);
		if (piece < 0 && errno != EINTR)
			break;
		got += piece > 0 ? (size_t)piece : 0;
	}
	close(channel[0]);
	if (child < 0)
		return err_set_errno(e, saved, "fork");
	while (waitpid(child, &wait_status, 0) < 0 && errno == EINTR)
		;
	return got == sizeof *a
		   ? 0
		   : err_set(e, ERR_IO, "/tmp/%s: what worked on it was killed, or got no answer for %d seconds", m->name, PATIENCE);
}

static int run(const struct target *t, const struct writer *contents, bool write, bool *ret_removed, struct err *e)
{
	struct map m;
	struct answer a = {0};
	int status = open_map(t, contents, &m, e);
	if (status)
		return status;
	status = in_child(&m, write, &a, e);
	close(m.root);
	if (status)
		return status;
	if (a.e.code)
		return err_set(e, (enum err_code)a.e.code, "%s", a.e.text);
	*ret_removed = a.removed;
	return 0;
}

int perf_map_write(const struct target *t, const struct writer *contents, struct err *e)
{
	bool replaced;
	return run(t, contents, true, &replaced, e);
}

int perf_map_remove(const struct target *t, const struct writer *contents, bool *ret_removed, struct err *e)
{
	return run(t, contents, false, ret_removed, e);
}

#include "apply/target.h"

#include "apply/cgroup.h"
#include "apply/core.h"
#include "apply/fault.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <unistd.h>

#define STATUS_SIZE 8192

ssize_t target_read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t used = 0;
	ssize_t got;
	while (used < size - 1 && (got = read(fd, text + used, size - 1 - used)) != 0) {
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			int saved = errno;
			close(fd);
			errno = saved;
			return -1;
		}
		used += (size_t)got;
	}
	close(fd);
	text[used] = 0;
	return (ssize_t)used;
}

/* The text after "Name:" and blanks in a status file, or NULL. */
static const char *status_field(const char *status, const char *name)
{
	size_t length = strlen(name);
	for (const char *line = status; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, name, length) && line[length] == ':') {
			line += length + 1;
			return line + strspn(line, " \t");
		}
	}
	return NULL;
}

static long status_number(const char *status, const char *name)
{
	const char *text = status_field(status, name);
	return text ? strtol(text, NULL, 10) : 0;
}

void target_name(pid_t pid, char *text, size_t size)
{
	char path[64], name[64];
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	ssize_t length = target_read_text(path, name, sizeof name);
	if (length <= 0 || size < 2) {
		snprintf(text, size, "?");
		return;
	}
	size_t used = 0;
	for (ssize_t i = 0; i < length && name[i] != '\n' && used + 5 < size; i++) {
		unsigned char c = (unsigned char)name[i];
		if (c >= 0x20 && c < 0x7f && c != '\\')
			text[used++] = (char)c;
		else
			used += (size_t)snprintf(text + used, size - used, "\\x%02x", c);
	}
	text[used] = 0;
}

static int read_start_time(pid_t pid, uint64_t *ret_time, struct err *e)
{
	char path[64], text[2048];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if (target_read_text(path, text, sizeof text) < 0)
		return errno == ENOENT || errno == ESRCH ? err_set(e, ERR_GONE, "process %d does not exist", pid)
							 : err_set_errno(e, errno, "%s", path);
	/* The name, in parentheses, may hold anything: fields are counted from its end. */
	char *p = strrchr(text, ')');
	for (int field = 2; p && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (!p)
		return err_set(e, ERR_ENVIRONMENT, "%s: not understood", path);
	*ret_time = strtoull(p + 1, NULL, 10);
	return 0;
}

static int busy(const struct target *t, struct err *e)
{
	return err_set(e, ERR_BUSY, "another repave-apply is at work on process %d", t->pid);
}

#define PID_FS_MAGIC 0x50494446

/*
 * One instance per process. Locks vanish with their owner however that dies. Since Linux 6.9 a pidfd has an inode of its own, the same in all
 * namespaces; before that, the task directory is the same for all who see this /proc, and an abstract socket for all in one network namespace.
 */
static int take_lock(struct target *t, struct err *e)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	struct statfs fs;
	bool own_inode = fstatfs(t->pidfd, &fs) == 0 && fs.f_type == PID_FS_MAGIC;
	if (flock(own_inode ? t->pidfd : t->task_fd, LOCK_EX | LOCK_NB))
		return errno == EWOULDBLOCK ? busy(t, e) : err_set_errno(e, errno, "lock of process %d", t->pid);
	int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "repave-apply/%d/%" PRIu64, t->pid, t->start_time);
	t->lock_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->lock_fd < 0)
		return err_set_errno(e, errno, "lock socket");
	if (bind(t->lock_fd, (struct sockaddr *)&name, (socklen_t)(sizeof name.sun_family + 1 + (size_t)length)) == 0)
		return 0;
	return errno == EADDRINUSE ? busy(t, e) : err_set_errno(e, errno, "lock socket");
}

/* Does this errno of open or read in /proc say that there is no such process any more? Others speak of us: no descriptor left, no permission. */
static bool is_gone(int error)
{
	return error == ENOENT || error == ESRCH;
}

/* Of the process with this number: as target_living_task. */
static pid_t living_task(pid_t pid)
{
	char path[64], text[STATUS_SIZE];
	snprintf(path, sizeof path, "/proc/%d/task", pid);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return is_gone(errno) ? 0 : -1;
	struct {
		uint64_t inode, offset;
		uint16_t length;
		uint8_t type;
		char name[];
	} * entry;
	_Alignas(8) char buffer[4096];
	pid_t found = 0;
	int failed = 0;
	long got;
	while (!found && (got = syscall(SYS_getdents64, fd, buffer, sizeof buffer)) > 0)
		for (long at = 0; at < got && !found; at += entry->length) {
			entry = (void *)(buffer + at);
			pid_t tid = (pid_t)strtol(entry->name, NULL, 10);
			snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
			ssize_t size = tid > 0 ? target_read_text(path, text, sizeof text) : 0;
			if (size > 0 && status_field(text, "VmSize"))
				found = tid;
			if (size < 0 && !is_gone(errno))
				failed = errno;
		}
	close(fd);
	errno = failed;
	return !found && failed ? -1 : found;
}

pid_t target_living_task(const struct target *t)
{
	return living_task(t->pid);
}

/* The effective one of {real, effective, saved, file system}. */
static bool effective_id(const char *status, const char *name, unsigned *ret_id)
{
	const char *field = status_field(status, name);
	return field && sscanf(field, "%*u %u", ret_id) == 1;
}

static int read_status(const struct target *t, char text[STATUS_SIZE], struct err *e)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/status", t->pid);
	ssize_t size = target_read_text(path, text, STATUS_SIZE);
	if (size < 0 && !is_gone(errno))
		return err_set_errno(e, errno, "%s", path);
	return size > 0 ? 0 : err_set(e, ERR_GONE, "process %d is gone", t->pid);
}

int target_user(const struct target *t, struct target_user *ret_user, struct err *e)
{
	char text[STATUS_SIZE];
	struct target_user user;
	int status = read_status(t, text, e);
	if (status)
		return status;
	const char *numbers = status_field(text, "NSpid");
	if (!numbers || !effective_id(text, "Uid", &user.uid) || !effective_id(text, "Gid", &user.gid))
		return err_set(e, ERR_ENVIRONMENT, "/proc/%d/status: not understood", t->pid);
	size_t length = strcspn(numbers, "\n");
	while (length && numbers[length - 1] >= '0' && numbers[length - 1] <= '9')
		length--;
	user.own_pid = (pid_t)strtol(numbers + length, NULL, 10);
	*ret_user = user;
	return 0;
}

bool target_has_task(const struct target *t, pid_t tid)
{
	char name[16];
	snprintf(name, sizeof name, "%d", tid);
	return faccessat(t->task_fd, name, F_OK, 0) == 0;
}

static int open_descriptors(struct target *t, struct err *e)
{
	char path[64];
	t->pidfd = (int)syscall(SYS_pidfd_open, t->pid, 0);
	if (t->pidfd < 0)
		return errno == ESRCH || errno == EINVAL ? err_set(e, ERR_GONE, "process %d does not exist", t->pid)
							 : err_set_errno(e, errno, "process %d: pidfd_open", t->pid);
	pid_t task = living_task(t->pid);
	if (task < 0)
		return err_set_errno(e, errno, "process %d: its threads", t->pid);
	if (!task)
		return err_set(e, ERR_GONE, "process %d is a zombie, exiting, or a kernel thread: it has no memory", t->pid);
	snprintf(path, sizeof path, "/proc/%d/task", t->pid);
	t->task_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t->task_fd < 0)
		return is_gone(errno) ? err_set(e, ERR_GONE, "process %d does not exist", t->pid) : err_set_errno(e, errno, "%s", path);
	snprintf(path, sizeof path, "/proc/%d/task/%d/mem", t->pid, task);
	t->mem_fd = open(path, O_RDWR | O_CLOEXEC);
	if (t->mem_fd < 0)
		return is_gone(errno) ? err_set(e, ERR_BUSY, "%s: that thread has just ended; try again", path)
				      : err_set_errno(e, errno, "%s", path);
	return 0;
}

static int open_target(struct target *t, struct err *e)
{
	int status = read_start_time(t->pid, &t->start_time, e);
	if (!status)
		status = open_descriptors(t, e);
	uint64_t again;
	if (!status)
		status = read_start_time(t->pid, &again, e);
	if (!status && again != t->start_time)
		status = err_set(e, ERR_GONE, "process %d ended and its number was taken by another", t->pid);
	if (!status)
		status = take_lock(t, e);
	if (!status)
		status = target_refresh(t, e);
	return status;
}

int target_open(pid_t pid, struct target *ret_target, struct err *e)
{
	struct target t = {.pid = pid, .task = pid, .pidfd = -1, .mem_fd = -1, .task_fd = -1, .lock_fd = -1};
	if (pid <= 0)
		return err_set(e, ERR_USAGE, "%d is not a process number", pid);
	int status = open_target(&t, e);
	if (status) {
		target_close(&t);
		return status;
	}
	*ret_target = t;
	return 0;
}

void target_close(struct target *t)
{
	int *descriptors[] = {&t->pidfd, &t->mem_fd, &t->task_fd, &t->lock_fd};
	for (size_t i = 0; i < sizeof descriptors / sizeof *descriptors; i++) {
		if (*descriptors[i] >= 0)
			close(*descriptors[i]);
		*descriptors[i] = -1;
	}
	procmaps_free(&t->maps);
	core_close(t->core);
	t->core = NULL;
}

int target_refresh(struct target *t, struct err *e)
{
	struct procmaps maps;
	int status = procmaps_read(t->pid, &maps, e);
	if (status)
		return status;
	procmaps_free(&t->maps);
	t->maps = maps;
	pid_t task = living_task(t->pid);
	t->task = task > 0 ? task : t->task;
	return 0;
}

/* The executable's own header, from memory: the first file mapping of /proc/PID/exe might be gone, so any ELF header tells the class. */
static int check_machine(const struct target *t, struct err *e)
{
	for (size_t i = 0; i < t->maps.count; i++) {
		const struct procmap *m = &t->maps.maps[i];
		Elf64_Ehdr header;
		if (m->offset || !m->inode || m->shared || target_read_some(t, m->start, &header, sizeof header) != sizeof header ||
		    memcmp(header.e_ident, ELFMAG, SELFMAG))
			continue;
		if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
			return err_set(e, ERR_REFUSED, "process %d is not a 64-bit x86-64 program", t->pid);
		return 0;
	}
	return err_set(e, ERR_REFUSED, "process %d has no ELF file mapped", t->pid);
}

int target_thawed(const struct target *t, struct err *e)
{
	return cgroup_frozen(t->pid) ? err_set(e, ERR_REFUSED, "process %d is frozen by its cgroup; thaw it first", t->pid) : 0;
}

int target_check_status(struct target *t, const char *status, struct err *e)
{
	const char *state = status_field(status, "State");
	if (state && (*state == 'Z' || *state == 'X') && !living_task(t->pid))
		return err_set(e, ERR_GONE, "process %d is a zombie", t->pid);
	pid_t tracer = (pid_t)status_number(status, "TracerPid");
	if (tracer == getpid() && !t->held) /* it could not be let go: it did not answer */
		return err_set(e, ERR_BUSY, "process %d does not answer; try again", t->pid);
	if (tracer && tracer != getpid()) {
		char name[64];
		target_name(tracer, name, sizeof name);
		return err_set(e, ERR_REFUSED, "process %d is already traced by process %d (%s)", t->pid, tracer, name);
	}
	long seccomp = status_number(status, "Seccomp");
	if (seccomp == 1)
		return err_set(e, ERR_REFUSED, "process %d is in strict seccomp mode", t->pid);
	t->seccomp_filter = seccomp == 2 && !t->filter_passes;
	const char *features = status_field(status, "x86_Thread_features");
	size_t length = features ? strcspn(features, "\n") : 0;
	if (features && memmem(features, length, "shstk", 5))
		return err_set(e, ERR_REFUSED, "process %d has a hardware shadow stack", t->pid);
	return 0;
}

int target_check(struct target *t, struct err *e)
{
	char text[STATUS_SIZE];
	if (t->pid == getpid())
		return err_set(e, ERR_REFUSED, "process %d is this tool itself", t->pid);
	int status = read_status(t, text, e);
	if (!status)
		status = target_check_status(t, text, e);
	if (!status)
		status = check_machine(t, e);
	if (!status)
		status = target_thawed(t, e);
	return status;
}

int target_alive(const struct target *t, struct err *e)
{
	uint8_t byte;
	for (size_t i = 0; i < t->maps.count; i++)
		if (t->maps.maps[i].read && t->maps.maps[i].inode && !t->maps.maps[i].shared)
			return target_read(t, t->maps.maps[i].start, &byte, 1, e);
	return err_set(e, ERR_GONE, "process %d is gone", t->pid);
}

static ssize_t read_memory(const struct target *t, void *buffer, size_t size, uint64_t address)
{
	return t->core ? core_read(t->core, buffer, size, (raddr){address}) : pread(t->mem_fd, buffer, size, (off_t)address);
}

size_t target_read_some(const struct target *t, raddr address, void *buffer, size_t size)
{
	size_t done = 0;
	while (done < size) {
		ssize_t got = read_memory(t, (char *)buffer + done, size - done, address.v + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

int target_read(const struct target *t, raddr address, void *buffer, size_t size, struct err *e)
{
	size_t done = 0;
	while (done < size) {
		ssize_t got = read_memory(t, (char *)buffer + done, size - done, address.v + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got == 0)
			return err_set(e, ERR_GONE, "process %d ended or executed another program", t->pid);
		if (got < 0)
			return err_set_errno(e, errno, "process %d: reading memory at 0x%" PRIx64, t->pid, address.v + done);
		done += (size_t)got;
	}
	return 0;
}

int target_write(const struct target *t, raddr address, const void *data, size_t size, struct err *e)
{
	size_t done = 0;
	fault_step();
	while (done < size) {
		ssize_t put = pwrite(t->mem_fd, (const char *)data + done, size - done, (off_t)(address.v + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put == 0)
			return err_set(e, ERR_GONE, "process %d ended or executed another program", t->pid);
		if (put < 0)
			return err_set_errno(e, errno, "process %d: writing memory at 0x%" PRIx64, t->pid, address.v + done);
		done += (size_t)put;
	}
	return 0;
}

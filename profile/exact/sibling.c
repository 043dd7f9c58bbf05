#include "profile/exact/sibling.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int sibling_find(const char *name, char *path, size_t size, struct err *e)
{
	char here[4096];
	ssize_t n = readlink("/proc/self/exe", here, sizeof here - 1);
	here[n > 0 ? n : 0] = 0;
	char *slash = strrchr(here, '/');
	if (slash) {
		*slash = 0;
		if ((size_t)snprintf(path, size, "%s/%s", here, name) < size && !access(path, X_OK))
			return 0;
	}
	const char *directories = getenv("PATH");
	while (directories && *directories) {
		size_t length = strcspn(directories, ":");
		if (length && (size_t)snprintf(path, size, "%.*s/%s", (int)length, directories, name) < size && !access(path, X_OK))
			return 0;
		directories += length + (directories[length] == ':');
	}
	return err_set(e, ERR_MISSING, "%s is neither beside this program nor in PATH", name);
}

static int spawn(const char *path, const char *const *arguments, int output, pid_t *ret_pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none;
	sigemptyset(&none);
	int status = posix_spawn_file_actions_init(&files);
	if (status)
		return status;
	status = posix_spawnattr_init(&attributes);
	if (!status) {
		status = posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
		if (!status)
			status = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (!status)
			status = posix_spawnattr_setsigmask(&attributes, &none);
		if (!status)
			status = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
		if (!status)
			status = posix_spawn(ret_pid, path, &files, &attributes, (char *const *)(uintptr_t)arguments, environ);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&files);
	return status;
}

int sibling_start(const char *const *arguments, struct sibling *ret_sibling, struct err *e)
{
	struct sibling s = {.name = arguments[0]};
	char path[4096];
	int ends[2], status = sibling_find(arguments[0], path, sizeof path, e);
	if (status)
		return status;
	if (pipe2(ends, O_CLOEXEC))
		return err_set_errno(e, errno, "pipe");
	s.output = fdopen(ends[0], "r");
	int failed = s.output ? spawn(path, arguments, ends[1], &s.pid) : errno;
	close(ends[1]);
	if (failed) {
		if (s.output)
			fclose(s.output);
		else
			close(ends[0]);
		return err_set_errno(e, failed, "%s", path);
	}
	*ret_sibling = s;
	return 0;
}

json_t *sibling_line(struct sibling *s)
{
	json_t *line = json_loadf(s->output, JSON_DISABLE_EOF_CHECK, NULL), *error = json_object_get(line, "error");
	if (error && !s->error)
		s->error = json_incref(error);
	return line;
}

static enum err_code code_of(const char *name)
{
	for (int code = ERR_NONE + 1; name && code < ERR_CODE_COUNT; code++)
		if (!strcmp(err_name(code), name))
			return (enum err_code)code;
	return ERR_INTERNAL;
}

/* What is left of the output: the last value. */
static json_t *drain(struct sibling *s)
{
	json_t *last = NULL;
	for (json_t *next; (next = sibling_line(s));) {
		json_decref(last);
		last = next;
	}
	return last;
}

static int finish(struct sibling *s, json_t **ret_json, bool *ret_killed, struct err *e)
{
	json_t *last = drain(s);
	int status = 0, raw = 0;
	fclose(s->output);
	while (waitpid(s->pid, &raw, 0) < 0 && errno == EINTR)
		;
	if (ret_killed)
		*ret_killed = WIFSIGNALED(raw);
	if (WIFSIGNALED(raw)) {
		status = err_set(e, ERR_INTERNAL, "%s was killed by signal %d", s->name, WTERMSIG(raw));
	} else if (WEXITSTATUS(raw)) {
		const char *text = json_string_value(json_object_get(s->error, "text"));
		status = err_set(e, code_of(json_string_value(json_object_get(s->error, "code"))), "%s: %.900s", s->name,
				 text ? text : "failed without a word");
	}
	if (!status && ret_json)
		*ret_json = last;
	else
		json_decref(last);
	json_decref(s->error);
	s->error = NULL;
	return status;
}

int sibling_wait(struct sibling *s, bool *ret_killed, struct err *e)
{
	return finish(s, NULL, ret_killed, e);
}

int sibling_run(const char *const *arguments, json_t **ret_json, struct err *e)
{
	struct sibling s;
	int status = sibling_start(arguments, &s, e);
	return status ? status : finish(&s, ret_json, NULL, e);
}

#include "profile/record.h"

#include "formats/base/vec.h"
#include "profile/idmap.h"
#include "profile/output.h"
#include "profile/target.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { INTERVAL_MAX_MS = 200, INTERVAL_MIN_MS = 5 };
/*
 * How much a killed recorder may lose: what came in since the last flush. Each chunk has its own tables, so small ones cost space (one a
 * second: 6.2 bytes per sample of a server; one for all: 4.1). The first comes early, so that a file soon holds something.
 */
static const uint64_t second_ns = 1000000000, first_flush_ns = 1000000000, flush_ns = 5000000000, progress_ns = 250000000;

struct session {
	const struct record_options *options;
	struct target target;
	struct event event;
	struct perfset *set;
	struct space *space;
	struct profile_stream *stream;
	VEC(uint32_t) stream_modules; /* module of the space -> module of the stream, PROFILE_NO_MODULE = not yet */
	VEC(struct profile_branch) branches;
	struct idmap threads;
	struct record_result result;
	uint64_t start_ns, target_cpu_start, recorder_cpu_start;
	uint64_t flushed_ns, reported_ns, looked_ns;
	int interval_ms;
};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * second_ns + (uint64_t)t.tv_nsec;
}

/* Module numbers of the file: given on first use, so that only modules with samples are in it. */
static int stream_module(struct session *s, uint32_t module, uint32_t *ret_module, struct err *e)
{
	*ret_module = PROFILE_NO_MODULE;
	if (module == PROFILE_NO_MODULE)
		return 0;
	while (s->stream_modules.count <= module)
		if (vec_push(&s->stream_modules, PROFILE_NO_MODULE))
			return err_set(e, ERR_MEMORY, "no memory for modules");
	uint32_t *known = &s->stream_modules.data[module];
	if (*known == PROFILE_NO_MODULE) {
		int status = profile_stream_module(s->stream, space_module(s->space, module), known, e);
		if (status)
			return status;
		s->result.modules++;
	}
	*ret_module = *known;
	return 0;
}

static int attribute(struct session *s, uint64_t address, uint32_t *ret_module, uint64_t *ret_address, struct err *e)
{
	uint32_t module;
	space_find(s->space, (raddr){address}, &module, ret_address);
	return stream_module(s, module, ret_module, e);
}

static int add_branches(struct session *s, const struct perfrecord *record, struct err *e)
{
	s->branches.count = 0;
	for (uint64_t i = 0; i < record->branch_count && i < UINT16_MAX; i++) {
		struct perfrecord_branch raw = perfrecord_branch_at(record, i);
		struct profile_branch branch = {.mispredicted = raw.mispredicted};
		int status = attribute(s, raw.from, &branch.from_module, &branch.from, e);
		if (!status)
			status = attribute(s, raw.to, &branch.to_module, &branch.to, e);
		if (status)
			return status;
		if (vec_push(&s->branches, branch))
			return err_set(e, ERR_MEMORY, "no memory for branches");
	}
	s->result.branches += s->branches.count;
	return 0;
}

static int add_sample(struct session *s, const struct perfrecord *record, struct err *e)
{
	struct profile_sample sample = {
	    .time_ns = record->time > s->start_ns ? record->time - s->start_ns : 0,
	    .thread = record->tid,
	};
	int status = attribute(s, record->address, &sample.module, &sample.address, e);
	if (!status)
		status = add_branches(s, record, e);
	if (status)
		return status;
	sample.branch_count = (uint16_t)s->branches.count;
	s->result.samples++;
	s->result.unattributed += sample.module == PROFILE_NO_MODULE;
	if (idmap_set(&s->threads, record->tid, 1))
		return err_set(e, ERR_MEMORY, "no memory for threads");
	return profile_stream_sample(s->stream, &sample, s->branches.data, e);
}

static int add_mapping(struct session *s, const struct perfrecord *record, struct err *e)
{
	struct procmap map = {
	    .start.v = record->map_start,
	    .end.v = record->map_start + record->map_length,
	    .offset = record->map_offset,
	    .inode = record->map_inode,
	    .device_major = record->map_device_major,
	    .device_minor = record->map_device_minor,
	    .read = true,
	    .execute = true,
	    .path = record->text,
	};
	if (!(record->map_protection & PROT_EXEC) || map.end.v <= map.start.v)
		return 0;
	return space_add(s->space, &map, e);
}

static int handle(void *context, const struct perfrecord *record, struct err *e)
{
	struct session *s = context;
	switch (record->type) {
	case PERF_RECORD_SAMPLE:
		return add_sample(s, record, e);
	case PERF_RECORD_MMAP:
	case PERF_RECORD_MMAP2:
		return add_mapping(s, record, e);
	case PERF_RECORD_COMM:
		if (record->misc & PERF_RECORD_MISC_COMM_EXEC) {
			int status = space_read(s->space, e);
			return status == -ERR_GONE ? 0 : status; /* it ended since */
		}
		return 0;
	case PERF_RECORD_LOST:
	case PERF_RECORD_LOST_SAMPLES:
		s->result.info.lost += record->lost;
		return 0;
	case PERF_RECORD_THROTTLE:
		s->result.info.throttled++;
		return 0;
	default:
		return 0;
	}
}

static int look(struct session *s, bool last, struct err *e)
{
	double fill = 0;
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	if (s->looked_ns && now - s->looked_ns > s->result.pause_max_ns)
		s->result.pause_max_ns = now - s->looked_ns;
	s->looked_ns = now;
	int status = perfset_drain(s->set, last, handle, s, &fill, e);
	if (fill > 0.25 && s->interval_ms > INTERVAL_MIN_MS)
		s->interval_ms /= 2;
	else if (fill < 0.06 && s->interval_ms < INTERVAL_MAX_MS)
		s->interval_ms *= 2;
	s->result.info.target_cpu_ns = target_cpu_ns(&s->target, s->target_cpu_start + s->result.info.target_cpu_ns) - s->target_cpu_start;
	if (!status && now - s->flushed_ns >= (s->flushed_ns == s->start_ns ? first_flush_ns : flush_ns)) {
		s->flushed_ns = now;
		status = profile_stream_flush(s->stream, e);
	}
	if (s->options->progress && now - s->reported_ns >= progress_ns) {
		s->reported_ns = now;
		struct record_progress p = {.elapsed_ns = now - s->start_ns, .samples = s->result.samples, .lost = s->result.info.lost};
		s->options->progress(s->options->context, &p);
	}
	return status;
}

/* Waits for the next look; true when recording is over. */
static bool is_over(struct session *s, uint64_t end_ns)
{
	uint64_t now = clock_ns(CLOCK_MONOTONIC);
	if (now >= end_ns)
		return true;
	uint64_t left_ms = (end_ns - now + 999999) / 1000000;
	int wait_ms = left_ms < (uint64_t)s->interval_ms ? (int)left_ms : s->interval_ms;
	struct pollfd fds[2] = {{.fd = s->target.pidfd, .events = POLLIN}, {.fd = s->options->stop_fd, .events = POLLIN}};
	poll(fds, 2, wait_ms); /* EINTR: just look earlier */
	if (fds[0].revents)
		s->result.target_exited = true;
	return fds[0].revents || fds[1].revents;
}

static int record_loop(struct session *s, struct err *e)
{
	uint64_t end = s->options->seconds > 0 ? s->start_ns + (uint64_t)(s->options->seconds * 1e9) : UINT64_MAX;
	int status = 0;
	s->flushed_ns = s->reported_ns = s->start_ns;
	while (!status && !is_over(s, end))
		status = look(s, false, e);
	s->result.info.duration_ns = clock_ns(CLOCK_MONOTONIC) - s->start_ns;
	return status ? status : look(s, true, e);
}

static int fill_info(struct session *s, struct err *e)
{
	struct profile_info *info = &s->result.info;
	info->source = (uint8_t)s->event.source;
	info->event = strdup(s->event.name);
	info->kernel = target_kernel();
	info->cpu = target_cpu_model();
	info->command = target_command(&s->target);
	info->frequency = s->event.attr.freq ? s->event.attr.sample_freq : 0;
	info->period = s->event.attr.freq ? 0 : s->event.attr.sample_period;
	info->start_ns = clock_ns(CLOCK_REALTIME);
	if (!info->event || !info->kernel || !info->cpu || !info->command)
		return err_set(e, ERR_MEMORY, "no memory for the profile's description");
	return 0;
}

/* Events first, then the mappings: a mapping made in between is then seen twice rather than never. */
static int session_begin(struct session *s, int fd, const char *name, struct err *e)
{
	const struct record_options *o = s->options;
	int status = event_choose(&o->event, o->pid, &s->event, s->result.tried, sizeof s->result.tried, e);
	if (!status)
		status = fill_info(s, e);
	if (!status)
		status = space_new(o->pid, &s->space, e);
	if (status)
		return status;
	if (o->translator)
		space_set_translator(s->space, o->translator);
	s->start_ns = clock_ns(CLOCK_MONOTONIC);
	s->target_cpu_start = target_cpu_ns(&s->target, 0);
	s->recorder_cpu_start = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	status = perfset_open(&s->event, o->pid, o->way, &s->set, e);
	if (!status)
		status = space_read(s->space, e);
	if (!status)
		status = output_empty(fd, name, e);
	if (!status)
		status = profile_stream_open(fd, name, &s->result.info, &s->stream, e);
	if (!status)
		perfset_shape(s->set, &s->result.shape);
	return status;
}

static int session_finish(struct session *s, struct err *e)
{
	struct profile_stream *stream = s->stream;
	s->stream = NULL;
	s->result.threads = s->threads.count;
	s->result.info.recorder_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - s->recorder_cpu_start;
	return profile_stream_close(stream, &s->result.info, e);
}

static void session_free(struct session *s)
{
	if (s->stream) { /* after an error: what was flushed is readable, the error is already known */
		struct err ignored;
		(void)!profile_stream_close(s->stream, &s->result.info, &ignored);
	}
	perfset_close(s->set);
	space_free(s->space);
	vec_free(&s->stream_modules);
	vec_free(&s->branches);
	idmap_free(&s->threads);
	target_close(&s->target);
}

int record_run(const struct record_options *options, int fd, const char *name, struct record_result *ret_result, struct err *e)
{
	struct session s = {.options = options, .interval_ms = INTERVAL_MAX_MS};
	struct stat stat;
	int status = target_open(options->pid, &s.target, e);
	if (status)
		return status;
	status = session_begin(&s, fd, name, e);
	if (!status)
		status = record_loop(&s, e);
	if (!status)
		status = session_finish(&s, e);
	if (!status && !fstat(fd, &stat) && S_ISREG(stat.st_mode))
		s.result.bytes = (uint64_t)stat.st_size;
	session_free(&s);
	if (status)
		record_result_free(&s.result);
	else
		*ret_result = s.result;
	return status;
}

void record_result_free(struct record_result *result)
{
	free(result->info.event);
	free(result->info.kernel);
	free(result->info.cpu);
	free(result->info.command);
	*result = (struct record_result){0};
}

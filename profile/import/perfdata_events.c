#include "profile/import/perfdata_parts.h"

#include <stdio.h>
#include <string.h>

enum { FLAG_FREQUENCY = 1u << 10, FLAG_SAMPLE_ID_ALL = 1u << 18 };

int perfdata_add_event(struct perfdata *p, const uint8_t *attr, size_t size, uint64_t offset)
{
	struct reader r = reader_of(attr, size);
	struct perfdata_event event = {.type = read_u32(&r)};
	uint32_t own_size = read_u32(&r);
	event.config = read_u64(&r);
	uint64_t rate = read_u64(&r);
	event.format.sample_type = read_u64(&r);
	event.format.read_format = read_u64(&r);
	uint64_t flags = read_u64(&r);
	read_bytes(&r, 24); /* wakeup, breakpoint, config1, config2 or its place */
	if (r.failed || (own_size && (own_size < PERF_ATTR_SIZE_VER0 || own_size > size)))
		return perfdata_bad(p, offset, "impossible size of an event");
	if (size >= PERF_ATTR_SIZE_VER2)
		event.format.branch_sample_type = read_u64(&r);
	event.format.sample_id_all = flags & FLAG_SAMPLE_ID_ALL;
	*(flags & FLAG_FREQUENCY ? &event.frequency : &event.period) = rate;
	if (p->events.count >= UINT16_MAX || vec_push(&p->events, event))
		return perfdata_no_memory(p);
	return 0;
}

int perfdata_add_ids(struct perfdata *p, struct reader *ids)
{
	while (reader_left(ids) >= 8) {
		uint64_t id = read_u64(ids);
		if (id && idmap_set(&p->ids, id, (uint32_t)p->events.count - 1))
			return perfdata_no_memory(p);
	}
	return 0;
}

void perfdata_name_events(struct perfdata *p)
{
	static const char *const hardware[] = {
	    "cycles",	     "instructions", "cache-references",	"cache-misses",		  "branches",
	    "branch-misses", "bus-cycles",   "stalled-cycles-frontend", "stalled-cycles-backend", "ref-cycles"};
	for (size_t i = 0; i < p->events.count; i++) {
		struct perfdata_event *event = &p->events.data[i];
		if (event->name[0])
			continue;
		if (event->type == PERF_TYPE_SOFTWARE && event->config <= PERF_COUNT_SW_TASK_CLOCK)
			strcpy(event->name, event->config == PERF_COUNT_SW_CPU_CLOCK ? "cpu-clock" : "task-clock");
		else if (event->type == PERF_TYPE_HARDWARE && event->config < sizeof hardware / sizeof *hardware)
			strcpy(event->name, hardware[event->config]);
		else
			snprintf(event->name, sizeof event->name, "type-%u-config-0x%llx", event->type, (unsigned long long)event->config);
	}
}

/* Where several events differ in layout, perf makes all of them begin (samples) or end (the rest) with the id. */
static uint64_t identifier_of(const struct perfdata_event *first, const uint8_t *record, size_t size)
{
	uint32_t type = load_u32(record);
	if (size < 16 || (type != PERF_RECORD_SAMPLE && !first->format.sample_id_all))
		return 0;
	return load_u64(type == PERF_RECORD_SAMPLE ? record + 8 : record + size - 8);
}

int perfdata_event_of(const struct perfdata *p, const uint8_t *record, size_t size, uint32_t *ret_event)
{
	const struct perfdata_event *first = &p->events.data[0];
	uint64_t id = 0;
	*ret_event = 0;
	if (p->events.count == 1)
		return 0;
	if (first->format.sample_type & PERF_SAMPLE_IDENTIFIER) {
		id = identifier_of(first, record, size);
	} else if (first->format.sample_type & PERF_SAMPLE_ID) {
		struct perfrecord decoded;
		size_t length;
		int status = perfrecord_decode(&first->format, record, size, &decoded, &length, p->e);
		if (status)
			return status;
		id = decoded.id;
	}
	if (id) /* 0: perf itself made it up */
		*ret_event = idmap_get(&p->ids, id);
	return 0;
}

bool perfdata_has_branches(const struct perfdata_event *event)
{
	uint64_t branches = event->format.branch_sample_type;
	return (event->format.sample_type & PERF_SAMPLE_BRANCH_STACK) && (branches & PERF_SAMPLE_BRANCH_ANY) &&
	       !(branches & PERF_SAMPLE_BRANCH_CALL_STACK);
}

/* Does where it happens say where time goes? Page faults and tracepoints do not. */
static bool is_time(const struct perfdata_event *event)
{
	switch (event->type) {
	case PERF_TYPE_SOFTWARE:
		return event->config <= PERF_COUNT_SW_TASK_CLOCK;
	case PERF_TYPE_TRACEPOINT:
	case PERF_TYPE_BREAKPOINT:
		return false;
	default:
		return true;
	}
}

static int refuse_events(const struct perfdata *p)
{
	char list[600] = "";
	size_t used = 0;
	for (size_t i = 0; i < p->events.count && used + 1 < sizeof list; i++)
		used += (size_t)snprintf(list + used, sizeof list - used, "%s%.127s (%llu samples)", i ? ", " : "", p->events.data[i].name,
					 (unsigned long long)p->events.data[i].samples);
	if (p->input->event)
		return err_set(p->e, ERR_USAGE, "%s: no samples of an event '%.100s'; there are: %s", p->input->name, p->input->event,
			       list);
	return err_set(p->e, ERR_UNSUPPORTED, "%s: no samples of a clock or a hardware event; there are: %s", p->input->name, list);
}

int perfdata_choose_event(const struct perfdata *p, uint32_t *ret_event)
{
	uint32_t best = IDMAP_NONE;
	for (uint32_t i = 0; i < p->events.count; i++) {
		const struct perfdata_event *event = &p->events.data[i];
		if (!event->samples || !(event->format.sample_type & PERF_SAMPLE_IP))
			continue;
		if (p->input->event ? strcmp(p->input->event, event->name) != 0 : !is_time(event))
			continue;
		if (best == IDMAP_NONE || (perfdata_has_branches(event) && !perfdata_has_branches(&p->events.data[best])))
			best = i;
	}
	*ret_event = best;
	return best == IDMAP_NONE ? refuse_events(p) : 0;
}

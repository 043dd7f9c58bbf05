#include "apply/journal_parts.h"

#include "apply/version.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HEADER_SIZE 256u
#define STATE_OFFSET 32u
#define REASON_OFFSET 96u
#define SIZE_MAX_ALLOWED (256u << 20)
#define REGIONS_MAX 4096u
#define REGION_SIZE_LEAST (35 + 11 * 8 + 4 * 4) /* encoded, without the path */
#define PATCH_SIZE_ENCODED 23
#define RUN_SIZE_ENCODED 13

static const char *const state_texts[] = {
#define X(name, text) text,
    JOURNAL_STATES(X)
#undef X
};

const char *journal_state_text(enum journal_state state)
{
	return (unsigned)state < JOURNAL_STATE_COUNT ? state_texts[state] : "unknown";
}

void journal_free(struct journal *j)
{
	for (uint32_t i = 0; j->regions && i < j->region_count; i++)
		module_free(&j->regions[i].module);
	free(j->regions);
	free(j->patches);
	free(j->runs);
	free(j->functions);
	free(j->strings);
	free(j->replaced);
	*j = (struct journal){0};
}

static int build_region(const struct region *from, struct journal *j, struct journal_region *to, struct err *e)
{
	const struct plan_module *plan = from->plan;
	*to = (struct journal_region){
	    .bias = from->bias,
	    .text_base = plan->text_base,
	    .text_size = plan->text_size,
	    .code = from->code,
	    .data = from->data,
	    .code_mapped = from->code_mapped,
	    .counters = from->counters,
	    .counters_mapped = from->counters_mapped,
	    .code_size = plan->code_size,
	    .code_hash = hash_bytes(from->code_bytes, plan->code_size),
	    .data_mapped = from->data_mapped,
	    .data_size = plan->data_size,
	    .data_hash = hash_bytes(from->data_bytes, plan->data_size),
	    .functions = plan->function_count,
	    .left_out = from->left_out_count,
	    .first_run = j->run_count,
	    .run_count = plan->run_count,
	};
	if (plan->run_count)
		memcpy(j->runs + j->run_count, plan->runs, plan->run_count * sizeof *plan->runs);
	j->run_count += plan->run_count;
	return module_copy(&plan->module, &to->module, e);
}

int journal_build(const struct stage *s, const struct patch_set *patches, uint64_t plan_hash, struct journal *ret_journal, struct err *e)
{
	struct journal j = {
	    .applied_at = (uint64_t)time(NULL),
	    .start_time = s->target->start_time,
	    .plan_hash = plan_hash,
	    .version = REPAVE_VERSION,
	};
	size_t runs = 0;
	for (uint32_t i = 0; i < s->region_count; i++)
		runs += s->regions[i].plan->run_count;
	j.regions = calloc(s->region_count + 1, sizeof *j.regions);
	j.patches = malloc((patches->count + 1) * sizeof *j.patches);
	j.runs = malloc((runs + 1) * sizeof *j.runs);
	int status = j.regions && j.patches && j.runs ? 0 : err_set(e, ERR_MEMORY, "no memory for the journal");
	for (; !status && j.region_count < s->region_count; j.region_count++)
		status = build_region(&s->regions[j.region_count], &j, &j.regions[j.region_count], e);
	for (uint32_t i = 0; !status && i < patches->count; i++) {
		j.dropped[patches->list[i].state]++;
		if (patches->list[i].state == PATCH_WANTED)
			j.patches[j.patch_count++] = patches->list[i];
	}
	j.dropped[PATCH_WANTED] = 0;
	if (!status)
		status = journal_build_names(s, &j, e);
	if (status)
		journal_free(&j);
	else
		*ret_journal = j;
	return status;
}

static void encode_region(struct writer *w, const struct journal_region *r)
{
	size_t length = strlen(r->module.path);
	if (length > 4096)
		length = 4096;
	write_u8(w, r->module.build_id_size);
	write_bytes(w, r->module.build_id, sizeof r->module.build_id);
	write_u16(w, (uint16_t)length);
	write_bytes(w, r->module.path, length);
	const uint64_t numbers[] = {r->bias,	  r->text_base, r->text_size,	r->code.v,    r->code_mapped, r->code_size,
				    r->code_hash, r->data.v,	r->data_mapped, r->data_size, r->data_hash};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		write_u64(w, numbers[i]);
	write_u32(w, r->functions);
	write_u32(w, r->left_out);
	write_u32(w, r->first_run);
	write_u32(w, r->run_count);
}

static void encode_body(struct writer *w, const struct journal *j)
{
	write_u32(w, j->region_count);
	write_u32(w, j->patch_count);
	write_u32(w, j->run_count);
	for (unsigned i = 0; i < PATCH_STATE_COUNT; i++)
		write_u32(w, j->dropped[i]);
	for (uint32_t i = 0; i < j->region_count; i++)
		encode_region(w, &j->regions[i]);
	for (uint32_t i = 0; i < j->patch_count; i++) {
		const struct patch *p = &j->patches[i];
		write_u64(w, p->at.v);
		write_bytes(w, p->original, sizeof p->original);
		write_bytes(w, p->written, sizeof p->written);
		write_u8(w, p->kind);
		write_u32(w, p->region);
	}
	for (uint32_t i = 0; i < j->run_count; i++) {
		const struct plan_run *run = &j->runs[i];
		write_u32(w, run->image);
		write_u32(w, run->original);
		write_u16(w, run->image_size);
		write_u16(w, run->original_size);
		write_u8(w, run->kind);
	}
	for (uint32_t i = 0; i < j->region_count; i++) {
		write_u64(w, j->regions[i].counters.v);
		write_u64(w, j->regions[i].counters_mapped);
	}
	journal_encode_names(w, j);
	write_u32(w, j->replaced_count);
	for (uint32_t i = 0; i < j->replaced_count; i++)
		write_u64(w, j->replaced[i].v);
}

int journal_encode(const struct journal *j, struct writer *w, struct err *e)
{
	struct writer body = {0};
	char text[JOURNAL_REASON_SIZE] = {0};
	encode_body(&body, j);
	write_bytes(w, JOURNAL_MAGIC, 8);
	write_u16(w, j->replaced_count ? JOURNAL_MAJOR_REPLACING : JOURNAL_MAJOR);
	write_u16(w, JOURNAL_MINOR);
	write_u32(w, HEADER_SIZE);
	write_u64(w, HEADER_SIZE + body.size);
	write_u64(w, hash_bytes(body.data, body.size));
	write_u32(w, j->state);
	write_u32(w, 0);
	write_u64(w, j->applied_at);
	write_u64(w, j->start_time);
	write_u64(w, j->plan_hash);
	write_bytes(w, j->version, sizeof j->version);
	snprintf(text, sizeof text, "%s", j->kept_because);
	write_bytes(w, text, sizeof text);
	write_pad(w, HEADER_SIZE, 0);
	write_bytes(w, body.data, body.size);
	bool failed = body.failed || w->failed;
	writer_free(&body);
	return failed ? err_set(e, ERR_MEMORY, "no memory for the journal") : 0;
}

static int decode_region(struct reader *r, struct journal_region *to, struct err *e)
{
	char path[4097];
	uint64_t numbers[11];
	struct module_identity module = {.path = path};
	module.build_id_size = read_u8(r);
	const uint8_t *id = read_bytes(r, sizeof module.build_id);
	uint16_t length = read_u16(r);
	const uint8_t *name = read_bytes(r, length);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		numbers[i] = read_u64(r);
	if (r->failed || module.build_id_size > sizeof module.build_id || length > 4096)
		return err_set(e, ERR_FORMAT, "journal: bad region");
	memcpy(module.build_id, id, sizeof module.build_id);
	memcpy(path, name, length);
	path[length] = 0;
	to->bias = numbers[0];
	to->text_base = numbers[1];
	to->text_size = numbers[2];
	to->code.v = numbers[3];
	to->code_mapped = numbers[4];
	to->code_size = numbers[5];
	to->code_hash = numbers[6];
	to->data.v = numbers[7];
	to->data_mapped = numbers[8];
	to->data_size = numbers[9];
	to->data_hash = numbers[10];
	to->functions = read_u32(r);
	to->left_out = read_u32(r);
	to->first_run = read_u32(r);
	to->run_count = read_u32(r);
	if (r->failed || to->code_size > to->code_mapped || to->data_size > to->data_mapped || to->code_mapped > UINT32_MAX ||
	    to->data_mapped > UINT32_MAX || to->code.v % 4096 || to->data.v % 4096)
		return err_set(e, ERR_FORMAT, "journal: bad region");
	return module_copy(&module, &to->module, e);
}

static int decode_patches(struct reader *r, struct journal *j, struct err *e)
{
	for (uint32_t i = 0; i < j->patch_count; i++) {
		struct patch *p = &j->patches[i];
		p->at.v = read_u64(r);
		const uint8_t *original = read_bytes(r, PLAN_PATCH_SIZE), *written = read_bytes(r, PLAN_PATCH_SIZE);
		p->kind = read_u8(r);
		p->region = read_u32(r);
		if (r->failed || p->region >= j->region_count || p->at.v % 4096 > 4096 - PLAN_PATCH_SIZE ||
		    (i && (p->at.v < p[-1].at.v || p->at.v - p[-1].at.v < PLAN_PATCH_SIZE)))
			return err_set(e, ERR_FORMAT, "journal: bad patch %u", i);
		memcpy(p->original, original, PLAN_PATCH_SIZE);
		memcpy(p->written, written, PLAN_PATCH_SIZE);
	}
	return 0;
}

static int decode_runs(struct reader *r, struct journal *j, struct err *e)
{
	for (uint32_t i = 0; i < j->run_count; i++) {
		struct plan_run *run = &j->runs[i];
		run->image = read_u32(r);
		run->original = read_u32(r);
		run->image_size = read_u16(r);
		run->original_size = read_u16(r);
		run->kind = read_u8(r);
	}
	for (uint32_t i = 0; i < j->region_count; i++)
		if (j->regions[i].first_run > j->run_count || j->regions[i].run_count > j->run_count - j->regions[i].first_run)
			return err_set(e, ERR_FORMAT, "journal: bad address map of region %u", i);
	return r->failed ? err_set(e, ERR_FORMAT, "journal: truncated") : 0;
}

/* Since version 1.1; before it there were none. */
static int decode_counters(struct reader *r, struct journal *j, struct err *e)
{
	for (uint32_t i = 0; reader_left(r) && i < j->region_count; i++) {
		struct journal_region *to = &j->regions[i];
		to->counters.v = read_u64(r);
		to->counters_mapped = read_u64(r);
		if (r->failed || to->counters.v % 4096 || to->counters_mapped % 4096 || to->counters_mapped > UINT32_MAX)
			return err_set(e, ERR_FORMAT, "journal: bad counters of region %u", i);
	}
	return 0;
}

/* Since version 1.3. */
static int decode_replaced(struct reader *r, struct journal *j, struct err *e)
{
	uint32_t count = reader_left(r) ? read_u32(r) : 0;
	if (r->failed || count > JOURNAL_REPLACED_MAX)
		return err_set(e, ERR_FORMAT, "journal: bad list of replaced ones");
	j->replaced = calloc(count + 1, sizeof *j->replaced);
	if (!j->replaced)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	for (; j->replaced_count < count; j->replaced_count++)
		j->replaced[j->replaced_count].v = read_u64(r);
	return r->failed ? err_set(e, ERR_FORMAT, "journal: truncated") : 0;
}

static int decode_body(struct reader *r, struct journal *j, struct err *e)
{
	uint32_t regions = read_u32(r), patches = read_u32(r), runs = read_u32(r);
	for (unsigned i = 0; i < PATCH_STATE_COUNT; i++)
		j->dropped[i] = read_u32(r);
	if (r->failed || regions > REGIONS_MAX || (uint64_t)regions * REGION_SIZE_LEAST > reader_left(r) ||
	    (uint64_t)patches * PATCH_SIZE_ENCODED > reader_left(r) || (uint64_t)runs * RUN_SIZE_ENCODED > reader_left(r))
		return err_set(e, ERR_FORMAT, "journal: counts exceed its size");
	j->regions = calloc(regions + 1, sizeof *j->regions);
	j->patches = calloc((size_t)patches + 1, sizeof *j->patches);
	j->runs = calloc((size_t)runs + 1, sizeof *j->runs);
	if (!j->regions || !j->patches || !j->runs)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	j->patch_count = patches;
	j->run_count = runs;
	int status = 0;
	while (!status && j->region_count < regions) {
		status = decode_region(r, &j->regions[j->region_count], e);
		if (!status)
			j->region_count++;
	}
	if (!status)
		status = decode_patches(r, j, e);
	if (!status)
		status = decode_runs(r, j, e);
	if (!status)
		status = decode_counters(r, j, e);
	if (!status)
		status = journal_decode_names(r, j, e);
	return status ? status : decode_replaced(r, j, e);
}

/* Magic, version and lengths; returns the total length through ret_total. */
static int check_header(struct reader *r, size_t size, uint64_t *ret_total, struct err *e)
{
	const uint8_t *magic = read_bytes(r, 8);
	uint16_t major = read_u16(r);
	read_u16(r);
	uint32_t header = read_u32(r);
	uint64_t total = read_u64(r);
	if (r->failed || memcmp(magic, JOURNAL_MAGIC, 8))
		return err_set(e, ERR_FORMAT, "not a journal");
	if (major != JOURNAL_MAJOR && major != JOURNAL_MAJOR_REPLACING)
		return err_set(e, ERR_UNSUPPORTED, "journal of version %u; this tool reads %u and %u", major, JOURNAL_MAJOR,
			       JOURNAL_MAJOR_REPLACING);
	if (header != HEADER_SIZE || total < HEADER_SIZE || total > size || total > SIZE_MAX_ALLOWED)
		return err_set(e, ERR_FORMAT, "journal: bad length");
	*ret_total = total;
	return 0;
}

int journal_decode(const void *data, size_t size, struct journal *ret_journal, struct err *e)
{
	struct reader r = reader_of(data, size);
	struct journal j = {0};
	uint64_t total;
	int status = check_header(&r, size, &total, e);
	if (status)
		return status;
	uint64_t checksum = read_u64(&r);
	uint32_t state = read_u32(&r);
	read_u32(&r);
	j.applied_at = read_u64(&r);
	j.start_time = read_u64(&r);
	j.plan_hash = read_u64(&r);
	const uint8_t *version = read_bytes(&r, sizeof j.version), *reason = read_bytes(&r, sizeof j.kept_because);
	if (r.failed || state >= JOURNAL_STATE_COUNT)
		return err_set(e, ERR_FORMAT, "journal: bad state");
	if (hash_bytes((const uint8_t *)data + HEADER_SIZE, total - HEADER_SIZE) != checksum)
		return err_set(e, ERR_FORMAT, "journal: checksum does not match");
	j.state = state;
	memcpy(j.version, version, sizeof j.version - 1);
	memcpy(j.kept_because, reason, sizeof j.kept_because - 1);
	r = reader_of((const uint8_t *)data + HEADER_SIZE, total - HEADER_SIZE);
	status = decode_body(&r, &j, e);
	if (status)
		journal_free(&j);
	else
		*ret_journal = j;
	return status;
}

uint64_t journal_mapped_size(uint64_t encoded_size, uint32_t patch_count)
{
	return (encoded_size + patch_count + 4095) & ~(uint64_t)4095;
}

int journal_write(const struct target *t, raddr address, const struct writer *encoded, struct err *e)
{
	int status = target_write(t, (raddr){address.v + HEADER_SIZE}, encoded->data + HEADER_SIZE, encoded->size - HEADER_SIZE, e);
	return status ? status : target_write(t, address, encoded->data, HEADER_SIZE, e);
}

int journal_write_flags(const struct target *t, const struct journal *j, const uint8_t *flags, struct err *e)
{
	return j->patch_count ? target_write(t, (raddr){j->address.v + j->total}, flags, j->patch_count, e) : 0;
}

/* The flags behind the body tell which patches were not made. */
static int load_flags(const struct target *t, struct journal *j, struct err *e)
{
	uint8_t *flags = malloc(j->patch_count + 1);
	if (!flags)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	int status = j->patch_count ? target_read(t, (raddr){j->address.v + j->total}, flags, j->patch_count, e) : 0;
	for (uint32_t i = 0; !status && i < j->patch_count; i++) {
		j->patches[i].state = flags[i] ? PATCH_PC_INSIDE : PATCH_WANTED;
		j->dropped[PATCH_PC_INSIDE] += flags[i] != 0;
	}
	free(flags);
	return status;
}

static void mark_hooks(struct journal *j)
{
	for (uint32_t k = 0; k < j->region_count; k++) {
		raddr stub = patch_stub(j->regions[k].code, j->runs + j->regions[k].first_run, j->regions[k].run_count);
		for (uint32_t i = 0; stub.v && i < j->patch_count; i++)
			j->patches[i].is_hook |= patch_leads_to(&j->patches[i], stub);
	}
}

/* Reads and decodes what stands at the start of `m`. ERR_NO when that is no journal. */
static int load(const struct target *t, const struct procmap *m, struct journal *ret_journal, struct err *e)
{
	uint8_t header[HEADER_SIZE];
	uint64_t room = m->end.v - m->start.v, total;
	if (target_read_some(t, m->start, header, sizeof header) != sizeof header || memcmp(header, JOURNAL_MAGIC, 8))
		return -ERR_NO;
	struct reader r = reader_of(header, sizeof header);
	struct journal j = {0};
	int status = check_header(&r, room, &total, e);
	if (status)
		return status;
	uint8_t *bytes = malloc(total);
	if (!bytes)
		return err_set(e, ERR_MEMORY, "no memory for the journal");
	status = target_read(t, m->start, bytes, total, e);
	if (!status)
		status = journal_decode(bytes, total, &j, e);
	free(bytes);
	if (status)
		return status;
	j.address = m->start;
	j.total = total;
	j.mapped = journal_mapped_size(total, j.patch_count);
	mark_hooks(&j);
	status = j.mapped > room ? err_set(e, ERR_FORMAT, "journal: truncated") : load_flags(t, &j, e);
	if (status)
		journal_free(&j);
	else
		*ret_journal = j;
	return status;
}

static bool may_hold_journal(const struct procmap *m)
{
	return m->read && !m->write && !m->execute && !m->shared && !m->inode && (!*m->path || !strncmp(m->path, "[anon", 5));
}

static int by_time(const void *a, const void *b)
{
	const struct journal *x = a, *y = b;
	return x->applied_at < y->applied_at ? -1 : x->applied_at > y->applied_at;
}

bool journal_is_entered(const struct journal *j)
{
	return j->state != JOURNAL_STAGING && j->state != JOURNAL_UNMAPPING;
}

bool journal_is_live(const struct journal *j)
{
	return journal_is_entered(j) && j->state != JOURNAL_REVERTED;
}

int journals_load(const struct target *t, struct journal **ret_list, uint32_t *ret_count, struct err *e)
{
	VEC(struct journal) found = {0};
	int status = 0;
	for (size_t i = 0; !status && i < t->maps.count; i++) {
		struct journal j;
		if (!may_hold_journal(&t->maps.maps[i]))
			continue;
		status = load(t, &t->maps.maps[i], &j, e);
		if (status == -ERR_NO) {
			status = 0;
		} else if (!status && vec_push(&found, j)) {
			journal_free(&j);
			status = err_set(e, ERR_MEMORY, "no memory for the journals");
		}
	}
	uint32_t live = 0;
	for (size_t i = 0; i < found.count; i++)
		live += journal_is_live(&found.data[i]);
	if (live == 2 && journals_half_replaced(found.data, (uint32_t)found.count, journals_live(found.data, (uint32_t)found.count)))
		live--;
	if (!status && live > 1)
		status = err_set(e, ERR_INCONSISTENT, "process %d: %u journals say that their plan is applied", t->pid, live);
	if (status) {
		journals_free(found.data, (uint32_t)found.count);
		return status;
	}
	if (found.count)
		qsort(found.data, found.count, sizeof *found.data, by_time);
	*ret_list = found.data;
	*ret_count = (uint32_t)found.count;
	return 0;
}

void journals_free(struct journal *list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		journal_free(&list[i]);
	free(list);
}

struct journal *journals_live(struct journal *list, uint32_t count)
{
	struct journal *staged = NULL, *live = NULL;
	for (uint32_t i = 0; i < count; i++) {
		if (list[i].state == JOURNAL_STAGING)
			staged = &list[i];
		else if (journal_is_live(&list[i]) && (!live || journal_replaces(&list[i], live)))
			live = &list[i];
	}
	return live ? live : staged;
}

bool journal_replaces(const struct journal *j, const struct journal *older)
{
	for (uint32_t i = 0; i < j->replaced_count; i++)
		if (j->replaced[i].v == older->address.v)
			return true;
	return false;
}

struct journal *journals_half_replaced(struct journal *list, uint32_t count, const struct journal *live)
{
	for (uint32_t i = 0; live && live->state == JOURNAL_PATCHING && i < count; i++)
		if (list[i].state == JOURNAL_UNDOING && journal_replaces(live, &list[i]))
			return &list[i];
	return NULL;
}

int journal_set_state(const struct target *t, struct journal *j, enum journal_state state, const char *kept_because, struct err *e)
{
	char text[JOURNAL_REASON_SIZE] = {0};
	uint32_t number = state;
	if (kept_because) {
		snprintf(text, sizeof text, "%s", kept_because);
		int status = target_write(t, (raddr){j->address.v + REASON_OFFSET}, text, sizeof text, e);
		if (status)
			return status;
		memcpy(j->kept_because, text, sizeof text);
	}
	int status = target_write(t, (raddr){j->address.v + STATE_OFFSET}, &number, sizeof number, e);
	if (!status)
		j->state = state;
	return status;
}

const struct journal_region *journal_region_of(const struct journal *j, raddr address)
{
	for (uint32_t i = 0; journal_is_entered(j) && i < j->region_count; i++)
		if (address.v - j->regions[i].code.v < j->regions[i].code_mapped)
			return &j->regions[i];
	return NULL;
}

raddr journal_original(const struct journal *j, raddr image, bool is_return)
{
	const struct journal_region *r = journal_region_of(j, (raddr){image.v - is_return});
	if (!r)
		return (raddr){0};
	uint32_t offset = (uint32_t)(image.v - r->code.v);
	const struct plan_run *runs = j->runs + r->first_run;
	uint32_t text = is_return ? plan_run_original_return(runs, r->run_count, offset) : plan_run_original(runs, r->run_count, offset);
	return text == PLAN_NONE ? (raddr){0} : (raddr){r->bias + r->text_base + text};
}

raddr journals_original(const struct journal *list, uint32_t count, raddr image, bool is_return)
{
	for (uint32_t i = 0; i < count; i++)
		if (journal_region_of(&list[i], (raddr){image.v - is_return}))
			return journal_original(&list[i], image, is_return);
	return image;
}

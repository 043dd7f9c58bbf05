/* Counters: that each changes nothing that anybody looks at, and counts what the plan says. */
#include "analyze/code/flags.h"
#include "analyze/emit/validate_work.h"

#include <string.h>

/* The counter to which a displacement of 4 bytes at `field` of an instruction that ends at `end` leads, or PLAN_NONE. */
static uint32_t counter_of(const struct validator *v, uint32_t field, uint32_t end)
{
	const struct plan_module *m = v->module;
	uint64_t first = m->counter_offset + PLAN_COUNTER_HEADER;
	uint64_t at = end + (uint64_t)(int64_t)(int32_t)load_u32(m->code + field);
	bool is_counter =
	    at >= first && at < first + (uint64_t)m->counter_count * PLAN_COUNTER_SIZE && (at - first) % PLAN_COUNTER_SIZE == 0;
	return is_counter ? (uint32_t)((at - first) / PLAN_COUNTER_SIZE) : PLAN_NONE;
}

static bool leads_to_counter(const struct validator *v, uint32_t field, uint32_t end)
{
	return counter_of(v, field, end) != PLAN_NONE;
}

/*
 * The counter of a run of a counter, or PLAN_NONE: the addition in a register, or a load of something else. The latter may have a displacement
 * from a register that would lead to a counter if it were one from RIP.
 */
static uint32_t counter_of_run(const struct validator *v, const struct plan_run *r)
{
	const uint8_t *code = v->module->code + r->image;
	uint32_t modrm = code[0] == 0xc6 ? 1 : 2;
	return r->image_size == 7 && (code[modrm] & 0xc7) == 5 ? counter_of(v, r->image + modrm + 1, r->image + 7) : PLAN_NONE;
}

static bool decode_at(const struct validator *v, uint64_t original, struct insn *ret_insn)
{
	size_t left;
	vaddr where = {v->module->text_base + original};
	const uint8_t *bytes = image_bytes_left(v->image, where, &left);
	return bytes && !insn_second_decode(v->second, bytes, left, where, ret_insn);
}

/* Whoever executes what stands at `from` also executes what stands at `to`, unless something in between does not come back. */
static bool leads_straight(const struct validator *v, uint32_t from, uint32_t to)
{
	struct insn i;
	uint64_t at = from;
	while (at < to && decode_at(v, at, &i) &&
	       (i.kind == INSN_PLAIN || i.kind == INSN_CALL || i.kind == INSN_CALL_INDIRECT || i.kind == INSN_SYSCALL))
		at += i.length;
	return at == to;
}

static bool is_edge(const struct validator *v, const struct plan_counter *c)
{
	struct insn i;
	return decode_at(v, c->from, &i) && i.kind == INSN_BRANCH &&
	       (i.target - v->module->text_base == c->to || (uint64_t)c->from + i.length == c->to);
}

/* The run that has bytes at image offset `at`, if it is a counter's; otherwise NULL. */
static const struct plan_run *counter_run_at(const struct validator *v, uint32_t at)
{
	const struct plan_module *m = v->module;
	uint32_t k = validate_first_run_at(m, at);
	while (k < m->run_count && m->runs[k].image == at && !m->runs[k].image_size)
		k++;
	return k < m->run_count && m->runs[k].image == at && m->runs[k].kind == PLAN_RUN_COUNTER ? &m->runs[k] : NULL;
}

int validate_counted_edge(const struct validator *v, uint32_t at)
{
	const struct plan_module *m = v->module;
	const struct plan_run *to = counter_run_at(v, at), *from = to ? counter_run_at(v, v->image_at) : NULL;
	uint32_t index = to ? counter_of_run(v, to) : PLAN_NONE;
	bool in_register = from && (m->code[from->image + 1] == 0x8b || m->code[from->image + 1] == 0x8d); /* the store comes after it */
	if (index == PLAN_NONE || in_register || m->counters[index].kind != PLAN_COUNTER_EDGE || m->counters[index].from == v->original_at)
		return 0;
	return validate_refuse(v, "leads to counter %u, which is for another branch", index);
}

int validate_counters_fed(const struct validator *v)
{
	for (uint32_t i = 0; i < v->module->counter_count; i++)
		if (!v->fed[i])
			return validate_refuse(v, "nothing counts in counter %u", i);
	return 0;
}

/* The indirect call or jump at `original`: its bytes after a REX prefix, and that prefix (0: none). NULL when it is none. */
static const uint8_t *indirect_at(const struct validator *v, uint32_t original, uint8_t *ret_rex, struct insn *ret_insn)
{
	size_t left;
	vaddr where = {v->module->text_base + original};
	const uint8_t *bytes = image_bytes_left(v->image, where, &left);
	if (!bytes || insn_second_decode(v->second, bytes, left, where, ret_insn) ||
	    (ret_insn->kind != INSN_CALL_INDIRECT && ret_insn->kind != INSN_JUMP_INDIRECT))
		return NULL;
	*ret_rex = (*bytes & 0xf0) == 0x40 ? *bytes : 0;
	bytes += *ret_rex ? 1 : 0;
	return *bytes == 0xff ? bytes : NULL;
}

/* mov r11, mem: the operand of the call that follows. */
static int check_load(struct validator *v, const struct plan_run *r)
{
	struct insn i;
	uint8_t rex;
	const uint8_t *code = v->module->code + r->image, *call = indirect_at(v, r->original, &rex, &i);
	uint32_t rest = call ? i.length - (rex ? 3u : 2u) : 0;
	if (!call || i.kind != INSN_CALL_INDIRECT || call[1] >> 6 == 3 || r->image_size != 3 + rest || code[0] != (0x4c | (rex & 3)) ||
	    code[1] != 0x8b || code[2] != ((call[1] & 0xc7) | 3 << 3))
		return validate_refuse(v, "counter loads something else than where the call goes");
	uint8_t sib = (call[1] & 7) == 4 ? call[2] : 0;
	bool base = (rex & 1) && ((call[1] & 7) == 4 ? sib & 7 : call[1] & 7) == 3, index = sib && (rex & 2) && (sib >> 3 & 7) == 3;
	if (base || index)
		return validate_refuse(v, "counter overwrites r11, which the call needs");
	if ((call[1] & 0xc7) != 5)
		return memcmp(code + 3, call + 2, rest) ? validate_refuse(v, "counter loads another operand") : 0;
	uint64_t target = v->module->region_vaddr + r->image + 7 + (uint64_t)(int64_t)(int32_t)load_u32(code + 3);
	return target == i.target ? validate_consume_relocation(v, r->image + 3) : validate_refuse(v, "counter loads another place");
}

/* mov counter, reg: the register through which the call or jump goes, or r11 that was loaded just before. */
static int check_store(struct validator *v, const struct plan_run *r)
{
	struct insn i;
	uint8_t rex;
	const uint8_t *code = v->module->code + r->image, *call = indirect_at(v, r->original, &rex, &i);
	if (!call || r->image_size != 7 || (code[0] & 0xfb) != 0x48 || (code[2] & 0xc7) != 5 ||
	    !leads_to_counter(v, r->image + 3, r->image + 7))
		return validate_refuse(v, "no counter, or before no indirect call");
	unsigned stored = (code[2] >> 3 & 7) | (code[0] & 4) << 1, through = (call[1] & 7) | (rex & 1) << 3;
	if (call[1] >> 6 == 3 ? stored != through : stored != 11)
		return validate_refuse(v, "counter stores another register than the call goes through");
	return 0;
}

/* One of three: load the counter into a register, add one to that, store it; the original overwrites the register next. */
static int check_register(struct validator *v, const struct plan_run *r)
{
	const uint8_t *code = v->module->code + r->image;
	size_t left;
	const uint8_t *original = image_bytes_left(v->image, (vaddr){v->module->text_base + r->original}, &left);
	unsigned reg = (code[2] >> 3 & 7) | (code[0] & 4) << 1;
	bool good;
	if (code[1] == 0x8d)
		good = r->image_size == 4 && (code[0] == 0x48 || code[0] == 0x4d) && (code[2] & 0xc0) == 0x40 && (code[2] & 7) != 4 &&
		       (code[2] >> 3 & 7) == (code[2] & 7) && code[3] == 1;
	else
		good = r->image_size == 7 && (code[0] & 0xfb) == 0x48 && (code[2] & 0xc7) == 5 &&
		       leads_to_counter(v, r->image + 3, r->image + 7);
	if (!good)
		return validate_refuse(v, "no counter in a register");
	if (!original || !insn_second_overwrites(v->second, original, left, reg))
		return validate_refuse(v, "counter in a register that may still be read");
	return 0;
}

/* Loads and stores of counters are for one of two: where an indirect call goes, or counting in a register. */
static int check_move(struct validator *v, const struct plan_run *r)
{
	struct insn i;
	uint8_t rex;
	const uint8_t *code = v->module->code + r->image;
	bool counter = r->image_size == 7 && (code[2] & 0xc7) == 5 && leads_to_counter(v, r->image + 3, r->image + 7);
	if (code[1] == 0x8b)
		return counter ? check_register(v, r) : check_load(v, r);
	return indirect_at(v, r->original, &rex, &i) ? check_store(v, r) : check_register(v, r);
}

/* Does the counter that a run feeds mean what stands there? */
static int check_meaning(struct validator *v, const struct plan_run *r)
{
	uint32_t index = counter_of_run(v, r);
	const uint8_t *code = v->module->code + r->image;
	if (index == PLAN_NONE)
		return 0;
	const struct plan_counter *c = &v->module->counters[index];
	struct insn i;
	uint8_t rex;
	bool marks = code[0] == 0xc6, target = !marks && code[1] == 0x89 && indirect_at(v, r->original, &rex, &i), means;
	if (target || c->kind == PLAN_COUNTER_TARGET)
		means = target && c->kind == PLAN_COUNTER_TARGET && c->from == r->original;
	else if (c->kind == PLAN_COUNTER_EDGE)
		means = !marks && c->to == r->original && is_edge(v, c);
	else
		means = marks == (c->kind == PLAN_COUNTER_SEEN) && leads_straight(v, c->from, r->original);
	if (!means)
		return validate_refuse(v, "counter %u, of kind %u, is for another place", index, c->kind);
	if (!marks && code[1] == 0x8b)
		return 0; /* the load of a register that is stored after it */
	if (v->fed[index])
		return validate_refuse(v, "counter %u counts two things", index);
	v->fed[index] = 1;
	return 0;
}

int validate_counter(struct validator *v, const struct plan_run *r)
{
	const uint8_t *code = v->module->code + r->image;
	int status;
	v->image_at = r->image;
	v->original_at = r->original;
	if (r->image_size == 7 && code[0] == 0xc6 && code[1] == 0x05) {
		status = leads_to_counter(v, r->image + 2, r->image + 7) && code[6] == 1 ? 0 : validate_refuse(v, "no counter to mark");
	} else if (r->image_size == 7 && code[0] == 0x48 && code[1] == 0xff && code[2] == 0x05) {
		status = leads_to_counter(v, r->image + 3, r->image + 7) ? 0 : validate_refuse(v, "no counter to add to");
		if (!status && !flags_dead_second(v->second, v->image, (vaddr){v->module->text_base + r->original}))
			status = validate_refuse(v, "counter where the flags may still be read");
	} else if (r->image_size >= 3 && (code[1] == 0x8b || code[1] == 0x89)) {
		status = check_move(v, r);
	} else {
		status = r->image_size >= 3 && code[1] == 0x8d ? check_register(v, r) : validate_refuse(v, "no instruction that counts");
	}
	if (!status)
		status = check_meaning(v, r);
	return status ? status : validate_falls(v, r->image + r->image_size, r->original);
}

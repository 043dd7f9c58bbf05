/* Counters: that each changes nothing that anybody looks at. */
#include "analyze/code/flags.h"
#include "analyze/emit/validate_work.h"

#include <string.h>

/* Does a displacement of 4 bytes at `field` of an instruction that ends at `end` lead to a counter? */
static bool leads_to_counter(const struct validator *v, uint32_t field, uint32_t end)
{
	const struct plan_module *m = v->module;
	uint64_t first = m->counter_offset + PLAN_COUNTER_HEADER;
	uint64_t at = end + (uint64_t)(int64_t)(int32_t)load_u32(m->code + field);
	return at >= first && at < first + (uint64_t)m->counter_count * PLAN_COUNTER_SIZE && (at - first) % PLAN_COUNTER_SIZE == 0;
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
	return status ? status : validate_falls(v, r->image + r->image_size, r->original);
}

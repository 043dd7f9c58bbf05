/* Which flags instructions read and overwrite, which registers they overwrite, by both decoders; where the flags are dead in small graphs. */
#include "analyze/code/flags.h"

#include "analyze/code/insn.h"
#include "tests/unit/analyze/coded_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { PF = 1, AF = 2, ZF = 4, SF = 8, OF = 16, ALL = 31 };

static size_t bytes_of(const char *hex, uint8_t *bytes)
{
	size_t count = strlen(hex) / 2;
	for (size_t i = 0; i < count; i++) {
		char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
		bytes[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return count;
}

/* `written` is exact for the first decoder. Otherwise both may know less: they may read more and overwrite less, not the reverse. */
static const struct {
	const char *hex;
	uint8_t read, written;
} flag_samples[] = {
    {"4839c8", 0, ALL},		      /* cmp rax, rcx */
    {"85c0", 0, ALL},		      /* test eax, eax */
    {"4801c8", 0, ALL},		      /* add */
    {"31c0", 0, ALL},		      /* xor */
    {"4811c8", 0, ALL},		      /* adc: the carry is not one of the five */
    {"4819c8", 0, ALL},		      /* sbb */
    {"48ffc0", 0, ALL},		      /* inc */
    {"ffc8", 0, ALL},		      /* dec */
    {"f7d8", 0, ALL},		      /* neg */
    {"f7d0", 0, 0},		      /* not */
    {"488d4001", 0, 0},		      /* lea */
    {"4889c8", 0, 0},		      /* mov */
    {"90", 0, 0},		      /* nop */
    {"d1e0", 0, ALL},		      /* shl eax, 1 */
    {"c1e003", 0, ALL},		      /* shl eax, 3 */
    {"c1e000", 0, 0},		      /* shl eax, 0 */
    {"c1e020", 0, 0},		      /* shl eax, 32: the count is cut to 5 bits */
    {"d3e0", 0, 0},		      /* shl eax, cl */
    {"d3f8", 0, 0},		      /* sar eax, cl */
    {"0fa5c8", 0, 0},		      /* shld eax, ecx, cl */
    {"0fa4c800", 0, 0},		      /* shld eax, ecx, 0 */
    {"c4e2f9f7c1", 0, 0},	      /* shlx */
    {"f3a6", 0, 0},		      /* repe cmpsb: not at all when rcx is 0 */
    {"f2ae", 0, 0},		      /* repne scasb */
    {"a6", 0, ALL},		      /* cmpsb */
    {"0f44c1", ZF, 0},		      /* cmovz */
    {"0f4cc1", SF | OF, 0},	      /* cmovl */
    {"0f42c1", 0, 0},		      /* cmovc */
    {"0f94c0", ZF, 0},		      /* setz */
    {"0f9ac0", PF, 0},		      /* setp */
    {"7410", ZF, 0},		      /* je */
    {"7f10", ZF | SF | OF, 0},	      /* jg */
    {"7210", 0, 0},		      /* jb */
    {"0f8a00010000", PF, 0},	      /* jp */
    {"e110", ZF, 0},		      /* loope */
    {"e210", 0, 0},		      /* loop */
    {"e310", 0, 0},		      /* jrcxz */
    {"9c", ALL, 0},		      /* pushfq */
    {"9d", 0, ALL},		      /* popfq */
    {"9f", PF | AF | ZF | SF, 0},     /* lahf */
    {"9e", 0, PF | AF | ZF | SF},     /* sahf: not OF */
    {"0fbcc1", 0, ALL},		      /* bsf: undefined ones are overwritten too */
    {"0fa3c8", 0, PF | AF | SF | OF}, /* bt: keeps ZF */
    {"480fafc1", 0, ALL},	      /* imul */
    {"660f2ec1", 0, ALL},	      /* ucomisd */
    {"0f2ec1", 0, ALL},		      /* ucomiss */
    {"f30fc2c100", 0, 0},	      /* cmpss */
    {"f20fc2c100", 0, 0},	      /* cmpsd xmm: no string instruction */
    {"f30f58c1", 0, 0},		      /* addss */
    {"f348a5", 0, 0},		      /* rep movsq */
    {"f30fb8c1", 0, ALL},	      /* popcnt: f3 is part of the opcode */
    {"f00fb10a", 0, ALL},	      /* lock cmpxchg */
    {"c5f877", 0, 0},		      /* vzeroupper */
    {"d9e4", 0, 0},		      /* ftst: flags of the x87 only */
    {"dbf1", 0, 0},		      /* fcomi: both sides may know less */
    {"7501f0480fb10a", ALL, 0},	      /* jne over the prefix of lock cmpxchg: one instruction that reads all */
};

static void both_decoders_know_the_flags(void **state)
{
	(void)state;
	struct insn_second *second = insn_second_new();
	unsigned wrong = 0;
	assert_non_null(second);
	for (size_t i = 0; i < sizeof flag_samples / sizeof *flag_samples; i++) {
		uint8_t bytes[16], read, written;
		size_t size = bytes_of(flag_samples[i].hex, bytes);
		if (insn_flags(bytes, size, &read, &written))
			fail_msg("%s does not decode", flag_samples[i].hex);
		bool fcomi = !strcmp(flag_samples[i].hex, "dbf1"); /* it really overwrites; to know less is fine */
		bool fine = !(flag_samples[i].read & ~read) && (fcomi || written == flag_samples[i].written);
		if (!fine)
			print_error("%s: reads %x, overwrites %x\n", flag_samples[i].hex, read, written);
		wrong += !fine;
		if (insn_second_flags(second, bytes, size, &read, &written))
			fail_msg("%s does not decode the second time", flag_samples[i].hex);
		fine = !(flag_samples[i].read & ~read) && (fcomi || !(written & ~flag_samples[i].written));
		if (!fine)
			print_error("%s: the second reads %x, overwrites %x\n", flag_samples[i].hex, read, written);
		wrong += !fine;
	}
	assert_int_equal(wrong, 0);
	insn_second_free(second);
}

/* What compilers make again and again must be known to both, or little could be counted by increments. */
static void the_second_decoder_knows_common_instructions_too(void **state)
{
	(void)state;
	static const char *const common[] = {"4839c8", "85c0",	 "31c0",     "4801c8",	 "48ffc0",
					     "d1e0",   "c1e003", "480fafc1", "660f2ec1", "f30fb8c1"};
	struct insn_second *second = insn_second_new();
	assert_non_null(second);
	for (size_t i = 0; i < sizeof common / sizeof *common; i++) {
		uint8_t bytes[16], read, written;
		size_t size = bytes_of(common[i], bytes);
		assert_int_equal(insn_second_flags(second, bytes, size, &read, &written), 0);
		if (read || written != ALL)
			fail_msg("%s: reads %x, overwrites %x", common[i], read, written);
	}
	insn_second_free(second);
}

/* `reg`: what the first says; the second must agree with that and deny all other registers. */
static const struct {
	const char *hex;
	int reg;
} overwrites[] = {
    {"b801000000", 0},		 /* mov eax, 1 */
    {"bf01000000", 7},		 /* mov edi, 1 */
    {"41b901000000", 9},	 /* mov r9d, 1 */
    {"48b80102030405060708", 0}, /* movabs rax */
    {"49bb0102030405060708", 11},
    {"48c7c001000000", 0}, /* mov rax, imm32 */
    {"49c7c701000000", 15},
    {"4889c8", -1},		/* mov rax, rcx in its other form: not known */
    {"488bc1", 0},		/* mov rax, rcx */
    {"8bd1", 2},		/* mov edx, ecx */
    {"488bc0", -1},		/* mov rax, rax reads it */
    {"8bff", -1},		/* mov edi, edi */
    {"4d8bc8", 9},		/* mov r9, r8 */
    {"488b5308", 2},		/* mov rdx, [rbx + 8] */
    {"488b5b08", -1},		/* mov rbx, [rbx + 8] */
    {"498b5b08", 3},		/* mov rbx, [r11 + 8] */
    {"4d8b5b08", -1},		/* mov r11, [r11 + 8] */
    {"4c8b5b08", 11},		/* mov r11, [rbx + 8] */
    {"488b0c88", -1},		/* mov rcx, [rax + rcx * 4] */
    {"4a8b0c88", 1},		/* mov rcx, [rax + r9 * 4] */
    {"4e8b0c88", -1},		/* mov r9, [rax + r9 * 4] */
    {"488b0488", -1},		/* mov rax, [rax + rcx * 4] */
    {"498b0488", 0},		/* mov rax, [r8 + rcx * 4] */
    {"488b0510000000", 0},	/* mov rax, [rip + 16] */
    {"488b2d10000000", 5},	/* mov rbp, [rip + 16]: no base */
    {"4c8b2d10000000", 13},	/* mov r13, [rip + 16] */
    {"488b0424", 0},		/* mov rax, [rsp] */
    {"488b2424", -1},		/* mov rsp, [rsp] */
    {"4c8b642408", -1},		/* mov r12, [rsp + 8]: never r12 */
    {"41bc01000000", -1},	/* mov r12d, 1 */
    {"bc01000000", -1},		/* mov esp, 1 */
    {"488d4310", 0},		/* lea rax, [rbx + 16] */
    {"488d4010", -1},		/* lea rax, [rax + 16] */
    {"488d0510000000", 0},	/* lea rax, [rip + 16] */
    {"0fb6c1", 0},		/* movzx eax, cl */
    {"0fb6c0", -1},		/* movzx eax, al */
    {"0fb6c4", -1},		/* movzx eax, ah */
    {"0fb6dc", 3},		/* movzx ebx, ah */
    {"0fb6df", -1},		/* movzx ebx, bh */
    {"0fb6cf", 1},		/* movzx ecx, bh */
    {"0fb6cd", -1},		/* movzx ecx, ch */
    {"400fb6fe", 7},		/* movzx edi, sil */
    {"400fb6f6", -1},		/* movzx esi, sil */
    {"0fbec1", 0},		/* movsx eax, cl */
    {"480fbed6", 2},		/* movsx rdx, sil */
    {"0fb7d1", 2},		/* movzx edx, cx */
    {"0fbfd2", -1},		/* movsx edx, dx */
    {"4863c1", 0},		/* movsxd rax, ecx */
    {"4863c0", -1},		/* movsxd rax, eax */
    {"63c1", -1},		/* movsxd without REX.W */
    {"66b80100", -1},		/* mov ax, 1: part of it */
    {"668bc1", -1},		/* mov ax, cx */
    {"b001", -1},		/* mov al, 1 */
    {"8ac1", -1},		/* mov al, cl */
    {"88c8", -1},		/* mov al, cl, other form */
    {"64488b042528000000", -1}, /* mov rax, fs:[40] */
    {"31c0", -1},		/* xor eax, eax changes flags */
    {"58", -1},			/* pop rax */
    {"0f44c1", -1},		/* cmovz */
    {"c7f800000000", -1},	/* xbegin */
    {"480fb6c0", -1},
    {"90", -1},
    {"c3", -1},
};

static void overwritten_registers_are_dead_by_both_opinions(void **state)
{
	(void)state;
	struct insn_second *second = insn_second_new();
	assert_non_null(second);
	for (size_t i = 0; i < sizeof overwrites / sizeof *overwrites; i++) {
		uint8_t bytes[16];
		size_t size = bytes_of(overwrites[i].hex, bytes);
		int reg = insn_overwrites(bytes, size);
		if (reg != overwrites[i].reg)
			fail_msg("%s overwrites %d", overwrites[i].hex, reg);
		if (reg >= 0 && !insn_second_overwrites(second, bytes, size, (unsigned)reg))
			fail_msg("%s: the second does not see that %d is overwritten", overwrites[i].hex, reg);
		for (unsigned other = 0; other < 16 && reg >= 0; other++)
			if ((int)other != reg && insn_second_overwrites(second, bytes, size, other))
				fail_msg("%s: the second thinks that %u is overwritten", overwrites[i].hex, other);
	}
	insn_second_free(second);
}

/* Bytes of every form: whenever the first says yes, so does the second, and no prefix of the instruction is enough for a yes. */
static void every_form_that_the_first_knows_is_known_to_the_second(void **state)
{
	(void)state;
	static const uint8_t ops[][2] = {{0x8b, 0},    {0x8d, 0},    {0x63, 0},	   {0xc7, 0},
					 {0x0f, 0xb6}, {0x0f, 0xb7}, {0x0f, 0xbe}, {0x0f, 0xbf}};
	struct insn_second *second = insn_second_new();
	unsigned yes = 0;
	assert_non_null(second);
	for (unsigned rex = 0x3f; rex < 0x50; rex++)
		for (size_t o = 0; o < sizeof ops / sizeof *ops; o++)
			for (unsigned modrm = 0; modrm < 256; modrm++)
				for (unsigned sib = 0; sib < 256; sib += (modrm & 7) == 4 && modrm < 192 ? 1 : 256) {
					uint8_t bytes[20] = {0};
					size_t at = 0;
					struct insn i;
					if (rex >= 0x40)
						bytes[at++] = (uint8_t)rex;
					bytes[at++] = ops[o][0];
					if (ops[o][0] == 0x0f)
						bytes[at++] = ops[o][1];
					bytes[at++] = (uint8_t)modrm;
					bytes[at] = (uint8_t)sib;
					if (insn_decode(bytes, sizeof bytes, (vaddr){0}, &i) || i.kind != INSN_PLAIN)
						continue;
					int reg = insn_overwrites(bytes, i.length);
					yes += reg >= 0;
					if (reg >= 0 && !insn_second_overwrites(second, bytes, i.length, (unsigned)reg))
						fail_msg("%02x %02x%02x %02x %02x: %d", rex, ops[o][0], ops[o][1], modrm, sib, reg);
					assert_true(reg != 4 && reg != 12);
				}
	assert_true(yes > 10000);
	insn_second_free(second);
}

/* --- liveness --- */

struct graph {
	struct coded_map c;
	struct cfg_index index;
	struct cfg cfg;
	struct flags_module module;
	struct flags flags;
};

/*
 * Functions written as text: blocks divided by spaces, functions by '|'. In a block: t test, z setz, l lea, c call, i indirect call, R ret,
 * J jmp, B je. A digit follows c (the function), J and B (the block).
 */
static void graph_make(struct graph *g, const char *text)
{
	struct map *m = &g->c.map;
	coded_map_make(&g->c, 1, 1, CODED_COUNTABLE, false);
	memset(g->c.code, 0xcc, sizeof g->c.code);
	m->block_count = m->function_count = m->table_count = m->table_target_count = 0;
	static struct map_call calls[16];
	m->calls = calls;
	uint32_t at = 0;
	bool fresh = true;
	for (const char *p = text; *p;) {
		struct map_function *f = &g->c.functions[m->function_count];
		struct map_block *b = &g->c.blocks[m->block_count];
		if (fresh)
			*f = (struct map_function){
			    .start = at, .parent = m->function_count, .first_block = m->block_count, .grade = MAP_MOVABLE};
		*b = (struct map_block){.start = at, .taken = MAP_NONE, .next = m->block_count + 1, .terminator = MAP_FALLS};
		b->flags = fresh ? MAP_BLOCK_ENTRY | MAP_BLOCK_TARGET : 0;
		fresh = false;
		for (; *p && *p != ' ' && *p != '|'; p++) {
			static const struct {
				char name;
				uint8_t size, bytes[6];
			} insns[] = {{'t', 2, {0x85, 0xc0}}, {'z', 3, {0x0f, 0x94, 0xc0}}, {'l', 4, {0x48, 0x8d, 0x40, 1}},
				     {'c', 5, {0xe8}},	     {'i', 2, {0xff, 0xd0}},	   {'R', 1, {0xc3}},
				     {'J', 5, {0xe9}},	     {'B', 6, {0x0f, 0x84}}};
			size_t k = 0;
			while (insns[k].name != *p)
				k++;
			memcpy(g->c.code + at, insns[k].bytes, insns[k].size);
			if (*p == 'c' || *p == 'i')
				calls[m->call_count++] = (struct map_call){.site = at,
									   .block = m->block_count,
									   .target = MAP_NONE,
									   .size = insns[k].size,
									   .kind = MAP_CALL_INDIRECT};
			if (*p == 'c')
				calls[m->call_count - 1].target = (uint32_t)(*++p - '0'); /* a function, until all are there */
			at += insns[k].size;
			if (*p == 'R' || *p == 'J')
				b->next = MAP_NONE;
			if (*p == 'R')
				b->terminator = MAP_RETURN;
			if (*p == 'J' || *p == 'B') {
				b->terminator = *p == 'J' ? MAP_JUMP : MAP_BRANCH;
				b->taken = (uint32_t)(*++p - '0');
			}
		}
		b->size = at - b->start;
		m->block_count++;
		f->block_count++;
		if (*p != ' ') {
			f->size = at - f->start;
			g->c.fdes[m->function_count++] = (struct image_fde){.start = CODED_VADDR + f->start, .size = f->size};
			fresh = true;
		}
		p += *p != 0;
	}
	assert_true(m->call_count <= sizeof calls / sizeof *calls);
	for (uint32_t b = 0; b < m->block_count; b++)
		if (g->c.blocks[b].taken != MAP_NONE)
			store_u32(g->c.code + g->c.blocks[b].start + g->c.blocks[b].size - 4,
				  g->c.blocks[g->c.blocks[b].taken].start - g->c.blocks[b].start - g->c.blocks[b].size);
	for (uint32_t i = 0; i < m->call_count; i++) {
		if (calls[i].target == MAP_NONE)
			continue;
		calls[i].kind = MAP_CALL_DIRECT;
		calls[i].target = g->c.functions[calls[i].target].start;
		store_u32(g->c.code + calls[i].site + 1, calls[i].target - (calls[i].site + 5));
	}
	g->c.image.fde_count = m->function_count;
	assert_false(cfg_index_init(&g->index, m, NULL));
	assert_false(flags_module_init(&g->module, &g->c.image, &g->index, NULL));
}

static void graph_solve(struct graph *g, uint32_t group)
{
	assert_false(cfg_load(&g->cfg, &g->index, group, NULL));
	assert_false(flags_solve(&g->flags, &g->module, &g->cfg, NULL));
}

static void graph_free(struct graph *g)
{
	flags_free(&g->flags);
	flags_module_free(&g->module);
	cfg_free(&g->cfg);
	cfg_index_free(&g->index);
}

/* The offsets of dead points of the blocks of the first function, '-' where there is none; and the second opinion says the same. */
static void expect_points(const char *text, const int *points)
{
	static struct graph g;
	struct insn_second *second = insn_second_new();
	memset(&g, 0, sizeof g);
	graph_make(&g, text);
	graph_solve(&g, 0);
	for (uint32_t b = 0; b < g.cfg.count; b++) {
		uint32_t at = flags_dead_point(&g.flags, &g.module, &g.cfg, b, 0);
		if (at != (points[b] < 0 ? FLAGS_NOWHERE : (uint32_t)points[b]))
			fail_msg("%s: block %u is dead at %d", text, b, (int)at);
		if (at != FLAGS_NOWHERE &&
		    !flags_dead_second(second, &g.c.image, map_vaddr(&g.c.map, g.c.blocks[g.cfg.block[b]].start + at)))
			fail_msg("%s: the second opinion on block %u differs", text, b);
	}
	insn_second_free(second);
	graph_free(&g);
}

#define POINTS(text, ...) expect_points(text, (const int[]){__VA_ARGS__})

static void dead_points_are_found(void **state)
{
	(void)state;
	POINTS("lR", 0);		/* dead at a return */
	POINTS("tzR", 0);		/* before what overwrites them */
	POINTS("tB2 lR zR", 0, 0, 3);	/* read behind one way of a branch: dead after that */
	POINTS("tB2 ltzR lR", 0, 0, 0); /* overwritten first in the next block */
	POINTS("t l zJ1", 0, -1, -1);	/* a loop that reads flags from before it: never dead in it */
	POINTS("t l tzJ1", 0, 0, 0);	/* a loop that sets its own */
	POINTS("tlc1ltzR|tR", 0);	/* a call lets them die; see below for who reads them after it */
	POINTS("tR|tc0lR", 0);
	POINTS("tJ1 zJ2 lR", 0, 3, 0);
}

/* Not where control that comes in later would pass by. */
static void dead_points_are_found_behind_a_place(void **state)
{
	(void)state;
	static struct graph g;
	static const struct {
		const char *text;
		uint32_t from, at;
	} cases[] = {{"llR", 1, 4}, {"llR", 4, 4}, {"tzR", 1, 5}, {"t zR", 0, 0}, {"t zR", 1, FLAGS_NOWHERE}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&g, 0, sizeof g);
		graph_make(&g, cases[i].text);
		graph_solve(&g, 0);
		assert_int_equal(flags_dead_point(&g.flags, &g.module, &g.cfg, 0, cases[i].from), cases[i].at);
		graph_free(&g);
	}
}

/* Flags that go into a function are live before its calls; those that come back from one are live where it returns. */
static void flags_that_are_passed_are_known(void **state)
{
	(void)state;
	static struct graph g;
	static const struct {
		const char *text;
		unsigned takes, gives; /* bit sets of functions */
		bool all;
	} cases[] = {
	    {"tR|tc0R", 0, 0, false},	    /* nobody */
	    {"zR|tR", 1, 0, false},	    /* reads them at its entry */
	    {"tR|tc0zR", 0, 1, false},	    /* reads them after a call */
	    {"tR|tc0lltR", 0, 0, false},    /* overwrites them after a call */
	    {"tR|tizR", 0, 0, true},	    /* after an indirect call: anybody may have passed them */
	    {"tR|tc0 zR", 0, 1, false},	    /* in the next block */
	    {"tR|lJ0|tc1zR", 0, 3, false},  /* a tail call gives what it jumps to gives */
	    {"tR|lc0R|tc1zR", 0, 3, false}, /* and a call whose flags are not overwritten before the return */
	    {"tR|lc0ltR|tc1zR", 0, 2, false}, {"tR|lc0l lR|tc1zR", 0, 3, false}, {"tR|liR|tc1zR", 0, 2, true},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		memset(&g, 0, sizeof g);
		graph_make(&g, cases[i].text);
		unsigned takes = 0, gives = 0;
		for (uint32_t f = 0; f < g.c.map.function_count; f++) {
			takes |= (unsigned)g.module.takes[f] << f;
			gives |= (unsigned)g.module.gives[f] << f;
		}
		if (takes != cases[i].takes || gives != cases[i].gives || g.module.all_give != cases[i].all)
			fail_msg("%s: takes %x, gives %x, all %d", cases[i].text, takes, gives, g.module.all_give);
		graph_free(&g);
	}
}

static void passed_flags_are_live(void **state)
{
	(void)state;
	POINTS("tltR|tc0zR", 0); /* f0 gives what its last test made */
	POINTS("llR|tc0zR", -1); /* and here what it was given */
	POINTS("zR", 3);
	POINTS("ltc1R|zR", 0); /* dead before the test, live between that and the call */
	POINTS("lc1R|zR", 9);
	POINTS("lR|tizR", -1);
}

/* Wherever the first opinion finds flags dead on random graphs, a slow search of its own agrees. */
static bool dead_by_search(const struct graph *g, uint32_t block, uint32_t offset, uint8_t open, uint8_t *seen)
{
	const struct map_block *b = &g->c.blocks[block];
	while (offset < b->size) {
		struct insn i;
		uint8_t read, written;
		assert_false(insn_decode(g->c.code + b->start + offset, b->size - offset, (vaddr){0}, &i));
		assert_false(insn_flags(g->c.code + b->start + offset, i.length, &read, &written));
		if (read & open)
			return false;
		open &= (uint8_t)~written;
		if (!open || i.kind == INSN_RETURN)
			return true;
		if (i.kind == INSN_JUMP_INDIRECT)
			return false;
		offset += i.length;
	}
	uint32_t ways[2] = {b->taken, b->next};
	for (int k = 0; k < 2; k++) {
		if (ways[k] == MAP_NONE)
			continue;
		uint32_t entry = map_function_of_block(&g->c.map, ways[k]);
		bool call = k == 0 && g->c.functions[entry].first_block == ways[k];
		if (call || (seen[ways[k]] & open) == open)
			continue;
		seen[ways[k]] |= open;
		if (!dead_by_search(g, ways[k], 0, open, seen))
			return false;
	}
	return true;
}

static void random_graphs_agree_with_a_slow_search(void **state)
{
	(void)state;
	static struct graph g;
	unsigned dead = 0, live = 0;
	for (uint64_t seed = 1; seed <= 400; seed++) {
		memset(&g, 0, sizeof g);
		coded_map_make(&g.c, seed, 4, CODED_MIXED, false);
		assert_false(cfg_index_init(&g.index, &g.c.map, NULL));
		assert_false(flags_module_init(&g.module, &g.c.image, &g.index, NULL));
		for (uint32_t f = 0; f < 4; f++) {
			graph_solve(&g, f);
			for (uint32_t i = 0; i < g.cfg.count; i++) {
				uint8_t seen[CODED_FUNCTIONS * CODED_BLOCKS] = {0};
				uint32_t at = flags_dead_point(&g.flags, &g.module, &g.cfg, i, 0);
				dead += at != FLAGS_NOWHERE;
				live += at == FLAGS_NOWHERE;
				if (at != FLAGS_NOWHERE && !dead_by_search(&g, g.cfg.block[i], at, ALL, seen))
					fail_msg("seed %lu: flags are read behind offset %u of block %u", (unsigned long)seed, at,
						 g.cfg.block[i]);
			}
		}
		graph_free(&g);
	}
	assert_true(dead > 1000 && live > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(both_decoders_know_the_flags),
	    cmocka_unit_test(the_second_decoder_knows_common_instructions_too),
	    cmocka_unit_test(overwritten_registers_are_dead_by_both_opinions),
	    cmocka_unit_test(every_form_that_the_first_knows_is_known_to_the_second),
	    cmocka_unit_test(dead_points_are_found),
	    cmocka_unit_test(dead_points_are_found_behind_a_place),
	    cmocka_unit_test(flags_that_are_passed_are_known),
	    cmocka_unit_test(passed_flags_are_live),
	    cmocka_unit_test(random_graphs_agree_with_a_slow_search),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

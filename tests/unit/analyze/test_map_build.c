/*
 * Small programs assembled by hand, mapped, and compared with what a person reads off them.
 */
#include "analyze/code/map_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Assembles `body` to a shared object and maps it. Functions are `name: .cfi_startproc ... .cfi_endproc`. */
static void map_of(const char *body, unsigned threads, struct map *map, struct image *image)
{
	char directory[] = "/tmp/test_map_build.XXXXXX", path[64], object[64], command[256];
	struct err e = {0};
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/a.s", directory);
	snprintf(object, sizeof object, "%s/a.so", directory);
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(body, f);
	assert_int_equal(fclose(f), 0);
	snprintf(command, sizeof command, "cc -nostdlib -shared -Wl,-z,notext -o %s %s", object, path);
	assert_int_equal(system(command), 0);
	if (image_open(object, image, &e) || map_build(image, threads, map, &e))
		fail_msg("%s", e.text);
	if (map_validate(map, object, &e))
		fail_msg("%s", e.text);
	unlink(path);
	unlink(object);
	rmdir(directory);
}

static uint32_t function_named(const struct map *m, const char *name)
{
	for (uint32_t i = 0; i < m->function_count; i++) {
		const char *n = map_function_name(m, i);
		if (n && !strcmp(n, name))
			return i;
	}
	fail_msg("no function %s", name);
	return 0;
}

#define FUNCTION(name) ".globl " #name "\n.type " #name ",@function\n" #name ":\n.cfi_startproc\n"
#define LOCAL(name) ".type " #name ",@function\n" #name ":\n.cfi_startproc\n"
/* No symbol, as in a stripped file: a named function counts as one in its own right. */
#define UNNAMED ".cfi_startproc\n"
#define END ".cfi_endproc\n"

static void done(struct map *m, struct image *image)
{
	map_free(m);
	image_close(image);
}

static const struct map_function *the_function(const struct map *m, const char *name)
{
	return &m->functions[function_named(m, name)];
}

static bool has(const struct map_function *f, enum map_reason r)
{
	return f->reasons >> r & 1;
}

static void branch_makes_three_blocks(void **state)
{
	struct map m;
	struct image image;
	(void)state;
	map_of(".text\n" FUNCTION(f) "mov $1,%eax\n test %edi,%edi\n je 1f\n mov $3,%eax\n ret\n1: mov $2,%eax\n ret\n" END, 1, &m, &image);
	const struct map_function *f = the_function(&m, "f");
	const struct map_block *b = &m.blocks[f->first_block];
	assert_int_equal(f->grade, MAP_MOVABLE);
	assert_int_equal(f->block_count, 3);
	assert_int_equal(b[0].terminator, MAP_BRANCH);
	assert_int_equal(b[0].taken, f->first_block + 2);
	assert_int_equal(b[0].next, f->first_block + 1);
	assert_int_equal(b[0].insns, 3);
	assert_int_equal(b[1].terminator, MAP_RETURN);
	assert_int_equal(b[1].flags, 0);
	assert_int_equal(b[2].flags, MAP_BLOCK_TARGET);
	done(&m, &image);
}

#define SWITCH(bound)                                                                                                                      \
	".text\n" FUNCTION(f) bound "lea 9f(%rip),%rdx\n movslq (%rdx,%rax,4),%rax\n add %rdx,%rax\n notrack jmp *%rax\n"                  \
				    "1: mov $1,%eax\n ret\n2: mov $2,%eax\n ret\n3: mov $3,%eax\n ret\n4: xor %eax,%eax\n ret\n" END       \
				    ".section .rodata\n .p2align 2\n9: .long 1b-9b, 2b-9b, 3b-9b, 1b-9b, 0x7fffffff, 2b-9b\n"

static void expect_table(const char *body, uint32_t targets, uint8_t proven)
{
	struct map m;
	struct image image;
	map_of(body, 1, &m, &image);
	assert_int_equal(m.table_count, 1);
	assert_int_equal(m.tables[0].kind, MAP_TABLE_RELATIVE32);
	assert_int_equal(m.tables[0].proven, proven);
	assert_int_equal(m.tables[0].count, targets);
	for (uint32_t i = 0; i < targets; i++)
		assert_true(m.blocks[m.table_targets[i]].flags & MAP_BLOCK_TABLE_TARGET);
	assert_int_equal(the_function(&m, "f")->grade, MAP_MOVABLE);
	done(&m, &image);
}

static void table_bounds_are_proven_by_compares_and_masks(void **state)
{
	(void)state;
	expect_table(SWITCH("cmp $3,%edi\n ja 4f\n mov %edi,%eax\n"), 3, 1);
	expect_table(SWITCH("cmp $1,%edi\n ja 4f\n mov %edi,%eax\n"), 2, 1);
	expect_table(SWITCH("mov %edi,%eax\n and $1,%eax\n"), 2, 1);
	expect_table(SWITCH("mov %edi,%eax\n cmp $3,%eax\n jae 4f\n"), 3, 1);
	expect_table(SWITCH("movzbl (%rdi),%eax\n cmp $1,%al\n ja 4f\n"), 2, 1);
	expect_table(SWITCH("cmpl $1,8(%rdi)\n ja 4f\n mov 8(%rdi),%eax\n"), 2, 1);
	expect_table(SWITCH("cmp $1,%edi\n jbe 5f\n jmp 4f\n5: mov %edi,%eax\n"), 2, 1);
}

/* The fifth entry leads out of the text, so even a superset ends there: three different targets. */
static void tables_without_proof_are_supersets(void **state)
{
	(void)state;
	expect_table(SWITCH("mov %edi,%eax\n cmp $1,%edi\n ja 4f\n"), 3, 0); /* copied before the compare: not followed */
	expect_table(SWITCH("mov %edi,%eax\n cmp $3,%edi\n jg 4f\n"), 3, 0); /* signed: may be negative */
	expect_table(SWITCH("mov %edi,%eax\n cmp $1,%al\n ja 4f\n"), 3, 0);  /* only the low byte */
	expect_table(SWITCH("mov %edi,%eax\n cmp $1,%esi\n ja 4f\n"), 3, 0); /* another register */
	expect_table(SWITCH("cmpl $1,8(%rdi)\n ja 4f\n mov %esi,8(%rdi)\n mov 8(%rdi),%eax\n"), 3, 0);	  /* written in between */
	expect_table(SWITCH("mov %edi,%eax\n test %esi,%esi\n je 5f\n cmp $1,%eax\n ja 4f\n5:\n"), 3, 0); /* one way without a compare */
}

static void noreturn_callee_ends_the_block(void **state)
{
	struct map m;
	struct image image;
	(void)state;
	map_of(".text\n" FUNCTION(f) "sub $8,%rsp\n call abort@plt\n .byte 0x06,0x06\n" END, 1, &m, &image);
	const struct map_function *f = the_function(&m, "f");
	assert_int_equal(f->grade, MAP_MOVABLE);
	assert_int_equal(f->block_count, 1);
	assert_int_equal(m.blocks[f->first_block].terminator, MAP_CALL_NORETURN);
	const struct map_call *call = &m.calls[map_call_from(&m, f->start)]; /* the PLT's own jump comes before it */
	assert_int_equal(call->kind, MAP_CALL_IMPORT);
	assert_string_equal(m.strings + m.imports[call->target].name, "abort");
	assert_int_not_equal(m.imports[call->target].stub, MAP_NONE);
	done(&m, &image);
}

static void split_part_finds_its_parent(void **state)
{
	struct map m;
	struct image image;
	(void)state;
	map_of(".text\n" UNNAMED "1: mov $7,%esi\n jmp 2f\n" END FUNCTION(f) "mov $1,%eax\n test %edi,%edi\n je 1b\n2: ret\n" END FUNCTION(
		   g) "mov $1,%edi\n call f\n ret\n" END,
	       1, &m, &image);
	uint32_t f = function_named(&m, "f");
	uint32_t cold = f - 1; /* the linker's PLT comes first */
	assert_int_equal(m.functions[cold].parent, f);
	assert_true(m.functions[cold].flags & MAP_FUNCTION_PART);
	assert_false(m.functions[f].flags & MAP_FUNCTION_PART);
	/* The way back is a block of its own, though nothing inside f branches to it. */
	assert_int_equal(m.functions[f].block_count, 2);
	assert_int_equal(m.blocks[m.functions[cold].first_block].taken, m.functions[f].first_block + 1);
	done(&m, &image);
}

static void expect_reason(const char *body, enum map_reason r, uint8_t grade)
{
	struct map m;
	struct image image;
	map_of(body, 1, &m, &image);
	const struct map_function *f = the_function(&m, "f");
	if (!has(f, r) || f->grade != grade)
		fail_msg("reasons 0x%x, grade %s for: %s", f->reasons, map_grade_name(f->grade), body);
	done(&m, &image);
}

static void functions_that_must_not_move_say_why(void **state)
{
	(void)state;
	expect_reason(".text\n" FUNCTION(f) "sub $8,%rsp\n call _setjmp@plt\n add $8,%rsp\n ret\n" END, MAP_REASON_CALLS_SETJMP,
		      MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "sub $8,%rsp\n call *dlsym@GOTPCREL(%rip)\n add $8,%rsp\n ret\n" END, MAP_REASON_ASKS_CALLER,
		      MAP_UNTOUCHABLE);
	expect_reason(".text\n" LOCAL(w) "jmp dlsym@plt\n" END FUNCTION(f) "sub $8,%rsp\n call w\n add $8,%rsp\n ret\n" END,
		      MAP_REASON_ASKS_CALLER, MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "sub $8,%rsp\n call vfork@plt\n add $8,%rsp\n ret\n" END, MAP_REASON_CALLS_VFORK,
		      MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "call 1f\n1: pop %rax\n ret\n" END, MAP_REASON_CALLS_NEXT, MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "mov $1,%eax\n .byte 0x06\n ret\n" END, MAP_REASON_UNDECODABLE, MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "mov %rdi,%rax\n je 1f+2\n1: movl $0x90909090,(%rax)\n ret\n" END, MAP_REASON_OVERLAPPING_CODE,
		      MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "mov $1,%eax\n int $0x80\n ret\n" END, MAP_REASON_UNSUPPORTED_INSN, MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "mov $1,%eax\n" END FUNCTION(g) "ret\n" END, MAP_REASON_LEAVES_RANGE, MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) ".cfi_signal_frame\n mov $15,%eax\n syscall\n ret\n" END, MAP_REASON_SIGNAL_FRAME,
		      MAP_UNTOUCHABLE);
	expect_reason(".text\n" FUNCTION(f) "mov $1,%eax\n ret\n" END ".section .init_array,\"aw\"\n .quad f\n", MAP_REASON_INIT_FINI,
		      MAP_UNTOUCHABLE);
}

static void entries_that_cannot_be_patched_say_why(void **state)
{
	(void)state;
	expect_reason(".text\n" FUNCTION(f) "xor %eax,%eax\n ret\n" END, MAP_REASON_ENTRY_SHORT, MAP_ENTRY_FIXED);
	expect_reason(".text\n" FUNCTION(f) "xor %eax,%eax\n1: inc %eax\n cmp %edi,%eax\n jne 1b\n ret\n" END, MAP_REASON_ENTRY_TARGETED,
		      MAP_ENTRY_FIXED);
	expect_reason(".text\n" FUNCTION(f) "push %rbx\n call *%rdi\n nop\n nop\n pop %rbx\n ret\n" END, MAP_REASON_ENTRY_TARGETED,
		      MAP_ENTRY_FIXED);
	/* Pointed to from data, from code, and jumped to from bytes that no FDE covers. */
	expect_reason(".text\n" FUNCTION(f) "push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END ".data\n .quad 1b\n",
		      MAP_REASON_ENTRY_TARGETED, MAP_ENTRY_FIXED);
	expect_reason(".text\n" FUNCTION(f) "push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END FUNCTION(
			  g) "lea 1b(%rip),%rax\n ret\n" END,
		      MAP_REASON_ENTRY_TARGETED, MAP_ENTRY_FIXED);
	expect_reason(".text\n" FUNCTION(f) "push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END "jmp 1b\n",
		      MAP_REASON_ENTRY_TARGETED, MAP_ENTRY_FIXED);
	expect_reason(".text\n" FUNCTION(f) "mov %edi,%eax\n lea (%rsi,%rax,8),%rcx\n xor %rdx,%rcx\n jmp *%rcx\n" END,
		      MAP_REASON_ENTRY_UNKNOWN_JUMPS, MAP_ENTRY_FIXED);
}

static void tail_calls_are_not_unknown_jumps(void **state)
{
	static const char *const bodies[] = {
	    ".text\n" FUNCTION(f) "mov (%rdi),%rax\n mov 24(%rax),%rax\n jmp *%rax\n" END,
	    ".text\n" FUNCTION(f) "mov (%rdi),%rax\n mov %rsi,%rdx\n jmp *0x18(%rax)\n" END,
	    ".text\n" FUNCTION(f) "mov %rdi,%rcx\n mov %rsi,%rdi\n jmp *%rcx\n" END,
	    ".text\n" FUNCTION(f) "mov (%rdi),%rax\n mov 8(%rax),%rax\n test %esi,%esi\n je 1f\n mov %rsi,%rdi\n1: jmp *%rax\n" END,
	};
	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
		struct map m;
		struct image image;
		map_of(bodies[i], 1, &m, &image);
		if (the_function(&m, "f")->grade != MAP_MOVABLE)
			fail_msg("reasons 0x%x for: %s", the_function(&m, "f")->reasons, bodies[i]);
		done(&m, &image);
	}
}

static void endbr_stays_before_the_patch(void **state)
{
	struct map m;
	struct image image;
	(void)state;
	map_of(".text\n" FUNCTION(f) "endbr64\n1: mov $1,%eax\n test %edi,%edi\n jne 1b\n ret\n" END, 1, &m, &image);
	assert_true(the_function(&m, "f")->flags & MAP_FUNCTION_ENDBR);
	assert_int_equal(the_function(&m, "f")->grade, MAP_MOVABLE); /* the loop leads to the patch's first byte, which is fine */
	done(&m, &image);
}

static void expect_behind(const char *text, bool expected)
{
	struct map m;
	struct image image;
	map_of(text, 1, &m, &image);
	if (!(the_function(&m, "f")->flags & MAP_FUNCTION_BEHIND) == expected)
		fail_msg("%s: can%s be patched behind its first instruction", text, expected ? "not" : "");
	done(&m, &image);
}

static void places_behind_the_first_instruction_are_known(void **state)
{
	(void)state;
	expect_behind(".text\n" FUNCTION(f) "push %rbx\n mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END, true);
	/* Something leads to the place, which is another block then, or behind it. */
	expect_behind(".text\n" FUNCTION(f) "push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n dec %edi\n jne 1b\n pop %rbx\n ret\n" END,
		      false);
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n xor %ecx,%ecx\n1: inc %ecx\n cmp %edi,%ecx\n jne 1b\n ret\n" END, false);
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n call *%rdi\n nop\n nop\n nop\n ret\n" END, false);
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n ret\n" END, false); /* too short */
	expect_behind(".text\n" FUNCTION(f) "endbr64\n mov $1,%eax\n mov %edi,%ecx\n add %ecx,%eax\n ret\n" END, false);
	expect_behind(".text\n" FUNCTION(f) "jmp 1f\n nop\n nop\n nop\n1: mov $1,%eax\n ret\n" END, false);
	/* Pointed to from data, from code, and jumped to from bytes that no FDE covers. */
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END
					    ".data\n .quad 1b\n",
		      false);
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END FUNCTION(
			  g) "lea 1b(%rip),%rax\n ret\n" END,
		      false);
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n push %rbx\n1: mov %edi,%ebx\n mov %ebx,%eax\n pop %rbx\n ret\n" END "jmp 1b\n",
		      false);
	/* A jump to who knows where. */
	expect_behind(".text\n" FUNCTION(f) "mov $1,%eax\n lea (%rsi,%rax,8),%rcx\n xor %rdx,%rcx\n jmp *%rcx\n" END, false);
}

static void encode(const char *path, unsigned threads, struct writer *w)
{
	struct image image;
	struct map m;
	struct err e = {0};
	if (image_open(path, &image, &e) || map_build(&image, threads, &m, &e) || map_encode(&m, w, &e))
		fail_msg("%s", e.text);
	done(&m, &image);
}

static void same_bytes_on_any_number_of_threads(void **state)
{
	static const char *const paths[] = {"/lib/x86_64-linux-gnu/libc.so.6", "/bin/bash"};
	(void)state;
	for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct writer one = {0}, many = {0};
		encode(paths[i], 1, &one);
		encode(paths[i], 7, &many);
		assert_int_equal(one.size, many.size);
		assert_memory_equal(one.data, many.data, one.size);
		writer_free(&one);
		writer_free(&many);
	}
}

static void fde_lookup_of_libgcc_can_be_hooked(void **state)
{
	struct image image;
	struct map m;
	struct err e = {0};
	(void)state;
	if (image_open("/lib/x86_64-linux-gnu/libgcc_s.so.1", &image, &e) || map_build(&image, 1, &m, &e))
		fail_msg("%s", e.text);
	assert_int_equal(the_function(&m, "_Unwind_Find_FDE")->grade, MAP_MOVABLE);
	assert_int_equal(the_function(&m, "_Unwind_RaiseException")->grade, MAP_UNTOUCHABLE);
	done(&m, &image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(branch_makes_three_blocks),
	    cmocka_unit_test(table_bounds_are_proven_by_compares_and_masks),
	    cmocka_unit_test(tables_without_proof_are_supersets),
	    cmocka_unit_test(noreturn_callee_ends_the_block),
	    cmocka_unit_test(split_part_finds_its_parent),
	    cmocka_unit_test(functions_that_must_not_move_say_why),
	    cmocka_unit_test(entries_that_cannot_be_patched_say_why),
	    cmocka_unit_test(tail_calls_are_not_unknown_jumps),
	    cmocka_unit_test(endbr_stays_before_the_patch),
	    cmocka_unit_test(places_behind_the_first_instruction_are_known),
	    cmocka_unit_test(same_bytes_on_any_number_of_threads),
	    cmocka_unit_test(fde_lookup_of_libgcc_can_be_hooked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

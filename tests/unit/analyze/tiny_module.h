/*
 * tiny_module: a hand-written module inside the test binary, as the emitter sees it: functions with every kind of branch, a PLT stub and its
 * slot. It can be executed, so that a test may compare what its image computes with what the original does.
 */
#ifndef TESTS_TINY_MODULE_H
#define TESTS_TINY_MODULE_H

#include "analyze/elf/image.h"
#include "tests/unit/analyze/linear_map.h"

#define TINY_VADDR 0x40000000ull

/* Each function: long f(long n). */
__asm__(".pushsection .text\n"
	".balign 4096\n"
	".globl tiny_begin\ntiny_begin:\n"
	/* endbr64, loop, branch over a call, rip-relative operand */
	"tiny_sum:\n"
	"	endbr64\n"
	"	push %rbx\n"
	"	push %r12\n"
	"	mov %rdi, %rbx\n"
	"	xor %r12d, %r12d\n"
	"1:	test %rbx, %rbx\n"
	"	jle 3f\n"
	"	mov %rbx, %rdi\n"
	"	test $1, %bl\n"
	"	jne 2f\n"
	"	call tiny_step\n"
	"	add %rax, %r12\n"
	"	dec %rbx\n"
	"	jmp 1b\n"
	"2:	call tiny_stub\n"
	"	lea (%r12, %rax, 2), %r12\n"
	"	add tiny_constant(%rip), %r12\n"
	"	dec %rbx\n"
	"	jmp 1b\n"
	"3:	mov %r12, %rax\n"
	"	pop %r12\n"
	"	pop %rbx\n"
	"	ret\n"
	"tiny_sum_end:\n	.balign 16, 0xcc\n"
	/* short function with a conditional tail call and one through the stub */
	"tiny_step:\n"
	"	xor %eax, %eax\n"
	"	cmp $5, %rdi\n"
	"	jg tiny_loop\n"
	"	test %rdi, %rdi\n"
	"	je 1f\n"
	"	jmp tiny_stub\n"
	"1:	ret\n"
	"tiny_step_end:\n	.balign 16, 0xcc\n"
	/* jrcxz and loop */
	"tiny_loop:\n"
	"	mov %rdi, %rcx\n"
	"	xor %eax, %eax\n"
	"	jrcxz 2f\n"
	"1:	lea 3(%rax, %rcx), %rax\n"
	"	loop 1b\n"
	"2:	cmp $100, %rax\n"
	"	ja 3f\n"
	"	inc %rax\n"
	"	ret\n"
	"3:	shr $1, %rax\n"
	"	jmp 2b\n"
	"tiny_loop_end:\n	.balign 16, 0xcc\n"
	/* an indirect jump that stays an exit, and calls, the last of which does not return */
	"tiny_jump:\n"
	"	lea 1f(%rip), %rax\n"
	"	test %rdi, %rdi\n"
	"	js 2f\n"
	"	jmp *%rax\n"
	"1:	lea 7(%rdi), %rax\n"
	"	ret\n"
	"2:	call *tiny_slot(%rip)\n"
	"	call *0x12345678(%rbp)\n"
	"	ud2\n"
	"tiny_jump_end:\n	.balign 16, 0xcc\n"
	/* one byte */
	"tiny_short:\n	ret\n"
	"tiny_short_end:\n	.balign 16, 0xcc\n"
	"tiny_callee:\n"
	"	lea 11(%rdi, %rdi, 4), %rax\n"
	"	ret\n"
	"tiny_callee_end:\n	.balign 16, 0xcc\n"
	"tiny_stub:\n	endbr64\n	.byte 0xf2\n	jmp *tiny_slot(%rip)\n"
	"tiny_stub_end:\n	.balign 16, 0xcc\n"
	"tiny_constant:	.quad 1000003\n"
	".globl tiny_end\ntiny_end:\n"
	".popsection\n"
	".pushsection .data\n	.balign 8\n"
	"tiny_slot:	.quad tiny_callee\n"
	".popsection\n");

extern const uint8_t tiny_begin[], tiny_end[];
extern const uint8_t tiny_sum[], tiny_sum_end[], tiny_step[], tiny_step_end[], tiny_loop[], tiny_loop_end[], tiny_jump[], tiny_jump_end[],
    tiny_short[], tiny_short_end[], tiny_callee[], tiny_callee_end[], tiny_stub[], tiny_slot[];

struct tiny {
	struct image image;
	struct image_segment segment;
	struct image_fde fdes[6];
	struct linear_map linear;
};

static uint64_t tiny_vaddr(const void *p)
{
	return TINY_VADDR + (uint64_t)((const uint8_t *)p - tiny_begin);
}

static void tiny_make(struct tiny *t)
{
	const uint8_t *const ranges[][2] = {{tiny_sum, tiny_sum_end},	{tiny_step, tiny_step_end},   {tiny_loop, tiny_loop_end},
					    {tiny_jump, tiny_jump_end}, {tiny_short, tiny_short_end}, {tiny_callee, tiny_callee_end}};
	*t = (struct tiny){0};
	size_t size = (size_t)(tiny_end - tiny_begin);
	t->segment = (struct image_segment){TINY_VADDR, size, 0, size, true, false, true};
	t->image = (struct image){.file = {.data = tiny_begin, .size = size}, .segments = &t->segment, .segment_count = 1, .fdes = t->fdes};
	for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
		t->fdes[i] = (struct image_fde){.start = tiny_vaddr(ranges[i][0]), .size = (uint64_t)(ranges[i][1] - ranges[i][0])};
	t->image.fde_count = sizeof ranges / sizeof *ranges;
	t->image.identity =
	    (struct module_identity){.build_id = {1, 2, 3}, .build_id_size = 20, .text_hash = 7, .file_size = size, .path = (char *)"tiny"};
	t->image.text_base = TINY_VADDR;
	t->image.text_size = size;
	/* The slot is in the test's data, some pages off. */
	t->image.load_low = TINY_VADDR - (16u << 20);
	t->image.load_high = TINY_VADDR + (16u << 20);
	t->image.pie = true;
	linear_map_make(&t->linear, &t->image);
}

static void tiny_free(struct tiny *t)
{
	linear_map_free(&t->linear);
}

#endif

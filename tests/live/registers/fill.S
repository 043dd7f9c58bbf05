/*
 * void hot_fill(const struct filled *in, struct filled *out, uint64_t mask)
 *
 * Fills every register but the stack pointer, the flags, the state components in `mask` and the red zone from *in; then counts rcx down to 0, or, when it
 * is 0, makes the call that rax says; and stores them all in *out. In between nothing touches a flag, the stack or a register other than rcx.
 *
 * The offsets are those of struct filled in victim.c. It refers to nothing outside itself, so a plan can move it.
 */
#define GENERAL 0
#define FLAGS 120
#define ZONE 128
#define STATE 256

	.text
	.globl hot_fill
	.type hot_fill, @function
	.balign 16
hot_fill:
	.cfi_startproc
	push %rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbx, 0
	push %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset rbp, 0
	push %r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r12, 0
	push %r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r13, 0
	push %r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r14, 0
	push %r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset r15, 0
	sub $24, %rsp
	.cfi_adjust_cfa_offset 24
	mov %rsi, (%rsp)		/* out */
	mov %rdi, 8(%rsp)		/* in */
	mov %rdx, 16(%rsp)		/* mask */

	mov %edx, %eax
	shr $32, %rdx
	xrstor64 STATE(%rdi)

	/* The red zone, word by word. */
	mov $15, %ecx
1:	mov ZONE(%rdi,%rcx,8), %rax
	mov %rax, -128(%rsp,%rcx,8)
	dec %ecx
	jns 1b

	/* Flags by way of the stack: then the topmost word of the red zone once more. */
	push FLAGS(%rdi)
	.cfi_adjust_cfa_offset 8
	popf
	.cfi_adjust_cfa_offset -8
	mov ZONE+120(%rdi), %rax
	mov %rax, -8(%rsp)

	mov GENERAL(%rdi), %rax
	mov GENERAL+8(%rdi), %rbx
	mov GENERAL+16(%rdi), %rcx
	mov GENERAL+24(%rdi), %rdx
	mov GENERAL+32(%rdi), %rsi
	mov GENERAL+48(%rdi), %rbp
	mov GENERAL+56(%rdi), %r8
	mov GENERAL+64(%rdi), %r9
	mov GENERAL+72(%rdi), %r10
	mov GENERAL+80(%rdi), %r11
	mov GENERAL+88(%rdi), %r12
	mov GENERAL+96(%rdi), %r13
	mov GENERAL+104(%rdi), %r14
	mov GENERAL+112(%rdi), %r15
	mov GENERAL+40(%rdi), %rdi

	jrcxz 3f
2:	lea -1(%rcx), %rcx
	jrcxz 4f
	jmp 2b
3:	syscall
4:
	/* rax and rdi by way of what lies above the stack pointer. */
	xchg %rdi, (%rsp)		/* now out; our word of the stack keeps what rdi was */
	mov %rax, GENERAL(%rdi)
	mov %rbx, GENERAL+8(%rdi)
	mov %rcx, GENERAL+16(%rdi)
	mov %rdx, GENERAL+24(%rdi)
	mov %rsi, GENERAL+32(%rdi)
	mov %rbp, GENERAL+48(%rdi)
	mov %r8, GENERAL+56(%rdi)
	mov %r9, GENERAL+64(%rdi)
	mov %r10, GENERAL+72(%rdi)
	mov %r11, GENERAL+80(%rdi)
	mov %r12, GENERAL+88(%rdi)
	mov %r13, GENERAL+96(%rdi)
	mov %r14, GENERAL+104(%rdi)
	mov %r15, GENERAL+112(%rdi)
	mov (%rsp), %rax
	mov %rax, GENERAL+40(%rdi)
	mov -8(%rsp), %rax		/* before the flags take its place */
	mov %rax, ZONE+120(%rdi)
	pushf
	.cfi_adjust_cfa_offset 8
	pop FLAGS(%rdi)
	.cfi_adjust_cfa_offset -8
	push $0x202
	.cfi_adjust_cfa_offset 8
	popf
	.cfi_adjust_cfa_offset -8

	mov $14, %ecx
5:	mov -128(%rsp,%rcx,8), %rax
	mov %rax, ZONE(%rdi,%rcx,8)
	dec %ecx
	jns 5b
	mov 16(%rsp), %rdx
	mov %edx, %eax
	shr $32, %rdx
	xsave64 STATE(%rdi)

	add $24, %rsp
	.cfi_adjust_cfa_offset -24
	pop %r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore r15
	pop %r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore r14
	pop %r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore r13
	pop %r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore r12
	pop %rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbp
	pop %rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore rbx
	ret
	.cfi_endproc
	.size hot_fill, . - hot_fill
	.section .note.GNU-stack,"",@progbits

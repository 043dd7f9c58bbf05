/*
 * The code of the stub before _dl_find_object (stub.h). It is data here: copied into images, never run in place, hence .rodata.
 *
 * in:  rdi pc, rsi result {0 flags, 8 map start, 16 map end, 24 link map, 32 .eh_frame_hdr, 40 seven reserved words}
 * directory entry: 0 code_start, 8 code_end, 16 table, 24 count; the .eh_frame_hdr stands behind the table
 */
	.section .rodata

stub_find_object_code:
	.byte	0x48, 0x8d, 0x05	/* lea directory(%rip), %rax */
stub_find_object_field:
	.long	0
.Lentry:
	movq	(%rax), %r10
	testq	%r10, %r10
	jz	stub_find_object_end	/* end of the directory: not ours */
	cmpq	%r10, %rdi
	jb	.Lnext
	cmpq	8(%rax), %rdi
	jb	.Lours
.Lnext:
	addq	$32, %rax
	jmp	.Lentry

	/* From here the function's copy is not reached any more, so the other argument registers are free. */
.Lours:
	movq	16(%rax), %rcx		/* table */
	movq	24(%rax), %rdx		/* count */
	leaq	(%rcx, %rdx, 8), %rcx	/* .eh_frame_hdr */
	movq	8(%rax), %rdx
	xorl	%eax, %eax
	movq	%rax, (%rsi)
	movq	%r10, 8(%rsi)
	movq	%rdx, 16(%rsi)
	movq	%rax, 24(%rsi)
	movq	%rcx, 32(%rsi)
	movq	%rax, 40(%rsi)
	movq	%rax, 48(%rsi)
	movq	%rax, 56(%rsi)
	movq	%rax, 64(%rsi)
	movq	%rax, 72(%rsi)
	movq	%rax, 80(%rsi)
	movq	%rax, 88(%rsi)
	ret				/* 0: found */
stub_find_object_end:

	/* The struct stub that describes it. */
	.section .data.rel.ro, "aw"
	.balign	8
	.globl	stub_find_object
	.hidden	stub_find_object
	.type	stub_find_object, @object
	.size	stub_find_object, 24
stub_find_object:
	.quad	stub_find_object_code
	.quad	stub_find_object_end - stub_find_object_code
	.quad	stub_find_object_field - stub_find_object_code

	.section .note.GNU-stack, "", @progbits

/*
 * The code of the stub before _Unwind_Find_FDE (stub.h). It is data here: copied into images, never run in place, hence .rodata.
 *
 * in:  rdi pc, rsi bases {0 tbase, 8 dbase, 16 func}
 * directory entry: 0 code_start, 8 code_end, 16 table, 24 count; table entry: {int32 pc, int32 fde} relative to code_start;
 * FDE: 0 length, 4 CIE pointer, 8 pc begin, 12 range (uint32)
 */
	.section .rodata

stub_find_fde_code:
	.byte	0x48, 0x8d, 0x05	/* lea directory(%rip), %rax */
stub_find_fde_field:
	.long	0
.Lentry:
	movq	(%rax), %r10
	testq	%r10, %r10
	jz	stub_find_fde_end	/* end of the directory: not ours */
	cmpq	%r10, %rdi
	jb	.Lnext
	cmpq	8(%rax), %rdi
	jb	.Lours
.Lnext:
	addq	$32, %rax
	jmp	.Lentry

	/* From here the function's copy is not reached any more, so the other argument registers are free. */
.Lours:
	movq	16(%rax), %r8		/* table */
	movq	24(%rax), %r9		/* high: entries from here on start after pc */
	movq	%rdi, %r11
	subq	%r10, %r11		/* pc relative to the region */
	xorl	%edx, %edx		/* low: entries before it start at or before pc */
.Lsearch:
	cmpq	%r9, %rdx
	jae	.Lfound
	leaq	(%rdx, %r9), %rcx
	shrq	$1, %rcx
	movslq	(%r8, %rcx, 8), %rax
	cmpq	%r11, %rax
	jg	.Lafter
	leaq	1(%rcx), %rdx
	jmp	.Lsearch
.Lafter:
	movq	%rcx, %r9
	jmp	.Lsearch

.Lfound:
	testq	%rdx, %rdx
	jz	.Lnone
	movslq	-8(%r8, %rdx, 8), %rcx
	movslq	-4(%r8, %rdx, 8), %rax
	addq	%r10, %rax
	movl	12(%rax), %r9d
	subq	%rcx, %r11
	cmpq	%r9, %r11
	jae	.Lnone			/* in a gap after the FDE's range */
	addq	%r10, %rcx
	movq	$0, (%rsi)
	movq	$0, 8(%rsi)
	movq	%rcx, 16(%rsi)
	ret
.Lnone:
	xorl	%eax, %eax
	ret
stub_find_fde_end:

	/* The struct stub that describes it. */
	.section .data.rel.ro, "aw"
	.balign	8
	.globl	stub_find_fde
	.hidden	stub_find_fde
	.type	stub_find_fde, @object
	.size	stub_find_fde, 24
stub_find_fde:
	.quad	stub_find_fde_code
	.quad	stub_find_fde_end - stub_find_fde_code
	.quad	stub_find_fde_field - stub_find_fde_code

	.section .note.GNU-stack, "", @progbits

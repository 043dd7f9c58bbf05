/*
 * inject: system calls made by a thread of the target on our behalf.
 *
 * One thread is stopped and made to execute `syscall` in a stub that stands in the unused tail of the last page of some executable segment
 * (bytes that belong to no segment, all zero where there is a choice; put back). The stub heals itself: behind the syscall it takes the call back if it can be,
 * loads the registers that calls change and jumps to where the thread was, so if this process is killed at any moment the thread goes on
 * as if nothing had been. No flag is touched and no stack used.
 *
 *	stub:	0f 05			syscall			<- the thread is sent here
 *		48 b9 imm64		mov rcx, -expected	<- it is stopped here when all goes well, and given its registers back
 *		48 8d 0c 08		lea rcx, [rax + rcx]
 *		e3 12			jrcxz revert		the call did what it should
 *		48 b9 imm64		mov rcx, -earlier
 *		48 8d 0c 08		lea rcx, [rax + rcx]
 *		e3 02			jrcxz revert		the call was not made: what an earlier one did goes back
 *		eb 20			jmp heal
 *	revert: 48 b8 imm64		mov rax, number		the call that takes it back
 *		48 bf imm64		mov rdi, first argument
 *		48 be imm64		mov rsi, second argument
 *		0f 05			syscall
 *	heal:	48 b8 imm64		mov rax, original
 *		...			rcx r11 rdi rsi rdx r10 r8 r9
 *		ff 25 00 00 00 00	jmp *(next 8 bytes)
 *		imm64			original PC; 2 less where a blocked call is to be made again
 *
 * Only calls that do not block are allowed: a blocking one would be interrupted with the wrong restart.
 */
#ifndef APPLY_INJECT_H
#define APPLY_INJECT_H

#include "apply/target.h"
#include "apply/tracee.h"

#define INJECT_CODE_SIZE 172
#define INJECT_MAGIC "RePaveS1" /* behind the code: a stub that a killed tool left is known by it */
#define INJECT_STUB_SIZE (INJECT_CODE_SIZE + 8)

/* The call that takes an injected one back, made by the thread itself if this process dies before inject_release. number 0: none. */
struct inject_revert {
	int64_t expected; /* only if the call returned this */
	uint64_t number, arguments[2];
	bool takes_over; /* or if it was not made, and the earlier call of this hold ... */
	int64_t earlier; /* ... had returned this: so no moment is without one of the two */
};

struct inject {
	struct target *target; /* borrowed */
	struct tracee tracee;
	struct user_regs_struct original;
	raddr stub;
	uint8_t stub_code[INJECT_STUB_SIZE], saved[INJECT_STUB_SIZE];
	bool on_zeros;		 /* the stub stands where only zeros were */
	bool stub_written, away; /* away: the thread's registers are not its own */
};

/*
 * Chooses and stops a thread and writes the stub. Requires: running, target_refresh'ed. ERR_BUSY (no thread can be used now), ERR_GONE,
 * ERR_REFUSED (no room for a stub, system calls are filtered and this process may not suspend the filter, no thread runs plain code: see
 * modes.h), ERR_ENVIRONMENT (the kernel does not let a tracer write to read-only memory). On failure the target runs as before.
 */
int inject_begin(struct target *t, struct inject *ret_inject, struct err *e) MUST_CHECK;

/*
 * Makes one call and keeps the thread where it is; inject_release lets go of what the call did. Until then, should this process die, the
 * thread makes the call in `revert` (may be NULL) first. May be used again while held: then the earlier call stands, unless `revert` takes it
 * over. ERR_REFUSED: the thread filters its system calls, and would be killed for one of the two if this process died (filter.h); no call was made.
 * Otherwise as inject_call.
 */
int inject_hold(struct inject *i, long number, const uint64_t arguments[6], const struct inject_revert *revert, int64_t *ret_result,
		struct err *e) MUST_CHECK;
/* The thread has its registers back, still stopped. */
int inject_release(struct inject *i, struct err *e) MUST_CHECK;

/*
 * Makes one call; *ret_result is what the kernel returned (-errno on failure of the call). On failure of the injection itself the
 * thread has its registers back but the call may or may not have been made; use inject_end.
 */
int inject_call(struct inject *i, long number, const uint64_t arguments[6], int64_t *ret_result, struct err *e) MUST_CHECK;

/* Gives the thread its registers back, removes the stub and lets it run. Never fails: what cannot be restored belongs to a dead process. */
void inject_end(struct inject *i);

/*
 * mmap of anonymous private memory at exactly `address`, never over another mapping. ERR_REFUSED with the kernel's reason. The thread is held:
 * until inject_release the mapping goes when this process dies.
 */
int inject_map(struct inject *i, raddr address, uint64_t size, int protection, struct err *e) MUST_CHECK;
int inject_unmap(struct inject *i, raddr address, uint64_t size, struct err *e) MUST_CHECK;

/* Where `size` bytes that belong to nobody stand behind the end of an executable segment. ERR_REFUSED when there are none. Target unchanged. */
int inject_find_room(const struct target *t, uint64_t size, raddr *ret_room, struct err *e) MUST_CHECK;

/*
 * Removes the stub that a killed tool left, if there is one. Nobody can be in it but a thread that was stopped by job control just then. ERR_BUSY: one
 * is, or not all could be stopped to see. inject_begin does so by itself.
 */
int inject_clean(struct target *t, struct err *e) MUST_CHECK;

/* The bytes of the stub that goes back to `registers`; `revert` may be NULL. */
void inject_stub_encode(const struct user_regs_struct *registers, const struct inject_revert *revert, uint8_t code[INJECT_STUB_SIZE]);
/* Parts of it, for stubs of the same make: a mov of a constant into a register, returns its end; and the end of a stub, from rcx on. */
uint8_t *inject_put_move(uint8_t *p, uint8_t rex, uint8_t opcode, uint64_t value);
void inject_put_home(uint8_t *p, const struct user_regs_struct *registers, uint64_t pc);

#endif

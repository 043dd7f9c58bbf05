/*
 * victim PLACE: SIGUSR1 begins a coroutine, which suspends itself inside moved code, or has it go on and end; each is answered by a line
 * "begun" or "ended". PLACE says where the coroutine's stack is, and on which stack the program itself waits for the signals meanwhile:
 *
 *	arena		both in one mapping, the program's made by hand
 *	context		as arena, the program's made by makecontext
 *	altstack	both from malloc; the program waits in a signal handler
 *	thread		both in one mapping; the program is a thread that was given its stack (pthread_attr_setstack)
 *	frame		in a variable of main, which waits on the main thread's own stack
 *	frames		both in a variable of main
 *	shared, closed	in shared memory; in memory that is inaccessible until it goes on
 *	preempted	it was interrupted by a signal, whose frame is all that leads into moved code
 *	jump		there is no coroutine: the program will jump back into moved code, by its own kind of setjmp
 *	bottom		it was made by hand, and nothing called its first function
 *	tables		there is none: a word in main's frame looks like a pointer into unwind tables beside the image
 *
 * Exit 1 when something is wrong.
 */
#include <execinfo.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define DEPTH 8
#define STACK_SIZE ((size_t)64 << 10)

static ucontext_t outside, inside;
static volatile sig_atomic_t asked, spinning, stop_spinning, bottom_ended;
static const char *place;
static char *stack; /* the coroutine's */
static int result, expected;
static volatile uintptr_t *left; /* in main's frame */
static void *bottom_outside, *bottom_inside;

/* Saves the callee-saved registers and the stack pointer at *save, and goes on from what was saved at `load`. */
void switch_stack(void **save, void *load);
__asm__(".text\n"
	".type switch_stack, @function\n"
	"switch_stack:\n"
	".cfi_startproc\n"
	"push %rbp\n .cfi_adjust_cfa_offset 8\n"
	"push %rbx\n .cfi_adjust_cfa_offset 8\n"
	"push %r12\n .cfi_adjust_cfa_offset 8\n"
	"push %r13\n .cfi_adjust_cfa_offset 8\n"
	"push %r14\n .cfi_adjust_cfa_offset 8\n"
	"push %r15\n .cfi_adjust_cfa_offset 8\n"
	"mov %rsp, (%rdi)\n"
	"mov %rsi, %rsp\n"
	"pop %r15\n .cfi_adjust_cfa_offset -8\n"
	"pop %r14\n .cfi_adjust_cfa_offset -8\n"
	"pop %r13\n .cfi_adjust_cfa_offset -8\n"
	"pop %r12\n .cfi_adjust_cfa_offset -8\n"
	"pop %rbx\n .cfi_adjust_cfa_offset -8\n"
	"pop %rbp\n .cfi_adjust_cfa_offset -8\n"
	"ret\n"
	".cfi_endproc\n"
	".size switch_stack, .-switch_stack\n");

/* As setjmp and longjmp, but nobody knows. */
int save_place(void **place);
void jump_back(void **place) __attribute__((noreturn));
__asm__(".text\n"
	".type save_place, @function\n"
	"save_place:\n"
	".cfi_startproc\n"
	"mov %rbx, (%rdi)\n"
	"mov %rbp, 8(%rdi)\n"
	"mov %r12, 16(%rdi)\n"
	"mov %r13, 24(%rdi)\n"
	"mov %r14, 32(%rdi)\n"
	"mov %r15, 40(%rdi)\n"
	"lea 8(%rsp), %rax\n"
	"mov %rax, 48(%rdi)\n"
	"mov (%rsp), %rax\n"
	"mov %rax, 56(%rdi)\n"
	"xor %eax, %eax\n"
	"ret\n"
	".cfi_endproc\n"
	".size save_place, .-save_place\n"
	".type jump_back, @function\n"
	"jump_back:\n"
	".cfi_startproc\n"
	"mov (%rdi), %rbx\n"
	"mov 8(%rdi), %rbp\n"
	"mov 16(%rdi), %r12\n"
	"mov 24(%rdi), %r13\n"
	"mov 32(%rdi), %r14\n"
	"mov 40(%rdi), %r15\n"
	"mov 48(%rdi), %rsp\n"
	"mov $1, %eax\n"
	"jmp *56(%rdi)\n"
	".cfi_endproc\n"
	".size jump_back, .-jump_back\n");

static int is(const char *what)
{
	return !strcmp(place, what);
}

/* Not moved: it saves its PC. Whoever unwinds then must still find a way through all frames. */
static NOINLINE void yield(void)
{
	void *frames[64];
	swapcontext(&inside, &outside);
	if (backtrace(frames, 64) < DEPTH + 2)
		puts("WRONG: frames cannot be unwound");
}

static void nothing(void)
{
}

static NOINLINE int work(int depth, void (*end)(void))
{
	int sum = depth;
	for (int i = 0; i < 20; i++)
		sum = sum * 3 + i;
	if (depth)
		return work(depth - 1, end) + (sum & 1);
	end();
	return sum & 1;
}

static NOINLINE int spin(void)
{
	spinning = 1;
	while (!stop_spinning)
		;
	return work(DEPTH, nothing);
}

static void soon(void)
{
	const struct itimerval timer = {.it_value = {0, 1000}};
	setitimer(ITIMER_REAL, &timer, NULL);
}

/* Takes the CPU away from the coroutine, wherever it is in spin. */
static void on_alarm(int number)
{
	(void)number;
	if (!spinning) {
		soon();
		return;
	}
	swapcontext(&inside, &outside);
	stop_spinning = 1;
}

static void coroutine(void)
{
	result = work(DEPTH, yield);
}

/* Not moved: it saves its PC. */
static void preempted(void)
{
	jmp_buf here;
	if (setjmp(here))
		abort();
	soon();
	result = spin();
}

static NOINLINE void bottom(void)
{
	for (;;) {
		switch_stack(&bottom_inside, bottom_outside);
		result = work(DEPTH, nothing);
		bottom_ended = 1;
	}
}

static void make_context(ucontext_t *context, void *low, void (*function)(void))
{
	getcontext(context);
	context->uc_stack.ss_sp = low;
	context->uc_stack.ss_size = STACK_SIZE;
	context->uc_link = &outside;
	makecontext(context, function, 0);
}

/* What to switch to for `function` to begin. It has no return address. */
static void *make_stack(char *low, void (*function)(void))
{
	void **top = (void **)(low + STACK_SIZE);
	memset(low, 0, STACK_SIZE);
	top[-2] = (void *)function;
	return top - 8;
}

static void begin_bottom(void)
{
	bottom_ended = 0;
	switch_stack(&bottom_outside, make_stack(stack, bottom));
}

/* Where read-only memory begins behind executable memory that no file is behind. */
static uintptr_t find_tables(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end, offset, inode, before = 0;
	char access[8], device[16], line[512];
	while (maps && fgets(line, sizeof line, maps)) {
		if (sscanf(line, "%lx-%lx %7s %lx %15s %lu", &start, &end, access, &offset, device, &inode) != 6 || inode)
			continue;
		if (start == before && access[1] == '-' && access[2] == '-')
			break;
		before = access[2] == 'x' ? end : 0;
		start = 0;
	}
	if (!maps || !start)
		exit(3);
	fclose(maps);
	return start + 64;
}

static void begin(void)
{
	if (is("tables")) {
		*left = find_tables();
		result = expected;
		return;
	}
	spinning = stop_spinning = 0;
	result = -1;
	if (is("bottom")) {
		begin_bottom();
		return;
	}
	make_context(&inside, stack, is("preempted") ? preempted : coroutine);
	swapcontext(&outside, &inside);
	if (is("closed"))
		mprotect(stack, STACK_SIZE, PROT_NONE);
}

/* The program's own stack below here. */
static NOINLINE void scrub(void)
{
	char room[24 << 10];
	memset(room, 0, sizeof room);
	__asm__ volatile("" : : "r"(room) : "memory");
}

/* What was left on stacks (frames of signals, too) must not look as if it were still there. */
static void end(void)
{
	if (is("tables")) {
		*left = 0;
		return;
	}
	if (is("closed"))
		mprotect(stack, STACK_SIZE, PROT_READ | PROT_WRITE);
	if (is("bottom"))
		switch_stack(&bottom_outside, bottom_inside);
	else
		swapcontext(&outside, &inside);
	memset(stack, 0, STACK_SIZE);
	scrub();
}

static void answer(const char *text)
{
	puts(text);
	fflush(stdout);
}

static NOINLINE void wait_until_asked(void)
{
	while (!asked)
		usleep(1000);
	asked = 0;
}

static NOINLINE int jump(void)
{
	static void *saved[64];
	memset(saved, 1, sizeof saved); /* what follows looks neither like a frame nor like the end of a stack */
	if (!save_place(saved)) {
		answer("begun");
		wait_until_asked();
		jump_back(saved);
	}
	memset(saved, 0, sizeof saved);
	return work(DEPTH, nothing);
}

static void serve_jumps(void)
{
	for (;;) {
		wait_until_asked();
		int sum = jump();
		scrub();
		answer(sum == expected ? "ended" : "WRONG");
	}
}

static void serve(void)
{
	int begun = 0;
	for (;;) {
		if (work(DEPTH, nothing) != expected)
			exit(1);
		usleep(1000);
		if (!asked)
			continue;
		asked = 0;
		if (!begun) {
			begin();
			answer("begun");
		} else {
			end();
			answer(result == expected && bottom_ended == is("bottom") ? "ended" : "WRONG");
		}
		begun = !begun;
	}
}

static void *serve_thread(void *unused)
{
	serve();
	return unused;
}

static void serve_handler(int number)
{
	sigset_t usr1;
	(void)number;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	sigprocmask(SIG_UNBLOCK, &usr1, NULL);
	serve();
}

static void on_usr1(int number)
{
	(void)number;
	asked = 1;
}

static char *map(int flags)
{
	char *arena = mmap(NULL, 4 * STACK_SIZE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		exit(3);
	return arena;
}

/* For ever on another stack. One by makecontext begins in libc, at a place without unwind information. */
static void serve_on(char *low)
{
	static ucontext_t program, main_context;
	static void *main_stack;
	if (is("context")) {
		make_context(&program, low, serve);
		swapcontext(&main_context, &program);
	} else {
		switch_stack(&main_stack, make_stack(low, serve));
	}
}

static void serve_altstack(void)
{
	const stack_t alternate = {.ss_sp = malloc(STACK_SIZE), .ss_size = STACK_SIZE};
	struct sigaction action = {.sa_handler = serve_handler, .sa_flags = SA_ONSTACK};
	stack = malloc(STACK_SIZE);
	if (!alternate.ss_sp || !stack || sigaltstack(&alternate, NULL) || sigaction(SIGUSR2, &action, NULL))
		exit(3);
	raise(SIGUSR2);
}

static void serve_in_thread(char *low)
{
	pthread_attr_t attributes;
	pthread_t thread;
	if (pthread_attr_init(&attributes) || pthread_attr_setstack(&attributes, low, 2 * STACK_SIZE) ||
	    pthread_create(&thread, &attributes, serve_thread, NULL))
		exit(3);
	sigset_t usr1;
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &usr1, NULL);
	pthread_join(thread, NULL);
}

static NOINLINE void serve_in_frame(void)
{
	char room[2 * STACK_SIZE] __attribute__((aligned(64)));
	memset(room, 0, sizeof room);
	stack = room;
	if (is("frames"))
		serve_on(room + STACK_SIZE);
	serve();
}

int main(int argc, char **argv)
{
	void *frame;
	volatile uintptr_t room = 0;
	left = &room;
	backtrace(&frame, 1); /* loads the unwinder */
	place = argc > 1 ? argv[1] : "";
	expected = work(DEPTH, nothing);
	signal(SIGUSR1, on_usr1);
	signal(SIGALRM, on_alarm);
	if (is("altstack"))
		serve_altstack();
	if (is("jump"))
		serve_jumps();
	if (is("frame") || is("frames"))
		serve_in_frame();
	stack = map(is("shared") ? MAP_SHARED : MAP_PRIVATE);
	if (is("arena") || is("context"))
		serve_on(stack + 2 * STACK_SIZE);
	if (is("thread"))
		serve_in_thread(stack + 2 * STACK_SIZE);
	serve();
	return 0;
}

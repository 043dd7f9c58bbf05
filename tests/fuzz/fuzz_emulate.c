/*
 * Any bytes as the code of a thread that is emulated. A page of the process, between pages full of a pattern, holds them; the registers point
 * there and elsewhere. Whatever the code does, it does it to copies: the pages are as before, so are the registers of this thread that belong to its
 * caller, and an instruction that the CPU executes itself writes nothing beside its operand and the register file.
 */
#include "profile/emulate/cpu.h"
#include "profile/emulate/op.h"
#include "profile/emulate/thunk.h"
#include "tests/fuzz/must.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGES = 4, CODE = 1, FILL = 0xa5, LIMIT = 2000, MARGIN = 256, STARTS = 64, ROUNDS = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	uint8_t *pages; /* PAGES, of which CODE holds code; the last may not be accessed */
	uint8_t place[MARGIN + THUNK_PLACE_MAX + MARGIN];
	struct memory *memory;
	struct thunks *thunks;
};

/* Registers from the input: into the code, just before a page ends, into nothing, or a small number. */
static uint64_t value_of(const struct world *w, uint8_t byte)
{
	static const uint64_t numbers[] = {0, 1, UINT64_MAX, 1u << 20, 0x8000000000000000u, 7, 0x10, 0x00007fffffffffff};
	uint64_t page = (uint64_t)(uintptr_t)w->pages;
	switch (byte >> 6) {
	case 0:
		return numbers[byte & 7];
	case 1:
		return page + (uint64_t)CODE * MEMORY_PAGE + (byte & 63) * 8u;
	case 2:
		return page + (PAGES - 1u) * MEMORY_PAGE - (byte & 63);
	default:
		return page + (byte & 63) * 64u;
	}
}

static void fill_vectors(uint8_t *vectors, uint8_t from)
{
	static const uint8_t header[] = {0xe7};
	for (unsigned i = 0; i < 512; i++)
		vectors[i] = (uint8_t)(i * 7 + from);
	memcpy(vectors, "\x7f\x03\0\0", 4);	 /* x87 control and status */
	memcpy(vectors + 24, "\x80\x1f\0\0", 4); /* MXCSR */
	memset(vectors + 512, 0, 64);		 /* what is there, in which format */
	memcpy(vectors + 512, header, sizeof header);
}

/* One instruction, alone. */
static void run_one(struct world *w, const uint8_t *registers, const uint8_t *code, size_t size)
{
	struct op op;
	struct thunk_file *file = thunks_file(w->thunks);
	uint8_t bytes[16] = {0};
	memcpy(bytes, code, size < sizeof bytes ? size : sizeof bytes);
	op_decode(w->thunks, (raddr){(uint64_t)(uintptr_t)w->pages}, bytes, (uint32_t)(size < sizeof bytes ? size : sizeof bytes), &op);
	if (op.kind != OP_NATIVE)
		return;
	MUST(op.length && op.length <= 15 && op.length <= size && (!op.has_place || op.size <= THUNK_PLACE_MAX));
	for (unsigned i = 0; i < 16; i++)
		file->gpr[i] = value_of(w, registers[i]);
	file->flags = registers[0];
	file->operand = w->place + MARGIN;
	fill_vectors(file->vectors, registers[1]);
	memset(w->place, FILL, sizeof w->place);
	uint32_t host = file->host_mxcsr;
	(void)!thunk_run(w->thunks, op.thunk);
	MUST(file->host_mxcsr == host && file->operand == w->place + MARGIN);
	unsigned written = op.has_place && op.writes_place ? op.size : 0;
	for (unsigned i = 0; i < sizeof w->place; i++)
		MUST(w->place[i] == FILL || (i >= MARGIN && i < MARGIN + written));
}

static void run_all(struct world *w, const uint8_t *registers)
{
	struct cpu *cpu;
	struct user_regs_struct regs = {.eflags = 0x202, .cs = 0x33, .ss = 0x2b};
	static _Alignas(64) uint8_t vectors[4096];
	unsigned long long *general[15] = {&regs.rax, &regs.rbx, &regs.rcx, &regs.rdx, &regs.rsi, &regs.rdi, &regs.rbp, &regs.rsp,
					   &regs.r8,  &regs.r9,	 &regs.r10, &regs.r11, &regs.r12, &regs.r13, &regs.r14};
	cpu_branches branches = {0};
	enum cpu_end end;
	uint64_t executed;
	MUST(!cpu_new(w->memory, &cpu, NULL));
	for (unsigned i = 0; i < 15; i++)
		*general[i] = value_of(w, registers[i]);
	regs.r15 = (uint64_t)(uintptr_t)w->place;
	regs.fs_base = (uint64_t)(uintptr_t)w->pages;
	regs.rip = (uint64_t)(uintptr_t)w->pages + (uint64_t)CODE * MEMORY_PAGE;
	fill_vectors(vectors, registers[15]);
	cpu_load(cpu, &regs, vectors, sizeof vectors);
	MUST(!cpu_run(cpu, LIMIT, &branches, &end, &executed, NULL));
	MUST(end < CPU_ENDS && executed <= LIMIT && branches.count <= executed && (end != CPU_LIMIT || executed == LIMIT));
	cpu_store(cpu, &regs);
	cpu_store_vectors(cpu, vectors, sizeof vectors);
	vec_free(&branches);
	cpu_free(cpu);
	memory_forget(w->memory);
}

static void world_init(struct world *w)
{
	w->pages = mmap(NULL, (size_t)PAGES * MEMORY_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(w->pages != MAP_FAILED && !mprotect(w->pages + (PAGES - 1) * MEMORY_PAGE, MEMORY_PAGE, PROT_NONE));
	MUST(!memory_new(getpid(), 64, &w->memory, NULL));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	static unsigned rounds;
	if (!w.pages)
		world_init(&w);
	if (size < 17)
		return 0;
	size = size - 16 < MEMORY_PAGE ? size : MEMORY_PAGE + 16;
	memset(w.pages, FILL, (PAGES - 1) * MEMORY_PAGE);
	uint8_t *code = w.pages + CODE * MEMORY_PAGE;
	memcpy(code, data + 16, size - 16);
	memset(w.place, FILL, sizeof w.place);
	run_all(&w, data);
	for (unsigned i = 0; i < (PAGES - 1) * MEMORY_PAGE; i++)
		MUST(w.pages[i] == FILL || (i >= CODE * MEMORY_PAGE && i - CODE * MEMORY_PAGE < size - 16));
	MUST(!memcmp(code, data + 16, size - 16));
	for (unsigned i = 0; i < sizeof w.place; i++)
		MUST(w.place[i] == FILL);
	/* Room for instructions is not given back one by one. */
	if (rounds++ % ROUNDS == 0) {
		thunks_free(w.thunks);
		MUST(!thunks_new(&w.thunks, NULL));
	}
	MUST(!thunks_enter(w.thunks, NULL));
	for (size_t at = 16; at < size && at < 16 + STARTS; at++)
		run_one(&w, data, data + at, size - at);
	thunks_leave(w.thunks);
	return 0;
}

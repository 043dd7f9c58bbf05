/* The stub's machine code, run in this process against directories made here. */
#include "analyze/emit/stub.h"

#include "formats/base/bytes.h"
#include "formats/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

enum { PAGE = 4096, DIRECTORY = PAGE, TABLES = 2 * PAGE, REGION_SIZE = 0x3000, FELL_THROUGH = 0x5eed };

/* One mapping: page 0 the code, page 1 the directory, page 2.. the tables and FDEs of two regions. */
struct world {
	uint8_t *base;
	uint8_t *region[2];
};

struct bases {
	uint64_t tbase, dbase, func;
};

struct registers {
	uint64_t rdi, rsi, rdx, rcx, r8, r9, rbx, r12, r13, r14, r15, result;
};

/* Calls `code` with the registers as given and stores them as they are afterwards. */
static void call_with(const void *code, struct registers *registers)
{
	__asm__ volatile("push %%rbp\n\t"
			 "sub $256, %%rsp\n\t" /* past the red zone */
			 "mov %0, %%rbp\n\t"
			 "mov %1, %%rax\n\t"
			 "mov 0(%%rbp), %%rdi\n\tmov 8(%%rbp), %%rsi\n\tmov 16(%%rbp), %%rdx\n\tmov 24(%%rbp), %%rcx\n\t"
			 "mov 32(%%rbp), %%r8\n\tmov 40(%%rbp), %%r9\n\tmov 48(%%rbp), %%rbx\n\tmov 56(%%rbp), %%r12\n\t"
			 "mov 64(%%rbp), %%r13\n\tmov 72(%%rbp), %%r14\n\tmov 80(%%rbp), %%r15\n\t"
			 "movq $0x77, -16(%%rsp)\n\t" /* below the return address: must survive */
			 "call *%%rax\n\t"
			 "mov %%rdi, 0(%%rbp)\n\tmov %%rsi, 8(%%rbp)\n\tmov %%rdx, 16(%%rbp)\n\tmov %%rcx, 24(%%rbp)\n\t"
			 "mov %%r8, 32(%%rbp)\n\tmov %%r9, 40(%%rbp)\n\tmov %%rbx, 48(%%rbp)\n\tmov %%r12, 56(%%rbp)\n\t"
			 "mov %%r13, 64(%%rbp)\n\tmov %%r14, 72(%%rbp)\n\tmov %%r15, 80(%%rbp)\n\tmov %%rax, 88(%%rbp)\n\t"
			 "cmpq $0x77, -16(%%rsp)\n\tje 1f\n\tmovq $-1, 0(%%rbp)\n1:\n\t"
			 "add $256, %%rsp\n\t"
			 "pop %%rbp\n\t"
			 :
			 : "a"(registers), "d"(code)
			 : "rdi", "rsi", "rcx", "r8", "r9", "r10", "r11", "rbx", "r12", "r13", "r14", "r15", "memory", "cc");
}

static void put_directory(struct world *w, unsigned index, uint64_t start, uint64_t end, const void *table, uint64_t count)
{
	uint64_t entry[4] = {start, end, (uintptr_t)table, count};
	memcpy(w->base + DIRECTORY + index * STUB_DIRECTORY_ENTRY_SIZE, entry, sizeof entry);
}

static int setup_stub(void **state, const struct stub *stub)
{
	static struct world w;
	w.base = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (w.base == MAP_FAILED)
		return -1;
	memcpy(w.base, stub->code, stub->size);
	store_u32(w.base + stub->directory_field, (uint32_t)(DIRECTORY - (stub->directory_field + 4)));
	const uint8_t fall_through[] = {0xb8, 0xed, 0x5e, 0, 0, 0xc3}; /* mov $0x5eed, %eax; ret */
	memcpy(w.base + stub->size, fall_through, sizeof fall_through);
	if (mprotect(w.base, PAGE, PROT_READ | PROT_EXEC))
		return -1;
	w.region[0] = w.base + 4 * PAGE;
	w.region[1] = w.base + 8 * PAGE;
	*state = &w;
	return 0;
}

static int setup(void **state)
{
	return setup_stub(state, stub_of("_Unwind_Find_FDE"));
}

static int setup_object(void **state)
{
	return setup_stub(state, stub_of("_dl_find_object"));
}

static int teardown(void **state)
{
	struct world *w = *state;
	return munmap(w->base, 16 * PAGE);
}

/* Fills region `index` with a table of `count` FDEs: FDE i covers [64 * i + 16, 64 * i + 16 + 32) and lies behind the code at 0x3000 + 20 * i. */
static void make_region(struct world *w, unsigned index, unsigned count)
{
	uint8_t *region = w->region[index], *table = w->base + TABLES + index * 2048;
	for (unsigned i = 0; i < count; i++) {
		store_u32(table + 8 * i, 64 * i + 16);
		store_u32(table + 8 * i + 4, REGION_SIZE + 20 * i);
		store_u32(region + REGION_SIZE + 20 * i + 12, 32);
	}
	put_directory(w, index, (uintptr_t)region, (uintptr_t)region + REGION_SIZE, table, count);
	put_directory(w, index + 1, 0, 0, NULL, 0);
}

static uint64_t find(struct world *w, const uint8_t *pc, struct bases *bases)
{
	struct registers r = {(uintptr_t)pc, (uintptr_t)bases, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0};
	*bases = (struct bases){1, 2, 3};
	call_with(w->base, &r);
	assert_int_equal(r.rdi, (uintptr_t)pc);
	assert_int_equal(r.rsi, (uintptr_t)bases);
	assert_true(r.rbx == 7 && r.r12 == 8 && r.r13 == 9 && r.r14 == 10 && r.r15 == 11);
	if (r.result == FELL_THROUGH) {
		assert_true(r.rdx == 3 && r.rcx == 4 && r.r8 == 5 && r.r9 == 6);
		assert_true(bases->tbase == 1 && bases->dbase == 2 && bases->func == 3);
	}
	return r.result;
}

static void empty_directory_falls_through(void **state)
{
	struct world *w = *state;
	struct bases bases;
	put_directory(w, 0, 0, 0, NULL, 0);
	assert_int_equal(find(w, w->region[0] + 20, &bases), FELL_THROUGH);
	assert_int_equal(find(w, NULL, &bases), FELL_THROUGH);
}

static void foreign_pc_falls_through(void **state)
{
	struct world *w = *state;
	struct bases bases;
	make_region(w, 0, 5);
	make_region(w, 1, 3);
	assert_int_equal(find(w, w->region[0] - 1, &bases), FELL_THROUGH);
	assert_int_equal(find(w, w->region[0] + REGION_SIZE, &bases), FELL_THROUGH);
	assert_int_equal(find(w, w->region[1] + REGION_SIZE, &bases), FELL_THROUGH);
	assert_int_equal(find(w, (const uint8_t *)UINTPTR_MAX, &bases), FELL_THROUGH);
	assert_int_equal(find(w, NULL, &bases), FELL_THROUGH);
}

/* Every byte of both regions, for tables of every size up to 40. */
static void every_pc_of_a_region_finds_its_fde(void **state)
{
	struct world *w = *state;
	struct bases bases;
	for (unsigned count = 0; count <= 40; count++) {
		unsigned index = count & 1;
		make_region(w, 0, 1);
		make_region(w, index, count);
		for (unsigned offset = 0; offset < 64 * 42; offset++) {
			uint8_t *region = w->region[index];
			uint64_t result = find(w, region + offset, &bases);
			unsigned i = (offset - 16) / 64;
			if (offset < 16 || i >= count || (offset - 16) % 64 >= 32) {
				assert_int_equal(result, 0);
				assert_int_equal(bases.func, 3);
				continue;
			}
			assert_int_equal(result, (uintptr_t)region + REGION_SIZE + 20 * i);
			assert_int_equal(bases.func, (uintptr_t)region + 64 * i + 16);
			assert_true(bases.tbase == 0 && bases.dbase == 0);
		}
	}
}

/* struct dl_find_object of <dlfcn.h>, glibc 2.35. */
struct object {
	uint64_t flags, map_start, map_end, link_map, eh_frame_header, reserved[7];
};

static uint64_t find_object(struct world *w, const uint8_t *pc, struct object *ret_object)
{
	struct registers r = {(uintptr_t)pc, (uintptr_t)ret_object, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0};
	memset(ret_object, 0x77, sizeof *ret_object);
	call_with(w->base, &r);
	assert_int_equal(r.rdi, (uintptr_t)pc);
	assert_int_equal(r.rsi, (uintptr_t)ret_object);
	assert_true(r.rbx == 7 && r.r12 == 8 && r.r13 == 9 && r.r14 == 10 && r.r15 == 11);
	if (r.result == FELL_THROUGH)
		assert_true(r.rdx == 3 && r.rcx == 4 && r.r8 == 5 && r.r9 == 6 && ret_object->flags == 0x7777777777777777);
	return r.result;
}

static void object_of_a_region_is_found_and_others_fall_through(void **state)
{
	struct world *w = *state;
	struct object o;
	make_region(w, 0, 5);
	make_region(w, 1, 3);
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned at = 0; at < REGION_SIZE; at += REGION_SIZE - 1) {
			assert_int_equal(find_object(w, w->region[i] + at, &o), 0);
			const struct object expected = {.map_start = (uintptr_t)w->region[i],
							.map_end = (uintptr_t)w->region[i] + REGION_SIZE,
							.eh_frame_header = (uintptr_t)w->base + TABLES + i * 2048 + 8 * (i ? 3 : 5)};
			assert_memory_equal(&o, &expected, sizeof o);
		}
		assert_int_equal(find_object(w, w->region[i] - 1, &o), FELL_THROUGH);
		assert_int_equal(find_object(w, w->region[i] + REGION_SIZE, &o), FELL_THROUGH);
	}
	put_directory(w, 0, 0, 0, NULL, 0);
	assert_int_equal(find_object(w, w->region[0], &o), FELL_THROUGH);
}

static void size_fits_the_plan(void **state)
{
	static const char *const names[] = {"_Unwind_Find_FDE", "_dl_find_object"};
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		const struct stub *stub = stub_of(names[i]);
		assert_true(stub->size <= PLAN_STUB_SIZE_MAX);
		assert_true(stub->directory_field + 4 <= stub->size);
		assert_int_equal(load_u32(stub->code + stub->directory_field), 0);
	}
	assert_null(stub_of("_Unwind_Backtrace"));
	assert_null(stub_of(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(size_fits_the_plan),
	    cmocka_unit_test_setup_teardown(empty_directory_falls_through, setup, teardown),
	    cmocka_unit_test_setup_teardown(foreign_pc_falls_through, setup, teardown),
	    cmocka_unit_test_setup_teardown(every_pc_of_a_region_finds_its_fde, setup, teardown),
	    cmocka_unit_test_setup_teardown(object_of_a_region_is_found_and_others_fall_through, setup_object, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

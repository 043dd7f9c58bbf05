#include "analyze/code/special.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	const char *name;
	unsigned bits;
};

#define PC (SPECIAL_SAVES_PC | SPECIAL_ITSELF)
#define ASK (SPECIAL_ASKS_CALLER | SPECIAL_ITSELF)
#define FORK (SPECIAL_FORKS | SPECIAL_ITSELF)
#define END SPECIAL_NO_RETURN
#define SELF SPECIAL_ITSELF

/* Sorted by strcmp. */
static const struct entry entries[] = {
    {"_Exit", END},
    {"_Jv_RegisterClasses", SELF},
    {"_Unwind_Resume", END | SELF},
    {"_Unwind_Resume_or_Rethrow", SELF},
    {"_ZSt10unexpectedv", END},
    {"_ZSt16__throw_bad_castv", END},
    {"_ZSt17__throw_bad_allocv", END},
    {"_ZSt17rethrow_exceptionNSt15__exception_ptr13exception_ptrE", END},
    {"_ZSt18__throw_bad_typeidv", END},
    {"_ZSt19__throw_logic_errorPKc", END},
    {"_ZSt19__throw_range_errorPKc", END},
    {"_ZSt20__throw_domain_errorPKc", END},
    {"_ZSt20__throw_future_errori", END},
    {"_ZSt20__throw_length_errorPKc", END},
    {"_ZSt20__throw_out_of_rangePKc", END},
    {"_ZSt20__throw_system_errori", END},
    {"_ZSt21__throw_bad_exceptionv", END},
    {"_ZSt21__throw_runtime_errorPKc", END},
    {"_ZSt22__throw_overflow_errorPKc", END},
    {"_ZSt23__throw_underflow_errorPKc", END},
    {"_ZSt24__throw_invalid_argumentPKc", END},
    {"_ZSt24__throw_out_of_range_fmtPKcz", END},
    {"_ZSt25__throw_bad_function_callv", END},
    {"_ZSt28__throw_bad_array_new_lengthv", END},
    {"_ZSt9terminatev", END},
    {"___longjmp_chk", END | SELF},
    {"__assert", END},
    {"__assert_fail", END},
    {"__assert_perror_fail", END},
    {"__chk_fail", END},
    {"__clone", FORK},
    {"__clone2", FORK},
    {"__clone3", FORK},
    {"__cxa_bad_cast", END},
    {"__cxa_bad_typeid", END},
    {"__cxa_call_terminate", END},
    {"__cxa_call_unexpected", END},
    {"__cxa_pure_virtual", END},
    {"__cxa_rethrow", END},
    {"__cxa_throw", END},
    {"__cxa_throw_bad_array_new_length", END},
    {"__fentry__", ASK},
    {"__fortify_fail", END},
    {"__getcontext", PC},
    {"__libc_dlopen_mode", ASK},
    {"__libc_dlsym", ASK},
    {"__libc_dlvsym", ASK},
    {"__libc_fatal", END},
    {"__libc_longjmp", END | SELF},
    {"__libc_siglongjmp", END | SELF},
    {"__libc_start_main", END | SELF},
    {"__libc_vfork", FORK},
    {"__longjmp_chk", END | SELF},
    {"__sigsetjmp", PC},
    {"__sigsetjmp_cancel", PC},
    {"__stack_chk_fail", END},
    {"__swapcontext", PC},
    {"__vfork", FORK},
    {"_dl_mcount_wrapper", ASK},
    {"_dl_mcount_wrapper_check", ASK},
    {"_exit", END},
    {"_longjmp", END | SELF},
    {"_mcount", ASK},
    {"_setjmp", PC},
    {"abort", END},
    {"clone", FORK},
    {"clone3", FORK},
    {"dladdr", ASK},
    {"dladdr1", ASK},
    {"dlmopen", ASK},
    {"dlopen", ASK},
    {"dlsym", ASK},
    {"dlvsym", ASK},
    {"exit", END},
    {"getcontext", PC},
    {"longjmp", END | SELF},
    {"makecontext", PC},
    {"mcount", ASK},
    {"pthread_exit", END},
    {"quick_exit", END},
    {"setcontext", SELF},
    {"setjmp", PC},
    {"siglongjmp", END | SELF},
    {"sigsetjmp", PC},
    {"swapcontext", PC},
    {"thrd_exit", END},
    {"vfork", FORK},
};

static int compare(const void *name, const void *entry)
{
	return strcmp(name, ((const struct entry *)entry)->name);
}

unsigned special_of_name(const char *name)
{
	if (!name)
		return 0;
	const struct entry *e = bsearch(name, entries, sizeof entries / sizeof *entries, sizeof *entries, compare);
	unsigned bits = e ? e->bits : 0;
	/* The unwinder looks at its own frame (uw_init_context); only the look-up of FDEs is plain code, and a later stage hooks it. */
	if (!strncmp(name, "_Unwind_", 8) && strcmp(name, "_Unwind_Find_FDE"))
		bits |= SPECIAL_ITSELF;
	/* The dynamic loader's own routines: run before relocation, return to where they were not called from, or are watched by debuggers. But
	   how unwinders look up code is hooked as well. */
	if (!strncmp(name, "_dl_", 4) && strcmp(name, "_dl_find_object"))
		bits |= SPECIAL_ITSELF;
	return bits;
}

#include "apply/exec_plans.h"

#include "apply/apply.h"
#include "apply/modules.h"
#include "formats/base/hash.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int exec_plans_add(struct exec_plans *plans, const char *path, struct err *e)
{
	struct plan *list = realloc(plans->list, (plans->count + 1) * sizeof *list);
	if (!list)
		return err_set(e, ERR_MEMORY, "no memory for %u plans", plans->count + 1);
	plans->list = list;
	int status = apply_read_plan(path, &list[plans->count], e);
	if (status)
		return status;
	if (plan_counts(&list[plans->count])) {
		plan_free(&list[plans->count]);
		return err_set(e, ERR_UNSUPPORTED, "%s: a counting plan, which makes the process slower: see repave-apply count", path);
	}
	plans->count++;
	return 0;
}

void exec_plans_free(struct exec_plans *plans)
{
	for (uint32_t i = 0; i < plans->count; i++)
		plan_free(&plans->list[i]);
	free(plans->list);
	*plans = (struct exec_plans){0};
}

static const char *file_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static bool is_library(const struct plan_module *m)
{
	return strstr(file_name(m->module.path), ".so") != NULL;
}

/* The first program that the plan is for, or NULL: it is for libraries. */
static const struct plan_module *first_program(const struct plan *plan)
{
	for (uint32_t i = 0; i < plan->module_count; i++)
		if (!is_library(&plan->modules[i]))
			return &plan->modules[i];
	return NULL;
}

bool exec_plans_have_programs(const struct exec_plans *plans)
{
	for (uint32_t i = 0; i < plans->count; i++)
		if (first_program(&plans->list[i]))
			return true;
	return false;
}

static bool is_mapped(const struct target *t, const struct plan_module *m)
{
	uint64_t bias;
	return !modules_find(t, m, &bias, NULL);
}

/* Of the program that `t` executes, whose file name is `name`. */
static enum exec_fit fit(const struct plan *plan, const struct target *t, const char *name)
{
	enum exec_fit found = EXEC_NOT_MEANT;
	if (!first_program(plan))
		return EXEC_PERHAPS;
	for (uint32_t i = 0; i < plan->module_count; i++) {
		const struct plan_module *m = &plan->modules[i];
		if (is_library(m))
			continue;
		if (is_mapped(t, m))
			return EXEC_FITS;
		if (!strcmp(file_name(m->module.path), name))
			found = EXEC_OTHER_BUILD;
	}
	return found;
}

static enum exec_fit fit_by_path(const struct plan *plan, const struct target *t)
{
	char link[64], path[PATH_MAX];
	snprintf(link, sizeof link, "/proc/%d/exe", t->pid);
	ssize_t length = readlink(link, path, sizeof path - 1);
	path[length > 0 ? length : 0] = 0;
	return fit(plan, t, file_name(path));
}

enum exec_fit exec_plans_fit(const struct exec_plans *plans, const struct target *t, struct err *why)
{
	enum exec_fit best = EXEC_NOT_MEANT;
	const struct plan_module *program = NULL;
	for (uint32_t i = 0; i < plans->count; i++) {
		enum exec_fit one = fit_by_path(&plans->list[i], t);
		if (!program || one < best)
			program = first_program(&plans->list[i]);
		if (one < best)
			best = one;
	}
	if (best == EXEC_OTHER_BUILD)
		err_set(why, ERR_REFUSED, "the plan is for another build of %s", program->module.path);
	if (best == EXEC_NOT_MEANT)
		err_set(why, ERR_REFUSED, program ? "the plan is for %s" : "there is no plan", program ? program->module.path : "");
	return best;
}

static bool has_module(const struct plan *plan, const struct plan_module *m)
{
	for (uint32_t i = 0; i < plan->module_count; i++) {
		const struct module_identity *other = &plan->modules[i].module;
		if (other->build_id_size == m->module.build_id_size && !memcmp(other->build_id, m->module.build_id, other->build_id_size))
			return true;
	}
	return false;
}

/* The sum is a plan of its own, so it has a hash of its own, unless it is one of them. */
static void add_plan(struct plan *sum, const struct plan *plan)
{
	const uint64_t both[2] = {sum->inputs_hash, plan->inputs_hash};
	sum->inputs_hash = sum->module_count ? hash_bytes(both, sizeof both) : plan->inputs_hash;
	for (uint32_t i = 0; i < plan->module_count; i++)
		if (!has_module(sum, &plan->modules[i]))
			sum->modules[sum->module_count++] = plan->modules[i];
}

int exec_plans_choose(const struct exec_plans *plans, const struct target *t, struct plan *ret_plan, struct err *e)
{
	uint32_t room = 0;
	bool mapped = false;
	for (uint32_t i = 0; i < plans->count; i++)
		room += plans->list[i].module_count;
	struct plan sum = {.modules = calloc(room + 1, sizeof *sum.modules)};
	if (!sum.modules)
		return err_set(e, ERR_MEMORY, "no memory for %u modules", room);
	for (uint32_t i = 0; i < plans->count; i++)
		if (fit_by_path(&plans->list[i], t) <= EXEC_PERHAPS)
			add_plan(&sum, &plans->list[i]);
	if (!sum.module_count) {
		free(sum.modules);
		return err_set(e, ERR_MISMATCH, "there is no plan");
	}
	for (uint32_t i = 0; i < sum.module_count && !mapped; i++)
		mapped = is_mapped(t, &sum.modules[i]);
	if (mapped) {
		*ret_plan = sum;
		return 0;
	}
	int status = err_set(e, ERR_MISMATCH, "the plan is for %s, which is not mapped%s", sum.modules[0].module.path,
			     sum.module_count > 1 ? ", nor is what else it is for" : "");
	free(sum.modules);
	return status;
}

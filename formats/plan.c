#include "formats/plan.h"

#include "formats/base/file.h"

#include <stdlib.h>

/* Index of the last run that starts at or before `image` and holds bytes of it, or -1. Runs without image bytes are passed over. */
static int64_t run_at(const struct plan_run *runs, uint32_t run_count, uint32_t image)
{
	uint32_t low = 0, high = run_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (runs[middle].image <= image)
			low = middle + 1;
		else
			high = middle;
	}
	while (low && !runs[low - 1].image_size)
		low--;
	if (!low || image - runs[low - 1].image >= runs[low - 1].image_size)
		return -1;
	return (int64_t)low - 1;
}

uint32_t plan_run_original(const struct plan_run *runs, uint32_t run_count, uint32_t image)
{
	int64_t index = run_at(runs, run_count, image);
	if (index < 0)
		return PLAN_NONE;
	const struct plan_run *run = &runs[index];
	uint32_t inside = image - run->image;
	switch (run->kind) {
	case PLAN_RUN_COPY:
		return run->original + inside;
	case PLAN_RUN_STUB:
		return run->original;
	case PLAN_RUN_REWRITTEN:
	case PLAN_RUN_INSERTED:
	case PLAN_RUN_COUNTER:
		return inside ? PLAN_NONE : run->original;
	default:
		return PLAN_NONE;
	}
}

uint32_t plan_run_original_return(const struct plan_run *runs, uint32_t run_count, uint32_t image)
{
	int64_t index = image ? run_at(runs, run_count, image - 1) : -1;
	if (index < 0)
		return PLAN_NONE;
	const struct plan_run *run = &runs[index];
	switch (run->kind) {
	case PLAN_RUN_COPY:
		return run->original + (image - run->image);
	case PLAN_RUN_REWRITTEN:
		return image == run->image + run->image_size ? run->original + run->original_size : PLAN_NONE;
	default:
		return PLAN_NONE;
	}
}

int plan_read(const char *path, struct plan *ret_plan, struct err *e)
{
	struct file_data file;
	int status = file_read(path, &file, e);
	if (status)
		return status;
	status = plan_decode(file.data, file.size, path, ret_plan, e);
	file_data_free(&file);
	return status;
}

void plan_module_free(struct plan_module *m)
{
	module_free(&m->module);
	free(m->code);
	free(m->data);
	free(m->relocations);
	free(m->functions);
	free(m->patches);
	free(m->runs);
	free(m->slots);
	free(m->counters);
	free(m->strings);
	*m = (struct plan_module){0};
}

void plan_free(struct plan *p)
{
	for (uint32_t i = 0; i < p->module_count; i++)
		plan_module_free(&p->modules[i]);
	free(p->modules);
	free(p->options);
	*p = (struct plan){0};
}

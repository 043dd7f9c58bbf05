/*
 * Any bytes as an ELF file, by its three readers. The analyser's (libelf, own DWARF): every FDE lies in the text, its rows and its exception table
 * inside its range; the map made of it is valid and reads back the same. The privileged reader of headers and the file sink's: whatever
 * two of them accept is the same module to both.
 */
#include "analyze/code/map_build.h"
#include "analyze/elf/cfi.h"
#include "analyze/elf/image.h"
#include "analyze/elf/lsda.h"
#include "apply/file/elf_file.h"
#include "formats/base/elfhead.h"
#include "tests/fuzz/must.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define TEXT_MAX (1u << 20) /* more is not mapped: it takes too long for a fuzzer */
#define FDES_MAX 200u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An error has a code and says something; `status` is its negative. */
static void must_be_said(int status, const struct err *e)
{
	MUST(status < 0 && e->code == -status && e->text[0]);
}

static bool inside(uint64_t start, uint64_t size, uint64_t outer, uint64_t outer_size)
{
	return start >= outer && start - outer <= outer_size && size <= outer_size - (start - outer);
}

static void check_rows(const struct image *image, const struct image_fde *fde)
{
	struct cfi_rows rows;
	struct err e = {0}, other = {0};
	int status = cfi_evaluate(image, fde, &rows, &e), checked = cfi_evaluate(image, fde, NULL, &other);
	MUST(status == checked && !strcmp(e.text, other.text));
	if (status) {
		must_be_said(status, &e);
		return;
	}
	MUST(rows.count && rows.rows[0].start == fde->start);
	for (uint32_t i = 0; i < rows.count; i++) {
		MUST(rows.rows[i].start - fde->start < fde->size && (!i || rows.rows[i].start > rows.rows[i - 1].start));
		MUST(cfi_row_at(&rows, rows.rows[i].start) == &rows.rows[i] && cfi_row_equal(&rows.rows[i], &rows.rows[i]));
		for (unsigned k = 0; k < CFI_REGISTERS; k++) {
			const struct cfi_rule *rule = &rows.rows[i].registers[k];
			if (rule->kind == CFI_EXPRESSION || rule->kind == CFI_VALUE_EXPRESSION) {
				MUST(rule->expression >= image->file.data &&
				     inside((uint64_t)(rule->expression - image->file.data), rule->size, 0, image->file.size));
				(void)!cfi_expression_movable(rule->expression, rule->size);
			}
		}
	}
	cfi_rows_free(&rows);
}

static void check_table(const struct image *image, const struct image_fde *fde)
{
	struct lsda lsda;
	struct err e = {0};
	int status = lsda_read(image, fde, &lsda, &e);
	if (status) {
		must_be_said(status, &e);
		return;
	}
	uint64_t end = fde->start;
	for (uint32_t i = 0; i < lsda.site_count; i++) {
		const struct lsda_call_site *s = &lsda.sites[i];
		MUST(s->start >= end && s->end > s->start && s->end <= fde->start + fde->size);
		MUST(!s->action || s->action - 1 < lsda.actions_size);
		end = s->end;
	}
	for (uint32_t i = 0; i < lsda.actions_size + lsda.specifications_size; i++) {
		const uint8_t *p = i < lsda.actions_size ? lsda.actions + i : lsda.specifications + (i - lsda.actions_size);
		MUST(p >= image->file.data && p < image->file.data + image->file.size);
	}
	lsda_free(&lsda);
}

static void check_frames(const struct image *image)
{
	for (size_t i = 0; i < image->fde_count && i < FDES_MAX; i++) {
		const struct image_fde *f = &image->fdes[i];
		struct cfi_cie cie;
		struct err e = {0};
		MUST(f->size && inside(f->start, f->size, image->text_base, image->text_size));
		MUST(image_bytes(image, (vaddr){f->start}, f->size) && (!i || f->start >= f[-1].start));
		int status = cfi_read_cie(image, f->cie, &cie, &e);
		if (status)
			must_be_said(status, &e);
		check_rows(image, f);
		if (f->lsda)
			check_table(image, f);
	}
}

static void check_map(const struct image *image)
{
	struct map map, again;
	struct writer once = {0}, twice = {0};
	struct err e = {0};
	int status = map_build(image, 1, &map, &e);
	if (status) {
		must_be_said(status, &e);
		return;
	}
	if (map_encode(&map, &once, &e) || map_decode(once.data, once.size, "map", &again, &e) || map_encode(&again, &twice, &e)) {
		fprintf(stderr, "made, but: %s\n", e.text);
		abort();
	}
	MUST(once.size == twice.size && !memcmp(once.data, twice.data, once.size));
	map_free(&map);
	map_free(&again);
	writer_free(&once);
	writer_free(&twice);
}

static void must_be_same(const struct module_identity *a, const struct module_identity *b)
{
	MUST(a->text_hash == b->text_hash && a->build_id_size == b->build_id_size && !memcmp(a->build_id, b->build_id, a->build_id_size));
}

/* The file sink's reader and the one of headers, which it is built on. */
static bool read_privileged(const uint8_t *data, size_t size, struct module_identity *ret_identity)
{
	struct elf_source source = elf_source_of_buffer(data, size);
	struct elf_file file;
	struct elfhead head;
	struct err e = {0};
	int status = elf_file_open(data, size, "file", &file, &e);
	if (status) {
		must_be_said(status, &e);
		return false;
	}
	MUST(!elfhead_read(&source, "file", &head, NULL));
	MUST(file.contents_end <= size);
	uint64_t offset;
	for (uint32_t i = 0; i < head.segment_count; i++)
		if (head.segments[i].type == ELFHEAD_LOAD && elf_file_offset(&file, head.segments[i].address, 1, 0, &offset))
			MUST(offset < size);
	(void)!elf_file_section(&file, ".text");
	(void)!elf_file_relocates_text(&file);
	size_t note_size;
	const uint8_t *note = elf_file_note(&file, "GNU", 3, &note_size);
	MUST(!note || inside((uint64_t)(note - data), note_size, 0, size));
	*ret_identity = file.identity;
	elf_file_close(&file);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct image image;
	struct module_identity identity;
	struct err e = {0};
	int fd = memfd_create("elf", MFD_CLOEXEC);
	MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	bool privileged = read_privileged(data, size, &identity);
	int status = image_open(path, &image, &e);
	if (status) {
		must_be_said(status, &e);
	} else {
		if (privileged)
			must_be_same(&identity, &image.identity);
		check_frames(&image);
		if (image.text_size <= TEXT_MAX || image.text_size >= UINT32_MAX)
			check_map(&image);
		image_close(&image);
	}
	close(fd);
	return 0;
}

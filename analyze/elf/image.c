#include "analyze/elf/image.h"
#include "analyze/elf/image_parts.h"
#include "formats/base/hash.h"
#include "formats/base/vec.h"

#include <errno.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

const uint8_t *image_file_bytes(const struct image *image, uint64_t offset, uint64_t size)
{
	if (offset > image->file.size || size > image->file.size - offset)
		return NULL;
	return image->file.data + offset;
}

const uint8_t *image_bytes_left(const struct image *image, vaddr address, size_t *ret_left)
{
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct image_segment *s = &image->segments[i];
		uint64_t at = address.v - s->vaddr;
		if (at < s->file_size) {
			*ret_left = s->file_size - at;
			return image->file.data + s->offset + at;
		}
	}
	*ret_left = 0;
	return NULL;
}

const uint8_t *image_bytes(const struct image *image, vaddr address, size_t size)
{
	size_t left;
	const uint8_t *bytes = image_bytes_left(image, address, &left);
	return bytes && size <= left ? bytes : NULL;
}

bool image_executable(const struct image *image, vaddr address)
{
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct image_segment *s = &image->segments[i];
		if (s->executable && address.v - s->vaddr < s->file_size)
			return true;
	}
	return false;
}

const struct image_symbol *image_symbol_at(const struct image *image, vaddr address)
{
	size_t low = 0, high = image->symbol_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (image->symbols[middle].vaddr < address.v)
			low = middle + 1;
		else
			high = middle;
	}
	return low < image->symbol_count && image->symbols[low].vaddr == address.v ? &image->symbols[low] : NULL;
}

const struct image_import *image_import_at(const struct image *image, uint64_t slot)
{
	size_t low = 0, high = image->import_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (image->imports[middle].slot < slot)
			low = middle + 1;
		else
			high = middle;
	}
	return low < image->import_count && image->imports[low].slot == slot ? &image->imports[low] : NULL;
}

size_t image_pointer_from(const struct image *image, uint64_t place)
{
	size_t low = 0, high = image->pointer_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (image->pointers[middle].place < place)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t image_pointer_at(const struct image *image, uint64_t place)
{
	size_t i = image_pointer_from(image, place);
	return i < image->pointer_count && image->pointers[i].place == place ? image->pointers[i].value : 0;
}

size_t image_fde_at(const struct image *image, uint64_t address)
{
	size_t low = 0, high = image->fde_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (image->fdes[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low && address - image->fdes[low - 1].start < image->fdes[low - 1].size ? low - 1 : SIZE_MAX;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

size_t image_sort_unique(uint64_t *values, size_t count)
{
	if (!count)
		return 0;
	qsort(values, count, sizeof *values, compare_u64);
	size_t kept = 1;
	for (size_t i = 1; i < count; i++)
		if (values[i] != values[kept - 1])
			values[kept++] = values[i];
	return kept;
}

static int check_header(const struct image *image, const char *path, struct err *e)
{
	const uint8_t *d = image->file.data;
	if (image->file.size < SELFMAG || memcmp(d, ELFMAG, SELFMAG))
		return err_set(e, ERR_FORMAT, "%s: not an ELF file", path);
	if (image->file.size < sizeof(Elf64_Ehdr))
		return err_set(e, ERR_FORMAT, "%s: ends inside the ELF header (%zu bytes)", path, image->file.size);
	if (d[EI_CLASS] != ELFCLASS64 || d[EI_DATA] != ELFDATA2LSB)
		return err_set(e, ERR_UNSUPPORTED, "%s: not a 64-bit little-endian ELF file", path);
	Elf64_Ehdr h;
	memcpy(&h, d, sizeof h);
	if (h.e_machine != EM_X86_64)
		return err_set(e, ERR_UNSUPPORTED, "%s: machine %u is not x86-64", path, h.e_machine);
	if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
		return err_set(e, ERR_UNSUPPORTED, "%s: ELF type %u is neither an executable nor a shared library", path, h.e_type);
	return 0;
}

static int add_segment(struct image *image, const Elf64_Phdr *p, size_t index, struct err *e)
{
	if (!image_file_bytes(image, p->p_offset, p->p_filesz))
		return err_set(e, ERR_FORMAT, "segment %zu: file bytes 0x%lx+0x%lx lie outside the file", index, (unsigned long)p->p_offset,
			       (unsigned long)p->p_filesz);
	if (p->p_filesz > p->p_memsz || p->p_vaddr + p->p_memsz < p->p_vaddr || p->p_vaddr + p->p_memsz > (uint64_t)1 << 47)
		return err_set(e, ERR_FORMAT, "segment %zu: address range 0x%lx+0x%lx is impossible", index, (unsigned long)p->p_vaddr,
			       (unsigned long)p->p_memsz);
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct image_segment *s = &image->segments[i];
		if (p->p_memsz && s->memory_size && p->p_vaddr < s->vaddr + s->memory_size && s->vaddr < p->p_vaddr + p->p_memsz)
			return err_set(e, ERR_FORMAT, "segments %zu and %zu overlap in memory", i, index);
	}
	image->segments[image->segment_count++] = (struct image_segment){
	    .vaddr = p->p_vaddr,
	    .memory_size = p->p_memsz,
	    .offset = p->p_offset,
	    .file_size = p->p_filesz,
	    .readable = p->p_flags & PF_R,
	    .writable = p->p_flags & PF_W,
	    .executable = p->p_flags & PF_X,
	};
	return 0;
}

static void measure_segments(struct image *image)
{
	uint64_t text_end = 0;
	image->load_low = image->text_base = UINT64_MAX;
	for (size_t i = 0; i < image->segment_count; i++) {
		const struct image_segment *s = &image->segments[i];
		if (s->vaddr < image->load_low)
			image->load_low = s->vaddr;
		if (s->vaddr + s->memory_size > image->load_high)
			image->load_high = s->vaddr + s->memory_size;
		if (!s->executable || !s->file_size)
			continue;
		if (s->vaddr < image->text_base)
			image->text_base = s->vaddr;
		if (s->vaddr + s->file_size > text_end)
			text_end = s->vaddr + s->file_size;
	}
	image->text_size = text_end ? text_end - image->text_base : 0;
}

static int compare_offset(const void *a, const void *b)
{
	const struct image_segment *const *x = a, *const *y = b;
	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

static int hash_text(struct image *image, struct err *e)
{
	const struct image_segment **order = calloc(image->segment_count, sizeof(*order));
	struct hash_state *state = hash_begin();
	int status = 0;
	size_t count = 0;
	if (!order || !state) {
		status = err_set(e, ERR_MEMORY, "no memory to hash the text");
		goto out;
	}
	for (size_t i = 0; i < image->segment_count; i++)
		if (image->segments[i].executable)
			order[count++] = &image->segments[i];
	qsort(order, count, sizeof(*order), compare_offset);
	for (size_t i = 0; i < count; i++)
		hash_add(state, image->file.data + order[i]->offset, order[i]->file_size);
	image->identity.text_hash = hash_end(state);
	state = NULL;
out:
	if (state)
		hash_end(state);
	free(order);
	return status;
}

/* Notes that do not parse are not fatal: the kernel and the loader do not look at them either. */
static void read_notes(struct image *image, const Elf64_Phdr *p)
{
	const uint8_t *bytes = image_file_bytes(image, p->p_offset, p->p_filesz);
	struct reader r = reader_of(bytes, bytes ? p->p_filesz : 0);
	uint64_t align = p->p_align == 8 ? 8 : 4;
	while (reader_left(&r) >= 12) {
		uint32_t name_size = read_u32(&r), size = read_u32(&r), type = read_u32(&r);
		const uint8_t *name = read_bytes(&r, name_size);
		(void)read_bytes(&r, (0 - r.position) & (align - 1));
		const uint8_t *data = read_bytes(&r, size);
		(void)read_bytes(&r, (0 - r.position) & (align - 1));
		if (!name || !data)
			return;
		if (name_size == 4 && !memcmp(name, "GNU", 4) && type == NT_GNU_BUILD_ID && !image->identity.build_id_size) {
			image->identity.build_id_size = size < MODULE_BUILD_ID_MAX ? (uint8_t)size : MODULE_BUILD_ID_MAX;
			memcpy(image->identity.build_id, data, image->identity.build_id_size);
		}
		if (name_size == 4 && !memcmp(name, "Go\0", 4))
			image->is_go = true;
	}
}

/* Sections are taken in order of address; one that overlaps what came before is not. */
static void add_code_range(struct image *image, uint64_t start, uint64_t size)
{
	const struct image_range *last = image->code_range_count ? &image->code_ranges[image->code_range_count - 1] : NULL;
	if (!last || start >= last->start + last->size)
		image->code_ranges[image->code_range_count++] = (struct image_range){start, size};
}

static void note_section(struct image *image, const Elf64_Shdr *h, const char *name, struct image_sections *sections)
{
	if (h->sh_type == SHT_PROGBITS && h->sh_flags & SHF_EXECINSTR && h->sh_size && image_executable(image, (vaddr){h->sh_addr}) &&
	    image_bytes(image, (vaddr){h->sh_addr}, h->sh_size))
		add_code_range(image, h->sh_addr, h->sh_size);
	if (h->sh_type != SHT_NOBITS && !image_file_bytes(image, h->sh_offset, h->sh_size))
		return;
	if (h->sh_type == SHT_DYNSYM)
		sections->dynsym = *h;
	if (h->sh_type == SHT_SYMTAB)
		sections->symtab = *h;
	if (!name)
		return;
	if (!strcmp(name, ".eh_frame") && h->sh_type != SHT_NOBITS)
		sections->eh_frame = *h;
	if (!strcmp(name, "__rseq_cs")) {
		image->rseq = h->sh_addr;
		image->rseq_size = h->sh_size;
	}
	if (!strcmp(name, ".gopclntab") || !strcmp(name, ".data.rel.ro.gopclntab") || !strcmp(name, ".go.buildinfo"))
		image->is_go = true;
}

/* A copy, since a damaged file may place the table at an odd offset and libelf hands out the file as it is. */
static bool section_header(Elf_Scn *section, Elf64_Shdr *ret_header)
{
	const void *h = section ? elf64_getshdr(section) : NULL;
	if (h)
		memcpy(ret_header, h, sizeof *ret_header);
	return h != NULL;
}

static void walk_sections(struct image *image, Elf *elf, size_t names, struct image_sections *sections)
{
	Elf64_Shdr h;
	for (Elf_Scn *scn = NULL; (scn = elf_nextscn(elf, scn));)
		if (section_header(scn, &h))
			note_section(image, &h, elf_strptr(elf, names, h.sh_name), sections);
	Elf_Scn *strings = sections->symtab.sh_size ? elf_getscn(elf, sections->symtab.sh_link) : NULL;
	if (section_header(strings, &h) && h.sh_type == SHT_STRTAB && image_file_bytes(image, h.sh_offset, h.sh_size))
		sections->symtab_strings = h;
}

/* Section headers are hints: a file without them, or with damaged ones, is analysed by its program headers alone. */
static int read_sections(struct image *image, Elf *elf, struct image_sections *sections, struct err *e)
{
	size_t names, count;
	if (elf_getshdrnum(elf, &count) || elf_getshdrstrndx(elf, &names))
		count = 0;
	image->code_ranges = calloc(count + image->segment_count, sizeof *image->code_ranges);
	if (!image->code_ranges)
		return err_set(e, ERR_MEMORY, "no memory for %zu sections", count);
	if (count)
		walk_sections(image, elf, names, sections);
	for (size_t i = 0; i < image->segment_count && !count; i++)
		if (image->segments[i].executable && image->segments[i].file_size)
			add_code_range(image, image->segments[i].vaddr, image->segments[i].file_size);
	return 0;
}

static void read_interpreter(struct image *image, const Elf64_Phdr *p)
{
	const uint8_t *bytes = image_file_bytes(image, p->p_offset, p->p_filesz);
	if (bytes && p->p_filesz && !bytes[p->p_filesz - 1])
		image->interpreter = (const char *)bytes;
}

static int read_segments(struct image *image, Elf *elf, Elf64_Phdr *ret_dynamic, Elf64_Phdr *ret_frames, struct err *e)
{
	size_t count;
	const Elf64_Phdr *p = elf64_getphdr(elf);
	if (elf_getphdrnum(elf, &count) || !p || !count)
		return err_set(e, ERR_FORMAT, "no readable program headers");
	image->segments = calloc(count, sizeof *image->segments);
	if (!image->segments)
		return err_set(e, ERR_MEMORY, "no memory for %zu segments", count);
	for (size_t i = 0; i < count; i++) {
		/* A damaged header may place the table at an odd offset; libelf hands out the file as it is. */
		Elf64_Phdr h;
		memcpy(&h, (const char *)p + i * sizeof h, sizeof h);
		int status = h.p_type == PT_LOAD ? add_segment(image, &h, i, e) : 0;
		if (status)
			return status;
		if (h.p_type == PT_NOTE)
			read_notes(image, &h);
		if (h.p_type == PT_INTERP)
			read_interpreter(image, &h);
		if (h.p_type == PT_DYNAMIC)
			*ret_dynamic = h;
		if (h.p_type == PT_GNU_EH_FRAME)
			*ret_frames = h;
	}
	measure_segments(image);
	return image->text_size ? 0 : err_set(e, ERR_UNSUPPORTED, "no executable segment");
}

static int read_all(struct image *image, Elf *elf, struct err *e)
{
	Elf64_Phdr dynamic = {0}, frames = {0};
	struct image_sections sections = {0};
	const Elf64_Ehdr *header = elf64_getehdr(elf);
	if (!header)
		return err_set(e, ERR_FORMAT, "unreadable ELF header: %s", elf_errmsg(-1));
	image->pie = header->e_type == ET_DYN;
	int status = read_segments(image, elf, &dynamic, &frames, e);
	if (status)
		return status;
	status = read_sections(image, elf, &sections, e);
	if (status)
		return status;
	image->identity.file_size = image->file.size;
	status = hash_text(image, e);
	if (!status)
		status = image_read_dynamic(image, dynamic.p_filesz ? &dynamic : NULL, &sections, header->e_entry, e);
	if (!status)
		status = image_read_frames(image, frames.p_filesz ? &frames : NULL, &sections, e);
	return status;
}

int image_open(const char *path, struct image *ret_image, struct err *e)
{
	struct image image = {0};
	int status = file_read(path, &image.file, e);
	if (status)
		return status;
	status = check_header(&image, path, e);
	if (status)
		goto fail;
	image.identity.path = strdup(path);
	if (!image.identity.path) {
		status = err_set(e, ERR_MEMORY, "%s: no memory", path);
		goto fail;
	}
	errno = 0;
	Elf *elf = elf_version(EV_CURRENT) == EV_NONE ? NULL : elf_memory((char *)(uintptr_t)image.file.data, image.file.size);
	status = elf ? read_all(&image, elf, e) : err_set(e, ERR_FORMAT, "%s", elf_errmsg(-1));
	/* Without memory libelf says of one or the other table that it is not there: the file would be read as another one. */
	if (errno == ENOMEM)
		status = err_set(e, ERR_MEMORY, "no memory to read it");
	elf_end(elf);
	if (status) {
		status = err_prefix(e, "%s", path);
		goto fail;
	}
	*ret_image = image;
	return 0;
fail:
	image_close(&image);
	return status;
}

void image_close(struct image *image)
{
	free(image->segments);
	free(image->code_ranges);
	free(image->symbols);
	free(image->imports);
	free(image->fdes);
	free(image->code_pointers);
	free(image->pointers);
	free(image->init_fini);
	free(image->resolvers);
	free((void *)image->needed);
	free(image->identity.path);
	file_data_free(&image->file);
	*image = (struct image){0};
}

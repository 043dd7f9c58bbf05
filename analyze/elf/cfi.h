/*
 * cfi: evaluates the call frame instructions of one FDE: for each address of its range, how the caller's registers are found. Sources: DWARF 4,
 * section 6.4; Linux Standard Base 5.0, "Exception Frames"; the GNU additions as libgcc's unwind-dw2.c executes them.
 *
 * Works on hostile input: every read is bounded, and programs that grow without end are refused.
 */
#ifndef ANALYZE_ELF_CFI_H
#define ANALYZE_ELF_CFI_H

#include "analyze/elf/image.h"

/* DWARF numbers: 0..15 general registers, 16 return address, 17..32 xmm0..15. Rules for other registers are refused. */
#define CFI_REGISTERS 33
#define CFI_RETURN_ADDRESS 16

enum cfi_rule_kind {
	CFI_UNSPECIFIED, /* no rule: as the ABI says */
	CFI_UNDEFINED,
	CFI_SAME_VALUE,
	CFI_OFFSET,	      /* saved at CFA + offset */
	CFI_VALUE_OFFSET,     /* is CFA + offset */
	CFI_REGISTER,	      /* is in register `offset` */
	CFI_EXPRESSION,	      /* saved at the address the expression gives */
	CFI_VALUE_EXPRESSION, /* is what the expression gives */
};

struct cfi_rule {
	uint8_t kind;  /* enum cfi_rule_kind */
	uint32_t size; /* bytes of the expression */
	union {
		int64_t offset;
		const uint8_t *expression; /* borrowed from the file */
	};
};

/* How things are from `start` up to the next row. */
struct cfi_row {
	uint64_t start; /* vaddr */
	/* CFI_VALUE_OFFSET: register cfa_register + cfa.offset; CFI_VALUE_EXPRESSION; CFI_UNSPECIFIED before the first def_cfa */
	struct cfi_rule cfa;
	uint8_t cfa_register;
	uint64_t args_size; /* DW_CFA_GNU_args_size: bytes of arguments pushed, popped when a landing pad here is entered */
	struct cfi_rule registers[CFI_REGISTERS];
};

/* Sorted by start; the first starts at the FDE's start; each start is inside the FDE's range. */
struct cfi_rows {
	struct cfi_row *rows; /* owned */
	uint32_t count;
};

/* A CIE, as far as evaluation and re-emission need it. */
struct cfi_cie {
	uint8_t version, augmented; /* augmented: FDEs have an augmentation length ('z') */
	uint8_t fde_encoding, lsda_encoding, personality_encoding, signal_frame;
	uint64_t code_align;
	int64_t data_align;
	uint64_t return_register;
	uint64_t personality;	     /* vaddr, of the slot when indirect; 0 = none */
	const uint8_t *instructions; /* borrowed; initial instructions, padding included */
	uint32_t instructions_size;
	struct cfi_row initial; /* after the initial instructions; start 0 */
};

/* ERR_FORMAT, ERR_UNSUPPORTED (augmentation, operation, return register other than 16): the CIE's address and what is wrong. */
int cfi_read_cie(const struct image *image, uint64_t cie, struct cfi_cie *ret_cie, struct err *e) MUST_CHECK;

/* All rows of `fde`. `ret_rows` NULL: only checks that it can be done, without allocating. ERR_FORMAT, ERR_UNSUPPORTED, ERR_MEMORY. */
int cfi_evaluate(const struct image *image, const struct image_fde *fde, struct cfi_rows *ret_rows, struct err *e) MUST_CHECK;
void cfi_rows_free(struct cfi_rows *rows);

/* Row in force at `address`, which lies inside the FDE's range. */
const struct cfi_row *cfi_row_at(const struct cfi_rows *rows, uint64_t address);
bool cfi_rule_equal(const struct cfi_rule *a, const struct cfi_rule *b);
/* Same unwinding, whatever their starts. */
bool cfi_row_equal(const struct cfi_row *a, const struct cfi_row *b);

/*
 * May this DWARF expression be evaluated at another pc? False when it uses the pc (DW_OP_breg16: the PLT's do), an address (DW_OP_addr),
 * or an operation that is not known.
 */
bool cfi_expression_movable(const uint8_t *expression, size_t size);

#endif

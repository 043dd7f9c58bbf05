#include "formats/bitpack.h"

#define EXP_GOLOMB 0x80u
#define ORDER_MAX 62u

static unsigned bit_length(uint64_t value)
{
	return value ? 64 - (unsigned)__builtin_clzll(value) : 0;
}

struct bit_writer {
	struct writer *w;
	uint64_t pending;
	unsigned count; /* below 8 between calls */
};

/* At most 32 bits. */
static void put_some(struct bit_writer *b, uint64_t value, unsigned bits)
{
	b->pending |= (value & (((uint64_t)1 << bits) - 1)) << b->count;
	for (b->count += bits; b->count >= 8; b->count -= 8) {
		write_u8(b->w, (uint8_t)b->pending);
		b->pending >>= 8;
	}
}

static void put_bits(struct bit_writer *b, uint64_t value, unsigned bits)
{
	if (bits > 32) {
		put_some(b, value, 32);
		put_some(b, value >> 32, bits - 32);
	} else {
		put_some(b, value, bits);
	}
}

/* With q = (value >> k) + 1 of n + 1 bits: n zeros, a one, the low n bits of q, the low k bits of value. */
static void put_exp_golomb(struct bit_writer *b, uint64_t value, unsigned k)
{
	uint64_t q = (value >> k) + 1;
	unsigned n = bit_length(q) - 1;
	put_bits(b, 0, n);
	put_bits(b, 1, 1);
	put_bits(b, q, n);
	put_bits(b, value, k);
}

static uint64_t exp_golomb_size(const uint64_t *values, size_t count, unsigned k)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < count; i++)
		bits += 2 * bit_length((values[i] >> k) + 1) - 1 + k;
	return bits;
}

/*
 * The order that is best for these values as far as their bit lengths tell (all ones cost a bit more than counted here); `*ret_size` gets the exact
 * size with it. A mean would not do: one address of another half of the address space among small gaps spoils it.
 */
static unsigned best_order(const uint64_t *values, size_t count, uint64_t *ret_size)
{
	uint64_t lengths[65] = {0}, least = UINT64_MAX;
	unsigned best = 1;
	for (size_t i = 0; i < count; i++)
		lengths[bit_length(values[i])]++;
	/* Never order 0: the q of UINT64_MAX would wrap. */
	for (unsigned k = 1; k <= ORDER_MAX; k++) {
		uint64_t size = 0;
		for (unsigned length = 0; length <= 64; length++)
			size += lengths[length] * (k + (length > k ? 2 * (length - k) - 1 : 1));
		if (size < least) {
			least = size;
			best = k;
		}
	}
	*ret_size = exp_golomb_size(values, count, best);
	return best;
}

void bitpack_put(struct writer *w, const uint64_t *values, size_t count, unsigned minimum_width)
{
	uint64_t all = 0, golomb = UINT64_MAX;
	for (size_t i = 0; i < count; i++)
		all |= values[i];
	unsigned width = bit_length(all), k = 0;
	if (width < minimum_width)
		width = minimum_width;
	if (count)
		k = best_order(values, count, &golomb);
	struct bit_writer b = {.w = w};
	bool fixed = (uint64_t)width * count <= golomb;
	write_u8(w, (uint8_t)(fixed ? width : EXP_GOLOMB + k));
	for (size_t i = 0; i < count; i++) {
		if (fixed)
			put_bits(&b, values[i], width);
		else
			put_exp_golomb(&b, values[i], k);
	}
	if (b.count)
		write_u8(w, (uint8_t)b.pending);
}

struct bit_reader {
	struct reader *r;
	uint64_t pending;
	unsigned count;
};

static uint64_t get_some(struct bit_reader *b, unsigned bits)
{
	while (b->count < bits) {
		b->pending |= (uint64_t)read_u8(b->r) << b->count;
		b->count += 8;
	}
	uint64_t value = b->pending & (((uint64_t)1 << bits) - 1);
	b->pending >>= bits;
	b->count -= bits;
	return value;
}

static uint64_t get_bits(struct bit_reader *b, unsigned bits)
{
	if (bits <= 32)
		return get_some(b, bits);
	uint64_t low = get_some(b, 32);
	return low | get_some(b, bits - 32) << 32;
}

static uint64_t get_exp_golomb(struct bit_reader *b, unsigned k)
{
	unsigned n = 0;
	while (!get_some(b, 1)) {
		n++;
		if (n > 63 || b->r->failed) {
			b->r->failed = true;
			return 0;
		}
	}
	uint64_t q = (get_bits(b, n) | (uint64_t)1 << n) - 1;
	if (k && q >> (64 - k))
		b->r->failed = true;
	return q << k | get_bits(b, k);
}

void bitpack_get(struct reader *r, uint64_t *values, size_t count)
{
	struct bit_reader b = {.r = r};
	unsigned code = read_u8(r), k = code - EXP_GOLOMB;
	if (r->failed || (code > 64 && code < EXP_GOLOMB) || (code >= EXP_GOLOMB && k > ORDER_MAX)) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < count && !r->failed; i++)
		values[i] = code <= 64 ? get_bits(&b, code) : get_exp_golomb(&b, k);
	if (b.pending) /* what fills the last byte must be zero */
		r->failed = true;
}

/*
 * bitpack: a column of numbers in as few bits as a simple code allows. Spec: formats/profile.md, "Packed column".
 *
 * One byte says how: 0..64 fixed width in bits; 0x80 + k (k 0..62) Exp-Golomb code of order k, good for gaps, whose sizes fall off
 * exponentially. Then the bits, least significant first, the last byte filled with zeros. Samples are noise to LZ4; this is what makes them small.
 */
#ifndef FORMATS_BITPACK_H
#define FORMATS_BITPACK_H

#include "formats/base/bytes.h"

/* Writes the shorter of both codes; at least `minimum_width` bits per value (0 or 1), so that readers can bound counts by bytes. */
void bitpack_put(struct writer *w, const uint64_t *values, size_t count, unsigned minimum_width);

/* Reads `count` values; on anything malformed or cut off the reader fails. `values` is then only partly set. */
void bitpack_get(struct reader *r, uint64_t *values, size_t count);

#endif

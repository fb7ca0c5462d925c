/*
 * Reads ranges and raw bits of a payload of one lane.
 */
#ifndef RTC_READER_H
#define RTC_READER_H

#include "_words.h"

typedef struct {
    const uint8_t *at, *end;
    uint32_t state;
} reader;

/* Refill a state below 2**16; false where the payload ends. */
INLINE int take_word(reader *from)
{
    if (from->state >= STATE_MIN)
        return 1;
    if (UNLIKELY(from->end - from->at < 2))
        return 0;
    from->state = from->state << 16 | (uint32_t)(from->at[0] | from->at[1] << 8);
    from->at += 2;
    return 1;
}

INLINE int take_raw(reader *from, uint32_t n_bits, uint32_t *bits)
{
    *bits = from->state & ((1u << n_bits) - 1);
    from->state >>= n_bits;
    return take_word(from);
}

/* Take out of the state what starts at *start* and is *width* wide. */
INLINE int take_range(reader *from, uint32_t start, uint32_t width)
{
    from->state = width * (from->state >> PROB_BITS) + (from->state & (PROB_SCALE - 1)) - start;
    return take_word(from);
}

#endif

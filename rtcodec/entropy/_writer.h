/*
 * Writes a payload of one lane. It is read from its beginning and written from its end, so what is to be
 * put is listed first: `start << 16 | width` of a range, or RAW | n_bits << 16 | bits.
 */
#ifndef RTC_WRITER_H
#define RTC_WRITER_H

#include "_words.h"

enum { RAW = 1 << 30 };

/* Put n items into a payload that ends at *end*; return its size. */
INLINE uint32_t put_items(const uint32_t *items, uint32_t n, uint8_t *end)
{
    uint8_t *at = end;
    uint32_t x = STATE_MIN;
    while (n-- > 0) {
        const uint32_t low = items[n] & 0xffff, high = items[n] >> 16 & 0x3fff;
        if (items[n] & RAW) {
            x = put_raw(x, low, high, &at);
        } else {
            x = make_room(x, low << (32 - PROB_BITS), &at);
            x += x / low * (PROB_SCALE - low) + high;
        }
    }
    at -= 4;
    memcpy(at, &x, 4);
    return (uint32_t)(end - at);
}

#endif

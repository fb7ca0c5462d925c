/*
 * From copies to a payload, the inverse of _copies_decode.c. It is read from its end, so what is to be put is
 * listed first: `start << 16 | width` of a range, or RAW | n_bits << 16 | bits.
 */
#include "_copies.h"

enum { RAW = 1 << 30 };

typedef struct {
    uint32_t *items;
    uint32_t n;
} writer;

INLINE int write_bit(void *io, uint32_t width, uint32_t *bit)
{
    writer *to = io;
    to->items[to->n++] = *bit ? width : width << 16 | (PROB_SCALE - width);
    return 1;
}

INLINE int write_raw(void *io, uint32_t n_bits, uint32_t *bits)
{
    writer *to = io;
    to->items[to->n++] = RAW | n_bits << 16 | *bits;
    return 1;
}

/*
 * Write copies [rows, columns, 8] of blocks in a payload that ends at buffer + capacity; return its size.
 * items: room for 16 a quarter; capacity: 4, and 24 a quarter.
 */
EXPORT uint32_t rtc_copies_encode(int16_t *copies, uint32_t rows, uint32_t columns, uint32_t *items,
                                  uint8_t *buffer, uint32_t capacity)
{
    static const copy_coder writes = {write_bit, write_raw};
    const copy_plane plane = {rows, columns, 2 * QUARTERS, copies};
    writer to = {items, 0};
    walk_copies(&plane, &writes, &to);
    uint8_t *at = buffer + capacity;
    uint32_t x = STATE_MIN;
    while (to.n-- > 0) {
        const uint32_t item = items[to.n], low = item & 0xffff, high = item >> 16 & 0x3fff;
        if (item & RAW) {
            x = put_raw(x, low, high, &at);
        } else {
            x = make_room(x, low << (32 - PROB_BITS), &at);
            x += x / low * (PROB_SCALE - low) + high;
        }
    }
    at -= 4;
    memcpy(at, &x, 4);
    return (uint32_t)(buffer + capacity - at);
}

/*
 * From copies to a payload, the inverse of _copies_decode.c. What is to be put is listed first: see _writer.h.
 */
#include "_copies.h"
#include "_writer.h"

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
    return put_items(to.items, to.n, buffer + capacity);
}

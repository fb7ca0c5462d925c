/*
 * From a payload to which parts of a frame are copies; equals copies.py.
 */
#include "_copies.h"
#include "_reader.h"

INLINE int read_bit(void *io, uint32_t width, uint32_t *bit)
{
    reader *from = io;
    *bit = (from->state & (PROB_SCALE - 1)) < width;
    return take_range(from, *bit ? 0 : width, *bit ? width : PROB_SCALE - width);
}

INLINE int read_raw(void *io, uint32_t n_bits, uint32_t *bits) { return take_raw(io, n_bits, bits); }

/*
 * Read copies of rows x columns blocks; that of quarter q of block b becomes what is at copies + b * stride +
 * 2 q. Returns a status; *position: how far it came.
 */
EXPORT int32_t rtc_copies_decode(const uint8_t *payload, uint32_t size, uint32_t rows, uint32_t columns,
                                 uint32_t stride, int16_t *copies, uint32_t *position)
{
    static const copy_coder reads = {read_bit, read_raw};
    const copy_plane plane = {rows, columns, stride, copies};
    *position = 0;
    if (size < 4)
        return TRUNCATED;
    reader from = {payload + 4, payload + size, 0};
    memcpy(&from.state, payload, 4);
    if (from.state < STATE_MIN)
        return STATE_TOO_SMALL;
    for (size_t block = 0; block < (size_t)rows * columns; block++)
        memset(copies + block * stride, 0, 2 * QUARTERS * sizeof *copies);
    if (!walk_copies(&plane, &reads, &from))
        return TRUNCATED;
    *position = (uint32_t)(from.at - payload);
    if (from.at != from.end)
        return BYTES_LEFT;
    return from.state == STATE_MIN ? OK : STATE_LEFT;
}

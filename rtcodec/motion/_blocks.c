/*
 * Between planes and blocks. `rtc_blocks_fill` equals rtcodec/engine/blocks.py after padding,
 * `rtc_planes_fill` before cropping.
 */
#include "_motion.h"

/* One plane; side: of its blocks. */
INLINE void fill_part(const uint8_t *plane, ptrdiff_t stride, uint32_t height, uint32_t width,
                      uint32_t side, uint8_t *blocks, uint32_t rows, uint32_t columns)
{
    const uint32_t inside = width / side; /* columns that need no repeating */
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t i = 0; i < side; i++) {
            const uint32_t y = row * side + i;
            const uint8_t *line = plane + (y < height ? y : height - 1) * stride;
            uint8_t *to = blocks + (size_t)row * columns * SAMPLES + i * side;
            for (uint32_t column = 0; column < inside; column++, to += SAMPLES)
                memcpy(to, line + column * side, side);
            for (uint32_t column = inside; column < columns; column++, to += SAMPLES)
                for (uint32_t j = 0; j < side; j++) {
                    const uint32_t x = column * side + j;
                    to[j] = line[x < width ? x : width - 1];
                }
        }
}

typedef struct {
    uint8_t *plane[3];
    ptrdiff_t stride[3]; /* bytes from one row to the next */
    uint32_t height, width; /* of luma; chroma has half, rounded up */
} rtc_picture;

/* Blocks [rows, columns, 384] of a picture, its edges repeated to fill them. */
EXPORT void rtc_blocks_fill(const rtc_picture *p, uint32_t rows, uint32_t columns, uint8_t *blocks)
{
    const uint32_t height = (p->height + 1) / 2, width = (p->width + 1) / 2;
    fill_part(p->plane[0], p->stride[0], p->height, p->width, BLOCK, blocks, rows, columns);
    fill_part(p->plane[1], p->stride[1], height, width, HALF, blocks + 256, rows, columns);
    fill_part(p->plane[2], p->stride[2], height, width, HALF, blocks + 320, rows, columns);
}

INLINE void draw_part(const uint16_t *blocks, uint32_t columns, uint32_t side, uint8_t *plane,
                      ptrdiff_t stride, uint32_t height, uint32_t width)
{
    for (uint32_t y = 0; y < height; y++) {
        const uint16_t *from = blocks + (size_t)(y / side) * columns * SAMPLES + y % side * side;
        uint8_t *to = plane + y * stride;
        uint32_t x = 0;
        for (; x + side <= width; x += side, from += SAMPLES)
            for (uint32_t j = 0; j < side; j++)
                to[x + j] = (uint8_t)((from[j] + FINE / 2) / FINE);
        for (uint32_t j = 0; x + j < width; j++)
            to[x + j] = (uint8_t)((from[j] + FINE / 2) / FINE);
    }
}

/* A picture of its size from blocks [.., columns, 384], in bytes. */
CLONES EXPORT void rtc_planes_fill(const uint16_t *blocks, uint32_t columns, const rtc_picture *p)
{
    const uint32_t height = (p->height + 1) / 2, width = (p->width + 1) / 2;
    draw_part(blocks, columns, BLOCK, p->plane[0], p->stride[0], p->height, p->width);
    draw_part(blocks + 256, columns, HALF, p->plane[1], p->stride[1], height, width);
    draw_part(blocks + 320, columns, HALF, p->plane[2], p->stride[2], height, width);
}

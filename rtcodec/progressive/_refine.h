/*
 * What is added to samples for what their neighbours are (SPEC.md 7); equals refine.py.
 */
#ifndef RTC_PROGRESSIVE_REFINE_H
#define RTC_PROGRESSIVE_REFINE_H

#include "_progressive.h"
#include "_weights.h"

enum {
    CLIPS = 3,
    COARSEST = 7, /* planes above are refined as this one */
    CELL = 4,     /* side of what is of one class */
    AROUND = 2,   /* samples around a cell that its class looks at */
    GRADIENTS = 4,
    LANES = 16, /* samples that are refined at once: compilers make vectors of them */
    CELLS = LANES / CELL,
    SEEN = LANES + 2 * AROUND,
    DIRECTIONS = 9,
    REFINE_BITS = 9,
};

/* Down and across from a sample to one neighbour of each pair, which share their weights. */
static const int8_t PAIRS_AT[REFINE_PAIRS][2] = {
    {0, 1}, {0, 2}, {0, 3}, {1, 0}, {2, 0}, {3, 0},
    {1, 1}, {1, -1}, {1, 2}, {2, 1}, {1, -2}, {2, -1},
    {2, 2}, {2, -2}, {2, 4}, {4, 2}, {2, -4}, {4, -2},
    {0, 5}, {5, 0}, {0, 8}, {8, 0}, {6, 6}, {6, -6},
};

INLINE int16_t sample_within(int32_t value, int32_t least, int32_t most)
{
    return (int16_t)(value < least ? least : value > most ? most : value);
}

/* Lay samples out in int16, in 64ths from mid grey, the outermost going on beyond the edges. */
static void lay_out_shown(const component *c)
{
    const uint32_t stride = shown_stride(c->width), rows = shown_rows(c->height);
    for (uint32_t y = 0; y < rows; y++) {
        const uint32_t from_y = smaller(y < SHOWN_EDGE ? 0 : y - SHOWN_EDGE, c->height - 1);
        const int32_t *from = c->samples + (size_t)from_y * c->width;
        int16_t *to = c->shown + (size_t)y * stride;
        for (uint32_t x = 0; x < c->width; x++)
            to[SHOWN_EDGE + x] = sample_within(from[x], -(128 << FRACTION_BITS),
                                               127 << FRACTION_BITS);
        for (uint32_t x = 0; x < SHOWN_EDGE; x++)
            to[x] = to[SHOWN_EDGE];
        for (uint32_t x = SHOWN_EDGE + c->width; x < stride; x++)
            to[x] = to[SHOWN_EDGE + c->width - 1];
    }
}

INLINE int32_t size_of(int32_t value) { return value < 0 ? -value : value; }

/* Second differences around CELLS cells, summed up: across, down, along both diagonals. */
INLINE void gradients_of(const int16_t *from, ptrdiff_t stride, int32_t to[GRADIENTS][CELLS])
{
    int32_t lines[GRADIENTS][SEEN] = {0};
    from -= AROUND * stride + AROUND;
    for (int i = 0; i < CELL + 2 * AROUND; i++, from += stride)
        for (int j = 0; j < SEEN; j++) {
            const int16_t *at = from + j;
            const int32_t twice = 2 * *at;
            lines[0][j] += size_of(twice - at[-1] - at[1]);
            lines[1][j] += size_of(twice - *(at - stride) - at[stride]);
            lines[2][j] += size_of(twice - *(at - stride - 1) - at[stride + 1]);
            lines[3][j] += size_of(twice - at[stride - 1] - *(at - stride + 1));
        }
    for (int k = 0; k < GRADIENTS; k++)
        for (int cell = 0; cell < CELLS; cell++) {
            to[k][cell] = 0;
            for (int j = 0; j < CELL + 2 * AROUND; j++)
                to[k][cell] += lines[k][cell * CELL + j];
        }
}

/* Where something goes on in one direction: 1 to 4, or, where that is strong, 5 to 8; else 0. */
INLINE uint32_t direction_of(int32_t g[GRADIENTS][CELLS], int cell)
{
    const int32_t across = g[0][cell], down = g[1][cell], falling = g[2][cell],
                  rising = g[3][cell];
    const int is_across = across >= down, is_falling = falling >= rising;
    const int64_t straight = is_across ? across : down, other = is_across ? down : across;
    const int64_t slant = is_falling ? falling : rising, other_slant = is_falling ? rising : falling;
    const int is_slant = slant * other > straight * other_slant;
    const int64_t most = is_slant ? slant : straight, least = is_slant ? other_slant : other;
    if (2 * most <= 3 * least)
        return 0;
    return 1u + (uint32_t)(is_slant ? 2 + is_falling : is_across) + (most > 3 * least ? 4u : 0u);
}

/* That, and how much goes on beside what is not known: six levels. */
INLINE uint32_t class_of(int32_t g[GRADIENTS][CELLS], int cell, int32_t step)
{
    static const int32_t ACTIVITY[] = {3, 26, 128, 192, 512};
    uint32_t level = 0;
    for (size_t k = 0; k < sizeof ACTIVITY / sizeof *ACTIVITY; k++)
        level += g[0][cell] + g[1][cell] > ACTIVITY[k] * step;
    return level * DIRECTIONS + direction_of(g, cell);
}

INLINE int16_t cut(int16_t value, int16_t most)
{
    const int16_t low = value < (int16_t)-most ? (int16_t)-most : value;
    return low > most ? most : low;
}

/* LANES samples of a line, as they are shown; weights: those of each sample's class. */
INLINE void refine_line(const int16_t *from, ptrdiff_t stride, int32_t step,
                        int16_t weights[REFINE_PAIRS * CLIPS][LANES], uint8_t *to)
{
    int32_t sums[LANES] = {0};
    for (int pair = 0; pair < REFINE_PAIRS; pair++) {
        const ptrdiff_t away = PAIRS_AT[pair][0] * stride + PAIRS_AT[pair][1];
        for (int k = 0; k < CLIPS; k++) {
            const int16_t *w = weights[pair * CLIPS + k];
            const int16_t limit = (int16_t)(step >> (CLIPS - 1 - k));
            for (int j = 0; j < LANES; j++) {
                const int16_t one = (int16_t)(from[j + away] - from[j]);
                const int16_t other = (int16_t)(from[j - away] - from[j]);
                sums[j] += (int16_t)(cut(one, limit) + cut(other, limit)) * w[j];
            }
        }
    }
    for (int j = 0; j < LANES; j++) {
        const int32_t refined = from[j] + ((sums[j] + (1 << (REFINE_BITS - 1))) >> REFINE_BITS);
        const int32_t whole = (refined + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
        to[j] = (uint8_t)sample_within(whole + 128, 0, 255);
    }
}

/* Weights of each class: luma's or chroma's, of planes 0 and 1, 2 and 3, coarser ones. */
INLINE uint32_t set_of(const component *c, uint32_t plane)
{
    return (c->earlier[0] ? 3u : 0u) + (plane > 1) + (plane > 3);
}

/* Refine a component [height, width] as far as it is known. */
static void refine(const component *c, uint8_t *samples)
{
    /* what is unknown before each pass, in quarters of the plane's step */
    static const uint8_t UNKNOWN[PASSES] = {8, 7, 6, 5};
    const uint32_t plane = c->done ? 0 : c->plane, pass = c->done ? FINER : c->pass;
    const int8_t(*const of_set)[REFINE_PAIRS * CLIPS] =
        REFINE_WEIGHTS + set_of(c, plane) * REFINE_CLASSES;
    const ptrdiff_t stride = shown_stride(c->width);
    const int32_t step = UNKNOWN[pass] << (FRACTION_BITS - 3 + smaller(plane, COARSEST));
    lay_out_shown(c);
    for (uint32_t y = 0; y < c->height; y += CELL)
        for (uint32_t x = 0; x < c->width; x += LANES) {
            const int16_t *from = c->shown + (SHOWN_EDGE + y) * stride + SHOWN_EDGE + x;
            int32_t g[GRADIENTS][CELLS];
            int16_t weights[REFINE_PAIRS * CLIPS][LANES];
            gradients_of(from, stride, g);
            for (int cell = 0; cell < CELLS; cell++) {
                const int8_t *own = of_set[class_of(g, cell, step)];
                for (int k = 0; k < REFINE_PAIRS * CLIPS; k++)
                    for (int j = 0; j < CELL; j++)
                        weights[k][cell * CELL + j] = own[k];
            }
            for (uint32_t i = 0; i < CELL && y + i < c->height; i++, from += stride) {
                uint8_t line[LANES];
                refine_line(from, stride, step, weights, line);
                memcpy(samples + (size_t)(y + i) * c->width + x, line, smaller(LANES, c->width - x));
            }
        }
}

#endif

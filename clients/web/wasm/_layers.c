/*
 * What is between the products of the networks. Places are [rows, columns], n all of them.
 */
#include "_web.h"

enum { TILE = 4, ANCHOR = 1 };

#define LEAK 0.1f

/* Every row of y [n, channels] becomes `from`; zeros where that is NULL. */
SMALL EXPORT void rtc_web_fill_rows(const float *from, uint32_t n, uint32_t channels, float *y)
{
    if (!from) {
        memset(y, 0, sizeof *y * n * channels);
        return;
    }
    for (uint32_t i = 0; i < n; i++, y += channels)
        memcpy(y, from, sizeof *y * channels);
}

SMALL EXPORT void rtc_web_leaky(float *x, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        x[i] = x[i] < 0 ? x[i] * LEAK : x[i];
}

/* x times factor [channels]. */
SMALL EXPORT void rtc_web_scale(float *x, uint32_t n, uint32_t channels, const float *factor)
{
    for (uint32_t i = 0; i < n; i++, x += channels)
        for (uint32_t c = 0; c < channels; c++)
            x[c] *= factor[c];
}

/* Round to the nearest integer of 8 bits, ties to the even one. */
INLINE int16_t rounded(float x)
{
    return (int16_t)clipped(__builtin_rintf(x), -128, 127);
}

/* x times factor [channels], rounded to 8 bits. */
EXPORT void rtc_web_quantise(const float *x, uint32_t n, uint32_t channels, const float *factor,
                             int16_t *y)
{
    for (uint32_t i = 0; i < n; i++, x += channels, y += channels)
        for (uint32_t c = 0; c < channels; c++)
            y[c] = rounded(x[c] * factor[c]);
}

/* x rounded to 8 bits. */
EXPORT void rtc_web_round(const float *x, uint32_t size, int16_t *y)
{
    for (uint32_t i = 0; i < size; i++)
        y[i] = rounded(x[i]);
}

/* value times gate, which is cut to 0..1, rounded to 8 bits. */
EXPORT void rtc_web_gated(const float *value, const float *gate, uint32_t size, int16_t *y)
{
    for (uint32_t i = 0; i < size; i++)
        y[i] = rounded(value[i] * clipped(gate[i], 0, 1));
}

/* x times gate, which is cut to 0..1. */
EXPORT void rtc_web_gate(float *x, const float *gate, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++)
        x[i] *= clipped(gate[i], 0, 1);
}

/* 3x3, each channel for itself, zeros around; weights [9, channels]. */
EXPORT void rtc_web_depthwise(const float *x, uint32_t rows, uint32_t columns, uint32_t channels,
                              const float *weights, const float *bias, float *restrict y)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++, y += channels) {
            memcpy(y, bias, sizeof *y * channels);
            for (uint32_t tap = 0; tap < 9; tap++) {
                const uint32_t i = row + tap / 3 - 1, j = column + tap % 3 - 1; /* wrap below 0 */
                if (i >= rows || j >= columns)
                    continue;
                const float *from = x + ((size_t)i * columns + j) * channels;
                const float *w = weights + (size_t)tap * channels;
                for (uint32_t c = 0; c < channels; c++)
                    y[c] += from[c] * w[c];
            }
        }
}

/*
 * [rows, columns, channels * side * side] to [rows * side, columns * side, channels]: channel
 * (c * side + i) * side + j goes to c, i down and j across.
 */
SMALL EXPORT void rtc_web_spread(const float *x, uint32_t rows, uint32_t columns, uint32_t channels,
                           uint32_t side, float *y)
{
    for (uint32_t row = 0; row < rows * side; row++)
        for (uint32_t column = 0; column < columns * side; column++) {
            const uint32_t place = row / side * columns + column / side;
            const float *from = x + (size_t)place * channels * side * side
                                + row % side * side + column % side;
            for (uint32_t c = 0; c < channels; c++)
                *y++ = from[c * side * side];
        }
}

/* z [n, channels] as floats. */
SMALL EXPORT void rtc_web_hyper(const int8_t *z, uint32_t size, float *y)
{
    for (uint32_t i = 0; i < size; i++)
        y[i] = z[i];
}

/* The first `kept` symbols at the anchor of each tile. */
SMALL EXPORT void rtc_web_anchors(const int16_t *symbols, uint32_t rows, uint32_t columns,
                            uint32_t channels, uint32_t kept, float *y)
{
    for (uint32_t row = ANCHOR; row < rows; row += TILE)
        for (uint32_t column = ANCHOR; column < columns; column += TILE)
            for (uint32_t c = 0; c < kept; c++)
                *y++ = symbols[((size_t)row * columns + column) * channels + c];
}

/* Whether a channel of a place has its mean before step 2; see `_Means._places` of graph.py. */
INLINE int is_before(uint32_t row, uint32_t column, uint32_t c)
{
    return ((c + 1 + row + column) & 1) | (row % TILE == ANCHOR && column % TILE == ANCHOR);
}

/* Latents of the places before step 2, symbols and means; 0 at the others. */
EXPORT void rtc_web_known(const int16_t *symbols, const float *means, uint32_t rows,
                          uint32_t columns, uint32_t channels, float *y)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++)
            for (uint32_t c = 0; c < channels; c++, symbols++, means++)
                *y++ = is_before(row, column, c) ? *symbols + *means : 0;
}

/* All latents, times gains [channels], where `known` had those before step 2, in place. */
EXPORT void rtc_web_latents(const int16_t *symbols, const float *means, const float *gains,
                            uint32_t rows, uint32_t columns, uint32_t channels, float *known)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++)
            for (uint32_t c = 0; c < channels; c++, symbols++, means++, known++)
                *known = (is_before(row, column, c) ? *known : *symbols + *means) * gains[c];
}

/* Samples in 255ths, with a half for rounding, as `rtc_reference_fill` takes them. */
EXPORT void rtc_web_samples(const float *x, uint32_t size, uint16_t *blocks)
{
    for (uint32_t i = 0; i < size; i++)
        blocks[i] = (uint16_t)((int32_t)clipped(x[i], 0, 255) * 16);
}

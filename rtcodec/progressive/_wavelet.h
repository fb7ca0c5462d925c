/*
 * Between samples and coefficients: lifting, in integers (SPEC.md 4).
 *
 * In place: a sample of a level stays where it is, 2**level apart from the next one, so bands lie
 * between each other until they are taken apart.
 */
#ifndef RTC_PROGRESSIVE_WAVELET_H
#define RTC_PROGRESSIVE_WAVELET_H

#include "_progressive.h"

enum transform { WIDE, PAIRS, TRANSFORMS };

enum {
    LIFT_BITS = 13, /* of LIFT and of these */
    LOW_SCALE = 6659, /* 1 / 1.230174 */
    LOW_UNSCALE = 10078,
};
/* Of WIDE: Cohen, Daubechies, Feauveau 9/7, as in ISO 15444-1 annex F. */
enum { LIFTS = 4 };
static const int32_t LIFT[LIFTS] = {-12994, -434, 7233, 3633};

/* Norms of what a coefficient of 1 paints, times 256: low, high one way, high both ways. */
static const uint32_t NORM[TRANSFORMS][LEVELS_MAX][3] = {
    {{503, 318, 202},
     {1055, 629, 375},
     {2155, 1317, 806},
     {4336, 2688, 1666},
     {8685, 5406, 3365},
     {17377, 10829, 6748}},
    {{512, 256, 128},
     {1024, 512, 256},
     {2048, 1024, 512},
     {4096, 2048, 1024},
     {8192, 4096, 2048},
     {16384, 8192, 4096}},
};

/* Units of samples, with FRACTION_BITS, in a step of plane 0; STEP_BITS of fraction. */
INLINE uint32_t step_of(uint32_t transform, uint32_t level, uint32_t orientation)
{
    const uint32_t kind = orientation == 0 ? 0 : orientation == 3 ? 2 : 1;
    const uint32_t norm = level ? NORM[transform][level - 1][kind] : 256;
    return (256u << (FRACTION_BITS + STEP_BITS - 1)) / norm; /* plane 0 is half a sample */
}

/* Sums wrap: a payload may be any bytes. */
INLINE int32_t plus(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

INLINE int32_t weighed(int64_t value, int32_t weight)
{
    return (int32_t)((value * weight + (1 << (LIFT_BITS - 1))) >> LIFT_BITS);
}

typedef struct {
    int32_t *at;
    size_t along, beside; /* from one sample to the next, from one line to the next */
    uint32_t n, lines;
} lines;

/* Add to each sample of one parity what its two neighbours say. */
INLINE void lift(const lines *l, uint32_t parity, int32_t weight)
{
    for (uint32_t k = parity; k < l->n; k += 2) {
        const int32_t *before = l->at + (k ? k - 1 : 1) * l->along;
        const int32_t *after = l->at + (k + 1 < l->n ? k + 1 : k - 1) * l->along;
        int32_t *to = l->at + k * l->along;
        for (size_t x = 0; x < l->lines * l->beside; x += l->beside)
            to[x] = plus(to[x], weighed((int64_t)before[x] + after[x], weight));
    }
}

INLINE void scale_low(const lines *l, int32_t scale)
{
    for (uint32_t k = 0; k < l->n; k += 2)
        for (size_t x = 0; x < l->lines * l->beside; x += l->beside)
            l->at[k * l->along + x] = weighed(l->at[k * l->along + x], scale);
}

INLINE void synthesise_lines(const lines *l, uint32_t transform)
{
    if (l->n < 2)
        return;
    if (transform == WIDE) {
        scale_low(l, LOW_UNSCALE);
        for (uint32_t s = LIFTS; s-- > 0;)
            lift(l, !(s & 1), -LIFT[s]);
        return;
    }
    for (uint32_t k = 0; k + 1 < l->n; k += 2) {
        int32_t *low = l->at + k * l->along, *high = low + l->along;
        for (size_t x = 0; x < l->lines * l->beside; x += l->beside) {
            low[x] = plus(low[x], -(high[x] >> 1));
            high[x] = plus(high[x], low[x]);
        }
    }
}

INLINE void analyse_lines(const lines *l, uint32_t transform)
{
    if (l->n < 2)
        return;
    if (transform == WIDE) {
        for (uint32_t s = 0; s < LIFTS; s++)
            lift(l, !(s & 1), LIFT[s]);
        scale_low(l, LOW_SCALE);
        return;
    }
    for (uint32_t k = 0; k + 1 < l->n; k += 2) {
        int32_t *low = l->at + k * l->along, *high = low + l->along;
        for (size_t x = 0; x < l->lines * l->beside; x += l->beside) {
            high[x] -= low[x];
            low[x] += high[x] >> 1;
        }
    }
}

/* Lines across and down of what is left after *level* halvings. */
INLINE void lines_of(const component *c, uint32_t level, lines *across, lines *down)
{
    const uint32_t w = (c->width + (1u << level) - 1) >> level;
    const uint32_t h = (c->height + (1u << level) - 1) >> level;
    const size_t gap = (size_t)1 << level;
    *across = (lines){c->samples, gap, gap * c->width, w, h};
    *down = (lines){c->samples, gap * c->width, gap, h, w};
}

/* First sample of a band among the others. */
INLINE size_t band_start(const component *c, const band *b)
{
    const size_t half = ((size_t)1 << b->level) / 2;
    return (b->orientation & 1 ? half : 0) + (b->orientation & 2 ? half : 0) * (size_t)c->width;
}

/* What a coefficient stands for: the middle of where it may lie, or, if it is new, a little less. */
INLINE int32_t coefficient(uint32_t size, uint32_t said, uint32_t step)
{
    if (!size)
        return 0;
    const uint32_t plane = said & UNSAID;
    const uint64_t sixteenths = (uint64_t)size * 16 + ((size >> plane == 1 ? 7u : 8u) << plane);
    const int32_t value = (int32_t)((sixteenths * step) >> (STEP_BITS + 4));
    return said & NEGATIVE ? -value : value;
}

/* Make samples of what is known of a component. */
static void synthesise(component *c, uint32_t transform)
{
    for (const band *b = c->bands; b < c->bands + c->n_bands; b++) {
        const uint32_t step = step_of(transform, b->level, b->orientation);
        const size_t gap = (size_t)1 << b->level;
        int32_t *to = c->samples + band_start(c, b);
        for (uint32_t y = 0; y < b->height; y++)
            for (uint32_t x = 0; x < b->width; x++) {
                const size_t from = b->at + (size_t)y * b->stride + x;
                to[(y * (size_t)c->width + x) * gap] =
                    coefficient(c->size[from], c->said[from], step);
            }
    }
    for (uint32_t level = c->levels; level-- > 0;) {
        lines across, down;
        lines_of(c, level, &across, &down);
        synthesise_lines(&down, transform);
        synthesise_lines(&across, transform);
    }
}

#endif

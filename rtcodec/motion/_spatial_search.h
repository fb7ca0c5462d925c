/*
 * Frames predicted from themselves: the modes that a part is likely to have, by how unlike their
 * predictions are.
 */
#ifndef RTC_SPATIAL_SEARCH_H
#define RTC_SPATIAL_SEARCH_H

#include "_spatial_encode.h"

enum {
    COARSE = 4, /* angles apart that a quick search looks at first */
    TRIED = 8,  /* modes that are found; a thorough search goes on to look at their latents */
};

/* About what it takes to say a mode. */
INLINE float mode_bits(uint32_t rank)
{
    return rank == 0 ? 0.5f : rank == 1 ? 2.5f : rank == 2 ? 3 : rank <= 4 ? 4 : rank <= 8 ? 5 : 6.5f;
}

typedef int16_t line __attribute__((vector_size(16)));

INLINE void butterflies(line *d)
{
    for (int apart = 1; apart < SIDE; apart *= 2)
        for (int i = 0; i < SIDE; i++)
            if (!(i & apart)) {
                const line a = d[i], b = d[i + apart];
                d[i] = a + b;
                d[i + apart] = a - b;
            }
}

INLINE void turn(line *d)
{
    line e[SIDE];
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < 4; i++) {
            e[2 * i] = SHUFFLE(line, d[i], d[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            e[2 * i + 1] = SHUFFLE(line, d[i], d[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(d, e, sizeof e);
    }
}

/* Sum of moduli of an orthonormal Hadamard transform of a part less its prediction, in bytes' steps. */
INLINE float unlikeness(const line *part, const int32_t *prediction, int stride)
{
    line d[SIDE];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            d[y][x] = (int16_t)(part[y][x] - prediction[y * stride + x]);
    butterflies(d);
    turn(d);
    butterflies(d);
    int32_t sum = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            sum += modulus(d[y][x]);
    return (float)sum / SIDE;
}

/* What a part of side n is, in 8x8, and the same turned, so that all directions lead down. */
typedef struct {
    line part[QUARTERS][SIDE], turned[QUARTERS][SIDE];
    edges sharp, soft;         /* in bytes' steps */
    int32_t linear[SIDE * SIDE]; /* chroma's line of luma, so as well */
} sight;

INLINE void look(sight *s, const uint8_t *part, uint32_t stride, int n, const edges *sharp,
                 const edges *soft)
{
    const int across = n / SIDE;
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            const int16_t sample = part[y * stride + x];
            s->part[y / SIDE * across + x / SIDE][y % SIDE][x % SIDE] = sample;
            s->turned[x / SIDE * across + y / SIDE][x % SIDE][y % SIDE] = sample;
        }
    for (int i = 0; i <= 2 * n; i++) {
        s->sharp.above[i] = (sharp->above[i] + FINE / 2) / FINE;
        s->sharp.left[i] = (sharp->left[i] + FINE / 2) / FINE;
        s->soft.above[i] = (soft->above[i] + FINE / 2) / FINE;
        s->soft.left[i] = (soft->left[i] + FINE / 2) / FINE;
    }
}

INLINE float unlike(const sight *s, int mode, int n)
{
    int32_t out[BLOCK * BLOCK];
    if (mode == LINEAR)
        memcpy(out, s->linear, sizeof s->linear);
    else if (mode == PLANAR)
        predict_plane(&s->soft, n, out);
    else if (mode == MEAN)
        predict_mean(&s->sharp, n, out);
    else {
        const edges *e = is_soft(mode, n) ? &s->soft : &s->sharp;
        if (is_down(mode))
            predict_along(e->above, e->left, mode, n, out);
        else
            predict_along(e->left, e->above, mode, n, out);
    }
    const int across = n / SIDE;
    float sum = 0;
    for (int q = 0; q < across * across; q++) {
        const int as_is = mode < FIRST_ANGLE || mode == LINEAR || is_down(mode);
        const line *part = as_is ? s->part[q] : s->turned[q];
        sum += unlikeness(part, out + q / across * SIDE * n + q % across * SIDE, n);
    }
    return sum;
}

/* The likeliest modes found so far, the best first. */
typedef struct {
    uint32_t ranks[TRIED];
    float costs[TRIED];
    uint64_t looked_at;
} finds;

INLINE void find(finds *f, const sight *sights, uint32_t planes, int n, const uint8_t *rank, int mode,
                 float bit)
{
    if (f->looked_at >> mode & 1)
        return;
    f->looked_at |= (uint64_t)1 << mode;
    float cost = bit * mode_bits(rank[mode]);
    for (uint32_t k = 0; k < planes; k++)
        cost += unlike(&sights[k], mode, n);
    for (uint32_t k = 0; k < TRIED; k++)
        if (cost < f->costs[k]) {
            for (uint32_t l = TRIED - 1; l > k; l--) {
                f->costs[l] = f->costs[l - 1];
                f->ranks[l] = f->ranks[l - 1];
            }
            f->costs[k] = cost;
            f->ranks[k] = rank[mode];
            return;
        }
}

/* Look for modes among `all`; each of them, or those that are expected and a few angles, then their neighbours. */
INLINE void search_modes(finds *f, const sight *sights, uint32_t planes, int n, const uint8_t *order,
                         uint32_t all, float bit, int thorough)
{
    uint8_t rank[CHROMA_MODES];
    for (uint32_t r = 0; r < all; r++)
        rank[order[r]] = (uint8_t)r;
    f->looked_at = 0;
    for (uint32_t k = 0; k < TRIED; k++)
        f->costs[k] = 3e38f;
    uint8_t modes[CHROMA_MODES]; /* what is looked at next: one place calls `find`, which is a lot of code */
    uint32_t count = 0;
    for (uint32_t r = 0; r < (thorough ? all : 4); r++)
        modes[count++] = (uint8_t)(thorough ? r : order[r]);
    int far = thorough || planes > 1 ? 0 : COARSE / 2;
    if (far)
        for (int mode = FIRST_ANGLE; mode < MODES; mode += COARSE)
            modes[count++] = (uint8_t)mode;
    for (uint32_t k = 0;; k++) {
        while (k == count) { /* beside the best so far */
            const int best = order[f->ranks[0]];
            if (!far || best < FIRST_ANGLE)
                return;
            k = count = 0;
            for (int side = -far; side <= far; side += 2 * far)
                if (best + side >= FIRST_ANGLE && best + side < MODES)
                    modes[count++] = (uint8_t)(best + side);
            far /= 2;
        }
        find(f, sights, planes, n, rank, modes[k], bit);
    }
}

#endif

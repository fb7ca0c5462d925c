/*
 * The transform of one part in floats, and what its latents may cost: for encoders. Sums of floats are
 * in one order on every machine: nothing is contracted, and lanes do not mix.
 */
#ifndef RTC_FORWARD_H
#define RTC_FORWARD_H

#include "_motion.h"

enum { MODE_BITS = 5 }; /* of a coefficient's place and sign, roughly */

/* What chooses between transforms: rounding, and squared steps that a bit may save. */
#define MODE_OFFSET 0.15f
#define MODE_PRICE 0.3f
#define LEAST 0.5f /* steps of a latent that is listed; no offset of a quantiser is above 1/2 */

typedef float eight __attribute__((vector_size(32))); /* GCC and Clang make SIMD of it anywhere */
typedef int32_t eight_integers __attribute__((vector_size(32)));


#if defined(__clang__)
#define SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

INLINE void transpose(eight *d)
{
    eight a[SIDE], b[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        a[i] = SHUFFLE(eight_integers, d[i], d[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = SHUFFLE(eight_integers, d[i], d[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = SHUFFLE(eight_integers, a[i + j], a[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + 2 * j + 1] = SHUFFLE(eight_integers, a[i + j], a[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        d[i] = SHUFFLE(eight_integers, b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        d[i + 4] = SHUFFLE(eight_integers, b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* The DCT-II of each column of eight; the basis is even or odd about the middle. */
INLINE void transform_eight(eight *d)
{
    eight sum[4], difference[4];
    for (int y = 0; y < 4; y++) {
        sum[y] = d[y] + d[7 - y];
        difference[y] = d[y] - d[7 - y];
    }
    for (int v = 0; v < SIDE; v++) {
        const eight *from = v & 1 ? difference : sum;
        eight c = from[0] * (DCT[v][0] / 4096.0f);
        for (int y = 1; y < 4; y++)
            c += from[y] * (DCT[v][y] / 4096.0f);
        d[v] = c;
    }
}

/* The same of four, twice: frequency k of half b in row 2 k + b. */
INLINE void transform_four(eight *d)
{
    eight c[SIDE];
    for (int b = 0; b < 2; b++) {
        const eight *half = d + 4 * b;
        const eight sum[2] = {half[0] + half[3], half[1] + half[2]};
        const eight difference[2] = {half[0] - half[3], half[1] - half[2]};
        for (int k = 0; k < 4; k++) {
            const eight *from = k & 1 ? difference : sum;
            c[2 * k + b] = from[0] * (DCT4[k][0] / 4096.0f) + from[1] * (DCT4[k][1] / 4096.0f);
        }
    }
    memcpy(d, c, sizeof c);
}

/* Vectors are passed by address: how they are passed otherwise depends on the processor. */
INLINE void magnitude(const eight *x, eight *out)
{
    *out = (eight)((eight_integers)*x & 0x7fffffff);
}

INLINE float sum_of(const eight *x)
{
    float sum = 0;
    for (int i = 0; i < SIDE; i++)
        sum += (*x)[i];
    return sum;
}

/* About what coefficients cost, error and bits, in squared steps. */
INLINE float cost_of(const eight *c)
{
    eight cost = {0};
    for (int v = 0; v < SIDE; v++) {
        eight x;
        magnitude(&c[v], &x);
        const eight n = __builtin_convertvector(
            __builtin_convertvector(x + MODE_OFFSET, eight_integers), eight);
        /* Bits of an n that is not 0: those of its place and sign, and of its size. */
        const eight bits = (eight)((eight_integers)(n + MODE_BITS) & (n > 0));
        cost += (x - n) * (x - n) + MODE_PRICE * bits;
    }
    return sum_of(&cost);
}

/* Both ways; what is at row h, column v of the result is of horizontal frequency h, vertical v. */
INLINE void both_ways(eight *d, float scale, int four)
{
    for (int pass = 0; pass < 2; pass++) {
        if (four)
            transform_four(d);
        else
            transform_eight(d);
        if (!pass)
            transpose(d);
    }
    for (int h = 0; h < SIDE; h++)
        d[h] *= scale;
}

enum {
    READ_FROM = 3, /* of contexts.py, as all below */
    LAST_KIND = 9,
    LEVELS = 16,
    CAPPED = 15,
};

INLINE int32_t level_of(int32_t energy)
{
    static const int32_t from[] = {4, 10, 17, 31, 52, 100, 200};
    int32_t level = 0;
    for (uint32_t k = 0; k < sizeof from / sizeof *from; k++)
        level += energy >= from[k];
    return level;
}

#endif

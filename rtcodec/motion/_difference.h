/*
 * What blocks differ from what is seen at a place of a picture: the inner loops of _search.c. The tests
 * ask that every build gives the same numbers.
 */
#ifndef RTC_DIFFERENCE_H
#define RTC_DIFFERENCE_H

#include "_motion.h"

#if defined(__x86_64__) && !defined(RTC_PORTABLE)
#include <emmintrin.h>
#endif

/*
 * Sum of absolute differences of n x n samples of a block's luma and what is at a place, or the mean of
 * what is at two places.
 */
#if defined(__x86_64__) && !defined(RTC_PORTABLE)
INLINE uint32_t difference(const uint8_t *block, const uint8_t *one, const uint8_t *two,
                           size_t stride, int n)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < n; i += 1 + (n == HALF)) { /* two rows of eight at once */
        __m128i a, b, c;
        if (n == BLOCK) {
            a = _mm_loadu_si128((const void *)(block + i * BLOCK));
            b = _mm_loadu_si128((const void *)(one + i * stride));
            if (two)
                c = _mm_loadu_si128((const void *)(two + i * stride));
        } else {
            a = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(block + i * BLOCK)),
                                   _mm_loadl_epi64((const void *)(block + (i + 1) * BLOCK)));
            b = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(one + i * stride)),
                                   _mm_loadl_epi64((const void *)(one + (i + 1) * stride)));
            if (two)
                c = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(two + i * stride)),
                                       _mm_loadl_epi64((const void *)(two + (i + 1) * stride)));
        }
        if (two)
            b = _mm_avg_epu8(b, c);
        sum = _mm_add_epi32(sum, _mm_sad_epu8(a, b));
    }
    return (uint32_t)(_mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4));
}
#else
INLINE uint32_t difference(const uint8_t *block, const uint8_t *one, const uint8_t *two,
                           size_t stride, int n)
{
    uint32_t sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const size_t at = i * stride + j;
            const int there = two ? (one[at] + two[at] + 1) >> 1 : one[at];
            sum += (uint32_t)modulus(block[i * BLOCK + j] - there);
        }
    return sum;
}
#endif

/* Eight samples beside eight others, as numbers. */
typedef int16_t line __attribute__((vector_size(32)));

#if defined(__clang__)
#define WEAVE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define WEAVE(a, b, ...) __builtin_shuffle(a, b, (line){__VA_ARGS__})
#endif

/* Sums and differences of lines that are `apart`. */
INLINE void butterfly(line *d, int apart)
{
    for (int i = 0; i < SIDE; i++)
        if (!(i & apart)) {
            const line a = d[i], b = d[i + apart];
            d[i] = a + b;
            d[i + apart] = a - b;
        }
}

typedef uint8_t bytes __attribute__((vector_size(16)));

/* Eight samples beside eight others. */
INLINE void load_line(const uint8_t *left, const uint8_t *right, bytes *out)
{
    typedef uint64_t pair __attribute__((vector_size(16)));
    uint64_t l, r;
    memcpy(&l, left, SIDE);
    memcpy(&r, right, SIDE);
    *out = (bytes)(pair){l, r};
}

typedef struct {
    const uint8_t *one, *two; /* the mean of both is meant; they may be the same */
} seen;

/*
 * Two sums of moduli of 8x8 differences after a Hadamard transform, nearer to what they cost in bits
 * than the differences themselves; in units of an orthonormal one.
 */
CLONES static void hadamard(const uint8_t *left, const uint8_t *right, const seen *at_left,
                            const seen *at_right, size_t stride, uint32_t out[2])
{
    line d[SIDE], e[SIDE];
    for (int i = 0; i < SIDE; i++) {
        const size_t row = i * stride;
        bytes is, was, other;
        load_line(left + i * BLOCK, right + i * BLOCK, &is);
        load_line(at_left->one + row, at_right->one + row, &was);
        load_line(at_left->two + row, at_right->two + row, &other);
        was = (was | other) - (((was ^ other) >> 1) & 0x7f); /* their mean, halves up */
        d[i] = __builtin_convertvector(is, line) - __builtin_convertvector(was, line);
    }
    for (int apart = 1; apart < SIDE; apart *= 2)
        butterfly(d, apart);
    for (int pass = 0; pass < 3; pass++) { /* a transpose: lines i and i + 4 woven, three times */
        for (int i = 0; i < 4; i++) {
            e[2 * i] = WEAVE(d[i], d[i + 4], 0, 16, 1, 17, 2, 18, 3, 19, /* of the left eight */
                             8, 24, 9, 25, 10, 26, 11, 27);
            e[2 * i + 1] = WEAVE(d[i], d[i + 4], 4, 20, 5, 21, 6, 22, 7, 23,
                                 12, 28, 13, 29, 14, 30, 15, 31);
        }
        memcpy(d, e, sizeof d);
    }
    butterfly(d, 1);
    butterfly(d, 2);
    /* |a + b| + |a - b| is twice the larger modulus, which is at most 32 * 255; four fit 16 bits. */
    line sum = {0};
    for (int i = 0; i < 4; i++) {
        const line one_sign = d[i] >> 15, other_sign = d[i + 4] >> 15;
        const line a = (d[i] ^ one_sign) - one_sign, b = (d[i + 4] ^ other_sign) - other_sign;
        const line more = a > b;
        sum += (a & more) | (b & ~more);
    }
    for (int k = 0; k < 2; k++) {
        uint32_t total = 2;
        for (int i = 0; i < SIDE; i++)
            total += (uint16_t)sum[SIDE * k + i];
        out[k] = total / 4;
    }
}

/* Sum of differences to the mean of a block's luma. */
CLONES static uint32_t spread(const uint8_t *block)
{
    uint32_t sum = 0, mean = BLOCK * BLOCK / 2;
    for (int i = 0; i < BLOCK * BLOCK; i++)
        mean += block[i];
    mean /= BLOCK * BLOCK;
    for (int i = 0; i < BLOCK * BLOCK; i++)
        sum += (uint32_t)modulus(block[i] - (int)mean);
    return sum;
}

#endif

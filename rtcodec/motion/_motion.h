/*
 * What the C files of this folder share: sizes, references, tables of numbers.
 *
 *     _predict.c    references and predictions    normative (SPEC.md 9.2), equals predict.py
 *     _paint.c      from symbols to samples       normative (9.3, 9.4): transform.py, smoothing.py
 *     _spatial.c    frames predicted from themselves, with _spatial.h    normative (9.6): spatial.py
 *     _refine.c     pictures, once decoded        normative (9.5): refine.py
 *     _blocks.c     between planes and blocks     equals rtcodec/engine/blocks.py
 *     _vectors.c    vectors as symbols            equals vectors.py; _expected.h for the search too
 *     _sights.c     what the search looks at      the encoder's own affair, as what follows
 *     _search.c     vectors for a picture; its inner loops are in _difference.h
 *     _latents.c    from samples to symbols
 *     _spatial_choose.c, _spatial_quantise.c    the same for frames predicted from themselves
 *     _matches.c    which of their parts look like others
 *     _describe.c   hyper-latents
 *     _denoise.c    pictures before they are coded    as denoise.py
 *
 * _inverse.h and _forward.h are the transform of one part, each way.
 *
 * Freestanding C11 (GCC or Clang), one library, for Python through ctypes and for wasm32. It
 * allocates nothing and calls nothing but memcpy and memset. Arguments come checked from native.py;
 * vectors may be any numbers.
 *
 * A reference is three planes with BORDER repeated samples around (half that for chroma), so that
 * the filters may read beyond the frame. Samples of references and predictions have 4 bits more
 * than a byte: devices differ by a rounding here and there, and in bytes those would add up from
 * frame to frame (docs/adr/019).
 */
#ifndef RTC_MOTION_H
#define RTC_MOTION_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))

/*
 * x86: compiled for AVX2 as well, chosen when the library is loaded. RTC_PORTABLE leaves that out, and
 * intrinsics: the same results, which the tests compare.
 */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) \
    && !defined(RTC_PORTABLE)
#define CLONES __attribute__((target_clones("avx2", "default")))
#define WIDE_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define CLONES
#define WIDE_CLONES
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

enum {
    SAMPLES = 384, /* of a block: luma, u, v */
    BLOCK = 16,
    HALF = BLOCK / 2, /* a quarter of a block; and a block of chroma */
    QUARTERS = 4,     /* each has a vector: top left, top right, bottom left, bottom right */
    SIDE = 8,         /* of what is transformed: quarters of luma, all of u, all of v */
    PARTS = SAMPLES / 64,
    TILE = 4,          /* blocks along the side of a tile */
    BORDER = 32,       /* of luma; >= BLOCK + 8 taps, so that no clamped block reads outside */
    REACH = BLOCK + 6, /* how far a block may lie outside the frame before nothing changes */
    FINE = 16,         /* of a sample's steps, in references and predictions */
    FINE_MAX = 4080,   /* 255 of them */
    /* What is said of a block beside its vectors: */
    INTRA = 1, /* it has no prediction; */
    ALONE = 2, /* vectors of its tile do not overlap; */
    WHOLE = 4, /* its luma is one part, without edges within */
};

/* ITU-T H.265 8.5.3.3.3: luma at quarters of a sample. */
static const int8_t LUMA_TAPS[4][8] = {
    {0, 0, 0, 64, 0, 0, 0, 0},
    {-1, 4, -10, 58, 17, -5, 1, 0},
    {-1, 4, -11, 40, 40, -11, 4, -1},
    {0, 1, -5, 17, 58, -10, 4, -1},
};

/* The DCT-II of eight samples, times 4096: rows are frequencies. */
static const int16_t DCT[SIDE][SIDE] = {
    {1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448},
    {2009, 1703, 1138, 400, -400, -1138, -1703, -2009},
    {1892, 784, -784, -1892, -1892, -784, 784, 1892},
    {1703, -400, -2009, -1138, 1138, 2009, 400, -1703},
    {1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448},
    {1138, -2009, 400, 1703, -1703, -400, 2009, -1138},
    {784, -1892, 1892, -784, -784, 1892, -1892, 784},
    {400, -1138, 1703, -2009, 2009, -1703, 1138, -400},
};

/* The same of four. */
static const int16_t DCT4[4][4] = {
    {2048, 2048, 2048, 2048},
    {2676, 1108, -1108, -2676},
    {2048, -2048, -2048, 2048},
    {1108, -2676, 2676, -1108},
};

/* The DCT-II of sixteen. */
static const int16_t DCT16[BLOCK][BLOCK] = {
    {1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024, 1024},
    {1441, 1386, 1277, 1119, 919, 683, 420, 142, -142, -420, -683, -919, -1119, -1277, -1386, -1441},
    {1420, 1204, 805, 283, -283, -805, -1204, -1420, -1420, -1204, -805, -283, 283, 805, 1204, 1420},
    {1386, 919, 142, -683, -1277, -1441, -1119, -420, 420, 1119, 1441, 1277, 683, -142, -919, -1386},
    {1338, 554, -554, -1338, -1338, -554, 554, 1338, 1338, 554, -554, -1338, -1338, -554, 554, 1338},
    {1277, 142, -1119, -1386, -420, 919, 1441, 683, -683, -1441, -919, 420, 1386, 1119, -142, -1277},
    {1204, -283, -1420, -805, 805, 1420, 283, -1204, -1204, 283, 1420, 805, -805, -1420, -283, 1204},
    {1119, -683, -1386, 142, 1441, 420, -1277, -919, 919, 1277, -420, -1441, -142, 1386, 683, -1119},
    {1024, -1024, -1024, 1024, 1024, -1024, -1024, 1024, 1024, -1024, -1024, 1024, 1024, -1024, -1024, 1024},
    {919, -1277, -420, 1441, -142, -1386, 683, 1119, -1119, -683, 1386, 142, -1441, 420, 1277, -919},
    {805, -1420, 283, 1204, -1204, -283, 1420, -805, -805, 1420, -283, -1204, 1204, 283, -1420, 805},
    {683, -1441, 919, 420, -1386, 1119, 142, -1277, 1277, -142, -1119, 1386, -420, -919, 1441, -683},
    {554, -1338, 1338, -554, -554, 1338, -1338, 554, 554, -1338, 1338, -554, -554, 1338, -1338, 554},
    {420, -1119, 1441, -1277, 683, 142, -919, 1386, -1386, 919, -142, -683, 1277, -1441, 1119, -420},
    {283, -805, 1204, -1420, 1420, -1204, 805, -283, -283, 805, -1204, 1420, -1420, 1204, -805, 283},
    {142, -420, 683, -919, 1119, -1277, 1386, -1441, 1441, -1386, 1277, -1119, 919, -683, 420, -142},
};

/*
 * Which coefficient, 8 * vertical + horizontal frequency, is the k-th of a part: by their sum. Latent
 * k of part p of a place is its channel k * PARTS + p.
 */
static const uint8_t ORDER[SIDE * SIDE] = {
    0, 1, 8, 2, 9, 16, 3, 10, 17, 24, 4, 11, 18, 25, 32, 5,
    12, 19, 26, 33, 40, 6, 13, 20, 27, 34, 41, 48, 7, 14, 21, 28,
    35, 42, 49, 56, 15, 22, 29, 36, 43, 50, 57, 23, 30, 37, 44, 51,
    58, 31, 38, 45, 52, 59, 39, 46, 53, 60, 47, 54, 61, 55, 62, 63,
};

/* Where in a block the samples of its part k begin, and how far apart their rows are. */
INLINE uint32_t part_start(uint32_t k) { return k < 4 ? (k >> 1) * 128 + (k & 1) * 8 : 64 * k; }
INLINE uint32_t part_stride(uint32_t k) { return k < 4 ? BLOCK : HALF; }

typedef struct {
    uint16_t *y, *u, *v; /* the sample at row 0, column 0 */
    uint32_t rows, columns; /* blocks */
} rtc_reference;

typedef struct {
    const rtc_reference *reference;
    /* Luma in bytes, with BORDER around: [0], half right [1], half down [2], both [3]. */
    uint8_t *planes[4];
} rtc_sights;

/* u and v of a block, 64 samples each, predicted with vectors [4, 2]; x, y: as in rtc_predict. */
void rtc_predict_chroma(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                        uint16_t *chroma);

INLINE size_t luma_stride(const rtc_reference *r) { return r->columns * BLOCK + 2 * BORDER; }
INLINE size_t chroma_stride(const rtc_reference *r) { return r->columns * HALF + BORDER; }
INLINE int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* Where a block lies, limited to where a further step changes nothing. */
INLINE int32_t limited(int32_t place, int32_t blocks, int32_t unit)
{
    return clamp(place, -REACH * unit, (blocks * BLOCK + REACH - BLOCK) * unit);
}

INLINE int32_t modulus(int32_t x) { return x < 0 ? -x : x; }

/* Whether the four vectors of a block, two numbers each, are one. */
INLINE int is_whole(const int16_t *v)
{
    int differ = 0;
    for (int i = 2; i < 2 * QUARTERS; i++)
        differ |= v[i] ^ v[i & 1];
    return !differ;
}

#endif

/*
 * Fast form of rans.py, contexts.py and scale_net.py: the same bytes, the same integers.
 *
 *     _tables.c     tables made ready
 *     _contexts.c   what was read of a tile says what to expect of the rest; its loops are in
 *                   _contexts.h, since decoders do both at once
 *     _decode.c     from a payload to symbols
 *     _encode.c     from symbols to a payload, and what they cost
 *     _tiles.c      between the order of frames and that of tiles
 *     _scale_net.c  the exact scale network
 *     _copies_decode.c, _copies_encode.c    which parts of a frame are copies, in the order of
 *                   _copies.h: equals copies.py
 *
 * Freestanding C11 (GCC or Clang), one library, for Python through ctypes and for wasm32. It
 * allocates nothing, keeps no state but what the processor offers, calls nothing but memcpy and
 * memset, and reads bytes from outside only in _reader.h, `rtc_decode_begin`, `take_word` and the
 * guarded loop of `decode_groups`. Tables and arguments come checked from native.py.
 *
 * Law: for every payload and every size, no access outside the given buffers and at most a
 * constant amount of work per symbol.
 */
#ifndef RTC_RANS_H
#define RTC_RANS_H

#include "_words.h"

enum {
    SCALES = 64,
    SAID = 32, /* tables of what is said of blocks, where a model has them */
    ROWS = 128, /* room for all, a power of two: no index that changes while it is read leaves it */
    QPS = 64,
    Z_MAX = 15,
    Z_ROW = 32, /* numbers in a cumulative table of a hyper-latent */
    Y_ROW = 257 + 1, /* at most 256 symbols, the end, and one more that a load may reach */
    Y_STARTS = (SCALES + SAID - 1) * Y_ROW + 2,
    LOOKUP_BITS = 11,
    LOOKUP = 1 << LOOKUP_BITS,
    LOOKUP_SHIFT = PROB_BITS - LOOKUP_BITS,
    SYMBOL_MAX = 32767,
    LANES_MAX = 8,
    ESCAPE_LENGTH_BITS = 4,
    BATCH = 1024, /* latents looked at, and coded ones found, before they are decoded */
    FOUND_MAX = 2 * BATCH + 8, /* the last look may find BATCH more; a store may reach 8 beyond */
    ESCAPE_WORDS = 3, /* most 16-bit words one symbol can take */
    RECIPROCAL_BITS = 46,
    ESCAPED = 1 << 15, /* flag of a listed symbol; Y_STARTS is smaller than 2**15 */

    /* Contexts of delta frames: contexts.py. */
    PARTS = 6,
    LUMA_PARTS = 4,
    RESIDUAL = 64 * PARTS,
    MOTION = 10,
    CHANNELS = RESIDUAL + MOTION,
    DIAGONALS = 15,
    LAST_KIND = 9,
    KINDS = 2 * (LAST_KIND + 1) + MOTION,
    LEVELS = 16,
    READ_FROM = 3,
    CAPPED = 15,
    STAGE_MAX = 8 * PARTS, /* channels of the longest stage */
    PLACES = 16,
};
typedef struct {
    uint32_t hyper_channels;
    uint32_t has_contexts;
    uint32_t rows; /* tables, the first one empty; SCALES, or SAID more */
    int8_t contexts[KINDS][LEVELS]; /* offsets of scale indices */
    uint16_t first[ROWS]; /* where a table begins in `start` and `reciprocal` */
    uint8_t radius[ROWS];
    uint8_t lookup[ROWS][LOOKUP]; /* slot / 8 -> symbol of slot / 8 * 8, from the lowest */
    uint16_t start[Y_STARTS];       /* cumulative tables, 2**14 at their ends */
    uint64_t reciprocal[Y_STARTS];  /* of the frequency: floor(2**46 / f) + 1 */
    uint16_t z_cdf[];               /* [QPS][hyper_channels][Z_ROW] */
} rtc_tables;

INLINE const uint16_t *z_tables(const rtc_tables *tables, uint32_t qp)
{
    return tables->z_cdf + (size_t)qp * tables->hyper_channels * Z_ROW;
}

INLINE uint64_t load64(const void *from)
{
    uint64_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

INLINE uint32_t load32(const void *from)
{
    uint32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

/*
 * A finder writes the positions in [from, to) whose index is not 0 to *found*
 * and returns how many; to - from is a multiple of 16.
 */
typedef uint32_t finder(const uint8_t *indices, uint32_t from, uint32_t to, uint32_t *found);

INLINE uint32_t find_coded(const uint8_t *indices, uint32_t from, uint32_t to, uint32_t *found)
{
    const uint64_t low = 0x7f7f7f7f7f7f7f7full;
    uint32_t count = 0;
    for (uint32_t at = from; at < to; at += 8) {
        const uint64_t word = load64(indices + at);
        uint64_t set = (((word & low) + low) | word) & ~low; /* top bit of each byte not 0 */
        while (set) {
            found[count++] = at + ((uint32_t)__builtin_ctzll(set) >> 3);
            set &= set - 1;
        }
    }
    return count;
}

#ifdef RTC_X86
AVX2 static inline uint32_t find_coded_avx2(const uint8_t *indices, uint32_t from, uint32_t to,
                                            uint32_t *found)
{
    const __m128i zero = _mm_setzero_si128();
    uint32_t count = 0;
    for (uint32_t at = from; at < to; at += 16) {
        const __m128i block = _mm_loadu_si128((const __m128i *)(indices + at));
        uint32_t set = ~(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(block, zero)) & 0xffff;
        if (!set)
            continue;
        const __m256i base = _mm256_set1_epi32((int)at);
        for (uint32_t half = 0; half < 16; half += 8) { /* both halves: no branch to miss */
            const uint64_t bytes = _pdep_u64(set >> half & 0xff, 0x0101010101010101ull) * 0xff;
            const uint64_t places = _pext_u64(0x0706050403020100ull + half * 0x0101010101010101ull,
                                              bytes);
            const __m256i wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)places));
            _mm256_storeu_si256((__m256i *)(found + count), _mm256_add_epi32(wide, base));
            count += (uint32_t)__builtin_popcount(set >> half & 0xff);
        }
    }
    return count;
}
#endif

#endif

/*
 * Fast form of rans.py and scale_net.py: the same bytes, the same integers.
 *
 * One freestanding C11 source (GCC or Clang), for Python through ctypes and for
 * wasm32. It allocates nothing, keeps no state but what the processor offers,
 * calls nothing but memcpy and memset, and reads bytes from outside only in
 * `rtc_decode_begin`, `take_word` and the guarded loop of `decode_groups`.
 * Tables and arguments come checked from native.py.
 *
 * Law: for every payload and every size, no access outside the given buffers
 * and at most a constant amount of work per symbol.
 */
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only little-endian machines are supported"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

/* x86: the hot loops are compiled for several processors and chosen when called. */
#if defined(__x86_64__) && !defined(RTC_PORTABLE)
#define RTC_X86 1
#include <cpuid.h>
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))

enum { HAS_AVX2 = 1, HAS_VNNI = 2, IS_KNOWN = 4 };

/* What the processor and the operating system offer; asked once, cpuid is slow. */
static uint32_t processor(void)
{
    static uint32_t known; /* threads may race to write the same value */
    uint32_t found = __atomic_load_n(&known, __ATOMIC_RELAXED), a, b, c, d, low, high;
    if (found)
        return found;
    found = IS_KNOWN;
    if (__get_cpuid(1, &a, &b, &c, &d) && c >> 27 & 1 && c >> 23 & 1) { /* xgetbv, popcnt */
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
            b = c = 0;
        if ((low & 0x06) == 0x06 && b >> 3 & b >> 5 & b >> 8 & 1) /* bmi, avx2, bmi2 */
            found |= HAS_AVX2;
        if ((low & 0xe6) == 0xe6 && b >> 16 & b >> 30 & c >> 11 & 1) /* avx512 f, bw, vnni */
            found |= HAS_VNNI;
    }
    __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    return found;
}
#endif

/* Declared by hand: -ffreestanding has no string.h, and would call them for two bytes. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
#define memcpy __builtin_memcpy
#define memset __builtin_memset

enum {
    PROB_BITS = 14,
    PROB_SCALE = 1 << PROB_BITS,
    SCALES = 64,
    QPS = 64,
    Z_MAX = 15,
    Z_ROW = 32, /* numbers in a cumulative table of a hyper-latent */
    Y_ROW = 257 + 1, /* at most 256 symbols, the end, and one more that a load may reach */
    Y_STARTS = (SCALES - 1) * Y_ROW + 2,
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
static const uint32_t STATE_MIN = 1u << 16;

/* Raised whenever a function's arguments change; native.LIBRARY_VERSION is the same. */
#define LIBRARY_VERSION 3

EXPORT uint32_t rtc_version(void)
{
    return LIBRARY_VERSION;
}

enum status { OK, TRUNCATED, STATE_TOO_SMALL, ESCAPE_RANGE, BYTES_LEFT, STATE_LEFT };

/* ---- tables ------------------------------------------------------------------------------- */

typedef struct {
    uint32_t hyper_channels;
    uint32_t has_contexts;
    int8_t contexts[KINDS][LEVELS]; /* offsets of scale indices */
    uint16_t first[SCALES]; /* where a scale index begins in `start` and `reciprocal` */
    uint8_t radius[SCALES];
    uint8_t lookup[SCALES][LOOKUP]; /* slot / 8 -> symbol of slot / 8 * 8, from the lowest */
    uint16_t start[Y_STARTS];       /* cumulative tables, 2**14 at their ends */
    uint64_t reciprocal[Y_STARTS];  /* of the frequency: floor(2**46 / f) + 1 */
    uint16_t z_cdf[];               /* [QPS][hyper_channels][Z_ROW] */
} rtc_tables;

EXPORT size_t rtc_tables_size(uint32_t hyper_channels)
{
    return sizeof(rtc_tables) + sizeof(uint16_t) * QPS * Z_ROW * (size_t)hyper_channels;
}

/*
 * y_cdf: uint16 [64][columns], z_cdf: uint16 [64][hyper_channels][32], both valid; contexts: int8
 * [30][16], or NULL where symbols do not depend on others.
 */
EXPORT void rtc_tables_build(rtc_tables *tables, const uint16_t *y_cdf, uint32_t columns,
                             const uint16_t *z_cdf, uint32_t hyper_channels,
                             const int8_t *contexts)
{
    uint32_t next = 0;
    memset(tables, 0, sizeof *tables);
    tables->hyper_channels = hyper_channels;
    tables->has_contexts = contexts != NULL;
    if (contexts)
        memcpy(tables->contexts, contexts, sizeof tables->contexts);
    for (uint32_t index = 1; index < SCALES; index++) {
        const uint16_t *cdf = y_cdf + (size_t)index * columns;
        uint32_t size = 0; /* symbols, the escape included */
        while (size + 1 < columns && cdf[size] < PROB_SCALE)
            size++;
        tables->first[index] = (uint16_t)next;
        tables->radius[index] = (uint8_t)(size / 2 - 1);
        for (uint32_t s = 0; s < size; s++) {
            tables->start[next + s] = cdf[s];
            tables->reciprocal[next + s]
                = (1ull << RECIPROCAL_BITS) / (uint32_t)(cdf[s + 1] - cdf[s]) + 1;
        }
        tables->start[next + size] = tables->start[next + size + 1] = PROB_SCALE;
        for (uint32_t slot = 0, s = 0; slot < PROB_SCALE; slot += 1 << LOOKUP_SHIFT) {
            while (cdf[s + 1] <= slot)
                s++;
            tables->lookup[index][slot >> LOOKUP_SHIFT] = (uint8_t)s;
        }
        next += size + 2;
    }
    memcpy(tables->z_cdf, z_cdf, sizeof(uint16_t) * QPS * Z_ROW * (size_t)hyper_channels);
}

INLINE const uint16_t *z_tables(const rtc_tables *tables, uint32_t qp)
{
    return tables->z_cdf + (size_t)qp * tables->hyper_channels * Z_ROW;
}

/* ---- finding what is coded ---------------------------------------------------------------- */

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

/* ---- contexts ----------------------------------------------------------------------------- */

/*
 * What was read of a tile says what to expect of the rest: contexts.py, stage by stage. A tile is
 * [CHANNELS][PLACES]. The loops over places are what compilers turn into vectors.
 */
typedef struct {
    int32_t energy[PARTS][PLACES];
    int32_t luma[PLACES]; /* symbols that are not 0 */
} tile_state;

static const int32_t ENERGY_LEVELS[] = {4, 10, 17, 31, 52, 100, 200};
static const int32_t COUNT_LEVELS[] = {1, 3, 8};
static const int32_t SIZE_LEVELS[] = {1, 2, 4, 8};
static const int32_t MOVED_LEVELS[] = {1, 4};
static const int32_t SPLIT_LEVELS[] = {2, 3, 4, 5, 8, 13};
#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

INLINE uint32_t stage_count(void)
{
    return DIAGONALS + MOTION;
}

/* First channel of a stage; that of the one after the last is CHANNELS. */
INLINE uint32_t stage_start(uint32_t stage)
{
    if (stage >= DIAGONALS)
        return RESIDUAL + stage - DIAGONALS;
    if (stage <= 8)
        return PARTS * (stage * (stage + 1) / 2);
    return PARTS * (64 - (15 - stage) * (16 - stage) / 2);
}

INLINE void level_by(const int32_t *values, const int32_t *thresholds, uint32_t n, uint8_t step,
                     uint8_t *levels)
{
    for (uint32_t p = 0; p < PLACES; p++) {
        uint8_t level = 0;
        for (uint32_t k = 0; k < n; k++)
            level = (uint8_t)(level + step * (values[p] >= thresholds[k]));
        levels[p] = (uint8_t)(levels[p] + level);
    }
}

INLINE void add_moduli(const int16_t *symbols, int32_t *sums)
{
    for (uint32_t p = 0; p < PLACES; p++)
        sums[p] += symbols[p] < 0 ? -symbols[p] : symbols[p];
}

/* Levels of a motion channel, from the tile's symbols before it. */
static void motion_levels(const tile_state *state, const int16_t *tile, uint32_t channel,
                          uint8_t *levels)
{
    const int16_t *motion = tile + RESIDUAL * PLACES;
    int32_t vector[PLACES] = {0}, before[PLACES] = {0};
    memset(levels, 0, PLACES);
    if (channel == 0) {
        level_by(state->luma, COUNT_LEVELS, COUNT_OF(COUNT_LEVELS), 1, levels);
    } else if (channel == MOTION - 1) {
        level_by(state->luma, SPLIT_LEVELS, COUNT_OF(SPLIT_LEVELS), 1, levels);
    } else {
        add_moduli(motion, vector);
        if (channel > 1)
            add_moduli(motion + PLACES, vector);
        for (uint32_t k = 3; k < channel; k++)
            add_moduli(motion + k * PLACES, before);
        if (channel < 3) {
            level_by(vector, SIZE_LEVELS, COUNT_OF(SIZE_LEVELS), 1, levels);
        } else {
            level_by(before, SIZE_LEVELS, COUNT_OF(SIZE_LEVELS), 1, levels);
            level_by(vector, MOVED_LEVELS, COUNT_OF(MOVED_LEVELS), COUNT_OF(SIZE_LEVELS) + 1,
                     levels);
        }
    }
}

/* Indices of 16 places moved by offsets; 0 stays 0, and what comes out below *least* is *below*. */
INLINE void move_indices(const int8_t *offsets, const uint8_t *from, int32_t least, int32_t below,
                         uint8_t *to)
{
    for (uint32_t p = 0; p < PLACES; p++) {
        int32_t index = from[p] + offsets[p];
        index = index < least ? below : index > SCALES - 1 ? SCALES - 1 : index;
        to[p] = (uint8_t)(from[p] ? index : 0);
    }
}

/* The offsets of 16 places with their levels. */
INLINE void offsets_of(const int8_t *row, const uint8_t *levels, int8_t *offsets)
{
    for (uint32_t p = 0; p < PLACES; p++)
        offsets[p] = row[levels[p]];
}

/*
 * Indices that choose the tables of a stage of a tile, from those of the scale network and the
 * symbols of earlier stages; to: [channels of the stage][PLACES].
 */
INLINE void stage_indices(const rtc_tables *tables, const tile_state *state, uint32_t stage,
                          const uint8_t *indices, const int16_t *tile, uint8_t *to)
{
    const uint32_t first = stage_start(stage), n = stage_start(stage + 1) - first;
    const uint8_t *from = indices + first * PLACES;
    if (stage >= DIAGONALS) {
        const uint32_t channel = stage - DIAGONALS;
        uint8_t levels[PLACES];
        int8_t offsets[PLACES];
        motion_levels(state, tile, channel, levels);
        offsets_of(tables->contexts[KINDS - MOTION + channel], levels, offsets);
        move_indices(offsets, from, 1, 1, to);
        for (uint32_t p = 0; p < PLACES && channel == MOTION - 1; p++)
            to[p] = state->luma[p] ? to[p] : 0; /* where no luma is, no transform is chosen */
        return;
    }
    const uint32_t kind = stage < LAST_KIND ? stage : LAST_KIND;
    for (uint32_t part = 0; part < PARTS; part++) {
        const uint32_t row = kind + (part < LUMA_PARTS ? 0 : LAST_KIND + 1);
        uint8_t levels[PLACES] = {0};
        int8_t offsets[PLACES];
        level_by(state->energy[part], ENERGY_LEVELS, COUNT_OF(ENERGY_LEVELS), 1, levels);
        offsets_of(tables->contexts[row], levels, offsets);
        for (uint32_t k = part; k < n; k += PARTS)
            move_indices(offsets, from + k * PLACES, READ_FROM, 0, to + k * PLACES);
    }
}

/* Take note of the symbols of a stage of residual; `any`: whether one is not 0. */
INLINE void stage_read(tile_state *state, uint32_t stage, const int16_t *tile, int any)
{
    const uint32_t first = stage_start(stage), n = stage_start(stage + 1) - first;
    if (stage >= DIAGONALS)
        return;
    for (uint32_t part = 0; part < PARTS; part++) {
        int32_t sum[PLACES] = {0}, count[PLACES] = {0};
        for (uint32_t k = part; k < n && any; k += PARTS) {
            const int16_t *symbols = tile + (first + k) * PLACES;
            for (uint32_t p = 0; p < PLACES; p++) {
                const int32_t size = symbols[p] < 0 ? -symbols[p] : symbols[p];
                sum[p] += size < CAPPED ? size : CAPPED;
                count[p] += size != 0;
            }
        }
        for (uint32_t p = 0; p < PLACES; p++) {
            state->energy[part][p] += 16 * sum[p] - (state->energy[part][p] >> 2);
            state->luma[p] += part < LUMA_PARTS ? count[p] : 0;
        }
    }
}

INLINE void context_indices(const rtc_tables *tables, const uint8_t *indices,
                            const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        tile_state state = {0};
        for (uint32_t stage = 0; stage < stage_count(); stage++) {
            stage_indices(tables, &state, stage, indices, symbols, to + stage_start(stage) * PLACES);
            stage_read(&state, stage, symbols, 1);
        }
        indices += CHANNELS * PLACES;
        symbols += CHANNELS * PLACES;
        to += CHANNELS * PLACES;
    }
}

#ifdef RTC_X86
AVX2 static void context_indices_avx2(const rtc_tables *tables, const uint8_t *indices,
                                      const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
    context_indices(tables, indices, symbols, n_tiles, to);
}
#endif

/* For an encoder: the indices that choose tables; all are [n_tiles][CHANNELS][PLACES]. */
EXPORT void rtc_context_indices(const rtc_tables *tables, const uint8_t *indices,
                                const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2) {
        context_indices_avx2(tables, indices, symbols, n_tiles, to);
        return;
    }
#endif
    context_indices(tables, indices, symbols, n_tiles, to);
}

/* ---- decoding ----------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *payload;
    uint32_t size, position; /* bytes */
    uint32_t lanes, next;    /* lane of the next symbol */
    uint32_t state[LANES_MAX];
} rtc_decoder;

EXPORT int32_t rtc_decode_begin(rtc_decoder *decoder, const uint8_t *payload, uint32_t size,
                                uint32_t lanes)
{
    decoder->payload = payload;
    decoder->size = size;
    decoder->lanes = lanes;
    decoder->next = 0;
    decoder->position = size;
    if (size < 4 * lanes)
        return TRUNCATED;
    memcpy(decoder->state, payload, 4 * (size_t)lanes);
    for (uint32_t lane = 0; lane < lanes; lane++) {
        if (decoder->state[lane] < STATE_MIN) {
            decoder->position = 4 * lane;
            return STATE_TOO_SMALL;
        }
    }
    decoder->position = 4 * lanes;
    return OK;
}

/* Refill a state below 2**16; false where the payload ends. */
INLINE int take_word(rtc_decoder *decoder, uint32_t *state)
{
    if (*state >= STATE_MIN)
        return 1;
    if (decoder->size - decoder->position < 2) {
        decoder->position = decoder->size;
        return 0;
    }
    const uint8_t *word = decoder->payload + decoder->position;
    *state = *state << 16 | (uint32_t)(word[0] | word[1] << 8);
    decoder->position += 2;
    return 1;
}

INLINE int take_raw(rtc_decoder *decoder, uint32_t *state, uint32_t n_bits, uint32_t *bits)
{
    *bits = *state & ((1u << n_bits) - 1);
    *state >>= n_bits;
    return take_word(decoder, state);
}

/* Read the rest of an escape; out of line, it is rare. */
static __attribute__((noinline)) int32_t take_escape(rtc_decoder *decoder, uint32_t *state,
                                                     uint32_t radius, int16_t *symbol)
{
    uint32_t head, low;
    if (!take_raw(decoder, state, ESCAPE_LENGTH_BITS + 1, &head))
        return TRUNCATED;
    const uint32_t n_bits = head & ((1u << ESCAPE_LENGTH_BITS) - 1);
    if (!take_raw(decoder, state, n_bits, &low))
        return TRUNCATED;
    const uint32_t magnitude = radius + (1u << n_bits) + low;
    if (magnitude > SYMBOL_MAX)
        return ESCAPE_RANGE;
    *symbol = (int16_t)(head >> ESCAPE_LENGTH_BITS ? -(int32_t)magnitude : (int32_t)magnitude);
    return OK;
}

EXPORT int32_t rtc_decode_z(rtc_decoder *decoder, const rtc_tables *tables, uint32_t qp, int8_t *z,
                            uint32_t n_tiles)
{
    const uint16_t *row = z_tables(tables, qp);
    const uint32_t channels = tables->hyper_channels;
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        for (uint32_t channel = 0; channel < channels; channel++) {
            const uint16_t *cdf = row + channel * Z_ROW;
            uint32_t *state = decoder->state + decoder->next;
            const uint16_t slot = *state & (PROB_SCALE - 1);
            uint16_t above = 0; /* symbols that start at or below the slot */
            for (uint32_t s = 0; s < Z_ROW; s++)
                above = (uint16_t)(above + (cdf[s] <= slot));
            const uint16_t *range = cdf + above - 1;
            *state = (uint32_t)(range[1] - range[0]) * (*state >> PROB_BITS) + slot - range[0];
            if (UNLIKELY(!take_word(decoder, state)))
                return TRUNCATED;
            *z++ = (int8_t)((int32_t)above - 1 - Z_MAX);
            decoder->next = (decoder->next + 1) & (decoder->lanes - 1);
        }
    }
    return OK;
}

/*
 * Find the symbol of a state with the tables of *index*, counted from the
 * lowest, and take it out of the state; the caller refills. *escape is set for
 * the last symbol of the table.
 */
INLINE uint32_t take_symbol(const rtc_tables *tables, uint32_t index, uint32_t *state,
                            uint32_t *escape)
{
    const uint32_t slot = *state & (PROB_SCALE - 1);
    const uint16_t *start = tables->start + tables->first[index];
    uint32_t symbol = tables->lookup[index][slot >> LOOKUP_SHIFT];
    symbol += slot >= start[symbol + 1];
    uint32_t range = load32(start + symbol);
    while (UNLIKELY(slot >= range >> 16)) /* three or more symbols in eight slots */
        range = load32(start + ++symbol);
    const uint32_t low = range & 0xffff, high = range >> 16;
    *escape = high & PROB_SCALE; /* only the last symbol ends at 2**14 */
    *state = (high - low) * (*state >> PROB_BITS) + slot - low;
    return symbol;
}

/* One latent, every step checked. */
static int32_t decode_checked(rtc_decoder *decoder, const rtc_tables *tables, uint32_t index,
                              int16_t *symbol)
{
    uint32_t *state = decoder->state + decoder->next;
    uint32_t escape;
    const uint32_t radius = tables->radius[index];
    const uint32_t s = take_symbol(tables, index, state, &escape);
    int32_t status = OK;
    if (!take_word(decoder, state))
        return TRUNCATED;
    *symbol = (int16_t)(s - radius);
    if (UNLIKELY(escape))
        status = take_escape(decoder, state, radius, symbol);
    decoder->next = (decoder->next + 1) & (decoder->lanes - 1);
    return status;
}

/*
 * Decode whole groups of `lanes` latents while the payload surely suffices for
 * one more, and count them in *done. Lane k of a group is the k-th from
 * decoder->next.
 */
INLINE int32_t decode_groups(rtc_decoder *decoder, const rtc_tables *tables,
                             const uint8_t *indices, const uint32_t *found, uint32_t count,
                             int16_t *symbols, const uint32_t lanes, uint32_t *done)
{
    uint32_t state[LANES_MAX], group = 0;
    int32_t status = OK;
    const uint8_t *at = decoder->payload + decoder->position;
    const uint8_t *const end = decoder->payload + decoder->size;
    for (uint32_t k = 0; k < lanes; k++)
        state[k] = decoder->state[(decoder->next + k) & (lanes - 1)];
    for (; group + lanes <= count && (size_t)(end - at) >= 2 * ESCAPE_WORDS * lanes; group += lanes) {
#pragma GCC unroll 8
        for (uint32_t k = 0; k < lanes; k++) {
            const uint32_t place = found[group + k], index = indices[place] & (SCALES - 1);
            const uint32_t radius = tables->radius[index];
            uint32_t escape;
            const uint32_t symbol = take_symbol(tables, index, &state[k], &escape);
            uint16_t word;
            memcpy(&word, at, sizeof word);
            const uint32_t refill = 0u - (state[k] < STATE_MIN); /* a mask: no branch on luck */
            state[k] = state[k] << (refill & 16) | (word & refill);
            at += refill & 2;
            symbols[place] = (int16_t)(symbol - radius);
            if (UNLIKELY(escape)) {
                uint32_t escaped = state[k];
                decoder->position = (uint32_t)(at - decoder->payload);
                status = take_escape(decoder, &escaped, radius, symbols + place);
                at = decoder->payload + decoder->position;
                if (status)
                    return status;
                state[k] = escaped;
            }
        }
    }
    decoder->position = (uint32_t)(at - decoder->payload);
    for (uint32_t k = 0; k < lanes; k++)
        decoder->state[(decoder->next + k) & (lanes - 1)] = state[k];
    *done = group;
    return status;
}

INLINE int32_t decode_many(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                           const uint32_t *found, uint32_t count, int16_t *symbols, uint32_t *done)
{
    switch (decoder->lanes) {
    case 8: return decode_groups(decoder, tables, indices, found, count, symbols, 8, done);
    case 4: return decode_groups(decoder, tables, indices, found, count, symbols, 4, done);
    case 2: return decode_groups(decoder, tables, indices, found, count, symbols, 2, done);
    default: return decode_groups(decoder, tables, indices, found, count, symbols, 1, done);
    }
}

static int32_t decode_end(const rtc_decoder *decoder)
{
    if (decoder->position != decoder->size)
        return BYTES_LEFT;
    for (uint32_t lane = 0; lane < decoder->lanes; lane++)
        if (decoder->state[lane] != STATE_MIN)
            return STATE_LEFT;
    return OK;
}

/* Find about BATCH coded latents, decode all full groups, keep the rest for the next round. */
INLINE int32_t decode_y(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                        uint32_t count, int16_t *symbols, finder find)
{
    uint32_t found[FOUND_MAX], n = 0, from = 0;
    memset(symbols, 0, sizeof *symbols * (size_t)count);
    do {
        while (from < count && n < BATCH) {
            const uint32_t to = count - from < BATCH ? count : from + BATCH;
            n += find(indices, from, to, found + n);
            from = to;
        }
        uint32_t done = 0;
        int32_t status = decode_many(decoder, tables, indices, found, n, symbols, &done);
        const int last = from == count || n - done >= decoder->lanes;
        for (; !status && last && done < n; done++)
            status = decode_checked(decoder, tables, indices[found[done]] & (SCALES - 1),
                                    symbols + found[done]);
        if (status)
            return status;
        for (uint32_t k = 0; k < n - done; k++)
            found[k] = found[done + k];
        n -= done;
    } while (from < count);
    return decode_end(decoder);
}

/* Some latents whose places were found, every one. */
INLINE int32_t decode_all(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                          const uint32_t *found, uint32_t n, int16_t *symbols)
{
    uint32_t done = 0;
    int32_t status = OK;
    if (n >= decoder->lanes)
        status = decode_many(decoder, tables, indices, found, n, symbols, &done);
    for (; !status && done < n; done++)
        status = decode_checked(decoder, tables, indices[found[done]] & (SCALES - 1),
                                symbols + found[done]);
    return status;
}

/* Tiles of a delta frame, a stage after the other. */
INLINE int32_t decode_tiles(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                            uint32_t count, int16_t *symbols, finder find)
{
    memset(symbols, 0, sizeof *symbols * (size_t)count);
    for (uint32_t tile = 0; tile < count; tile += CHANNELS * PLACES) {
        tile_state state = {0};
        for (uint32_t stage = 0; stage < stage_count(); stage++) {
            uint8_t moved[STAGE_MAX * PLACES];
            uint32_t found[STAGE_MAX * PLACES + 8]; /* a store may reach 8 beyond */
            const uint32_t first = stage_start(stage) * PLACES;
            const uint32_t size = stage_start(stage + 1) * PLACES - first;
            stage_indices(tables, &state, stage, indices + tile, symbols + tile, moved);
            const uint32_t n = find(moved, 0, size, found);
            const int32_t status
                = decode_all(decoder, tables, moved, found, n, symbols + tile + first);
            if (status)
                return status;
            stage_read(&state, stage, symbols + tile, n != 0);
        }
    }
    return decode_end(decoder);
}

#ifdef RTC_X86
AVX2 static int32_t decode_y_avx2(rtc_decoder *decoder, const rtc_tables *tables,
                                  const uint8_t *indices, uint32_t count, int16_t *symbols)
{
    if (tables->has_contexts)
        return decode_tiles(decoder, tables, indices, count, symbols, find_coded_avx2);
    return decode_y(decoder, tables, indices, count, symbols, find_coded_avx2);
}
#endif

/*
 * indices, symbols: [count], count a multiple of 16, below 2**31; with contexts whole tiles. The indices
 * are read once more while decoding; if another thread changes them meanwhile
 * the symbols are wrong, but every access stays inside.
 */
EXPORT int32_t rtc_decode_y(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                            uint32_t count, int16_t *symbols)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2)
        return decode_y_avx2(decoder, tables, indices, count, symbols);
#endif
    if (tables->has_contexts)
        return decode_tiles(decoder, tables, indices, count, symbols, find_coded);
    return decode_y(decoder, tables, indices, count, symbols, find_coded);
}

/* ---- encoding ----------------------------------------------------------------------------- */

typedef struct {
    uint32_t n_coded, n_escaped;
    uint32_t misplaced; /* not 0 where a skipped symbol is not 0 */
} rtc_census;

INLINE void list_coded(const rtc_tables *tables, const uint8_t *indices, const int16_t *symbols,
                       uint32_t count, uint32_t *list, rtc_census *census, finder find)
{
    uint32_t found[FOUND_MAX], n = 0, n_escaped = 0;
    uint16_t misplaced = 0; /* of 16 bits, or compilers do not vectorise */
    for (uint32_t from = 0; from < count; from += BATCH) {
        const uint32_t to = count - from < BATCH ? count : from + BATCH;
        const uint32_t n_found = find(indices, from, to, found);
        for (uint32_t at = from; at < to; at++)
            misplaced |= (uint16_t)(symbols[at] & -(indices[at] == 0));
        for (uint32_t k = 0; k < n_found; k++) {
            const uint32_t index = indices[found[k]] & (SCALES - 1);
            const int32_t radius = tables->radius[index], symbol = symbols[found[k]];
            uint32_t place = (uint32_t)(symbol + radius);
            if (UNLIKELY(place > 2 * (uint32_t)radius)) {
                place = (2 * (uint32_t)radius + 1) | ESCAPED;
                n_escaped++;
            }
            list[n + k] = (tables->first[index] + place) | (uint32_t)(uint16_t)symbol << 16;
        }
        n += n_found;
    }
    census->n_coded = n;
    census->n_escaped = n_escaped;
    census->misplaced = misplaced;
}

#ifdef RTC_X86
AVX2 static void list_coded_avx2(const rtc_tables *tables, const uint8_t *indices,
                                 const int16_t *symbols, uint32_t count, uint32_t *list,
                                 rtc_census *census)
{
    list_coded(tables, indices, symbols, count, list, census, find_coded_avx2);
}
#endif

enum { COST_ROW = 256 };

INLINE uint32_t cost_of(const rtc_tables *tables, const uint16_t *cost, uint32_t index,
                        int32_t symbol)
{
    const uint32_t radius = tables->radius[index], place = (uint32_t)(symbol + (int32_t)radius);
    if (place <= 2 * radius)
        return cost[index * COST_ROW + place];
    const uint32_t magnitude = (uint32_t)(symbol < 0 ? -symbol : symbol);
    const uint32_t n_bits = 31u - (uint32_t)__builtin_clz(magnitude - radius);
    return cost[index * COST_ROW + 2 * radius + 1] + 256 * (ESCAPE_LENGTH_BITS + 1 + n_bits);
}

/*
 * What the latents of each tile cost, in 1/256 bit, but for the rounding of states.
 * cost: [SCALES][COST_ROW], of each symbol from the lowest, the escape last, row 0 all zero;
 * indices, symbols: [n_tiles][per_tile], a multiple of 8; symbols checked: 0 where the index is.
 */
EXPORT void rtc_tile_costs(const rtc_tables *tables, const uint16_t *cost, const uint8_t *indices,
                           const int16_t *symbols, uint32_t n_tiles, uint32_t per_tile,
                           uint32_t *totals)
{
    uint16_t zero[SCALES]; /* what a symbol of 0 costs */
    for (uint32_t index = 0; index < SCALES; index++)
        zero[index] = cost[index * COST_ROW + tables->radius[index]];
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint32_t total = 0;
        for (uint32_t group = 0; group < per_tile; group += 8, indices += 8, symbols += 8) {
            if (!load64(indices)) /* skipped, all of them: nothing to pay */
                continue;
            for (uint32_t k = 0; k < 8; k++)
                total += zero[indices[k] & (SCALES - 1)];
            if (!(load64(symbols) | load64(symbols + 4)))
                continue;
            for (uint32_t k = 0; k < 8; k++)
                if (symbols[k])
                    total += cost_of(tables, cost, indices[k] & (SCALES - 1), symbols[k])
                             - zero[indices[k] & (SCALES - 1)];
        }
        totals[tile] = total;
    }
}

/* First pass: fill list[0 .. n_coded) with entry | symbol << 16. list: [count]. */
EXPORT void rtc_encode_list(const rtc_tables *tables, const uint8_t *indices,
                            const int16_t *symbols, uint32_t count, uint32_t *list,
                            rtc_census *census)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2) {
        list_coded_avx2(tables, indices, symbols, count, list, census);
        return;
    }
#endif
    list_coded(tables, indices, symbols, count, list, census, find_coded);
}

/* Make a state smaller than *limit*; the word goes before *at*. */
INLINE uint32_t make_room(uint32_t state, uint32_t limit, uint8_t **at)
{
    const uint16_t word = (uint16_t)state;
    const uint32_t full = state >= limit;
    memcpy(*at - 2, &word, sizeof word);
    *at -= 2 * full; /* arithmetic, no branch */
    return state >> (full << 4);
}

INLINE uint32_t put(uint32_t state, uint32_t start, uint32_t frequency, uint64_t reciprocal,
                    uint8_t **at)
{
    state = make_room(state, frequency << (32 - PROB_BITS), at);
    /* Exact, as state < frequency * 2**18: state * (f - 2**46 mod f) < 2**46. */
    const uint32_t quotient = (uint32_t)(state * reciprocal >> RECIPROCAL_BITS);
    return state + quotient * (PROB_SCALE - frequency) + start;
}

INLINE uint32_t put_raw(uint32_t state, uint32_t bits, uint32_t n_bits, uint8_t **at)
{
    if (!n_bits) /* the limit would be 2**32 */
        return state;
    return make_room(state, 1u << (32 - n_bits), at) << n_bits | bits;
}

/* The scale index whose table holds entry *number*; slow, for escapes. */
static uint32_t index_of(const rtc_tables *tables, uint32_t number)
{
    uint32_t index = SCALES - 1;
    while (tables->first[index] > number)
        index--;
    return index;
}

static __attribute__((noinline)) uint32_t put_escape(uint32_t state, int32_t symbol,
                                                     uint32_t radius, uint8_t **at)
{
    const uint32_t excess = (uint32_t)(symbol < 0 ? -symbol : symbol) - radius;
    const uint32_t n_bits = 31 - (uint32_t)__builtin_clz(excess);
    const uint32_t sign = symbol < 0;
    state = put_raw(state, excess - (1u << n_bits), n_bits, at);
    return put_raw(state, n_bits | sign << ESCAPE_LENGTH_BITS, ESCAPE_LENGTH_BITS + 1, at);
}

INLINE uint32_t put_listed(const rtc_tables *tables, uint32_t state, uint32_t item, uint8_t **at)
{
    const uint32_t number = item & (ESCAPED - 1);
    const uint32_t start = tables->start[number];
    const uint32_t frequency = tables->start[number + 1] - start;
    if (UNLIKELY(item & ESCAPED)) {
        const uint32_t radius = tables->radius[index_of(tables, number)];
        uint8_t *here = *at; /* a copy, so that *at can live in a register */
        state = put_escape(state, (int16_t)(item >> 16), radius, &here);
        *at = here;
    }
    return put(state, start, frequency, tables->reciprocal[number], at);
}

INLINE uint8_t *encode_groups(const rtc_tables *tables, uint32_t *states, uint32_t first_lane,
                              const uint32_t *list, uint32_t n, uint8_t *at, const uint32_t lanes)
{
    uint32_t state[LANES_MAX];
    for (uint32_t k = 0; k < lanes; k++)
        state[k] = states[(first_lane + k) & (lanes - 1)];
    for (; n; n -= lanes) {
#pragma GCC unroll 8
        for (uint32_t k = lanes; k-- > 0;)
            state[k] = put_listed(tables, state[k], list[n - lanes + k], &at);
    }
    for (uint32_t k = 0; k < lanes; k++)
        states[(first_lane + k) & (lanes - 1)] = state[k];
    return at;
}

static uint8_t *encode_z(const rtc_tables *tables, uint32_t qp, const int8_t *z, uint32_t n_tiles,
                         uint32_t *states, uint32_t lanes, uint8_t *at)
{
    const uint16_t *row = z_tables(tables, qp);
    const uint32_t channels = tables->hyper_channels;
    for (uint32_t j = n_tiles * channels; j-- > 0;) {
        const uint16_t *cdf = row + j % channels * Z_ROW + z[j] + Z_MAX;
        const uint32_t frequency = (uint32_t)(cdf[1] - cdf[0]);
        uint32_t *state = states + (j & (lanes - 1));
        *state = make_room(*state, frequency << (32 - PROB_BITS), &at);
        *state += *state / frequency * (PROB_SCALE - frequency) + cdf[0];
    }
    return at;
}

/*
 * Second pass: write the payload so that it ends at buffer + capacity; return
 * its size. capacity is at least 4 * lanes + 2 * (n_tiles * hyper_channels +
 * n_coded + 2 * n_escaped).
 */
EXPORT uint32_t rtc_encode(const rtc_tables *tables, uint32_t qp, const int8_t *z, uint32_t n_tiles,
                           const uint32_t *list, uint32_t n_coded, uint32_t lanes, uint8_t *buffer,
                           uint32_t capacity)
{
    uint32_t states[LANES_MAX];
    uint8_t *at = buffer + capacity;
    const uint32_t n_z = n_tiles * tables->hyper_channels;
    for (uint32_t lane = 0; lane < LANES_MAX; lane++)
        states[lane] = STATE_MIN;
    uint32_t n = n_coded;
    for (; n & (lanes - 1); n--) {
        uint32_t *state = states + ((n_z + n - 1) & (lanes - 1));
        *state = put_listed(tables, *state, list[n - 1], &at);
    }
    switch (lanes) {
    case 8: at = encode_groups(tables, states, n_z, list, n, at, 8); break;
    case 4: at = encode_groups(tables, states, n_z, list, n, at, 4); break;
    case 2: at = encode_groups(tables, states, n_z, list, n, at, 2); break;
    default: at = encode_groups(tables, states, n_z, list, n, at, 1); break;
    }
    at = encode_z(tables, qp, z, n_tiles, states, lanes, at);
    at -= 4 * lanes;
    memcpy(at, states, 4 * (size_t)lanes);
    return (uint32_t)(buffer + capacity - at);
}

/* ---- frame order <-> tile order ----------------------------------------------------------- */

/*
 * A plane is [channels][4 * rows][4 * columns] in any layout, tiles are [n_tiles][channels][16];
 * where[t] = row * columns + column of tile t. size: bytes of an element, 1 or 2.
 */
typedef struct {
    ptrdiff_t channel, row, column; /* bytes from one to the next */
} rtc_strides;

INLINE void copy_tiles(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                       const uint32_t *where, uint32_t n_tiles, uint32_t first,
                       uint32_t channels, uint32_t columns, const size_t size,
                       const ptrdiff_t channel_stride, const int gather)
{
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint8_t *corner = plane + 4 * (where[tile] / columns) * strides->row
                          + 4 * (where[tile] % columns) * strides->column;
        for (uint32_t y = 0; y < 4; y++, corner += strides->row) {
            for (uint32_t x = 0; x < 4; x++) {
                uint8_t *inner
                    = tiles + (((size_t)tile * channels + first) * 16 + 4 * y + x) * size;
                uint8_t *outer = corner + (ptrdiff_t)x * strides->column
                                 + (ptrdiff_t)first * channel_stride;
                for (uint32_t channel = first; channel < channels; channel++) {
                    if (gather)
                        memcpy(inner, outer, size);
                    else
                        memcpy(outer, inner, size);
                    inner += 16 * size;
                    outer += channel_stride;
                }
            }
        }
    }
}

#ifdef RTC_X86
/* Eight rows of eight words to as many columns. */
INLINE void turn_words(const uint8_t *const from[8], uint8_t *const to[8])
{
    __m128i a[8], b[8];
    for (uint32_t i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)from[i]);
    for (uint32_t pass = 0; pass < 3; pass++) { /* rows i and i + 4 woven, three times */
        for (uint32_t i = 0; i < 4; i++) {
            b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
            b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
        }
        memcpy(a, b, sizeof a);
    }
    for (uint32_t i = 0; i < 8; i++)
        _mm_storeu_si128((__m128i *)to[i], a[i]);
}

/* Sixteen rows of sixteen bytes to as many columns. */
INLINE void turn_bytes(const uint8_t *const from[16], uint8_t *const to[16])
{
    __m128i a[16], b[16];
    for (uint32_t i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)from[i]);
    for (uint32_t pass = 0; pass < 4; pass++) {
        for (uint32_t i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (uint32_t i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)to[i], a[i]);
}

/* As many channels of tiles as fill whole vectors, where they are last in memory; returns those. */
INLINE uint32_t turn_tiles(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                           const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                           uint32_t columns, const size_t size, const int gather)
{
    const uint32_t step = 16 / (uint32_t)size, whole = channels / step * step;
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint8_t *place[16], *inner = tiles + (size_t)tile * channels * 16 * size;
        for (uint32_t p = 0; p < 16; p++)
            place[p] = plane + (4 * (ptrdiff_t)(where[tile] / columns) + p / 4) * strides->row
                       + (4 * (ptrdiff_t)(where[tile] % columns) + p % 4) * strides->column;
        for (uint32_t c = 0; c < whole; c += step)
            for (uint32_t first = 0; first < 16; first += step) { /* places */
                uint8_t *in[16], *out[16];
                for (uint32_t k = 0; k < step; k++) {
                    in[k] = inner + ((size_t)(c + k) * 16 + first) * size;
                    out[k] = place[first + k] + c * size;
                }
                const uint8_t *const *from = (const uint8_t *const *)(gather ? out : in);
                if (size == 1)
                    turn_bytes(from, gather ? in : out);
                else
                    turn_words(from, gather ? in : out);
            }
    }
    return whole;
}
#endif

/* The layouts that engines have, channels last, get code of their own. */
INLINE void copy_elements(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                          const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                          uint32_t columns, const size_t size, const int gather)
{
    if (strides->channel == (ptrdiff_t)size) {
        uint32_t first = 0;
#ifdef RTC_X86
        first = turn_tiles(plane, strides, tiles, where, n_tiles, channels, columns, size, gather);
#endif
        copy_tiles(plane, strides, tiles, where, n_tiles, first, channels, columns, size,
                   (ptrdiff_t)size, gather);
    } else
        copy_tiles(plane, strides, tiles, where, n_tiles, 0, channels, columns, size,
                   strides->channel, gather);
}

EXPORT void rtc_gather(const uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                       const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                       uint32_t columns, uint32_t size)
{
    if (size == 1)
        copy_elements((uint8_t *)plane, strides, tiles, where, n_tiles, channels, columns, 1, 1);
    else
        copy_elements((uint8_t *)plane, strides, tiles, where, n_tiles, channels, columns, 2, 1);
}

EXPORT void rtc_scatter(uint8_t *plane, const rtc_strides *strides, const uint8_t *tiles,
                        const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                        uint32_t columns, uint32_t size)
{
    if (size == 1)
        copy_elements(plane, strides, (uint8_t *)tiles, where, n_tiles, channels, columns, 1, 0);
    else
        copy_elements(plane, strides, (uint8_t *)tiles, where, n_tiles, channels, columns, 2, 0);
}

/* ---- the exact scale network -------------------------------------------------------------- */

typedef struct {
    const int16_t *weight[3]; /* [rows][inputs], zero beyond the true sizes */
    const int8_t *narrow[3];  /* the same in bytes, [rows][inputs up to a multiple of 4] */
    const int32_t *bias[3];   /* [rows], of the qp, before the shift, rounding half included */
    uint32_t rows[3];         /* a multiple of 8 */
    uint32_t inputs[3];       /* even */
    uint32_t shift[3];
    uint32_t hyper_channels, hidden[2], latent_channels;
} rtc_scale_net;

/*
 * A layer at 16 places: output[r][p] = clamp((bias[r] + sum_k weight[r][k] *
 * input[k][p]) >> shift, 0, top). Inputs are pairs: [inputs / 2][16 places][2].
 * Every sum is below 2**24 (asserted by ScaleNet), so int32 cannot overflow.
 */
typedef void layer(const int16_t *weight, const int32_t *bias, uint32_t rows, uint32_t inputs,
                   uint32_t shift, uint8_t top, const int16_t *input, uint8_t *output);

typedef void quad_layer(const int8_t *weight, const int32_t *bias, uint32_t rows, uint32_t quads,
                        uint32_t shift, uint8_t top, const uint8_t *input, uint8_t *output);

INLINE void layer_portable(const int16_t *weight, const int32_t *bias, uint32_t rows,
                           uint32_t inputs, uint32_t shift, uint8_t top, const int16_t *input,
                           uint8_t *output)
{
    for (uint32_t row = 0; row < rows; row++, weight += inputs) {
        int32_t sum[16];
        for (uint32_t place = 0; place < 16; place++)
            sum[place] = bias[row];
        for (uint32_t k = 0; k < inputs; k += 2)
            for (uint32_t place = 0; place < 16; place++)
                sum[place] += weight[k] * input[16 * k + 2 * place]
                              + weight[k + 1] * input[16 * k + 2 * place + 1];
        for (uint32_t place = 0; place < 16; place++) {
            int32_t value = sum[place] >> shift;
            value = value < 0 ? 0 : value;
            *output++ = (uint8_t)(value > top ? top : value);
        }
    }
}

#ifdef RTC_X86
AVX2 static inline void layer_avx2(const int16_t *weight, const int32_t *bias, uint32_t rows,
                                   uint32_t inputs, uint32_t shift, uint8_t top,
                                   const int16_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift), most = _mm_set1_epi8((char)top);
    for (uint32_t row = 0; row < rows; row += 4, weight += 4 * inputs) {
        __m256i sum[4][2];
        for (uint32_t r = 0; r < 4; r++)
            sum[r][0] = sum[r][1] = _mm256_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < inputs; k += 2) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(input + 16 * k));
            const __m256i b = _mm256_loadu_si256((const __m256i *)(input + 16 * k + 16));
            for (uint32_t r = 0; r < 4; r++) {
                int32_t pair;
                memcpy(&pair, weight + r * inputs + k, sizeof pair);
                const __m256i w = _mm256_set1_epi32(pair);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(w, a));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(w, b));
            }
        }
        for (uint32_t r = 0; r < 4; r++, output += 16) { /* saturation is the clamp */
            const __m256i words = _mm256_permute4x64_epi64(
                _mm256_packs_epi32(_mm256_sra_epi32(sum[r][0], shifts),
                                   _mm256_sra_epi32(sum[r][1], shifts)), 0xd8);
            const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                   _mm256_extracti128_si256(words, 1));
            _mm_storeu_si128((__m128i *)output, _mm_min_epu8(bytes, most));
        }
    }
}
#endif

#ifdef RTC_X86
VNNI static inline void layer_vnni(const int16_t *weight, const int32_t *bias, uint32_t rows,
                                   uint32_t inputs, uint32_t shift, uint8_t top,
                                   const int16_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift);
    const __m512i least = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
    for (uint32_t row = 0; row < rows; row += 8, weight += 8 * inputs) {
        __m512i sum[8]; /* enough to hide the latency of the products */
        for (uint32_t r = 0; r < 8; r++)
            sum[r] = _mm512_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < inputs; k += 2) {
            const __m512i a = _mm512_loadu_si512(input + 16 * k);
            for (uint32_t r = 0; r < 8; r++) {
                int32_t pair;
                memcpy(&pair, weight + r * inputs + k, sizeof pair);
                sum[r] = _mm512_dpwssd_epi32(sum[r], a, _mm512_set1_epi32(pair));
            }
        }
        for (uint32_t r = 0; r < 8; r++, output += 16) {
            const __m512i value = _mm512_max_epi32(_mm512_sra_epi32(sum[r], shifts), least);
            _mm_storeu_si128((__m128i *)output,
                             _mm512_cvtepi32_epi8(_mm512_min_epi32(value, most)));
        }
    }
}
#endif

#ifdef RTC_X86
/* The later layers, whose inputs are bytes: products of four at once. Inputs are [quads][16 places][4]. */
VNNI static inline void layer_quads(const int8_t *weight, const int32_t *bias, uint32_t rows,
                                    uint32_t quads, uint32_t shift, uint8_t top,
                                    const uint8_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift);
    const __m512i least = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
    for (uint32_t row = 0; row < rows; row += 8, weight += 32 * quads) {
        __m512i sum[8];
        for (uint32_t r = 0; r < 8; r++)
            sum[r] = _mm512_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < quads; k++) {
            const __m512i a = _mm512_loadu_si512(input + 64 * k);
            for (uint32_t r = 0; r < 8; r++) {
                int32_t four;
                memcpy(&four, weight + 4 * (r * quads + k), sizeof four);
                sum[r] = _mm512_dpbusd_epi32(sum[r], a, _mm512_set1_epi32(four));
            }
        }
        for (uint32_t r = 0; r < 8; r++, output += 16) {
            const __m512i value = _mm512_max_epi32(_mm512_sra_epi32(sum[r], shifts), least);
            _mm_storeu_si128((__m128i *)output,
                             _mm512_cvtepi32_epi8(_mm512_min_epi32(value, most)));
        }
    }
}
#endif

/* Bytes of the scratch that rtc_scale_indices needs, for int16 alignment. */
EXPORT size_t rtc_scale_scratch(const rtc_scale_net *net)
{
    const size_t out = net->rows[0] > net->rows[1] ? net->rows[0] : net->rows[1];
    return 32 * ((size_t)net->inputs[0] + 4 * net->inputs[1] + 4 * net->inputs[2])
           + 16 * (out > net->rows[2] ? out : net->rows[2]);
}

/* Where channel *c* of place *p* is in a layer's input, in pairs or in quads. */
INLINE size_t input_at(uint32_t c, uint32_t p)
{
    return (size_t)(c & ~1u) * 16 + 2 * p + (c & 1);
}

INLINE void put_input(int16_t *input, uint32_t c, uint32_t p, uint8_t value, const int in_quads)
{
    if (in_quads)
        ((uint8_t *)input)[(size_t)(c & ~3u) * 16 + 4 * p + (c & 3)] = value;
    else
        input[input_at(c, p)] = value;
}

/* Layer *n* of the net; all but the first may be in quads. */
INLINE void apply_layer(const rtc_scale_net *net, uint32_t n, uint8_t top, const int16_t *input,
                        uint8_t *output, layer apply, quad_layer apply_quads)
{
    if (n && apply_quads)
        apply_quads(net->narrow[n], net->bias[n], net->rows[n], (net->inputs[n] + 3) / 4,
                    net->shift[n], top, (const uint8_t *)input, output);
    else
        apply(net->weight[n], net->bias[n], net->rows[n], net->inputs[n], net->shift[n], top,
              input, output);
}

/* Sixteen tiles at most: a layer at 16 places is 16, 4 or 1 tiles. */
INLINE void scale_batch(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                        uint8_t *indices, int16_t *scratch, layer apply, quad_layer apply_quads)
{
    const int in_quads = apply_quads != NULL;
    int16_t *in0 = scratch, *in1 = in0 + 16 * net->inputs[0], *in2 = in1 + 64 * net->inputs[1];
    uint8_t *out = (uint8_t *)(in2 + 64 * net->inputs[2]);
    memset(scratch, 0, (size_t)(out - (uint8_t *)scratch));
    for (uint32_t tile = 0; tile < n_tiles; tile++)
        for (uint32_t c = 0; c < net->hyper_channels; c++)
            in0[input_at(c, tile)] = z[tile * net->hyper_channels + c];
    apply_layer(net, 0, 255, in0, out, apply, apply_quads);
    for (uint32_t c = 0; c < net->hidden[0]; c++)
        for (uint32_t d = 0; d < 4; d++) /* channel 4c + d goes to c at corner d */
            for (uint32_t tile = 0; tile < 16; tile++)
                put_input(in1 + tile / 4 * 16 * net->inputs[1], c, tile % 4 * 4 + d,
                          out[(4 * c + d) * 16 + tile], in_quads);
    for (uint32_t group = 0; 4 * group < n_tiles; group++) {
        apply_layer(net, 1, 255, in1 + group * 16 * net->inputs[1], out, apply, apply_quads);
        for (uint32_t c = 0; c < net->hidden[1]; c++)
            for (uint32_t d = 0; d < 4; d++)
                for (uint32_t p = 0; p < 16; p++) { /* p: tile of four, corner of the first layer */
                    const uint32_t y = (p >> 1 & 1) * 2 + (d >> 1), x = (p & 1) * 2 + (d & 1);
                    put_input(in2 + (p >> 2) * 16 * net->inputs[2], c, 4 * y + x,
                              out[(4 * c + d) * 16 + p], in_quads);
                }
        for (uint32_t tile = 4 * group; tile < n_tiles && tile < 4 * group + 4; tile++) {
            apply_layer(net, 2, SCALES - 1, in2 + tile % 4 * 16 * net->inputs[2], out, apply,
                        apply_quads);
            memcpy(indices + (size_t)tile * net->latent_channels * 16, out,
                   (size_t)net->latent_channels * 16);
        }
    }
}

INLINE void scale_indices(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                          uint8_t *indices, int16_t *scratch, layer apply,
                          quad_layer apply_quads)
{
    for (uint32_t tile = 0; tile < n_tiles; tile += 16) {
        const uint32_t n = n_tiles - tile < 16 ? n_tiles - tile : 16;
        scale_batch(net, z + (size_t)tile * net->hyper_channels, n,
                    indices + (size_t)tile * net->latent_channels * 16, scratch, apply, apply_quads);
    }
}

#ifdef RTC_X86
AVX2 static void scale_indices_avx2(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                                    uint8_t *indices, int16_t *scratch)
{
    scale_indices(net, z, n_tiles, indices, scratch, layer_avx2, NULL);
}

VNNI static void scale_indices_vnni(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                                    uint8_t *indices, int16_t *scratch)
{
    scale_indices(net, z, n_tiles, indices, scratch, layer_vnni, layer_quads);
}
#endif

/* z: [n_tiles][hyper_channels], indices: [n_tiles][latent_channels][16]. */
EXPORT void rtc_scale_indices(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                              uint8_t *indices, int16_t *scratch)
{
#ifdef RTC_X86
    if (processor() & HAS_VNNI) {
        scale_indices_vnni(net, z, n_tiles, indices, scratch);
        return;
    }
    if (processor() & HAS_AVX2) {
        scale_indices_avx2(net, z, n_tiles, indices, scratch);
        return;
    }
#endif
    scale_indices(net, z, n_tiles, indices, scratch, layer_portable, NULL);
}

/*
 * Contexts of delta frames; equals contexts.py.
 */
#ifndef RTC_CONTEXTS_H
#define RTC_CONTEXTS_H

#include "_rans.h"

/* GCC unrolls a loop over 16 places before it looks for vectors in it, and then finds few. */
#if defined(__GNUC__) && !defined(__clang__)
#define ROLLED _Pragma("GCC unroll 1")
#else
#define ROLLED
#endif

/*
 * What was read of a tile says what to expect of the rest: contexts.py, stage by stage. A tile is
 * [CHANNELS][PLACES]. The loops over places are what compilers turn into vectors.
 */
typedef struct {
    int16_t energy[PARTS][PLACES]; /* at most 4 * 16 * 8 * CAPPED */
    int16_t luma[PLACES];          /* symbols that are not 0 */
} tile_state;

static const int16_t ENERGY_LEVELS[] = {4, 10, 17, 31, 52, 100, 200};
static const int16_t COUNT_LEVELS[] = {1, 3, 8};
static const int32_t SIZE_LEVELS[] = {1, 2, 4, 8};
static const int32_t MOVED_LEVELS[] = {1, 4};
static const int16_t SPLIT_LEVELS[] = {2, 3, 4, 5, 8, 13};
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

INLINE void level_by(const int16_t *values, const int16_t *thresholds, uint32_t n, uint8_t *levels)
{
    int16_t level[PLACES] = {0};
    for (uint32_t k = 0; k < n; k++) {
        ROLLED
        for (uint32_t p = 0; p < PLACES; p++)
            level[p] = (int16_t)(level[p] + (values[p] >= thresholds[k]));
    }
    ROLLED
    for (uint32_t p = 0; p < PLACES; p++)
        levels[p] = (uint8_t)level[p];
}

/* The same of moduli, which may be any; added to what is there, times *step*. */
INLINE void add_levels(const int32_t *values, const int32_t *thresholds, uint32_t n, uint8_t step,
                       uint8_t *levels)
{
    for (uint32_t p = 0; p < PLACES; p++)
        for (uint32_t k = 0; k < n; k++)
            levels[p] = (uint8_t)(levels[p] + step * (values[p] >= thresholds[k]));
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
        level_by(state->luma, COUNT_LEVELS, COUNT_OF(COUNT_LEVELS), levels);
    } else if (channel == MOTION - 1) {
        level_by(state->luma, SPLIT_LEVELS, COUNT_OF(SPLIT_LEVELS), levels);
    } else {
        add_moduli(motion, vector);
        if (channel > 1)
            add_moduli(motion + PLACES, vector);
        for (uint32_t k = 3; k < channel; k++)
            add_moduli(motion + k * PLACES, before);
        if (channel < 3) {
            add_levels(vector, SIZE_LEVELS, COUNT_OF(SIZE_LEVELS), 1, levels);
        } else {
            add_levels(before, SIZE_LEVELS, COUNT_OF(SIZE_LEVELS), 1, levels);
            add_levels(vector, MOVED_LEVELS, COUNT_OF(MOVED_LEVELS), COUNT_OF(SIZE_LEVELS) + 1,
                       levels);
        }
    }
}

/* Indices of 16 places moved by offsets; 0 stays 0, and what comes out below *least* is *below*. */
INLINE void move_indices(const int8_t *offsets, const uint8_t *from, int16_t least, int16_t below,
                         uint8_t *to)
{
    ROLLED
    for (uint32_t p = 0; p < PLACES; p++) { /* of 16 bits: a vector has all places */
        int16_t index = (int16_t)(from[p] + offsets[p]);
        index = index > SCALES - 1 ? SCALES - 1 : index;
        index = index < least ? below : index;
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
 * symbols of earlier stages; to: [channels of the stage][PLACES]. sparse: whether channels that are not
 * coded at all are worth asking for.
 */
INLINE void stage_indices(const rtc_tables *tables, const tile_state *state, uint32_t stage,
                          const uint8_t *indices, const int16_t *tile, int sparse, uint8_t *to)
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
        for (uint32_t p = 0; p < PLACES && tables->rows > SCALES; p++)
            to[p] = (uint8_t)(to[p] ? SCALES + to[p] / 2 : 0);
        for (uint32_t p = 0; p < PLACES && channel == MOTION - 1; p++)
            to[p] = state->luma[p] ? to[p] : 0; /* where no luma is, no transform is chosen */
        return;
    }
    const uint32_t kind = stage < LAST_KIND ? stage : LAST_KIND;
    for (uint32_t part = 0; part < PARTS; part++) {
        const uint32_t row = kind + (part < LUMA_PARTS ? 0 : LAST_KIND + 1);
        uint8_t levels[PLACES];
        int8_t offsets[PLACES];
        level_by(state->energy[part], ENERGY_LEVELS, COUNT_OF(ENERGY_LEVELS), levels);
        offsets_of(tables->contexts[row], levels, offsets);
        for (uint32_t k = part; k < n; k += PARTS) {
            uint64_t half[2] = {1, 0};
            if (sparse)
                memcpy(half, from + k * PLACES, sizeof half);
            if (half[0] | half[1])
                move_indices(offsets, from + k * PLACES, READ_FROM, 0, to + k * PLACES);
            else
                memset(to + k * PLACES, 0, PLACES);
        }
    }
}

/* Take note of the symbols of a stage of residual; `any`: whether one is not 0. */
INLINE void stage_read(tile_state *state, uint32_t stage, const int16_t *tile, int any)
{
    const uint32_t first = stage_start(stage), n = stage_start(stage + 1) - first;
    if (stage >= DIAGONALS)
        return;
    for (uint32_t part = 0; part < PARTS; part++) {
        int16_t sum[PLACES] = {0}, count[PLACES] = {0};
        for (uint32_t k = part; k < n && any; k += PARTS) {
            const int16_t *symbols = tile + (first + k) * PLACES;
            ROLLED
            for (uint32_t p = 0; p < PLACES; p++) {
                const uint16_t size = (uint16_t)(symbols[p] < 0 ? -symbols[p] : symbols[p]);
                sum[p] = (int16_t)(sum[p] + (size < CAPPED ? size : CAPPED));
                count[p] = (int16_t)(count[p] + (size != 0));
            }
        }
        ROLLED
        for (uint32_t p = 0; p < PLACES; p++) {
            const int16_t energy = state->energy[part][p];
            state->energy[part][p] = (int16_t)(energy - (energy >> 2) + 16 * sum[p]);
            state->luma[p] = (int16_t)(state->luma[p] + (part < LUMA_PARTS ? count[p] : 0));
        }
    }
}

/* Whether a stage of a tile has a symbol that is not 0: most have none. */
INLINE int says_any(const int16_t *tile, uint32_t stage)
{
    const uint32_t end = stage_start(stage + 1) * PLACES;
    uint16_t any = 0; /* of 16 bits, or compilers do not vectorise */
    for (uint32_t k = stage_start(stage) * PLACES; k < end; k++)
        any |= (uint16_t)tile[k];
    return any != 0;
}

INLINE void context_indices(const rtc_tables *tables, const uint8_t *indices,
                            const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        tile_state state = {0};
        for (uint32_t stage = 0; stage < stage_count(); stage++) {
            stage_indices(tables, &state, stage, indices, symbols, 1, to + stage_start(stage) * PLACES);
            stage_read(&state, stage, symbols, says_any(symbols, stage));
        }
        indices += CHANNELS * PLACES;
        symbols += CHANNELS * PLACES;
        to += CHANNELS * PLACES;
    }
}

#endif

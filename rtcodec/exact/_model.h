/*
 * What is expected of a residual, and how that adapts: equals model.py.
 *
 * A residual is a symbol and raw bits. 2**shift residuals make a step, and the symbols are
 *
 *     0 .. 22    steps -11 .. 11
 *     23 .. 26   12..13, 14..17, 18..25, 26..41; which of them, in raw bits
 *     27 .. 30   the same, negative
 *     31         escape: 42 steps or more either way
 */
#ifndef RTC_EXACT_MODEL_H
#define RTC_EXACT_MODEL_H

#include "_exact.h"

enum {
    LINEAR = 11,
    TAILS = 4,
    ESCAPE = SYMBOLS - 1,
    BEYOND = LINEAR + (1 << (TAILS + 1)) - 1, /* the first step that escapes */
    FASTEST = 5,
    SEEN_MAX = 32,
    SHIFT_MAX = 12,
    PAD_RATE = 5,
    QUARTERS = 4, /* of the halves that there are */
    OCTAVES = 18, /* of an expected error */
};

INLINE uint32_t top_bit(uint32_t value) { return 31 - (uint32_t)__builtin_clz(value | 1); }
INLINE uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

/* Quarters of octaves of an expected error in eighths. */
INLINE uint32_t scale_of(uint32_t eighths)
{
    if (eighths < 4)
        return eighths;
    const uint32_t top = top_bit(eighths);
    return smaller(4 * (top - 1) + (eighths >> (top - 2) & 3), SCALES - 1);
}

INLINE uint32_t shift_of(uint32_t scale)
{
    return scale < 16 ? 0 : smaller(scale / 4 - 3, SHIFT_MAX);
}

/*
 * How fast a two-sided geometric distribution falls whose mean magnitude is that of each scale, of
 * 2**16: (sqrt(1 + m * m) - 1) / m; from 12 on the same four again.
 */
static const uint16_t FALL[16] = {
    2044,  4080,  8068,  11884, 15471, 18795, 21845, 24624, 27146, 31498,
    35074, 38032, 40503, 44370, 47236, 49434,
};

/* A table before anything was seen; that of a scale is number `first_of` it. */
INLINE uint32_t first_of(uint32_t scale) { return scale < 12 ? scale : 12 + (scale & 3); }

static void first_table(uint32_t number, table *to)
{
    const uint64_t fall = FALL[number];
    uint64_t share[SYMBOLS] = {0}, sum = 0, left = 1u << 24, start = 0;
    for (uint32_t step = 0, tail = 0; step < BEYOND; step++) {
        if (step <= LINEAR) {
            share[LINEAR - step] = share[LINEAR + step] = left;
        } else {
            tail += step == (uint32_t)LINEAR - 1 + (2u << tail);
            share[2 * LINEAR + tail] += left;
            share[2 * LINEAR + TAILS + tail] += left;
        }
        left = left * fall >> 16;
    }
    share[ESCAPE] = 2 * ((left << 16) / ((1 << 16) - fall));
    for (uint32_t s = 0; s < SYMBOLS; s++)
        sum += share[s];
    for (uint32_t s = 0; s < SYMBOLS; s++) {
        to->start[s] = (uint16_t)start;
        start += GAP + share[s] * ((1 << 16) - SYMBOLS * GAP) / sum;
    }
}

typedef uint16_t lanes __attribute__((vector_size(32)));
typedef int16_t signed_lanes __attribute__((vector_size(32)));

/* Move a table towards *symbol*; each symbol keeps GAP. */
INLINE void adapt(table *of, uint8_t *seen, uint32_t symbol)
{
    static const uint16_t low[SYMBOLS] = {
        0,  4,  8,  12, 16, 20, 24, 28, 32, 36,  40,  44,  48,  52,  56,  60,
        64, 68, 72, 76, 80, 84, 88, 92, 96, 100, 104, 108, 112, 116, 120, 124,
    };
    static const int16_t place[SYMBOLS] = {
        0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    };
    const uint32_t n = *seen;
    const uint32_t rate = FASTEST + (uint32_t)((n >= SEEN_MAX / 4) + (n >= SEEN_MAX));
    *seen = (uint8_t)(n + (n < SEEN_MAX));
    for (uint32_t part = 0; part < SYMBOLS; part += 16) {
        lanes value, base;
        signed_lanes at;
        memcpy(&value, of->start + part, sizeof value);
        memcpy(&base, low + part, sizeof base);
        memcpy(&at, place + part, sizeof at);
        const lanes above = (lanes)(at > (int16_t)symbol);
        /* Above it towards base + 2**16 - SYMBOLS * GAP, else towards base. */
        const lanes away = (base - SYMBOLS * GAP - value) >> (uint16_t)rate;
        const lanes back = (value - base) >> (uint16_t)rate;
        value += (above & away) - (~above & back);
        memcpy(of->start + part, &value, sizeof value);
    }
}

/* Where *symbol* starts in the mean of two tables, of PROB_SCALE. */
INLINE uint32_t mean_start(const table *a, const table *b, uint32_t symbol)
{
    return symbol == SYMBOLS ? PROB_SCALE
                             : (uint32_t)(a->start[symbol] / 2 + b->start[symbol] / 2) / 4;
}

/* Raw bits that follow a symbol, beside those below the step. */
INLINE uint32_t tail_bits(uint32_t symbol)
{
    return symbol <= 2 * LINEAR || symbol == ESCAPE ? 0 : (symbol - 2 * LINEAR - 1) % TAILS + 1;
}

/* The step at which a tail begins, that nearest to 0. */
INLINE uint32_t tail_step(uint32_t n_bits) { return LINEAR - 1 + (1u << n_bits); }

static inline void begin_model(rtc_exact_state *state)
{
    table first[sizeof FALL / sizeof *FALL];
    for (uint32_t number = 0; number < sizeof FALL / sizeof *FALL; number++)
        first_table(number, first + number);
    for (uint32_t scale = 0; scale < SCALES; scale++) {
        state->by_scale[scale] = first[first_of(scale)];
        if (scale % 2)
            for (uint32_t sight = 0; sight < SIGHTS; sight++)
                state->by_sight[scale / 2 * SIGHTS + sight] = state->by_scale[scale];
    }
    memset(state->scale_seen, 0, sizeof state->scale_seen);
    memset(state->sight_seen, 0, sizeof state->sight_seen);
    for (uint32_t context = 0; context < PAD_CONTEXTS; context++)
        state->pad[context] = 1 << 15;
}

/* Probability that a flag is set, of PROB_SCALE, never certain. */
INLINE uint32_t flag_width(uint16_t probability)
{
    const uint32_t width = probability >> 2;
    return width < 1 ? 1 : width > PROB_SCALE - 1 ? PROB_SCALE - 1 : width;
}

/* The first table of what is missing within *bound*, *halves* from the value it is likeliest at. */
static void first_missing(uint32_t octave, uint32_t halves, uint32_t bound, table *to)
{
    const uint64_t fall = octave < 4 ? FALL[4 * octave + 2] : (1 << 16) - (21845u >> (octave - 3));
    uint64_t share[SYMBOLS] = {0}, sum = 0, start = 0;
    for (uint32_t k = 0; k <= 2 * bound; k++) {
        const uint32_t twice = 2 * k, at = 2 * bound + halves;
        const uint32_t distance = twice > at ? twice - at : at - twice;
        uint64_t left = 1u << 24;
        for (uint32_t step = distance / 2; step--;)
            left = left * fall >> 16;
        if (distance % 2)
            left = (left + (left * fall >> 16)) / 2;
        share[LINEAR - bound + k] = left;
        sum += left;
    }
    for (uint32_t s = 0; s < SYMBOLS; s++) {
        to->start[s] = (uint16_t)start;
        start += GAP + share[s] * ((1 << 16) - SYMBOLS * GAP) / sum;
    }
}

/* How far the prediction is from the value, in halves: below this, sign apart; more is the last. */
INLINE uint32_t most_halves(uint32_t bound) { return 2 * bound + 4; }

/* Which tables are for an expected error of *octave*, and *halves*: coarse and fine. */
INLINE uint32_t coarse_missing(uint32_t octave, uint32_t halves, uint32_t bound)
{
    return octave * QUARTERS + halves * QUARTERS / most_halves(bound);
}
INLINE uint32_t fine_missing(uint32_t octave, uint32_t halves) { return octave * SIGHTS + halves; }

/* Padding is not missing anything, or is no padding: tables of its own. */
enum { COARSE_PAD = SCALES - 1, FINE_PAD = OCTAVES * SIGHTS };

/* Ready the tables for what is missing; those of residuals are not needed any more. */
static inline void begin_missing(rtc_exact_state *state, uint32_t bound)
{
    for (uint32_t octave = 0; octave < OCTAVES; octave++)
        for (uint32_t halves = most_halves(bound); halves--;) {
            table *fine = state->by_sight + fine_missing(octave, halves);
            first_missing(octave, halves, bound, fine);
            state->by_scale[coarse_missing(octave, halves, bound)] = *fine;
        }
    first_missing(0, 0, bound, state->by_sight + FINE_PAD);
    state->by_scale[COARSE_PAD] = state->by_sight[FINE_PAD];
    memset(state->scale_seen, 0, sizeof state->scale_seen);
    memset(state->sight_seen, 0, sizeof state->sight_seen);
}

INLINE void adapt_flag(uint16_t *probability, uint32_t flag)
{
    const uint32_t p = *probability;
    *probability = (uint16_t)(flag ? p + ((65535 - p) >> PAD_RATE) : p - (p >> PAD_RATE));
}

#endif

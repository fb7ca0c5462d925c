/*
 * Frames predicted from themselves, the encoder's half: parts on their way to symbols, which both of its
 * passes have. It may do as it likes; the tests ask that what it says is painted by `rtc_spatial_paint`
 * as it thought.
 */
#ifndef RTC_SPATIAL_ENCODE_H
#define RTC_SPATIAL_ENCODE_H

#include "_forward.h"
#include "_inverse.h"
#include "_spatial.h"

/* Called, not put in line: the files are compiled in half the time, and nothing is slower. */
#define APART static __attribute__((noinline))

enum {
    SYMBOL_MAX = 32767,
    DEAREST = 15, /* modulus of symbols from which on they have one price */
};

/* What is known of how likely a frame's symbols are. */
typedef struct {
    const uint8_t *indices; /* [rows, columns, stride] */
    const float *rounding;  /* [64]: what is added to a modulus before it is cut */
    const int8_t *contexts; /* [30, LEVELS] */
    const float *prices;    /* [64, DEAREST + 1]: squared steps of a symbol by index and modulus; may be NULL */
    uint32_t stride;
} rtc_likelihood;

/* A part on its way: what is at row h, column v is of horizontal frequency h, vertical v. */
typedef struct {
    int32_t prediction[SIDE * SIDE];
    eight latents[SIDE];
    eight_integers symbols[SIDE];
    float cost; /* error and bits, in squared steps */
    int is_said;
} open_part;

/* Which frequency, by number, is at row h, column v, the other way round, and its diagonal. */
typedef struct {
    uint8_t rank[SIDE * SIDE], at[SIDE * SIDE], diagonal[SIDE * SIDE];
} frequencies;

INLINE void list_frequencies(frequencies *f)
{
    for (uint32_t k = 0; k < SIDE * SIDE; k++) {
        f->at[k] = (uint8_t)(ORDER[k] % SIDE * SIDE + ORDER[k] / SIDE);
        f->rank[f->at[k]] = (uint8_t)k;
        f->diagonal[k] = (uint8_t)(ORDER[k] / SIDE + ORDER[k] % SIDE);
    }
}

INLINE void transform_part(const uint8_t *part, uint32_t stride, const int32_t *prediction, float step,
                           int split, eight *d)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            d[y][x] = (float)(part[y * stride + x] * FINE - prediction[y * SIDE + x]);
    both_ways(d, 1 / step, split);
}

/*
 * Cut the latents of part p of a place, as `rtc_quantise`: the index of each is moved by the part's symbols
 * before it. What that costs is added up where there are prices.
 */
CLONES APART void cut_part(const rtc_likelihood *likely, const frequencies *f, size_t place, uint32_t p,
                           open_part *out)
{
    const uint8_t *indices = likely->indices + place * likely->stride + p;
    const int8_t *kinds = likely->contexts + (p < QUARTERS ? 0 : (LAST_KIND + 1) * LEVELS);
    const float *latents = (const float *)out->latents;
    int32_t *symbols = (int32_t *)out->symbols;
    int32_t energy = 0, sum = 0;
    uint32_t stage = 0;
    out->cost = 0;
    out->is_said = 0;
    for (uint32_t k = 0; k < SIDE * SIDE; k++) {
        const uint32_t d = f->diagonal[k], to = f->at[k];
        for (; stage < d; stage++, sum = 0)
            energy += 16 * sum - (energy >> 2);
        const float x = latents[to], size = x < 0 ? -x : x;
        int32_t n = 0, index = indices[k * PARTS];
        if (index && (size >= LEAST || likely->prices)) {
            index += kinds[(d < LAST_KIND ? d : LAST_KIND) * LEVELS + (uint32_t)level_of(energy)];
            if (index >= READ_FROM) {
                index = index < 63 ? index : 63;
                const float whole = size + likely->rounding[index];
                if (size >= LEAST && whole >= 1)
                    n = whole > SYMBOL_MAX ? SYMBOL_MAX : (int32_t)whole;
                if (likely->prices)
                    out->cost += likely->prices[index * (DEAREST + 1) + (n < DEAREST ? n : DEAREST)];
            }
        }
        symbols[to] = x < 0 ? -n : n;
        out->cost += (size - (float)n) * (size - (float)n);
        sum += n < CAPPED ? n : CAPPED;
        out->is_said |= n;
    }
}

/* Put a prediction and what is said of it where a decoder has it. */
INLINE void settle(const open_part *p, int32_t step, int split, uint16_t *at, ptrdiff_t stride)
{
    place_part(p->prediction, SIDE, at, stride);
    if (!p->is_said)
        return;
    int32_t c[SIDE][SIDE];
    uint32_t rows = 0;
    for (int v = 0; v < SIDE; v++)
        for (int h = 0; h < SIDE; h++) {
            c[v][h] = clamp(p->symbols[h][v] * step, -65535, 65535);
            rows |= (uint32_t)(c[v][h] != 0) << v;
        }
    add_part(c, rows, split, at, (uint32_t)stride);
}

/* The DCT-II of each column of sixteen, twice, between which the block is turned: c[h][v]. */
INLINE void transform_large(float d[BLOCK][BLOCK], float scale)
{
    for (int pass = 0; pass < 2; pass++) {
        float c[BLOCK][BLOCK];
        for (int v = 0; v < BLOCK; v++)
            for (int x = 0; x < BLOCK; x += SIDE) {
                eight sum = {0};
                for (int y = 0; y < BLOCK; y++) {
                    eight from;
                    memcpy(&from, &d[y][x], sizeof from);
                    sum += from * (DCT16[v][y] / 4096.0f);
                }
                memcpy(&c[v][x], &sum, sizeof sum);
            }
        for (int v = 0; v < BLOCK; v++)
            for (int x = 0; x < BLOCK; x++) {
                if (pass)
                    d[v][x] = c[v][x] * scale;
                else
                    d[x][v] = c[v][x];
            }
    }
}

/* Latents of a block's luma less a prediction of all of it, and that prediction, by parts. */
INLINE void transform_block(const uint8_t *block, const int32_t *prediction, float step, open_part *parts)
{
    float d[BLOCK][BLOCK];
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++)
            d[y][x] = (float)(block[y * BLOCK + x] * FINE - prediction[y * BLOCK + x]);
    transform_large(d, 1 / step);
    for (int q = 0; q < QUARTERS; q++)
        for (int h = 0; h < SIDE; h++)
            for (int v = 0; v < SIDE; v++) {
                parts[q].latents[h][v] = d[2 * h + (q & 1)][2 * v + (q >> 1)];
                parts[q].prediction[h * SIDE + v] =
                    prediction[((q >> 1) * SIDE + h) * BLOCK + (q & 1) * SIDE + v];
            }
}

/* Paint a block's luma as one part of some mode, from its parts. */
INLINE void settle_large(const area *t, uint32_t i, uint32_t j, const open_part *parts, uint8_t mode,
                         int32_t step)
{
    uint16_t *at = luma_at(t, 2 * i, 2 * j);
    int32_t c[BLOCK][BLOCK];
    uint32_t rows = 0;
    set_modes(t, i, j, mode);
    for (uint32_t q = 0; q < QUARTERS; q++) {
        place_part(parts[q].prediction, SIDE, at + (q >> 1) * SIDE * t->luma + (q & 1) * SIDE, t->luma);
        for (uint32_t h = 0; h < SIDE; h++)
            for (uint32_t v = 0; v < SIDE; v++) {
                const int32_t x = clamp(parts[q].symbols[h][v] * step, -65535, 65535);
                c[2 * v + (q >> 1)][2 * h + (q & 1)] = x;
                rows |= (uint32_t)(x != 0) << (2 * v + (q >> 1));
            }
    }
    if (rows)
        add_large(c, rows, at, t->luma);
}

#endif

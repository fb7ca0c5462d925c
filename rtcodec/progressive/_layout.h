/*
 * Where everything of a picture lies in memory, and what is there before anything was said.
 */
#ifndef RTC_PROGRESSIVE_LAYOUT_H
#define RTC_PROGRESSIVE_LAYOUT_H

#include "_model.h"

/* The least logit whose probability is nearer to each 4096th than to the one before. */
INLINE void make_logits(int16_t *table)
{
    int32_t logit = -LOGIT_MAX;
    for (uint32_t p = 0; p < 4096; p++) {
        while (logit < LOGIT_MAX && squash(logit) < p * 16 + 8)
            logit++;
        table[p] = (int16_t)logit;
    }
}

static void begin_model(model *of)
{
    const counter even = {1u << 31}, rare = {1u << 28};
    for (uint32_t t = 0; t < TABLES; t++)
        for (uint32_t kind = 0; kind < KINDS; kind++)
            for (uint32_t c = 0; c < CONTEXTS; c++)
                of->mixed[t][kind][c] = kind <= NEW ? rare : even;
    for (uint32_t c = 0; c < SIGNS; c++)
        of->sign[c] = even;
    for (uint32_t c = 0; c < BLOCKS; c++)
        of->block[c] = even;
    int32_t *weights[SETS] = {*of->by_group, *of->by_energy, *of->by_kin};
    const uint32_t n[SETS] = {GROUPS_MAX, ENERGIES, KIN};
    for (uint32_t set = 0; set < SETS; set++)
        for (uint32_t k = 0; k < KINDS * n[set] * TABLES; k++)
            weights[set][k] = k / TABLES / n[set] == SIGN ? SIGN_WEIGHT : WEIGHT;
}

/* Memory that is given out piece by piece; without any, what is asked for is counted. */
typedef struct {
    uint8_t *memory;
    size_t used;
} pieces;

INLINE void *take(pieces *from, size_t size, int value)
{
    void *piece = from->memory ? from->memory + from->used : 0;
    from->used += (size + 15) & ~(size_t)15;
    if (piece)
        memset(piece, value, size);
    return piece;
}

INLINE void make_bands(component *c)
{
    uint32_t w = c->width, h = c->height;
    const uint32_t larger = w > h ? w : h;
    while (c->levels < LEVELS_MAX && larger >> c->levels > SMALLEST)
        c->levels++;
    c->n_bands = 1 + 3 * c->levels;
    for (uint32_t level = 1; level <= c->levels; level++) {
        band *b = c->bands + 1 + 3 * (c->levels - level);
        for (uint32_t k = 0; k < 3; k++) {
            const uint32_t o = k + 1;
            b[k] = (band){.width = o & 1 ? w / 2 : halved_up(w),
                          .height = o & 2 ? h / 2 : halved_up(h),
                          .orientation = o,
                          .level = level};
        }
        w = halved_up(w);
        h = halved_up(h);
    }
    c->bands[0] = (band){.width = w, .height = h, .level = c->levels};
}

INLINE void lay_out(component *c, uint32_t width, uint32_t height, uint32_t encodes, pieces *from)
{
    memset(c, 0, sizeof *c);
    c->width = width;
    c->height = height;
    make_bands(c);
    size_t n = 0, n_blocks = 0;
    for (band *b = c->bands; b < c->bands + c->n_bands; b++) {
        const uint32_t rows = (b->height + BLOCK - 1) / BLOCK + 2;
        b->stride = b->width + 2 * EDGE;
        b->at = (uint32_t)(n + EDGE * (size_t)b->stride + EDGE);
        n += (size_t)b->stride * (b->height + 2 * EDGE);
        b->block_stride = (b->width + BLOCK - 1) / BLOCK + 2;
        b->block_at = (uint32_t)(n_blocks + b->block_stride + 1);
        n_blocks += (size_t)b->block_stride * rows;
    }
    c->n = (uint32_t)n;
    c->n_blocks = (uint32_t)n_blocks;
    c->model = take(from, sizeof *c->model, 0);
    c->samples = take(from, (size_t)width * height * sizeof *c->samples, 0);
    c->size = take(from, n * sizeof *c->size, 0);
    c->said = take(from, n, UNSAID);
    c->live = take(from, n_blocks, 0);
    const size_t n_shown = (size_t)shown_stride(width) * shown_rows(height);
    c->shown = encodes ? 0 : take(from, n_shown * sizeof *c->shown, 0);
    c->true_size = encodes ? take(from, n * sizeof *c->true_size, 0) : 0;
    if (from->memory)
        begin_model(c->model);
}

#endif

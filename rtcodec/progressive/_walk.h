/*
 * Passes over the bit planes of a component (SPEC.md 6); one source for both directions.
 */
#ifndef RTC_PROGRESSIVE_WALK_H
#define RTC_PROGRESSIVE_WALK_H

#include "_context.h"

/* Codes a bit whose probability of being one is *width* of PROB_SCALE; 0 where a payload ends. */
typedef int code_bit(void *io, uint32_t width, uint32_t *bit);

/* What all of a pass have at hand. */
typedef struct {
    const int16_t *logits;
    component *c;
    code_bit *code;
    void *io;
} walker;

INLINE int code_counted(const walker *w, counter *with, uint32_t *bit)
{
    if (!w->code(w->io, width_of(p16(with)), bit))
        return 0;
    count(with, *bit);
    return 1;
}

/* Say or read the bit of a coefficient in a plane. */
INLINE int code_mixed(const walker *w, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                      uint32_t kind, const sight *e, uint32_t *bit)
{
    mixture m;
    const uint16_t *known = w->c->true_size;
    *bit = known ? known[b->at + (size_t)y * b->stride + x] >> plane & 1 : 0;
    choose(w->c, b, x, y, plane, kind, e, &m);
    if (!w->code(w->io, width_of(mix(&m, w->logits)), bit))
        return 0;
    learn(&m, *bit);
    return 1;
}

INLINE int code_sign(const walker *w, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                     uint32_t *sign)
{
    component *c = w->c;
    mixture m;
    if (!c->earlier[0])
        return code_counted(w, &c->model->sign[sign_context(c, b, b->at + y * b->stride + x)], sign);
    choose_sign(c, b, x, y, plane, &m);
    if (!w->code(w->io, width_of(mix(&m, w->logits)), sign))
        return 0;
    learn(&m, *sign);
    return 1;
}

/* A coefficient of which nothing but zeros was said. */
INLINE int code_new(const walker *w, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                    uint32_t kind, const sight *e)
{
    component *c = w->c;
    const uint32_t at = b->at + y * b->stride + x;
    uint32_t bit, sign = c->said[at] >> 7;
    if (!code_mixed(w, b, x, y, plane, kind, e, &bit))
        return 0;
    if (bit) {
        if (!code_sign(w, b, x, y, plane, &sign))
            return 0;
        c->size[at] = (uint16_t)(1u << plane);
    }
    c->said[at] = (uint8_t)(sign << 7 | plane);
    return 1;
}

INLINE int code_finer(const walker *w, const band *b, uint32_t x, uint32_t y, uint32_t plane)
{
    component *c = w->c;
    const uint32_t at = b->at + y * b->stride + x, above = c->size[at] >> plane >> 1;
    uint32_t bit;
    sight e;
    look(c, b, x, y, plane, &e);
    if (!code_mixed(w, b, x, y, plane, above < 2 ? SECOND : above < 4 ? THIRD : LATER, &e, &bit))
        return 0;
    c->size[at] |= (uint16_t)(bit << plane);
    c->said[at] = (uint8_t)((c->said[at] & NEGATIVE) | plane);
    return 1;
}

typedef struct {
    uint32_t column, row, left, top, right, bottom;
} area;

INLINE area area_of(const band *b, uint32_t column, uint32_t row)
{
    return (area){column,
                  row,
                  column * BLOCK,
                  row * BLOCK,
                  smaller(column * BLOCK + BLOCK, b->width),
                  smaller(row * BLOCK + BLOCK, b->height)};
}

/* Whether a block has anything from this plane on. */
INLINE int code_live(const walker *w, const band *b, const area *of, uint32_t plane)
{
    component *c = w->c;
    uint32_t bit = 0;
    if (c->true_size) {
        for (uint32_t y = of->top; y < of->bottom; y++)
            for (uint32_t x = of->left; x < of->right; x++)
                bit |= c->true_size[b->at + y * b->stride + x] >> plane;
        bit = bit > 0;
    }
    counter *with = &c->model->block[block_context(c, b, of->column, of->row)];
    if (!code_counted(w, with, &bit))
        return 0;
    c->live[b->block_at + of->row * b->block_stride + of->column] = (uint8_t)bit;
    return 1;
}

INLINE int walk_block(const walker *w, const band *b, const area *of, uint32_t plane,
                      uint32_t pass)
{
    static const uint32_t LEAST[] = {LIKELY, POSSIBLE, 0};
    component *c = w->c;
    for (uint32_t y = of->top; y < of->bottom; y++) {
        for (uint32_t x = of->left; x < of->right; x++) {
            const uint32_t at = b->at + y * b->stride + x;
            if ((c->said[at] & UNSAID) == plane || (c->size[at] > 0) != (pass == FINER))
                continue;
            if (pass == FINER) {
                if (!code_finer(w, b, x, y, plane))
                    return 0;
                continue;
            }
            sight e;
            look(c, b, x, y, plane, &e);
            if (e.all >= LEAST[pass] &&
                !code_new(w, b, x, y, plane, pass == LIKELY_ONES ? NEW_LIKELY : NEW, &e))
                return 0;
        }
    }
    return 1;
}

/* The pass of a component that comes next; 0 where the payload ended before it did. */
INLINE int walk_pass(rtc_progressive *state, component *c, code_bit *code, void *io)
{
    const walker w = {state->logit, c, code, io};
    const uint32_t plane = c->plane, pass = c->pass;
    for (const band *b = c->bands; b < c->bands + c->n_bands; b++) {
        for (uint32_t row = 0; row * BLOCK < b->height; row++) {
            for (uint32_t column = 0; column * BLOCK < b->width; column++) {
                const uint8_t *live = c->live + b->block_at + row * b->block_stride + column;
                const area of = area_of(b, column, row);
                if (!*live && pass == FRESH && !code_live(&w, b, &of, plane))
                    return 0;
                if (*live && !walk_block(&w, b, &of, plane, pass))
                    return 0;
            }
        }
    }
    c->pass = (pass + 1) % PASSES;
    if (!c->pass)
        c->plane--;
    c->done = !c->pass && !plane;
    return 1;
}

#endif

/*
 * What stands around a coefficient, and which counters and weights that chooses (SPEC.md 6).
 */
#ifndef RTC_PROGRESSIVE_CONTEXT_H
#define RTC_PROGRESSIVE_CONTEXT_H

#include "_model.h"

/* Halves of octaves of something in sixteenths. */
INLINE uint32_t level_of(uint32_t e)
{
    if (e < 4)
        return e;
    const uint32_t top = 31 - (uint32_t)__builtin_clz(e);
    return smaller(2 * top + (e >> (top - 1) & 1), ENERGIES - 1);
}

INLINE uint32_t octave_of(uint32_t e) { return smaller(level_of(e) / 2, 7); }

/* Sums of sizes, in sixteenths of the plane's step, and sizes in such steps, at most 7. */
typedef struct {
    uint32_t near, wide, parent, sibling, all;
    uint32_t one, two, up;
} sight;

/* A coefficient's own and its four neighbours' sizes, its own *weight* times. */
INLINE uint32_t cross(const uint16_t *at, uint32_t stride, uint32_t weight)
{
    return weight * *at + at[-1] + at[1] + *(at - stride) + at[stride];
}

/* Bands of the same level that look another way, and the one above. */
INLINE void look_elsewhere(const component *c, const band *b, uint32_t x, uint32_t y,
                           uint32_t plane, sight *to)
{
    uint32_t size[3] = {0, 0, 0}, siblings = 0, parent = 0;
    const band *first = b - (b->orientation - 1);
    for (uint32_t k = 0, n = 0; k < 3; k++) {
        const band *other = first + k;
        if (other == b || x >= other->width || y >= other->height)
            continue;
        const uint16_t *at = c->size + other->at + (size_t)y * other->stride + x;
        size[n++] = *at;
        siblings += cross(at, other->stride, 2);
    }
    const band *above = b - 3;
    if (b->level < c->levels && above->width && above->height) {
        const uint32_t column = smaller(x / 2, above->width - 1);
        const uint32_t row = smaller(y / 2, above->height - 1);
        const uint16_t *at = c->size + above->at + (size_t)row * above->stride + column;
        size[2] = *at;
        parent = cross(at, above->stride, 4);
    }
    to->one = smaller(size[0] >> plane, 7);
    to->two = smaller(size[1] >> plane, 7);
    to->up = smaller(size[2] >> plane, 7);
    to->parent = parent;
    to->sibling = siblings;
}

INLINE void look(const component *c, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                 sight *to)
{
    const uint32_t s = b->stride;
    const uint16_t *at = c->size + b->at + (size_t)y * s + x;
    const uint32_t across = at[-1] + at[1], down = *(at - s) + at[s];
    const uint32_t corners = *(at - s - 1) + *(at - s + 1) + at[s - 1] + at[s + 1];
    const uint32_t far_across = at[-2] + at[2], far_down = *(at - 2 * s) + at[2 * s];
    uint32_t near, wide;
    if (b->orientation == 1) { /* edges run down */
        near = 2 * across + 4 * down + corners;
        wide = far_across + 2 * far_down;
    } else if (b->orientation == 2) {
        near = 4 * across + 2 * down + corners;
        wide = 2 * far_across + far_down;
    } else {
        near = 3 * (across + down) + 2 * corners;
        wide = far_across + far_down;
    }
    memset(to, 0, sizeof *to);
    if (b->orientation)
        look_elsewhere(c, b, x, y, plane, to);
    to->all = (2 * near + wide + to->parent / 2 + to->sibling / 2) >> plane;
    to->near = (2 * near) >> plane;
    to->wide = (4 * wide) >> plane;
    to->parent = (2 * to->parent) >> plane;
    to->sibling = (2 * to->sibling) >> plane;
}

INLINE uint32_t group_of(const component *c, const band *b)
{
    return c->levels - b->level + (b->orientation > 0);
}

/* The band of an earlier component that lies where *b* does; 0 if it has none. */
INLINE const band *twin_of(const component *c, const band *b, uint32_t which)
{
    const component *other = c->earlier[which];
    if (!other)
        return 0;
    const uint32_t level = b->level + (which == 0); /* chroma is half as wide and high */
    if (level > other->levels || (!b->orientation && level != other->levels))
        return 0;
    return b->orientation ? other->bands + 3 * (other->levels - level) + b->orientation
                          : other->bands;
}

/* Sizes of an earlier component as far as all of its planes are known. */
typedef struct {
    const uint16_t *sizes;
    const uint8_t *said;
    uint32_t complete, stride;
} twin;

INLINE twin twin_at(const component *c, const band *b, uint32_t which, uint32_t x, uint32_t y)
{
    const band *of = twin_of(c, b, which);
    if (!of)
        return (twin){0};
    const component *other = c->earlier[which];
    const size_t at = of->at + (size_t)y * of->stride + x;
    return (twin){(other->true_size ? other->true_size : other->size) + at, other->said + at,
                  c->complete[which], of->stride};
}

INLINE uint32_t twin_size(const twin *t, ptrdiff_t away)
{
    return t->sizes ? (uint32_t)t->sizes[away] >> t->complete << t->complete : 0;
}

/* -1, 0 or 1. */
INLINE int32_t twin_sign(const twin *t, ptrdiff_t away)
{
    return !twin_size(t, away) ? 0 : t->said[away] & NEGATIVE ? -1 : 1;
}

/* As cross(), its own twice. */
INLINE uint32_t twin_cross(const twin *t)
{
    const ptrdiff_t s = (ptrdiff_t)t->stride;
    return 2 * twin_size(t, 0) + twin_size(t, -1) + twin_size(t, 1) + twin_size(t, -s) +
           twin_size(t, s);
}

/* Choose what says how likely a bit of a coefficient is. */
INLINE void choose(component *c, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                   uint32_t kind, const sight *e, mixture *to)
{
    model *from = c->model;
    const uint32_t s = b->stride;
    const uint16_t *at = c->size + b->at + (size_t)y * s + x;
    const uint32_t group = group_of(c, b), near = level_of(e->near), all = level_of(e->all);
    const uint32_t left = smaller(at[-1] >> plane, 7), above = smaller(*(at - s) >> plane, 7);
    const uint32_t right = smaller(at[1] >> plane, 2), below = smaller(at[s] >> plane, 2);
    const uint32_t corners = (*(at - s - 1) >> plane > 0) + (*(at - s + 1) >> plane > 0) +
                             (at[s - 1] >> plane > 0) + (at[s + 1] >> plane > 0);
    const uint32_t before =
        ((uint32_t)*(at - s - 1) + *(at - s + 1) + at[-2] + *(at - 2 * s)) * 4 >> plane;
    const uint32_t parent = octave_of(e->parent), sibling = octave_of(e->sibling);
    const uint32_t own = kind <= NEW ? group << 1 | (b->orientation == 3)
                                     : smaller(*at >> plane >> 1, 15);
    const uint32_t contexts[LUMA_TABLES] = {
        near << 4 | own,
        (parent << 3 | sibling) << 3 | smaller(near / 2, 7),
        (((smaller(left, 2) * 3 + smaller(above, 2)) * 3 + right) * 3 + below) * 5 + corners,
        all << 4 | b->orientation << 2 | smaller(c->levels - b->level, 3),
        smaller(level_of(e->wide), 15) << 5 | near,
        (e->one << 3 | e->two) << 3 | smaller(near / 2, 7),
        (e->up << 3 | octave_of(before)) << 3 | smaller(all / 2, 7),
        (left << 3 | above) << 3 | octave_of((e->wide + e->parent + e->sibling) / 2),
    };
    to->n = LUMA_TABLES;
    for (uint32_t t = 0; t < LUMA_TABLES; t++)
        to->from[t] = &from->mixed[t][kind][contexts[t]];
    if (c->earlier[0]) {
        const twin luma = twin_at(c, b, 0, x, y), first = twin_at(c, b, 1, x, y);
        const uint32_t in_luma = octave_of(4 * twin_cross(&luma) >> plane);
        const uint32_t in_first = octave_of(4 * twin_cross(&first) >> plane);
        const uint32_t at_luma = smaller(level_of(2 * twin_size(&luma, 0) >> plane), 7);
        const uint32_t at_first = smaller(level_of(2 * twin_size(&first, 0) >> plane), 7);
        const uint32_t around = (in_luma << 3 | in_first) << 3 | smaller(all / 2, 7);
        const uint32_t here = (at_luma << 3 | at_first) << 3 | smaller(near / 2, 7);
        to->n = TABLES;
        to->from[LUMA_TABLES] = &from->mixed[LUMA_TABLES][kind][around];
        to->from[LUMA_TABLES + 1] = &from->mixed[LUMA_TABLES + 1][kind][here];
    }
    to->weights[0] = from->by_group[kind * GROUPS_MAX + group];
    to->weights[1] = from->by_energy[kind * ENERGIES + all];
    to->weights[2] = from->by_kin[kind * KIN + (parent << 3 | sibling)];
}

/* 0 for none, 1 above zero, 2 below. */
INLINE uint32_t sign_at(const component *c, uint32_t at)
{
    return c->size[at] ? (c->said[at] & NEGATIVE ? 2 : 1) : 0;
}

/* Signs on both sides of a coefficient, along the four ways through it. */
INLINE uint32_t sign_context(const component *c, const band *b, uint32_t at)
{
    static const uint8_t SUM[3][3] = {{0, 1, 2}, {1, 1, 0}, {2, 0, 2}};
    const uint32_t s = b->stride, steps[4] = {1, s, s + 1, s - 1};
    uint32_t context = b->orientation;
    for (uint32_t k = 0; k < 4; k++)
        context = context * 3 + SUM[sign_at(c, at - steps[k])][sign_at(c, at + steps[k])];
    return context;
}

/* -1, 0 or 1. */
INLINE int32_t own_sign(const component *c, uint32_t at)
{
    return !c->size[at] ? 0 : c->said[at] & NEGATIVE ? -1 : 1;
}

/* Whether the signs around a coefficient are those of an earlier component, -2 to 2. */
INLINE int32_t agreement(const component *c, const band *b, uint32_t at, const twin *t)
{
    const uint32_t s = b->stride, steps[4] = {1, s, s + 1, s - 1};
    if (!t->sizes)
        return 0;
    const ptrdiff_t ts = (ptrdiff_t)t->stride, tsteps[4] = {1, ts, ts + 1, ts - 1};
    int32_t sum = 0;
    for (uint32_t k = 0; k < 4; k++) {
        sum += own_sign(c, at - steps[k]) * twin_sign(t, -tsteps[k]);
        sum += own_sign(c, at + steps[k]) * twin_sign(t, tsteps[k]);
    }
    return sum > 2 ? 2 : sum < -2 ? -2 : sum;
}

/* Choose what says how likely a coefficient of chroma is negative. */
INLINE void choose_sign(component *c, const band *b, uint32_t x, uint32_t y, uint32_t plane,
                        mixture *to)
{
    const uint32_t at = b->at + y * b->stride + x;
    const twin luma = twin_at(c, b, 0, x, y), first = twin_at(c, b, 1, x, y);
    const uint32_t group = group_of(c, b);
    const int32_t sl = twin_sign(&luma, 0), sf = twin_sign(&first, 0);
    const uint32_t signs = (uint32_t)((sl + 1) * 3 + sf + 1);
    const uint32_t in_luma = smaller(octave_of(twin_size(&luma, 0) * 4 >> plane) / 2, 3);
    const uint32_t in_first = smaller(octave_of(twin_size(&first, 0) * 4 >> plane) / 2, 3);
    const uint32_t agree_luma = (uint32_t)(agreement(c, b, at, &luma) + 2);
    const uint32_t agree_first = (uint32_t)(agreement(c, b, at, &first) + 2);
    const uint32_t contexts[SIGN_TABLES] = {
        sign_context(c, b, at),
        (signs * GROUPS_MAX + group) * 2 + (b->orientation == 3),
        (agree_luma * 5 + agree_first) * 9 + signs,
    };
    to->n = SIGN_TABLES;
    for (uint32_t t = 0; t < SIGN_TABLES; t++)
        to->from[t] = &c->model->mixed[t][SIGN][contexts[t]];
    to->weights[0] = c->model->by_group[SIGN * GROUPS_MAX + group];
    to->weights[1] = c->model->by_energy[SIGN * ENERGIES + in_luma * 4 + in_first];
    to->weights[2] = c->model->by_kin[SIGN * KIN + signs];
}

/* Blocks beside one that have anything in them, and whether the one above has. */
INLINE uint32_t block_context(const component *c, const band *b, uint32_t column, uint32_t row)
{
    const uint32_t s = b->block_stride;
    const uint8_t *at = c->live + b->block_at + row * s + column;
    uint32_t context = (uint32_t)(at[-1] + at[1] + *(at - s) + at[s]);
    const band *above = b - 3;
    if (b->orientation && b->level < c->levels && above->width && above->height) {
        const uint32_t x = smaller(column / 2, (above->width - 1) / BLOCK);
        const uint32_t y = smaller(row / 2, (above->height - 1) / BLOCK);
        context += 5 * c->live[above->block_at + y * above->block_stride + x];
    }
    return group_of(c, b) * 16 + context;
}

#endif

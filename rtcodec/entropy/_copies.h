/*
 * Which parts of a frame are copies, and from where: the order in which that is said; normative, SPEC.md
 * 9.7, equals copies.py.
 */
#ifndef RTC_COPIES_H
#define RTC_COPIES_H

#include "_words.h"

/* Called, not put in line: there is little of it, and pages load every byte. */
#ifdef __clang__
#define APART __attribute__((noinline, minsize))
#else
#define APART __attribute__((noinline))
#endif

enum {
    QUARTERS = 4,
    RECENT = 8,
    SIZE_BITS = 4, /* numbers have 15 bits at most */
    SIZES = 1 << SIZE_BITS,
    RATE = 4,
};

/* Probabilities of ones, of 2**16. */
typedef struct {
    uint16_t is_copy[8], as_left, as_above, is_recent, is_left;
    uint16_t recent[RECENT], up[SIZES], across[SIZES]; /* trees */
} copy_model;

typedef struct {
    int16_t up, right;
} copy;

/* One direction; `io` is its own. Each returns whether it could go on; a decoder sets *bits. */
typedef struct {
    int (*bit)(void *io, uint32_t width, uint32_t *bit); /* width: of a one, of PROB_SCALE */
    int (*raw)(void *io, uint32_t n_bits, uint32_t *bits);
} copy_coder;

/* What a frame of blocks has of copies: quarter q of block b is at copies + b * stride + 2 q. */
typedef struct {
    uint32_t rows, columns, stride; /* of blocks; of int16 */
    int16_t *copies;
} copy_plane;

INLINE int16_t *copy_at(const copy_plane *p, uint32_t row, uint32_t column)
{
    return p->copies + ((size_t)(row / 2) * p->columns + column / 2) * p->stride
           + 2 * (2 * (row & 1) + (column & 1));
}
INLINE copy read_copy(const copy_plane *p, uint32_t row, uint32_t column)
{
    const int16_t *at = copy_at(p, row, column);
    return (copy){at[0], at[1]};
}
INLINE int is_any(copy c) { return c.up || c.right; }
INLINE int is_same_copy(copy a, copy b) { return a.up == b.up && a.right == b.right; }

static APART int code_bit(const copy_coder *coder, void *io, uint16_t *p, uint32_t *bit)
{
    const uint32_t quarter = *p >> 2, most = PROB_SCALE - 1;
    const int done = coder->bit(io, quarter < 1 ? 1 : quarter > most ? most : quarter, bit);
    *p = (uint16_t)(*bit ? *p + ((65535 - *p) >> RATE) : *p - (*p >> RATE));
    return done;
}

/* A number of n_bits, the highest first, by a tree of probabilities. */
static APART int code_tree(const copy_coder *coder, void *io, uint16_t *tree, uint32_t n_bits, uint32_t *number)
{
    uint32_t node = 1;
    for (uint32_t k = n_bits; k-- > 0;) {
        uint32_t bit = *number >> k & 1;
        if (!code_bit(coder, io, tree + node, &bit))
            return 0;
        node = 2 * node + bit;
    }
    *number = node - (1u << n_bits);
    return 1;
}

/* A number below 2**15: how many bits it has, then those after the first. */
static APART int code_number(const copy_coder *coder, void *io, uint16_t *tree, uint32_t *number)
{
    uint32_t size = *number ? 32 - (uint32_t)__builtin_clz(*number) : 0;
    if (!code_tree(coder, io, tree, SIZE_BITS, &size))
        return 0;
    const uint32_t n_bits = size ? size - 1 : 0;
    uint32_t rest = *number & ((1u << n_bits) - 1);
    if (n_bits && !coder->raw(io, n_bits, &rest))
        return 0;
    *number = size ? 1u << n_bits | rest : 0;
    return 1;
}

/* One that is neither beside nor recent. */
static APART int code_new(const copy_coder *coder, void *io, copy_model *m, copy *c)
{
    uint32_t up = (uint32_t)c->up, is_left = c->right < 0;
    uint32_t across = (uint32_t)(is_left ? -c->right : c->right);
    if (!code_number(coder, io, m->up, &up) || !code_number(coder, io, m->across, &across)
        || (across && !code_bit(coder, io, &m->is_left, &is_left)))
        return 0;
    *c = (copy){(int16_t)up, (int16_t)(across && is_left ? -(int32_t)across : (int32_t)across)};
    return 1;
}

static APART int code_copy(const copy_coder *coder, void *io, copy_model *m, copy left, copy above, copy *recent,
                     copy *c)
{
    uint32_t yes;
    uint32_t n = RECENT - 1;
    if (is_any(left)) {
        yes = (uint32_t)is_same_copy(*c, left);
        if (!code_bit(coder, io, &m->as_left, &yes))
            return 0;
        if (yes) {
            *c = left;
            return 1;
        }
    }
    if (is_any(above) && !is_same_copy(left, above)) {
        yes = (uint32_t)is_same_copy(*c, above);
        if (!code_bit(coder, io, &m->as_above, &yes))
            return 0;
        if (yes) {
            *c = above;
            return 1;
        }
    }
    yes = 0;
    for (uint32_t k = 0; k < RECENT && !yes; k++)
        if (is_same_copy(*c, recent[k])) {
            yes = 1;
            n = k;
        }
    if (!code_bit(coder, io, &m->is_recent, &yes) || (yes && !code_tree(coder, io, m->recent, 3, &n))
        || (!yes && !code_new(coder, io, m, c)))
        return 0;
    if (yes)
        *c = recent[n];
    for (uint32_t k = yes ? n : RECENT - 1; k > 0; k--)
        recent[k] = recent[k - 1];
    recent[0] = *c;
    return 1;
}

/* Code all parts, row by row; returns whether the payload had as much. */
static APART int walk_copies(const copy_plane *p, const copy_coder *coder, void *io)
{
    copy_model m;
    copy recent[RECENT] = {{0, 0}};
    const copy none = {0, 0};
    uint16_t *all = (uint16_t *)&m;
    for (uint32_t k = 0; k < sizeof m / sizeof *all; k++)
        all[k] = 1 << 15;
    for (uint32_t row = 0; row < 2 * p->rows; row++)
        for (uint32_t column = 0; column < 2 * p->columns; column++) {
            const copy left = column ? read_copy(p, row, column - 1) : none;
            const copy above = row ? read_copy(p, row - 1, column) : none;
            const int corner = row && column + 1 < 2 * p->columns && is_any(read_copy(p, row - 1, column + 1));
            copy c = read_copy(p, row, column);
            uint32_t is_copy = (uint32_t)is_any(c);
            uint16_t *context = m.is_copy + is_any(left) + 2 * is_any(above) + 4 * corner;
            if (!code_bit(coder, io, context, &is_copy))
                return 0;
            if (!is_copy)
                c = none;
            else if (!code_copy(coder, io, &m, left, above, recent, &c))
                return 0;
            int16_t *to = copy_at(p, row, column);
            to[0] = c.up;
            to[1] = c.right;
        }
    return 1;
}

#endif

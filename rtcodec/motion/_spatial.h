/*
 * Samples predicted from those beside them: the modes and their order; normative, SPEC.md 9.6, equals
 * spatial.py. After ITU-T H.265 8.4.2 and 8.4.4.2, without what that does at a block's edges.
 */
#ifndef RTC_SPATIAL_H
#define RTC_SPATIAL_H

#include "_motion.h"

/* In line only where nobody has to load every byte of it. */
#ifdef __wasm__
#define SHARED static inline __attribute__((noinline, minsize))
#else
#define SHARED INLINE
#endif

enum {
    AREA_SAMPLES = SAMPLES + 2, /* of 16 bits, that each block of an area takes */
    PLANAR = 0,
    MEAN = 1,
    FIRST_ANGLE = 2,
    ACROSS = 10, /* samples are as on their left; */
    DOWN = 26,   /* as above */
    MODES = 35,
    LINEAR = MODES, /* of chroma: a line of the luma under it */
    CHROMA_MODES,
    GREY = 128 * FINE,
    /* Channels of what is said of a block, behind its latents: */
    LARGE = SAMPLES, /* whether luma is one part */
    CHROMA_MODE = SAMPLES + 2,
    SPLIT = SAMPLES + 9,
};

static const uint32_t LUMA_MODES[QUARTERS] = {SAMPLES + 1, SAMPLES + 3, SAMPLES + 4, SAMPLES + 5};

/* 1/32 of a sample that a mode's direction moves along the edge for each one away from it. */
static const int8_t ANGLES[MODES] = {
    0,  0,   32,  26,  21,  17,  13,  9,  5,  2,  0,  -2, -5, -9, -13, -17, -21, -26,
    -32, -26, -21, -17, -13, -9, -5, -2, 0,  2,  5,  9,  13, 17, 21,  26,  32,
};

/* 8192 / -angle, for modes 11 to 25. */
static const int16_t INVERSE[] = {
    4096, 1638, 910, 630, 482, 390, 315, 256, 315, 390, 482, 630, 910, 1638, 4096,
};

/* The samples around a part of side n: from its corner, [0], to the right and down, 2 n each. */
typedef struct {
    int32_t above[2 * BLOCK + 1], left[2 * BLOCK + 1];
} edges;

/* What is there already on each side of a part. */
typedef struct {
    int left, above, right, below; /* on the right above it; on the left below it */
} sides;

/* Read the edges of the part at `own`; what is not there is as the nearest before it, from below up. */
SHARED void read_edges(const uint16_t *own, ptrdiff_t stride, sides s, int n, edges *out)
{
    const int corner = 2 * n, all = 4 * n + 1;
    int32_t line[4 * BLOCK + 1];
    for (int i = 0; i < n; i++) {
        if (s.below)
            line[i] = own[(2 * n - 1 - i) * stride - 1];
        if (s.left)
            line[n + i] = own[(n - 1 - i) * stride - 1];
        if (s.above)
            line[corner + 1 + i] = own[i - stride];
        if (s.right)
            line[corner + 1 + n + i] = own[n + i - stride];
    }
    if (s.left && s.above)
        line[corner] = own[-stride - 1];
    const int first = s.below ? 0 : s.left ? n : s.above ? corner + 1 : all;
    for (int i = 0; i < first; i++)
        line[i] = first == all ? GREY : line[first];
    const int end = !s.left && !s.above ? all : !s.above ? corner : s.right ? all : corner + n + 1;
    for (int i = end; i < all; i++)
        line[i] = line[end - 1];
    for (int i = 0; i <= 2 * n; i++) {
        out->left[i] = line[corner - i];
        out->above[i] = line[corner + i];
    }
}

/* The same, each softened by those beside it; the ends stay. */
SHARED void soften(const edges *e, int n, edges *out)
{
    const int end = 2 * n;
    out->above[0] = out->left[0] = (e->left[1] + 2 * e->above[0] + e->above[1] + 2) >> 2;
    for (int i = 1; i < end; i++) {
        out->above[i] = (e->above[i - 1] + 2 * e->above[i] + e->above[i + 1] + 2) >> 2;
        out->left[i] = (e->left[i - 1] + 2 * e->left[i] + e->left[i + 1] + 2) >> 2;
    }
    out->above[end] = e->above[end];
    out->left[end] = e->left[end];
}

INLINE int is_down(int mode) { return mode >= (ACROSS + DOWN) / 2; }

/*
 * Predict a part in a direction that leads down from the edge `main`: row y of `out` is the edge moved
 * by so much. For those that lead across, edges and result change sides.
 */
SHARED void predict_along(const int32_t *main, const int32_t *side, int mode, int n, int32_t *out)
{
    const int angle = ANGLES[mode];
    int32_t line[BLOCK + 2 * BLOCK + 1], *edge = line + BLOCK;
    memcpy(edge, main, (2 * (size_t)n + 1) * sizeof *main);
    if (angle < 0)
        for (int i = -1; i > n * angle >> 5; i--)
            edge[i] = side[(-i * INVERSE[mode - ACROSS - 1] + 128) >> 8];
    for (int y = 0; y < n; y++) {
        const int far = (y + 1) * angle, part = far & 31;
        const int32_t *from = edge + 1 + (far >> 5);
        for (int x = 0; x < n; x++)
            out[y * n + x] = part ? ((32 - part) * from[x] + part * from[x + 1] + 16) >> 5 : from[x];
    }
}

INLINE int log_of(int n) { return n == BLOCK ? 4 : 3; }

SHARED void predict_plane(const edges *e, int n, int32_t *out)
{
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++)
            out[y * n + x] = ((n - 1 - x) * e->left[y + 1] + (x + 1) * e->above[n + 1] +
                              (n - 1 - y) * e->above[x + 1] + (y + 1) * e->left[n + 1] + n) >>
                             (log_of(n) + 1);
}

SHARED void predict_mean(const edges *e, int n, int32_t *out)
{
    int32_t sum = n;
    for (int i = 1; i <= n; i++)
        sum += e->above[i] + e->left[i];
    for (int i = 0; i < n * n; i++)
        out[i] = sum >> (log_of(n) + 1);
}

/* Whether a direction is predicted from softened edges: the diagonals, and of 16x16 all but the straight. */
INLINE int is_soft(int mode, int n)
{
    return n == SIDE ? (mode & 15) == FIRST_ANGLE : modulus(mode - ACROSS) > 1 && modulus(mode - DOWN) > 1;
}

/* Predict a part, n x n, from its edges as they are and softened. */
INLINE void predict_part(const edges *sharp, const edges *soft, int mode, int n, int32_t *out)
{
    if (mode == PLANAR) {
        predict_plane(soft, n, out);
    } else if (mode == MEAN) {
        predict_mean(sharp, n, out);
    } else {
        const edges *e = is_soft(mode, n) ? soft : sharp;
        if (is_down(mode)) {
            predict_along(e->above, e->left, mode, n, out);
        } else {
            int32_t turned[BLOCK * BLOCK];
            predict_along(e->left, e->above, mode, n, turned);
            for (int y = 0; y < n; y++)
                for (int x = 0; x < n; x++)
                    out[y * n + x] = turned[x * n + y];
        }
    }
}

/*
 * The modes in the order of what is expected where those on the left and above are a and b. Called: in
 * line it would be a kilobyte of what a page loads.
 */
static void order_modes(int a, int b, uint8_t *order)
{
    uint64_t seen = 0;
    uint32_t count = 0;
    const uint8_t first[] = {(uint8_t)a, (uint8_t)b, PLANAR, MEAN, DOWN, ACROSS};
    for (uint32_t i = 0; i < sizeof first; i++)
        if (!(seen >> first[i] & 1)) {
            seen |= (uint64_t)1 << first[i];
            order[count++] = first[i];
        }
    const int around[] = {a >= FIRST_ANGLE ? a : DOWN, b >= FIRST_ANGLE ? b : ACROSS};
    for (int d = 1; count < MODES; d++)
        for (int k = 0; k < 4; k++) {
            const int mode = around[k >> 1] + (k & 1 ? d : -d);
            if (mode >= FIRST_ANGLE && mode < MODES && !(seen >> mode & 1)) {
                seen |= (uint64_t)1 << mode;
                order[count++] = (uint8_t)mode;
            }
        }
}

/*
 * The same of chroma, where that of luma is a; `linear`: 1 where the model has that mode, which is second
 * then. Returns how many there are.
 */
INLINE uint32_t order_chroma(int a, uint32_t linear, uint8_t *order)
{
    order_modes(a, PLANAR, order);
    if (linear) {
        for (uint32_t r = MODES; r > 1; r--)
            order[r] = order[r - 1];
        order[1] = LINEAR;
    }
    return MODES + linear;
}

/* Which of an order of so many modes a symbol means, and the other way round. */
INLINE uint32_t rank_of(int32_t symbol, uint32_t modes)
{
    const uint32_t rank = (uint32_t)(symbol > 0 ? 2 * symbol - 1 : -2 * symbol);
    return rank < modes ? rank : modes - 1;
}
INLINE int16_t symbol_of(uint32_t rank)
{
    const int32_t half = (int32_t)(rank + 1) / 2;
    return (int16_t)(rank & 1 ? half : -half);
}

/* What is painted as one, a tile or a frame: its planes, and the modes of its parts of luma. */
typedef struct {
    uint32_t columns; /* of blocks */
    ptrdiff_t luma, chroma, parts; /* across its planes and modes */
    uint16_t *y, *u, *v;
    uint8_t *modes;
} area;

INLINE area area_in(uint16_t *room, uint32_t rows, uint32_t columns)
{
    const size_t blocks = (size_t)rows * columns;
    uint16_t *u = room + blocks * BLOCK * BLOCK, *v = u + blocks * HALF * HALF;
    return (area){columns, (ptrdiff_t)columns * BLOCK, (ptrdiff_t)columns * HALF, (ptrdiff_t)columns * 2,
                  room, u, v, (uint8_t *)(v + blocks * HALF * HALF)};
}

INLINE uint16_t *luma_at(const area *t, uint32_t row, uint32_t column)
{
    return t->y + (ptrdiff_t)row * SIDE * t->luma + column * SIDE;
}
INLINE uint16_t *chroma_at(const area *t, uint32_t k, uint32_t i, uint32_t j)
{
    return (k ? t->v : t->u) + (ptrdiff_t)i * HALF * t->chroma + j * HALF;
}
INLINE uint8_t *mode_at(const area *t, uint32_t row, uint32_t column)
{
    return t->modes + (ptrdiff_t)row * t->parts + column;
}

/* Where quarter q of the block at (i, j) is among an area's parts of luma. */
INLINE uint32_t part_row(uint32_t i, uint32_t q) { return 2 * i + (q >> 1); }
INLINE uint32_t part_column(uint32_t j, uint32_t q) { return 2 * j + (q & 1); }

INLINE sides sides_of_luma(const area *t, uint32_t i, uint32_t j, uint32_t q)
{
    const uint32_t row = part_row(i, q), column = part_column(j, q);
    return (sides){column > 0, row > 0, row > 0 && q != 3 && (q != 1 || j + 1 < t->columns),
                   q == 0 && j > 0};
}
/* Of chroma, and of luma as one part. */
INLINE sides sides_of_block(const area *t, uint32_t i, uint32_t j)
{
    return (sides){j > 0, i > 0, i > 0 && j + 1 < t->columns, 0};
}

/* The order of modes of a part of luma, from those beside it. */
INLINE void order_luma(const area *t, uint32_t row, uint32_t column, uint8_t *order)
{
    order_modes(column ? *mode_at(t, row, column - 1) : PLANAR, row ? *mode_at(t, row - 1, column) : PLANAR,
                order);
}

/* Luma under the sample of chroma in row y, column x of a block; row or column -1 is beside it. */
INLINE int32_t luma_under(const uint16_t *block, ptrdiff_t stride, int y, int x)
{
    const uint16_t *at = block + 2 * y * stride + 2 * x;
    return (at[0] + at[1] + at[stride] + at[stride + 1] + 2) >> 2;
}

/*
 * Predict u (k = 0) or v of the block at (i, j) as a line of its luma, painted already: the line that fits
 * the samples above and on the left best in least squares, drawn to a flat one where luma hardly differs.
 */
SHARED void predict_linear(const area *t, uint32_t k, uint32_t i, uint32_t j, int32_t *out)
{
    const uint16_t *luma = luma_at(t, 2 * i, 2 * j), *own = chroma_at(t, k, i, j);
    const sides s = sides_of_block(t, i, j);
    int64_t n = 0, sum_l = 0, sum_c = 0, sum_ll = 0, sum_lc = 0;
    for (int m = 0; m < 2 * HALF; m++) {
        if (m < HALF ? !s.above : !s.left)
            continue;
        const int y = m < HALF ? -1 : m - HALF, x = m < HALF ? m : -1;
        const int64_t l = luma_under(luma, t->luma, y, x), c = own[y * t->chroma + x];
        n++;
        sum_l += l;
        sum_c += c;
        sum_ll += l * l;
        sum_lc += l * c;
    }
    int32_t slope = 0, from = 0, to = GREY;
    if (n) {
        slope = (int32_t)(256 * (n * sum_lc - sum_l * sum_c) / (n * sum_ll - sum_l * sum_l + 512 * n * n));
        slope = clamp(slope, -1024, 1024);
        from = (int32_t)(sum_l / n);
        to = (int32_t)((sum_c + n / 2) / n);
    }
    for (int y = 0; y < HALF; y++)
        for (int x = 0; x < HALF; x++) {
            const int32_t up = (slope * (luma_under(luma, t->luma, y, x) - from) + 128) >> 8;
            out[y * HALF + x] = clamp(to + up, 0, FINE_MAX);
        }
}

/*
 * Whether quarter q of the block at (i, j) is a copy of what is `from[0]` rows above it and `from[1]` columns
 * on its right: all of that has to be painted by then, in blocks above or on the left.
 */
SHARED int is_copied(const area *t, uint32_t i, uint32_t j, uint32_t q, const int16_t *from)
{
    const int32_t y = (int32_t)(part_row(i, q) * SIDE) - from[0] + SIDE;
    const int32_t x = (int32_t)(part_column(j, q) * SIDE) + from[1] + SIDE;
    if (from[0] < 0 || y < SIDE || x < SIDE || x > (int32_t)(t->columns * BLOCK))
        return 0;
    return y <= (int32_t)(i * BLOCK) || (x <= (int32_t)(j * BLOCK) && y <= (int32_t)((i + 1) * BLOCK));
}

SHARED void copy_part(const uint16_t *from, ptrdiff_t stride, int n, int32_t *out)
{
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++)
            out[y * SIDE + x] = from[y * stride + x];
}

INLINE void copy_luma(const area *t, uint32_t row, uint32_t column, const int16_t *from, int32_t *out)
{
    copy_part(luma_at(t, row, column) - from[0] * t->luma + from[1], t->luma, SIDE, out);
}

/* Copy what is under copied quarters into a prediction of chroma; where that is half a sample off, nothing. */
SHARED void copy_chroma(const area *t, uint32_t k, uint32_t i, uint32_t j, const int16_t *copies, int32_t *out)
{
    for (uint32_t q = 0; q < QUARTERS; q++) {
        const int16_t *from = copies + 2 * q;
        if ((from[0] | from[1]) & 1 || !is_copied(t, i, j, q, from))
            continue;
        const uint32_t y = (q >> 1) * SIDE / 2, x = (q & 1) * SIDE / 2;
        const uint16_t *own = chroma_at(t, k, i, j) + (ptrdiff_t)y * t->chroma + x;
        copy_part(own - from[0] / 2 * t->chroma + from[1] / 2, t->chroma, SIDE / 2, out + y * SIDE + x);
    }
}

/* Put a predicted part where it belongs. */
INLINE void place_part(const int32_t *part, int n, uint16_t *own, ptrdiff_t stride)
{
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++)
            own[y * stride + x] = (uint16_t)part[y * n + x];
}

/* Give all quarters of the block at (i, j) one mode. */
INLINE void set_modes(const area *t, uint32_t i, uint32_t j, uint8_t mode)
{
    for (uint32_t q = 0; q < QUARTERS; q++)
        *mode_at(t, part_row(i, q), part_column(j, q)) = mode;
}

/*
 * Add the inverse transform of a block's luma to what is predicted; c: row v, column h. Every other
 * frequency each way is a part's: rows of v are those of parts 0 and 1 where v is even.
 */
INLINE void add_large(int32_t c[BLOCK][BLOCK], uint32_t rows, uint16_t *at, ptrdiff_t stride)
{
    int32_t down[BLOCK][BLOCK] = {{0}};
    for (int v = 0; v < BLOCK; v++) {
        if (!(rows >> v & 1))
            continue;
        for (int y = 0; y < BLOCK; y++)
            for (int h = 0; h < BLOCK; h++)
                down[y][h] += DCT16[v][y] * c[v][h];
    }
    for (int y = 0; y < BLOCK; y++) {
        int32_t sums[BLOCK] = {0};
        for (int h = 0; h < BLOCK; h++) {
            const int32_t f = clamp((down[y][h] + 1024) >> 11, -65535, 65535);
            if (!f)
                continue;
            for (int x = 0; x < BLOCK; x++)
                sums[x] += f * DCT16[h][x];
        }
        for (int x = 0; x < BLOCK; x++) {
            const int32_t sample = at[y * stride + x] + ((sums[x] + 4096) >> 13);
            at[y * stride + x] = (uint16_t)clamp(sample, 0, FINE_MAX);
        }
    }
}

/* Where a part's frequency, by number, is in the transform of its block's luma. */
INLINE uint32_t large_row(uint32_t k, uint32_t q) { return 2u * (ORDER[k] / SIDE) + (q >> 1); }
INLINE uint32_t large_column(uint32_t k, uint32_t q) { return 2u * (ORDER[k] % SIDE) + (q & 1); }

/* Write the block at (i, j) of an area as blocks have their samples. */
SHARED void write_block(const area *t, uint32_t i, uint32_t j, uint16_t *block)
{
    for (uint32_t y = 0; y < BLOCK; y++)
        memcpy(block + y * BLOCK, luma_at(t, 2 * i, 2 * j) + y * t->luma, BLOCK * sizeof *block);
    for (uint32_t y = 0; y < HALF; y++) {
        memcpy(block + 256 + y * HALF, chroma_at(t, 0, i, j) + y * t->chroma, HALF * sizeof *block);
        memcpy(block + 320 + y * HALF, chroma_at(t, 1, i, j) + y * t->chroma, HALF * sizeof *block);
    }
}

#endif

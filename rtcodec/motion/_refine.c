/*
 * Refining of pictures, in integers; normative, SPEC.md 9.5. `rtc_refine` equals refine.py.
 */
#include "_motion.h"

enum {
    LUMA_PAIRS = 12,  /* taps that lie opposite each other share a weight */
    CHROMA_PAIRS = 6,
    CLIPS = 4,
    LEVELS = 8, /* of activity */
    CELL = 4,   /* side of what is of one class */
    CELLS = BLOCK / CELL,
    AROUND = 2, /* samples around a cell that its class looks at */
    SEEN = BLOCK + 2 * AROUND,
    SEEN_WIDE = 24, /* SEEN in whole vectors */
    GRADIENTS = 4,
    QPS = 64,
};

/* Down and across from a sample to one tap of each pair. */
static const int8_t PAIRS[LUMA_PAIRS][2] = {
    {0, 1},  {0, 2}, {0, 3}, {1, -2}, {1, -1}, {1, 0},
    {1, 1}, {1, 2}, {2, -1}, {2, 0}, {2, 1}, {3, 0},
};
static const int8_t CHROMA_PAIRS_AT[CHROMA_PAIRS][2] = {
    {0, 1}, {0, 2}, {1, -1}, {1, 0}, {1, 1}, {2, 0},
};

/* Which pair gets weight i: as it is, mirrored at the diagonal, upside down, turned. */
static const uint8_t TURNS[4][LUMA_PAIRS] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
    {5, 9, 11, 8, 4, 0, 6, 10, 3, 1, 7, 2},
    {0, 1, 2, 7, 6, 5, 4, 3, 10, 9, 8, 11},
    {5, 9, 11, 10, 6, 0, 4, 8, 7, 1, 3, 2},
};

typedef struct {
    const int16_t *luma;   /* weights [5 * LEVELS, LUMA_PAIRS, CLIPS], 32768 for 1 */
    const int16_t *chroma; /* of u and of v, [2, CHROMA_PAIRS, CLIPS] */
    int32_t clips[CLIPS], chroma_clips[CLIPS]; /* <= 8191, in quarters of a reference's steps */
    int32_t activity[LEVELS - 1]; /* the most that is of each level but the last one */
} rtc_refinement;

typedef struct {
    uint8_t kind, turn;
} cell_class;

/* Second differences of SEEN_WIDE samples, the sum of 8 lines of them: across, down, diagonals. */
INLINE void gradients_of(const uint16_t *from, size_t stride, uint16_t sums[GRADIENTS][SEEN_WIDE])
{
    memset(sums, 0, GRADIENTS * SEEN_WIDE * sizeof sums[0][0]);
    for (int i = 0; i < CELL + 2 * AROUND; i++) {
        const uint16_t *line = from + i * (ptrdiff_t)stride, *up = line - stride,
                       *below = line + stride;
        for (int j = 0; j < SEEN_WIDE; j++) {
            const int16_t twice = (int16_t)(2 * line[j]);
            const int16_t across = (int16_t)(twice - line[j - 1] - line[j + 1]);
            const int16_t down = (int16_t)(twice - up[j] - below[j]);
            const int16_t falling = (int16_t)(twice - up[j - 1] - below[j + 1]);
            const int16_t rising = (int16_t)(twice - below[j - 1] - up[j + 1]);
            sums[0][j] += (uint16_t)(across < 0 ? -across : across);
            sums[1][j] += (uint16_t)(down < 0 ? -down : down);
            sums[2][j] += (uint16_t)(falling < 0 ? -falling : falling);
            sums[3][j] += (uint16_t)(rising < 0 ? -rising : rising);
        }
    }
}

INLINE cell_class class_of(const int64_t g[GRADIENTS], const int32_t *activity)
{
    const int is_down = g[1] > g[0], is_rising = g[3] > g[2];
    const int64_t straight = g[is_down], other = g[!is_down];
    const int64_t slant = g[2 + is_rising], other_slant = g[3 - is_rising];
    const int is_slant = slant * other > straight * other_slant;
    const int64_t most = is_slant ? slant : straight, least = is_slant ? other_slant : other;
    int direction = most <= 2 * least ? 0 : 2 * most <= 9 * least ? 1 : 2;
    if (direction && !is_slant)
        direction += 2;
    int level = 0;
    while (level < LEVELS - 1 && g[0] + g[1] > activity[level])
        level++;
    const cell_class found = {(uint8_t)(direction * LEVELS + level),
                              (uint8_t)(2 * is_rising + !is_down)};
    return found;
}

/* Classes of the CELLS cells that begin at a row of a block. */
INLINE void classify(const uint16_t *from, size_t stride, const int32_t *activity,
                     cell_class *classes)
{
    uint16_t sums[GRADIENTS][SEEN_WIDE];
    gradients_of(from - AROUND * (ptrdiff_t)stride - AROUND, stride, sums);
    for (int cell = 0; cell < CELLS; cell++) {
        int64_t g[GRADIENTS];
        for (int k = 0; k < GRADIENTS; k++) {
            uint32_t sum = 0;
            for (int j = 0; j < CELL + 2 * AROUND; j++)
                sum += sums[k][cell * CELL + j];
            g[k] = sum;
        }
        classes[cell] = class_of(g, activity);
    }
}

INLINE int16_t cut(int16_t x, int16_t most)
{
    const int16_t low = x < (int16_t)-most ? (int16_t)-most : x;
    return low > most ? most : low;
}

/*
 * One line of n samples: to each is added what its neighbours' differences come to, each cut to the
 * clips and weighted, 32768 for 1. weights: [pairs, CLIPS, n].
 */
INLINE void refine_line(const uint16_t *from, size_t stride, const int8_t (*at)[2], int pairs,
                        const int32_t *clips, const int16_t *weights, int n, uint16_t *restrict to)
{
    int16_t sums[BLOCK] = {0};
    for (int t = 0; t < pairs; t++) {
        const ptrdiff_t step = at[t][0] * (ptrdiff_t)stride + at[t][1];
        const uint16_t *one = from + step, *other = from - step;
        const int16_t *w = weights + t * CLIPS * n;
        for (int j = 0; j < n; j++) {
            const int16_t a = (int16_t)((one[j] - from[j]) * 4);
            const int16_t b = (int16_t)((other[j] - from[j]) * 4);
            int16_t sum = sums[j];
            for (int k = 0; k < CLIPS; k++) {
                const int16_t both =
                    (int16_t)(cut(a, (int16_t)clips[k]) + cut(b, (int16_t)clips[k]));
                sum = (int16_t)(sum + (int16_t)(((both * w[k * n + j] >> 14) + 1) >> 1));
            }
            sums[j] = sum;
        }
    }
    for (int j = 0; j < n; j++)
        to[j] = (uint16_t)clamp(from[j] + ((sums[j] + 2) >> 2), 0, FINE_MAX);
}

INLINE void refine_luma(const uint16_t *from, size_t stride, const rtc_refinement *how,
                        uint16_t *restrict to)
{
    for (int row = 0; row < BLOCK; row += CELL, from += CELL * stride, to += CELL * BLOCK) {
        cell_class classes[CELLS];
        int16_t weights[LUMA_PAIRS][CLIPS][BLOCK];
        classify(from, stride, how->activity, classes);
        for (int cell = 0; cell < CELLS; cell++) {
            const int16_t *own = how->luma + classes[cell].kind * (LUMA_PAIRS * CLIPS);
            const uint8_t *turn = TURNS[classes[cell].turn];
            for (int t = 0; t < LUMA_PAIRS; t++)
                for (int k = 0; k < CLIPS; k++)
                    for (int j = 0; j < CELL; j++)
                        weights[turn[t]][k][cell * CELL + j] = own[t * CLIPS + k];
        }
        for (int i = 0; i < CELL; i++)
            refine_line(from + i * stride, stride, PAIRS, LUMA_PAIRS, how->clips, weights[0][0],
                        BLOCK, to + i * BLOCK);
    }
}

INLINE void refine_chroma(const uint16_t *from, size_t stride, const rtc_refinement *how, int v,
                          uint16_t *restrict to)
{
    int16_t weights[CHROMA_PAIRS][CLIPS][HALF];
    const int16_t *own = how->chroma + v * (CHROMA_PAIRS * CLIPS);
    for (int t = 0; t < CHROMA_PAIRS; t++)
        for (int k = 0; k < CLIPS; k++)
            for (int j = 0; j < HALF; j++)
                weights[t][k][j] = own[t * CLIPS + k];
    for (int i = 0; i < HALF; i++)
        refine_line(from + i * stride, stride, CHROMA_PAIRS_AT, CHROMA_PAIRS, how->chroma_clips,
                    weights[0][0], HALF, to + i * HALF);
}

/* A block as it is. */
INLINE void copy_block(const rtc_reference *r, uint32_t row, uint32_t column, uint16_t *to)
{
    const size_t stride = luma_stride(r), chroma = chroma_stride(r);
    const uint16_t *y = r->y + row * BLOCK * stride + column * BLOCK;
    for (int i = 0; i < BLOCK; i++)
        memcpy(to + i * BLOCK, y + i * stride, BLOCK * sizeof *to);
    for (int v = 0; v < 2; v++) {
        const uint16_t *from = (v ? r->v : r->u) + row * HALF * chroma + column * HALF;
        for (int i = 0; i < HALF; i++)
            memcpy(to + 256 + 64 * v + i * HALF, from + i * chroma, HALF * sizeof *to);
    }
}

/*
 * Refine a picture into blocks [rows, columns, 384], of samples as a reference's. how: for each of the
 * 64 qp. qps: of the tiles, [rows / TILE, columns / TILE]; tiles with another number stay as they are.
 */
CLONES EXPORT void rtc_refine(const rtc_reference *r, const rtc_refinement *how, const uint8_t *qps,
                              uint16_t *blocks)
{
    const size_t stride = luma_stride(r), chroma = chroma_stride(r);
    for (uint32_t row = 0; row < r->rows; row++)
        for (uint32_t column = 0; column < r->columns; column++) {
            uint16_t *block = blocks + ((size_t)row * r->columns + column) * SAMPLES;
            const uint32_t qp = qps[row / TILE * (r->columns / TILE) + column / TILE];
            if (qp >= QPS) {
                copy_block(r, row, column, block);
                continue;
            }
            const size_t at = row * HALF * chroma + column * HALF;
            refine_luma(r->y + row * BLOCK * stride + column * BLOCK, stride, how + qp, block);
            refine_chroma(r->u + at, chroma, how + qp, 0, block + 256);
            refine_chroma(r->v + at, chroma, how + qp, 1, block + 320);
        }
}

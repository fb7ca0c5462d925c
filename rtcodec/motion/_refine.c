/*
 * Refining of pictures, in integers; normative, SPEC.md 9.5. `rtc_refine` equals refine.py.
 */
#include "_motion.h"

enum {
    LUMA_PAIRS = 12, /* taps that lie opposite each other share a weight */
    CHROMA_PAIRS = 6,
    CLIPS = 4,
    LEVELS = 8,           /* of activity */
    CELL = 4,             /* side of what is of one class */
    AROUND = 2,           /* samples around a cell that its class looks at */
    STRIP = TILE * BLOCK, /* lines of a tile: what is refined for one qp */
    HALF_STRIP = STRIP / 2,
    CELLS = STRIP / CELL,
    SEEN = STRIP + 2 * AROUND,
    SEEN_WIDE = STRIP + 16, /* SEEN in whole vectors */
    GRADIENTS = 4,
    WIDE = 16, /* samples that compilers make a vector of */
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
    uint8_t kind[CELLS], turn[CELLS];
} cell_classes;

/*
 * Second differences around CELL lines of a strip: across, down, diagonals. sums: of each CELL samples
 * in a row, from AROUND before the strip on.
 */
INLINE void gradients_of(const uint16_t *from, size_t stride, int32_t sums[GRADIENTS][CELLS + 1])
{
    uint16_t lines[GRADIENTS][SEEN_WIDE] = {0};
    from -= AROUND;
    for (int i = 0; i < CELL; i++, from += stride) {
        const uint16_t *up = from - stride, *below = from + stride;
        for (int j = 0; j < SEEN_WIDE; j++) {
            const int16_t twice = (int16_t)(2 * from[j]);
            const int16_t across = (int16_t)(twice - from[j - 1] - from[j + 1]);
            const int16_t down = (int16_t)(twice - up[j] - below[j]);
            const int16_t falling = (int16_t)(twice - up[j - 1] - below[j + 1]);
            const int16_t rising = (int16_t)(twice - below[j - 1] - up[j + 1]);
            lines[0][j] += (uint16_t)(across < 0 ? -across : across);
            lines[1][j] += (uint16_t)(down < 0 ? -down : down);
            lines[2][j] += (uint16_t)(falling < 0 ? -falling : falling);
            lines[3][j] += (uint16_t)(rising < 0 ? -rising : rising);
        }
    }
    for (int k = 0; k < GRADIENTS; k++) {
        uint16_t pairs[SEEN];
        for (int j = 0; j < SEEN; j++)
            pairs[j] = (uint16_t)(lines[k][j] + lines[k][j + 1]);
        for (int cell = 0; cell < CELLS + 1; cell++)
            sums[k][cell] = pairs[cell * CELL] + pairs[cell * CELL + 2];
    }
}

/* Classes of a row of cells; above, below: sums of gradients of the two halves of what each sees. */
INLINE void classify(int32_t above[GRADIENTS][CELLS + 1], int32_t below[GRADIENTS][CELLS + 1],
                     const int32_t *activity, cell_classes *classes)
{
    int32_t g[GRADIENTS][CELLS];
    for (int k = 0; k < GRADIENTS; k++)
        for (int i = 0; i < CELLS; i++)
            g[k][i] = above[k][i] + above[k][i + 1] + below[k][i] + below[k][i + 1];
    for (int i = 0; i < CELLS; i++) {
        const int32_t is_down = g[1][i] > g[0][i], is_rising = g[3][i] > g[2][i];
        const int32_t straight = is_down ? g[1][i] : g[0][i], other = is_down ? g[0][i] : g[1][i];
        const int32_t slant = is_rising ? g[3][i] : g[2][i],
                      other_slant = is_rising ? g[2][i] : g[3][i];
        const int32_t is_slant = (int64_t)slant * other > (int64_t)straight * other_slant;
        const int32_t most = is_slant ? slant : straight, least = is_slant ? other_slant : other;
        const int32_t strength = (most > 2 * least) + (2 * most > 9 * least);
        const int32_t direction = strength && !is_slant ? strength + 2 : strength;
        int32_t level = 0;
        for (int k = 0; k < LEVELS - 1; k++)
            level += g[0][i] + g[1][i] > activity[k];
        classes->kind[i] = (uint8_t)(direction * LEVELS + level);
        classes->turn[i] = (uint8_t)(2 * is_rising + !is_down);
    }
}

#ifdef __wasm_simd128__
#include <wasm_simd128.h>

INLINE v128_t cut_eight(v128_t x, v128_t most)
{
    return wasm_i16x8_min(wasm_i16x8_max(x, wasm_i16x8_neg(most)), most);
}

/* What the differences of eight samples to a pair of their neighbours come to, added to sums. */
INLINE v128_t add_pair(v128_t sums, v128_t here, const uint16_t *one, const uint16_t *other,
                       const v128_t *clips, const int16_t *weights, int n)
{
    const v128_t a = wasm_i16x8_shl(wasm_i16x8_sub(wasm_v128_load(one), here), 2);
    const v128_t b = wasm_i16x8_shl(wasm_i16x8_sub(wasm_v128_load(other), here), 2);
    for (int k = 0; k < CLIPS; k++) {
        const v128_t both = wasm_i16x8_add(cut_eight(a, clips[k]), cut_eight(b, clips[k]));
        const v128_t w = wasm_v128_load(weights + k * n);
        sums = wasm_i16x8_add(sums, wasm_i16x8_q15mulr_sat(both, w)); /* never both -32768 */
    }
    return sums;
}
#else
INLINE int16_t cut(int16_t x, int16_t most)
{
    const int16_t low = x < (int16_t)-most ? (int16_t)-most : x;
    return low > most ? most : low;
}
#endif

/*
 * One line of n samples: to each is added what its neighbours' differences come to, each cut to the
 * clips and weighted, 32768 for 1. weights: [pairs, CLIPS, n].
 */
INLINE void refine_line(const uint16_t *from, size_t stride, const int8_t (*at)[2], int pairs,
                        const int32_t *clips, const int16_t *weights, int n, uint16_t *restrict to)
{
#ifdef __wasm_simd128__
    v128_t most[CLIPS];
    for (int k = 0; k < CLIPS; k++)
        most[k] = wasm_i16x8_splat((int16_t)clips[k]);
    for (int start = 0; start < n; start += 8, from += 8, to += 8, weights += 8) {
        const v128_t here = wasm_v128_load(from);
        v128_t sums = wasm_i16x8_splat(0);
        for (int t = 0; t < pairs; t++) {
            const ptrdiff_t step = at[t][0] * (ptrdiff_t)stride + at[t][1];
            sums = add_pair(sums, here, from + step, from - step, most, weights + t * CLIPS * n, n);
        }
        const v128_t half = wasm_i16x8_add(wasm_i16x8_shr(sums, 1), wasm_i16x8_splat(1));
        const v128_t sum = wasm_i16x8_add(here, wasm_i16x8_shr(half, 1)); /* sums + 2 might wrap */
        const v128_t low = wasm_i16x8_max(sum, wasm_i16x8_splat(0));
        wasm_v128_store(to, wasm_i16x8_min(low, wasm_i16x8_splat(FINE_MAX)));
    }
#else
    for (int start = 0; start < n; start += WIDE, from += WIDE, to += WIDE, weights += WIDE) {
        int16_t sums[WIDE] = {0};
        for (int t = 0; t < pairs; t++) {
            const ptrdiff_t step = at[t][0] * (ptrdiff_t)stride + at[t][1];
            const uint16_t *one = from + step, *other = from - step;
            const int16_t *w = weights + t * CLIPS * n;
            for (int j = 0; j < WIDE; j++) {
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
        for (int j = 0; j < WIDE; j++)
            to[j] = (uint16_t)clamp(from[j] + ((sums[j] + 2) >> 2), 0, FINE_MAX);
    }
#endif
}

/* A tile; to: its blocks, of which those of the next row lie *next* further on. */
INLINE void refine_luma(const uint16_t *from, size_t stride, const rtc_refinement *how,
                        uint16_t *restrict to, size_t next)
{
    int32_t sums[2][GRADIENTS][CELLS + 1];
    gradients_of(from - AROUND * (ptrdiff_t)stride, stride, sums[0]);
    for (int row = 0; row < CELLS; row++, from += CELL * stride) {
        cell_classes classes;
        int16_t weights[LUMA_PAIRS][CLIPS][STRIP];
        gradients_of(from + AROUND * stride, stride, sums[~row & 1]);
        classify(sums[row & 1], sums[~row & 1], how->activity, &classes);
        for (int cell = 0; cell < CELLS; cell++) {
            const int16_t *own = how->luma + classes.kind[cell] * (LUMA_PAIRS * CLIPS);
            const uint8_t *turn = TURNS[classes.turn[cell]];
            for (int t = 0; t < LUMA_PAIRS; t++)
                for (int k = 0; k < CLIPS; k++)
                    for (int j = 0; j < CELL; j++)
                        weights[turn[t]][k][cell * CELL + j] = own[t * CLIPS + k];
        }
        for (int i = 0; i < CELL; i++) {
            uint16_t line[STRIP];
            const int y = row * CELL + i;
            refine_line(from + i * stride, stride, PAIRS, LUMA_PAIRS, how->clips, weights[0][0],
                        STRIP, line);
            for (int block = 0; block < TILE; block++)
                memcpy(to + y / BLOCK * next + block * SAMPLES + y % BLOCK * BLOCK,
                       line + block * BLOCK, BLOCK * sizeof *to);
        }
    }
}

/* U or V of a tile. */
INLINE void refine_chroma(const uint16_t *from, size_t stride, const rtc_refinement *how, int v,
                          uint16_t *restrict to, size_t next)
{
    int16_t weights[CHROMA_PAIRS][CLIPS][HALF_STRIP];
    const int16_t *own = how->chroma + v * (CHROMA_PAIRS * CLIPS);
    for (int t = 0; t < CHROMA_PAIRS; t++)
        for (int k = 0; k < CLIPS; k++)
            for (int j = 0; j < HALF_STRIP; j++)
                weights[t][k][j] = own[t * CLIPS + k];
    for (int y = 0; y < HALF_STRIP; y++, from += stride) {
        uint16_t line[HALF_STRIP];
        refine_line(from, stride, CHROMA_PAIRS_AT, CHROMA_PAIRS, how->chroma_clips, weights[0][0],
                    HALF_STRIP, line);
        for (int block = 0; block < TILE; block++)
            memcpy(to + y / HALF * next + block * SAMPLES + y % HALF * HALF, line + block * HALF,
                   HALF * sizeof *to);
    }
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

/* A tile as it is. */
INLINE void copy_tile(const rtc_reference *r, uint32_t row, uint32_t column, uint16_t *to)
{
    for (uint32_t i = 0; i < TILE; i++)
        for (uint32_t j = 0; j < TILE; j++)
            copy_block(r, row + i, column + j, to + ((size_t)i * r->columns + j) * SAMPLES);
}

/*
 * Refine a picture into blocks [rows, columns, 384], of samples as a reference's. how: for each of the
 * 64 qp. qps: of the tiles, [rows / TILE, columns / TILE]; tiles with another number stay as they are.
 */
CLONES EXPORT void rtc_refine(const rtc_reference *r, const rtc_refinement *how, const uint8_t *qps,
                              uint16_t *blocks)
{
    const size_t stride = luma_stride(r), chroma = chroma_stride(r);
    const size_t next = (size_t)r->columns * SAMPLES;
    for (uint32_t row = 0; row < r->rows; row += TILE)
        for (uint32_t column = 0; column < r->columns; column += TILE) {
            uint16_t *tile = blocks + row * next + column * SAMPLES;
            const uint32_t qp = qps[row / TILE * (r->columns / TILE) + column / TILE];
            if (qp >= QPS) {
                copy_tile(r, row, column, tile);
                continue;
            }
            const size_t at = row * HALF * chroma + column * HALF;
            refine_luma(r->y + row * BLOCK * stride + column * BLOCK, stride, how + qp, tile, next);
            refine_chroma(r->u + at, chroma, how + qp, 0, tile + 256, next);
            refine_chroma(r->v + at, chroma, how + qp, 1, tile + 320, next);
        }
}

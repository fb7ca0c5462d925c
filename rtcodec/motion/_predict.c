/*
 * References and predictions, in integers; normative, SPEC.md 9.2. `rtc_predict` equals predict.py.
 */
#include "_motion.h"

enum { GREY = 128 };

/* ITU-T H.265 8.5.3.3.3: chroma at eighths of a sample. */
static const int8_t CHROMA_TAPS[8][4] = {
    {0, 64, 0, 0},    {-2, 58, 10, -2}, {-4, 54, 16, -2}, {-6, 46, 28, -4},
    {-4, 36, 36, -4}, {-4, 28, 46, -6}, {-2, 16, 54, -4}, {-2, 10, 58, -2},
};

static const uint32_t VERSION = 13;

EXPORT uint32_t rtc_motion_version(void)
{
    return VERSION;
}

/* Repeat the edges of a plane all around. */
INLINE void repeat_edges(uint16_t *plane, size_t stride, uint32_t height, uint32_t width,
                         uint32_t border)
{
    for (uint32_t i = 0; i < height; i++) {
        uint16_t *line = plane + i * stride, *end = line + width;
        for (uint32_t j = 0; j < border; j++) {
            line[-1 - (ptrdiff_t)j] = line[0];
            end[j] = end[-1];
        }
    }
    const size_t whole = (width + 2 * border) * sizeof *plane;
    uint16_t *first = plane - border, *last = first + (height - 1) * stride;
    for (uint32_t i = 1; i <= border; i++) {
        memcpy(first - i * stride, first, whole);
        memcpy(last + i * stride, last, whole);
    }
}

INLINE void fill_plane(uint16_t *plane, size_t stride, const uint16_t *blocks, uint32_t rows,
                       uint32_t columns, uint32_t n, uint32_t border)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            const uint16_t *block = blocks + ((size_t)row * columns + column) * SAMPLES;
            uint16_t *to = plane + row * n * stride + column * n;
            for (uint32_t i = 0; i < n; i++)
                memcpy(to + i * stride, block + i * n, n * sizeof *to);
        }
    repeat_edges(plane, stride, rows * n, columns * n, border);
}

/* Copy blocks [rows, columns, 384] into a reference and repeat its edges. */
CLONES EXPORT void rtc_reference_fill(const rtc_reference *to, const uint16_t *blocks)
{
    const uint32_t rows = to->rows, columns = to->columns;
    fill_plane(to->y, luma_stride(to), blocks, rows, columns, BLOCK, BORDER);
    fill_plane(to->u, chroma_stride(to), blocks + 256, rows, columns, HALF, BORDER / 2);
    fill_plane(to->v, chroma_stride(to), blocks + 320, rows, columns, HALF, BORDER / 2);
}

/*
 * The same for predictions, of 12 bits, as ITU-T H.265 8.5.3.3.3 and 8.5.3.3.4.2 have it for that
 * depth: sums of a pass are cut to 14 bits, the last one is rounded to 12.
 */
INLINE uint16_t from_14_bits(int32_t x)
{
    return (uint16_t)clamp((x + 2) >> 2, 0, FINE_MAX);
}

INLINE void fine_sample(const uint16_t *from, size_t stride, const int8_t *across,
                        const int8_t *down, int moved_across, int moved_down, int taps,
                        uint32_t height, uint32_t width, uint16_t *restrict to, size_t pitch)
{
    int16_t lines[(BLOCK + 7) * BLOCK];
    const int before = taps / 2 - 1;
    if (!moved_across && !moved_down) {
        for (uint32_t i = 0; i < height; i++)
            memcpy(to + i * pitch, from + i * stride, width * sizeof *to);
        return;
    }
    if (!moved_across || !moved_down) {
        const size_t next = moved_across ? 1 : stride;
        const int8_t *filter = moved_across ? across : down;
        const uint16_t *start = from - before * next;
        for (uint32_t i = 0; i < height; i++)
            for (uint32_t j = 0; j < width; j++) {
                int32_t sum = 0;
                for (int k = 0; k < taps; k++)
                    sum += filter[k] * (int16_t)start[i * stride + j + k * next];
                to[i * pitch + j] = from_14_bits(sum >> 4);
            }
        return;
    }
    const uint16_t *start = from - before * stride - before;
    for (uint32_t i = 0; i < height + taps - 1; i++)
        for (uint32_t j = 0; j < width; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += across[k] * (int16_t)start[i * stride + j + k];
            lines[i * width + j] = (int16_t)(sum >> 4);
        }
    for (uint32_t i = 0; i < height; i++)
        for (uint32_t j = 0; j < width; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += down[k] * lines[(i + k) * width + j];
            to[i * pitch + j] = from_14_bits(sum >> 6);
        }
}

/* Luma [height, width], rows BLOCK apart, of a prediction; x, y: in quarters of a sample. */
INLINE void luma_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t height, uint32_t width,
                    uint16_t *restrict luma)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r);
    const uint16_t *from = r->y + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    fine_sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, height, width,
                luma, BLOCK);
}

/* u [height, width], rows HALF apart, and v 64 samples behind; x, y: still of luma. */
INLINE void chroma_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t height,
                      uint32_t width, uint16_t *restrict chroma)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = chroma_stride(r);
    const ptrdiff_t start = (y >> 3) * (ptrdiff_t)stride + (x >> 3);
    const int8_t *across = CHROMA_TAPS[x & 7], *down = CHROMA_TAPS[y & 7];
    const uint16_t *planes[2] = {r->u + start, r->v + start};
    for (int k = 0; k < 2; k++)
        fine_sample(planes[k], stride, across, down, x & 7, y & 7, 4, height, width,
                    chroma + 64 * k, HALF);
}

/* Where quarter k of a block lies in it, in samples of luma. */
INLINE int32_t across_of(int k) { return (k & 1) * HALF; }
INLINE int32_t down_of(int k) { return (k >> 1) * HALF; }

/* Luma of a block predicted with vectors [4, 2]; x, y: of the block, in quarters of a sample. */
CLONES static void predict_luma(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                                uint16_t *luma)
{
    if (is_whole(v))
        luma_of(r, x + v[0], y + v[1], BLOCK, BLOCK, luma);
    else
        for (int k = 0; k < QUARTERS; k++)
            luma_of(r, x + 4 * across_of(k) + v[2 * k], y + 4 * down_of(k) + v[2 * k + 1], HALF,
                    HALF, luma + down_of(k) * BLOCK + across_of(k));
}

CLONES void rtc_predict_chroma(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                               uint16_t *chroma)
{
    if (is_whole(v))
        chroma_of(r, x + v[0], y + v[1], HALF, HALF, chroma);
    else
        for (int k = 0; k < QUARTERS; k++)
            chroma_of(r, x + 4 * across_of(k) + v[2 * k], y + 4 * down_of(k) + v[2 * k + 1],
                      HALF / 2, HALF / 2, chroma + down_of(k) / 2 * HALF + across_of(k) / 2);
}

/* What a block's vectors [4, 2] bring, alone. */
INLINE void predict_block(const rtc_reference *r, const int16_t *v, uint32_t row, uint32_t column,
                          uint16_t *block)
{
    const int32_t x = (int32_t)(column * BLOCK * 4), y = (int32_t)(row * BLOCK * 4);
    predict_luma(r, v, x, y, block);
    rtc_predict_chroma(r, v, x, y, block + BLOCK * BLOCK);
}

/* ---- overlapping -------------------------------------------------------------------------- */

/* Samples of luma from an edge on in which what moves like the other side has weight. */
enum { STRIP = 4 };

/* Of 32, by distance from the edge; after Orchard and Sullivan, IEEE TIP 3(5), 1994. */
static const int32_t LUMA_WEIGHTS[STRIP] = {8, 5, 3, 1}, CHROMA_WEIGHTS[STRIP / 2] = {8, 3};

enum { LEFT, RIGHT, ABOVE, BELOW, SIDES };

/* Add what the differences of another prediction to `own` weigh, in a strip along a side of n x n. */
INLINE void weigh(const uint16_t *strip, const uint16_t *own, uint32_t pitch, int side, int upright,
                  uint32_t n, const int32_t *weights, int32_t *sums)
{
    const uint32_t height = upright ? n : n / 2, width = upright ? n / 2 : n;
    const uint32_t top = side == BELOW ? n / 2 : 0, left = side == RIGHT ? n / 2 : 0;
    for (uint32_t i = 0; i < height; i++)
        for (uint32_t j = 0; j < width; j++) {
            const uint32_t deep = upright ? j : i;
            const int32_t w = weights[top | left ? n / 2 - 1 - deep : deep];
            const int32_t is = own[(top + i) * pitch + left + j];
            sums[(top + i) * n + left + j] += w * (strip[i * pitch + j] - is);
        }
}

INLINE void settle(uint16_t *own, uint32_t pitch, uint32_t n, const int32_t *sums)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            const int32_t sample = own[i * pitch + j] + ((sums[i * n + j] + 16) >> 5);
            own[i * pitch + j] = (uint16_t)clamp(sample, 0, FINE_MAX);
        }
}

typedef struct {
    const rtc_reference *reference;
    const int16_t *vectors;
    const uint8_t *intra;
} motion;

/* The vector of the quarter at (y, x) of a picture's quarters; NULL outside and where none counts. */
INLINE const int16_t *quarter_vector(const motion *m, int32_t y, int32_t x)
{
    const int32_t rows = (int32_t)m->reference->rows, columns = (int32_t)m->reference->columns;
    if (y < 0 || x < 0 || y >= 2 * rows || x >= 2 * columns)
        return 0;
    const size_t at = (size_t)(y >> 1) * columns + (x >> 1);
    if (m->intra[at] & INTRA)
        return 0;
    return m->vectors + 2 * (QUARTERS * at + 2 * (y & 1) + (x & 1));
}

/* A quarter that is being blended: its samples, and what is to be added to them, in 32nds. */
typedef struct {
    uint16_t *luma, *chroma;
    int32_t of_luma[HALF * HALF], of_chroma[2][HALF / 2 * (HALF / 2)];
} blend;

/* What vector v, of the quarter beyond a side, brings along that side of the quarter at (y, x). */
INLINE void overlap_side(const rtc_reference *r, const int16_t *v, int32_t y, int32_t x, int side,
                         int upright, blend *b)
{
    uint16_t strip[HALF * BLOCK], strips[2 * HALF * HALF];
    const uint32_t height = upright ? HALF : STRIP, width = upright ? STRIP : HALF;
    x = 4 * (HALF * x + (side == RIGHT ? STRIP : 0)) + v[0];
    y = 4 * (HALF * y + (side == BELOW ? STRIP : 0)) + v[1];
    luma_of(r, x, y, height, width, strip);
    weigh(strip, b->luma, BLOCK, side, upright, HALF, LUMA_WEIGHTS, b->of_luma);
    chroma_of(r, x, y, height / 2, width / 2, strips);
    for (int k = 0; k < 2; k++)
        weigh(strips + 64 * k, b->chroma + 64 * k, HALF, side, upright, HALF / 2, CHROMA_WEIGHTS,
              b->of_chroma[k]);
}

/* Once for each shape of strip: the filters take much code. */
CLONES static void overlap_upright(const rtc_reference *r, const int16_t *v, int32_t y, int32_t x,
                                   int side, blend *b)
{
    overlap_side(r, v, y, x, side, 1, b);
}

CLONES static void overlap_level(const rtc_reference *r, const int16_t *v, int32_t y, int32_t x,
                                 int side, blend *b)
{
    overlap_side(r, v, y, x, side, 0, b);
}

/*
 * Blend quarter k of a predicted block with what its neighbours' vectors bring, along its sides; whether
 * any of those is another one.
 */
CLONES static int overlap(const motion *m, uint32_t row, uint32_t column, int k, uint16_t *block)
{
    const int32_t y = 2 * (int32_t)row + (k >> 1), x = 2 * (int32_t)column + (k & 1);
    const int16_t *own = quarter_vector(m, y, x);
    const int16_t *beside[SIDES] = {quarter_vector(m, y, x - 1), quarter_vector(m, y, x + 1),
                                    quarter_vector(m, y - 1, x), quarter_vector(m, y + 1, x)};
    int some = 0;
    for (int side = 0; side < SIDES; side++) {
        const int16_t *v = beside[side];
        if (v && v[0] == own[0] && v[1] == own[1])
            beside[side] = 0;
        some |= beside[side] != 0;
    }
    if (!some)
        return 0;
    blend b = {.luma = block + down_of(k) * BLOCK + across_of(k),
               .chroma = block + BLOCK * BLOCK + down_of(k) / 2 * HALF + across_of(k) / 2};
    for (int side = LEFT; side <= RIGHT; side++)
        if (beside[side])
            overlap_upright(m->reference, beside[side], y, x, side, &b);
    for (int side = ABOVE; side <= BELOW; side++)
        if (beside[side])
            overlap_level(m->reference, beside[side], y, x, side, &b);
    settle(b.luma, BLOCK, HALF, b.of_luma);
    for (int plane = 0; plane < 2; plane++)
        settle(b.chroma + 64 * plane, HALF, HALF / 2, b.of_chroma[plane]);
    return 1;
}

INLINE int overlap_block(const motion *m, uint32_t row, uint32_t column, uint16_t *block)
{
    int some = 0;
    for (int k = 0; k < QUARTERS; k++)
        some |= overlap(m, row, column, k, block);
    return some;
}

/* ---- pictures ----------------------------------------------------------------------------- */

/* The blocks of a tile: rows from `top` to before `bottom`, columns likewise. */
typedef struct {
    uint32_t top, left, bottom, right;
} span;

INLINE span tile_at(const rtc_reference *r, uint32_t row, uint32_t column)
{
    const uint32_t bottom = row + TILE, right = column + TILE;
    return (span){row, column, bottom < r->rows ? bottom : r->rows,
                  right < r->columns ? right : r->columns};
}

#define EACH_BLOCK(r, tile)                                                                       \
    for (uint32_t row = (tile).top; row < (tile).bottom; row++)                                   \
        for (uint32_t column = (tile).left, at = row * (r)->columns + column;                     \
             column < (tile).right; column++, at++)

/* Whether a tile has vectors, and none of its blocks asks for it to be left alone. */
INLINE int overlaps(const motion *m, span tile)
{
    int moves = 0, alone = 0;
    EACH_BLOCK(m->reference, tile)
    {
        alone |= m->intra[at] & ALONE;
        for (int i = 0; i < 2 * QUARTERS; i++)
            moves |= m->vectors[2 * QUARTERS * (size_t)at + i];
    }
    return moves && !alone;
}

/* A tile's blocks, each by its own vectors. */
static void predict_tile(const motion *m, span tile, uint16_t *blocks)
{
    EACH_BLOCK(m->reference, tile)
    {
        uint16_t *block = blocks + (size_t)at * SAMPLES;
        if (m->intra[at] & INTRA)
            for (int i = 0; i < SAMPLES; i++)
                block[i] = GREY * FINE;
        else
            predict_block(m->reference, m->vectors + 2 * QUARTERS * (size_t)at, row, column, block);
    }
}

/*
 * Predicted blocks [rows, columns, 384] from vectors int16 [rows, columns, 4, 2], across and down
 * in quarters of a luma sample, and intra [rows, columns]: GREY where INTRA is set. Tiles with
 * vectors are overlapped, but for those where ALONE is set in some block.
 */
EXPORT void rtc_predict(const rtc_reference *r, const int16_t *vectors, const uint8_t *intra,
                        uint16_t *blocks)
{
    const motion m = {r, vectors, intra};
    for (uint32_t top = 0; top < r->rows; top += TILE)
        for (uint32_t left = 0; left < r->columns; left += TILE) {
            const span tile = tile_at(r, top, left);
            predict_tile(&m, tile, blocks);
            if (!overlaps(&m, tile))
                continue;
            EACH_BLOCK(r, tile)
            if (!(intra[at] & INTRA))
                overlap_block(&m, row, column, blocks + (size_t)at * SAMPLES);
        }
}

#ifndef RTC_DECODER /* an encoder's */
/* log2 of a number of 1 and more, its mantissa taken as it is: within 0.09. */
INLINE float about_log2(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (float)(bits - 0x3F800000u) * (1.0f / (1 << 23));
}

/*
 * About how many bits a block's error will take, relative to another's: by the logarithm, part by part, as
 * one that is predicted well takes none however badly others are.
 */
CLONES static float bits_of_error(const uint16_t *prediction, const uint8_t *wanted, float scale)
{
    float bits = 0;
    for (uint32_t k = 0; k < PARTS; k++) {
        const uint16_t *is = prediction + part_start(k);
        const uint8_t *aim = wanted + part_start(k);
        const uint32_t stride = part_stride(k);
        uint32_t columns[SIDE] = {0}, error = 0;
        for (uint32_t i = 0; i < SIDE; i++)
            for (uint32_t j = 0; j < SIDE; j++) {
                const int32_t off = (int32_t)is[i * stride + j] - FINE * aim[i * stride + j];
                columns[j] += (uint32_t)(off * off);
            }
        for (uint32_t j = 0; j < SIDE; j++)
            error += columns[j];
        bits += about_log2(1 + scale * (float)error);
    }
    return bits;
}

/*
 * The same, an encoder's: sets ALONE in a block of each tile that comes nearer to `wanted` [rows, columns,
 * 384] without, by more than `price`, in squares of a byte's steps.
 */
EXPORT void rtc_predict_best(const rtc_reference *r, const int16_t *vectors, uint8_t *intra,
                             const uint8_t *wanted, uint32_t step, uint16_t *blocks)
{
    const motion m = {r, vectors, intra};
    const float scale = 1 / ((float)step * (float)step);
    for (uint32_t top = 0; top < r->rows; top += TILE)
        for (uint32_t left = 0; left < r->columns; left += TILE) {
            const span tile = tile_at(r, top, left);
            predict_tile(&m, tile, blocks);
            if (!overlaps(&m, tile))
                continue;
            uint16_t plain[TILE * TILE][SAMPLES];
            uint32_t changed[TILE * TILE], n = 0;
            float before = 0, after = 0;
            EACH_BLOCK(r, tile)
            {
                uint16_t *block = blocks + (size_t)at * SAMPLES;
                const uint8_t *aim = wanted + (size_t)at * SAMPLES;
                if (intra[at] & INTRA)
                    continue;
                memcpy(plain[n], block, sizeof plain[n]);
                if (!overlap_block(&m, row, column, block))
                    continue;
                before += bits_of_error(plain[n], aim, scale);
                after += bits_of_error(block, aim, scale);
                changed[n++] = at;
            }
            if (!n || after <= before + 1)
                continue;
            intra[changed[0]] |= ALONE;
            for (uint32_t i = 0; i < n; i++)
                memcpy(blocks + (size_t)changed[i] * SAMPLES, plain[i], sizeof plain[i]);
        }
}

#endif

/* A prediction in bytes, as the networks look at it; size samples. */
CLONES EXPORT void rtc_rounded(const uint16_t *restrict prediction, uint32_t size,
                               uint8_t *restrict out)
{
    for (uint32_t i = 0; i < size; i++)
        out[i] = (uint8_t)((prediction[i] + FINE / 2) / FINE);
}

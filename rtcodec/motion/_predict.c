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

static const uint32_t VERSION = 8;

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
                        const int8_t *down, int moved_across, int moved_down, int taps, uint32_t n,
                        uint16_t *restrict to, size_t pitch)
{
    int16_t lines[(BLOCK + 7) * BLOCK];
    const int before = taps / 2 - 1;
    if (!moved_across && !moved_down) {
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * pitch, from + i * stride, n * sizeof *to);
        return;
    }
    if (!moved_across || !moved_down) {
        const size_t next = moved_across ? 1 : stride;
        const int8_t *filter = moved_across ? across : down;
        const uint16_t *start = from - before * next;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++) {
                int32_t sum = 0;
                for (int k = 0; k < taps; k++)
                    sum += filter[k] * (int16_t)start[i * stride + j + k * next];
                to[i * pitch + j] = from_14_bits(sum >> 4);
            }
        return;
    }
    const uint16_t *start = from - before * stride - before;
    for (uint32_t i = 0; i < n + taps - 1; i++)
        for (uint32_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += across[k] * (int16_t)start[i * stride + j + k];
            lines[i * n + j] = (int16_t)(sum >> 4);
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += down[k] * lines[(i + k) * n + j];
            to[i * pitch + j] = from_14_bits(sum >> 6);
        }
}

/* n x n of luma, rows BLOCK apart, of a prediction; x, y: in quarters of a sample. */
INLINE void luma_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t n,
                    uint16_t *restrict luma)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r);
    const uint16_t *from = r->y + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    fine_sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, n, luma, BLOCK);
}

/* n x n of u, rows HALF apart, and of v 64 samples behind; x, y: still of luma. */
INLINE void chroma_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t n,
                      uint16_t *restrict chroma)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = chroma_stride(r);
    const ptrdiff_t start = (y >> 3) * (ptrdiff_t)stride + (x >> 3);
    const int8_t *across = CHROMA_TAPS[x & 7], *down = CHROMA_TAPS[y & 7];
    fine_sample(r->u + start, stride, across, down, x & 7, y & 7, 4, n, chroma, HALF);
    fine_sample(r->v + start, stride, across, down, x & 7, y & 7, 4, n, chroma + 64, HALF);
}

/* Where quarter k of a block lies in it, in samples of luma. */
INLINE int32_t across_of(int k) { return (k & 1) * HALF; }
INLINE int32_t down_of(int k) { return (k >> 1) * HALF; }

/* Luma of a block predicted with vectors [4, 2]; x, y: of the block, in quarters of a sample. */
CLONES static void predict_luma(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                                uint16_t *luma)
{
    if (is_whole(v))
        luma_of(r, x + v[0], y + v[1], BLOCK, luma);
    else
        for (int k = 0; k < QUARTERS; k++)
            luma_of(r, x + 4 * across_of(k) + v[2 * k], y + 4 * down_of(k) + v[2 * k + 1], HALF,
                    luma + down_of(k) * BLOCK + across_of(k));
}

CLONES void rtc_predict_chroma(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                               uint16_t *chroma)
{
    if (is_whole(v))
        chroma_of(r, x + v[0], y + v[1], HALF, chroma);
    else
        for (int k = 0; k < QUARTERS; k++)
            chroma_of(r, x + 4 * across_of(k) + v[2 * k], y + 4 * down_of(k) + v[2 * k + 1],
                      HALF / 2, chroma + down_of(k) / 2 * HALF + across_of(k) / 2);
}

/*
 * Predicted blocks [rows, columns, 384] from vectors int16 [rows, columns, 4, 2], across and down
 * in quarters of a luma sample; GREY where intra [rows, columns] is not 0.
 */
EXPORT void rtc_predict(const rtc_reference *r, const int16_t *vectors, const uint8_t *intra,
                        uint16_t *blocks)
{
    for (uint32_t row = 0; row < r->rows; row++)
        for (uint32_t column = 0; column < r->columns; column++) {
            const size_t at = (size_t)row * r->columns + column;
            const int16_t *v = vectors + 2 * QUARTERS * at;
            uint16_t *block = blocks + at * SAMPLES;
            const int32_t x = (int32_t)(column * BLOCK * 4), y = (int32_t)(row * BLOCK * 4);
            if (intra[at])
                for (int i = 0; i < SAMPLES; i++)
                    block[i] = GREY * FINE;
            else {
                predict_luma(r, v, x, y, block);
                rtc_predict_chroma(r, v, x, y, block + BLOCK * BLOCK);
            }
        }
}

/* A prediction in bytes, as the networks look at it; size samples. */
CLONES EXPORT void rtc_rounded(const uint16_t *restrict prediction, uint32_t size,
                               uint8_t *restrict out)
{
    for (uint32_t i = 0; i < size; i++)
        out[i] = (uint8_t)((prediction[i] + FINE / 2) / FINE);
}

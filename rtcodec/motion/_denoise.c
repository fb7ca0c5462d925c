/*
 * Noise taken out of a picture before it is coded: the encoder's own affair. `rtc_average` equals
 * denoise.py to the last bit, `rtc_shrink` but for the rounding of its floats.
 */
#include "_forward.h"

enum {
    WHOLE_GAIN = 256, /* of a picture that nothing was averaged into */
    LEAST_GAIN = 10,  /* so that what changes slowly is followed */
    FADE = 8,         /* what moved is a little worse than it was */
    COARSE = 13,      /* sixteenths that a difference over two by two samples counts */
    GAINS = 8,        /* of a block: luma's by quarter, chroma's by quarter */
};

typedef struct {
    const int16_t *vectors; /* [rows, columns, QUARTERS, 2] */
    const uint8_t *intra;   /* [rows, columns] */
    const uint16_t *before; /* gains of the picture predicted from, [rows, columns, GAINS] */
    uint32_t rows, columns;
    uint32_t noise[3]; /* squares of y, u, v that 64 differences of noise alone come to, and a bit */
} rtc_moved;

/* What of a difference is no noise, in 1/256; sum: of its squares. */
INLINE uint32_t gain_of(uint32_t sum, uint32_t noise)
{
    return sum > noise ? WHOLE_GAIN - (uint32_t)((uint64_t)WHOLE_GAIN * noise / sum) : 0;
}

/* The gain of a running mean, one picture on. */
INLINE uint32_t next_gain(uint32_t before)
{
    const uint32_t faded = before + FADE;
    return faded * WHOLE_GAIN / (faded + WHOLE_GAIN);
}

INLINE uint32_t larger(uint32_t a, uint32_t b) { return a > b ? a : b; }

/*
 * Sum of 64 squared differences, or, of differences over two by two samples, that of as many: larger
 * where they are no noise.
 */
INLINE uint32_t square_sum(const uint8_t *wanted, const uint16_t *predicted, uint32_t stride)
{
    uint32_t fine = 0, coarse = 0;
    for (uint32_t y = 0; y < SIDE; y += 2) {
        int32_t down[SIDE];
        for (uint32_t x = 0; x < SIDE; x++) {
            const uint32_t at = y * stride + x;
            const int32_t above = FINE * wanted[at] - predicted[at];
            const int32_t below = FINE * wanted[at + stride] - predicted[at + stride];
            fine += (uint32_t)(above * above) + (uint32_t)(below * below);
            down[x] = above + below;
        }
        for (uint32_t x = 0; x < SIDE; x += 2) {
            const int32_t sum = down[x] + down[x + 1];
            coarse += (uint32_t)(sum * sum);
        }
    }
    return larger(fine, (uint32_t)((uint64_t)coarse * COARSE / 16));
}

INLINE void average_part(const uint8_t *wanted, uint16_t *predicted, uint32_t stride, uint32_t side,
                         uint32_t gain)
{
    for (uint32_t y = 0; y < side; y++)
        for (uint32_t x = 0; x < side; x++) {
            const int32_t p = predicted[y * stride + x];
            const int32_t d = FINE * wanted[y * stride + x] - p;
            predicted[y * stride + x] = (uint16_t)(p + (((int32_t)gain * d + 128) >> 8));
        }
}

/* The gains of where a quarter came from. */
INLINE const uint16_t *gains_before(const rtc_moved *m, uint32_t row, uint32_t column, uint32_t k,
                                    uint32_t *quarter)
{
    const int16_t *v = m->vectors + 2 * (QUARTERS * ((size_t)row * m->columns + column) + k);
    const int32_t y = (int32_t)(2 * row + (k >> 1)) + ((v[1] + 16) >> 5);
    const int32_t x = (int32_t)(2 * column + (k & 1)) + ((v[0] + 16) >> 5);
    const uint32_t i = (uint32_t)clamp(y, 0, (int32_t)(2 * m->rows) - 1);
    const uint32_t j = (uint32_t)clamp(x, 0, (int32_t)(2 * m->columns) - 1);
    *quarter = 2 * (i & 1) + (j & 1);
    return m->before + GAINS * ((size_t)(i >> 1) * m->columns + (j >> 1));
}

/*
 * Average a picture with its prediction, in place of the latter, and say of each quarter how much
 * noise is left: `gains`, in 1/256 of the variance. Blocks without a prediction stay as they came.
 */
CLONES EXPORT void rtc_average(const rtc_moved *m, const uint8_t *wanted, uint16_t *blocks,
                               uint16_t *gains)
{
    for (uint32_t row = 0; row < m->rows; row++)
        for (uint32_t column = 0; column < m->columns; column++) {
            const size_t at = (size_t)row * m->columns + column;
            const uint8_t *from = wanted + at * SAMPLES;
            uint16_t *to = blocks + at * SAMPLES, *gain = gains + at * GAINS;
            const int intra = m->intra[at] & INTRA;
            uint32_t color = 0; /* chroma moves as a whole block does */
            for (uint32_t k = QUARTERS; k < PARTS && !intra; k++)
                color = larger(color, gain_of(square_sum(from + part_start(k), to + part_start(k),
                                                         HALF), m->noise[k - 3]));
            for (uint32_t k = 0; k < QUARTERS; k++) {
                const uint32_t start = part_start(k), half = (k >> 1) * 32 + (k & 1) * 4;
                uint32_t own = WHOLE_GAIN, chroma = WHOLE_GAIN;
                if (!intra) {
                    uint32_t quarter;
                    const uint16_t *before = gains_before(m, row, column, k, &quarter);
                    own = gain_of(square_sum(from + start, to + start, BLOCK), m->noise[0]);
                    chroma = larger(larger(own, color), next_gain(before[QUARTERS + quarter]));
                    own = larger(own, next_gain(before[quarter]));
                }
                gain[k] = (uint16_t)larger(own, LEAST_GAIN);
                gain[QUARTERS + k] = (uint16_t)larger(chroma, LEAST_GAIN);
                average_part(from + start, to + start, BLOCK, SIDE, gain[k]);
                for (uint32_t c = 256; c < SAMPLES; c += 64)
                    average_part(from + c + half, to + c + half, HALF, SIDE / 2,
                                 gain[QUARTERS + k]);
            }
        }
}

typedef float four __attribute__((vector_size(16)));
typedef uint16_t eight_samples __attribute__((vector_size(16)));

/* The inverse of transform_eight. */
INLINE void inverse_eight(eight *d)
{
    eight out[SIDE];
    for (int y = 0; y < 4; y++) {
        eight even = d[0] * (DCT[0][y] / 4096.0f), odd = d[1] * (DCT[1][y] / 4096.0f);
        for (int v = 2; v < SIDE; v += 2) {
            even += d[v] * (DCT[v][y] / 4096.0f);
            odd += d[v + 1] * (DCT[v + 1][y] / 4096.0f);
        }
        out[y] = even + odd;
        out[7 - y] = even - odd;
    }
    memcpy(d, out, sizeof out);
}

INLINE void load_window(const uint16_t *samples, size_t stride, eight *d)
{
    for (int y = 0; y < SIDE; y++) {
        eight_samples row;
        memcpy(&row, samples + y * stride, sizeof row);
        d[y] = __builtin_convertvector(row, eight);
    }
    both_ways(d, 1, 0);
}

/*
 * Keep what stands out of the noise, and the mean; left: of its deviation. Returns how many that are.
 */
INLINE int32_t keep_large(eight *d, const eight *noise, float threshold, float left)
{
    const float mean = d[0][0], least = threshold * noise[0][0] * left;
    eight_integers count = {0};
    for (int h = 0; h < SIDE; h++) {
        eight size;
        magnitude(&d[h], &size);
        const eight_integers kept = size > threshold * noise[h] * left;
        d[h] = (eight)((eight_integers)d[h] & kept);
        count -= kept;
    }
    int32_t n = mean > least || -mean > least ? 0 : 1;
    d[0][0] = mean;
    for (int i = 0; i < SIDE; i++)
        n += count[i];
    return n;
}

/* Back to samples; most windows have nothing but a mean. */
INLINE void inverse(eight *d, int is_flat)
{
    if (is_flat) {
        const float level = d[0][0] * (DCT[0][0] / 4096.0f) * (DCT[0][0] / 4096.0f);
        for (int y = 0; y < SIDE; y++)
            d[y] = (eight){0} + level;
        return;
    }
    inverse_eight(d);
    transpose(d);
    inverse_eight(d);
}

/* Shrink by what a first estimate says of the signal (Wiener). Returns the sum of squared shares. */
INLINE float keep_shares(eight *d, const eight *pilot, const eight *noise, float left)
{
    const float mean = d[0][0];
    eight squares = {0};
    for (int h = 0; h < SIDE; h++) {
        const eight power = pilot[h] * pilot[h];
        eight share = power / (power + noise[h] * noise[h] * left);
        if (!h)
            share[0] = 1;
        squares += share * share;
        d[h] *= share;
    }
    d[0][0] = mean;
    return sum_of(&squares);
}

typedef struct {
    const uint16_t *samples, *pilot; /* of a plane; pilot: NULL where there is no estimate yet */
    const uint16_t *gains;
    uint16_t *blocks; /* where what comes of it begins in a block */
    float *sums, *weights; /* SIDE rows each, of SIDE more than the plane on both sides */
    size_t stride;
    uint32_t rows, columns, side; /* of blocks */
    eight noise[SIDE]; /* standard deviations of a window's coefficients, the same both ways */
    float threshold;   /* times those, what is kept */
} plane_task;

/* How much noise is left in the window at a place, in 1/256: at most so much around its middle. */
INLINE uint32_t gain_at(const plane_task *t, int32_t y, int32_t x)
{
    const int32_t half = (int32_t)t->side / 2;
    const int32_t bottom = 2 * (int32_t)t->rows - 1, right = 2 * (int32_t)t->columns - 1;
    uint32_t most = 0;
    for (int32_t k = 0; k < 4; k++) {
        const int32_t i = clamp((y + 3 + (k >> 1)) / half, 0, bottom);
        const int32_t j = clamp((x + 3 + (k & 1)) / half, 0, right);
        const size_t block = (size_t)(i >> 1) * t->columns + (size_t)(j >> 1);
        most = larger(most, t->gains[GAINS * block + 2 * (i & 1) + (j & 1)]);
    }
    return most;
}

/* By Newton's way, of 1/256 to 1. */
INLINE float root(float x)
{
    float y = 0.5f + 0.5f * x;
    for (int i = 0; i < 4; i++)
        y = (y + x / y) * 0.5f;
    return y;
}

INLINE void add_window(const plane_task *t, int32_t y, int32_t x)
{
    const ptrdiff_t at = y * (ptrdiff_t)t->stride + x;
    const float left = (float)gain_at(t, y, x) / WHOLE_GAIN;
    eight d[SIDE], pilot[SIDE];
    float weight;
    int is_flat = 0;
    load_window(t->samples + at, t->stride, d);
    if (t->pilot) {
        load_window(t->pilot + at, t->stride, pilot);
        weight = 1 / keep_shares(d, pilot, t->noise, left);
    } else {
        const int32_t kept = keep_large(d, t->noise, t->threshold, root(left));
        is_flat = kept == 1;
        weight = 1 / (float)kept;
    }
    inverse(d, is_flat);
    const size_t width = (size_t)t->columns * t->side + 2 * SIDE;
    for (int i = 0; i < SIDE; i++) {
        const size_t to = (size_t)((y + i) & (SIDE - 1)) * width + (size_t)(x + SIDE);
        eight sum, share;
        memcpy(&sum, t->sums + to, sizeof sum);
        memcpy(&share, t->weights + to, sizeof share);
        sum += d[i] * weight;
        share += weight;
        memcpy(t->sums + to, &sum, sizeof sum);
        memcpy(t->weights + to, &share, sizeof share);
    }
}

/* A row to which nothing will be added; what it was made in is empty then. */
INLINE void finish_row(const plane_task *t, int32_t y)
{
    const size_t width = (size_t)t->columns * t->side + 2 * SIDE;
    float *sums = t->sums + (size_t)(y & (SIDE - 1)) * width;
    float *weights = t->weights + (size_t)(y & (SIDE - 1)) * width;
    if (y >= 0) {
        uint16_t *to = t->blocks + (size_t)y / t->side * t->columns * SAMPLES + y % t->side * t->side;
        for (uint32_t column = 0; column < t->columns; column++, to += SAMPLES)
            for (uint32_t j = 0; j < t->side; j++) {
                const size_t at = SIDE + column * t->side + j;
                to[j] = (uint16_t)clamp((int32_t)(sums[at] / weights[at] + 0.5f), 0, FINE_MAX);
            }
    }
    memset(sums, 0, width * sizeof *sums);
    memset(weights, 0, width * sizeof *weights);
}

/* Windows every `down` rows and `across` columns, every other row of them half of that further. */
INLINE void shrink_plane(const plane_task *t, int32_t down, int32_t across)
{
    const int32_t height = (int32_t)(t->rows * t->side), width = (int32_t)(t->columns * t->side);
    const size_t scratch = SIDE * ((size_t)width + 2 * SIDE) * sizeof *t->sums;
    memset(t->sums, 0, scratch);
    memset(t->weights, 0, scratch);
    for (int32_t y = down - SIDE; y < height; y += down) {
        for (int32_t x = -SIDE + (y / down & 1 ? across / 2 : 0); x < width; x += across)
            add_window(t, y, x);
        for (int32_t i = 0; i < down; i++)
            finish_row(t, y + i);
    }
}

/*
 * Take the noise out of a picture by its transform in windows that overlap; see denoise.py. noise: of
 * coefficients of y, u and v, [3, SIDE, SIDE], standard deviations in FINE; scratch: 2 SIDE rows of luma and 2 SIDE samples each.
 */
CLONES EXPORT void rtc_shrink(const rtc_reference *picture, const rtc_reference *pilot,
                              const uint16_t *gains, const float *noise, float threshold,
                              uint32_t down, uint32_t across, float *scratch, uint16_t *blocks)
{
    const uint16_t *planes[3] = {picture->y, picture->u, picture->v};
    for (uint32_t k = 0; k < 3; k++) {
        plane_task t = {
            .samples = planes[k],
            .gains = gains + (k ? QUARTERS : 0),
            .blocks = blocks + (k ? 192 + 64 * k : 0),
            .stride = k ? chroma_stride(picture) : luma_stride(picture),
            .rows = picture->rows,
            .columns = picture->columns,
            .side = k ? HALF : BLOCK,
            .threshold = threshold,
            .sums = scratch,
            .weights = scratch + SIDE * (picture->columns * BLOCK + 2 * SIDE),
        };
        memcpy(t.noise, noise + k * SIDE * SIDE, sizeof t.noise);
        if (pilot)
            t.pilot = k == 0 ? pilot->y : k == 1 ? pilot->u : pilot->v;
        shrink_plane(&t, (int32_t)down, (int32_t)across);
    }
}

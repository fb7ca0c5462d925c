/*
 * Hyper-latents of delta frames: three small layers over what is listed of a tile; the encoder's own
 * affair. The tests hold them against the network in torch.
 *
 * Inputs are sparse, so a place takes the rows of the first layer for what is not 0 and leaves the
 * rest; a tile of which nothing is likely to be said is left out, its hyper-latents are never sent.
 */
#include "_motion.h"

enum {
    FIRST = 64,   /* features of a place */
    SECOND = 96,  /* of two by two places */
    CHANNELS = 10, /* symbols of motion, and of the transform */
    LANES = 16,
    BATCH = 4,     /* rows of inputs that go through a layer together */
    HYPER_MAX = 256,
    Z_MAX = 15,
};

#define LIKELY 0.2f /* added before a modulus is cut; as tier.DELTA_LIKELY_OFFSET */

typedef float lanes __attribute__((vector_size(4 * LANES)));

typedef struct {
    const float *first;  /* [384 + CHANNELS, FIRST] */
    const float *second; /* [SECOND / LANES, 4 * FIRST, LANES] */
    const float *third;  /* [hyper / LANES, 4 * SECOND, LANES] */
    const float *biases; /* FIRST, SECOND, hyper */
    uint32_t hyper;      /* channels, a multiple of LANES */
} rtc_hyper;

/* The range is compressed softly: a latent may be hundreds of steps at fine qp. */
INLINE float soft(float x) { return x / (1 + (x < 0 ? -x : x) / 8); }

INLINE void add_row(const float *row, float x, float *to)
{
    for (int i = 0; i < FIRST; i++)
        to[i] += x * row[i];
}

/* BATCH rows of n inputs through a layer of m outputs. */
INLINE void apply(const float *weights, const float *biases, const float *in, uint32_t n,
                  uint32_t m, float *out)
{
    for (uint32_t o = 0; o < m; o += LANES) {
        lanes sum[BATCH];
        for (int b = 0; b < BATCH; b++)
            memcpy(&sum[b], biases + o, sizeof sum[b]);
        for (uint32_t i = 0; i < n; i++, weights += LANES) {
            lanes w;
            memcpy(&w, weights, sizeof w);
            for (int b = 0; b < BATCH; b++)
                sum[b] += w * in[b * n + i];
        }
        for (int b = 0; b < BATCH; b++)
            memcpy(out + b * m + o, &sum[b], sizeof sum[b]);
    }
}

typedef struct {
    const rtc_hyper *hyper;
    const uint32_t *at, *ends;
    const float *values;
    const int16_t *motion;
} sparse;

/* Features of a place; returns whether anything was said. */
INLINE int place_features(const sparse *s, size_t place, float *out)
{
    int any = 0;
    memcpy(out, s->hyper->biases, FIRST * sizeof *out);
    for (uint32_t i = place ? s->ends[place - 1] : 0; i < s->ends[place]; i++) {
        const float x = s->values[i];
        const int32_t n = (int32_t)((x < 0 ? -x : x) + LIKELY);
        if (n) {
            add_row(s->hyper->first + (s->at[i] - place * SAMPLES) * FIRST,
                    soft(x < 0 ? (float)-n : (float)n), out);
            any = 1;
        }
    }
    const int16_t *said = s->motion + place * CHANNELS;
    for (uint32_t i = 0; i < CHANNELS; i++)
        if (said[i]) {
            add_row(s->hyper->first + (SAMPLES + i) * FIRST, soft(said[i]), out);
            any |= i != CHANNELS - 1; /* which transform matters where it is used */
        }
    for (int i = 0; i < FIRST; i++)
        out[i] = out[i] < 0 ? -0.5f * out[i] : out[i];
    return any;
}

/* The inputs of the third layer for a tile; returns whether anything was said of it. */
INLINE int tile_features(const sparse *s, size_t first, uint32_t columns, float *out)
{
    float pairs[4][4 * FIRST], groups[4][SECOND];
    int any = 0;
    for (uint32_t k = 0; k < TILE * TILE; k++) {
        const uint32_t i = k / TILE, j = k % TILE, inner = i % 2 * 2 + j % 2;
        float features[FIRST];
        any |= place_features(s, first + (size_t)i * columns + j, features);
        for (uint32_t c = 0; c < FIRST; c++)
            pairs[i / 2 * 2 + j / 2][4 * c + inner] = features[c];
    }
    if (!any)
        return 0;
    apply(s->hyper->second, s->hyper->biases + FIRST, pairs[0], 4 * FIRST, SECOND, groups[0]);
    for (uint32_t d = 0; d < 4; d++)
        for (uint32_t c = 0; c < SECOND; c++)
            out[4 * c + d] = groups[d][c] < 0 ? 0.1f * groups[d][c] : groups[d][c];
    return 1;
}

/* To the nearest integer, halves to even, as long as it is below 2^22. */
INLINE int32_t nearest(float x)
{
    x = x < -Z_MAX ? -Z_MAX : x > Z_MAX ? Z_MAX : x;
    return (int32_t)((x + 12582912.0f) - 12582912.0f);
}

/*
 * Hyper-latents of the tiles of a frame that say anything: their numbers in `tiles`, in order, and z
 * [tiles, hyper]. at, values, ends: from rtc_transform. motion: [rows, columns, CHANNELS]. Returns how
 * many tiles there are.
 */
WIDE_CLONES EXPORT uint32_t rtc_describe(const rtc_hyper *hyper, const uint32_t *at,
                                         const float *values, const uint32_t *ends,
                                         const int16_t *motion, uint32_t rows, uint32_t columns,
                                         uint32_t *restrict tiles, int8_t *restrict z)
{
    const sparse s = {hyper, at, ends, values, motion};
    const uint32_t across = columns / TILE, all = rows / TILE * across;
    float in[BATCH][4 * SECOND] = {{0}}, out[BATCH * HYPER_MAX];
    uint32_t count = 0, waiting = 0;
    for (uint32_t tile = 0; tile < all; tile++) {
        const size_t first = (size_t)(tile / across) * TILE * columns + tile % across * TILE;
        if (tile_features(&s, first, columns, in[waiting])) {
            tiles[count++] = tile;
            waiting++;
        }
        if (waiting == BATCH || (waiting && tile + 1 == all)) {
            apply(hyper->third, hyper->biases + FIRST + SECOND, in[0], 4 * SECOND, hyper->hyper,
                  out);
            int8_t *to = z + (size_t)(count - waiting) * hyper->hyper;
            for (uint32_t i = 0; i < waiting * hyper->hyper; i++)
                to[i] = (int8_t)nearest(out[i]);
            waiting = 0;
        }
    }
    return count;
}

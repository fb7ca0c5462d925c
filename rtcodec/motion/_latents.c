/*
 * From samples to symbols: the encoder's half of the transform, which it may do as it likes. The tests
 * hold latents against the basis in transform.py, hyper-latents against the network in torch, symbols
 * against `rtcodec.models.prior.quantise`.
 *
 * Latents below half a step are never coded, and those are nearly all: what is not is listed. Sums of
 * floats are in one order on every machine: nothing is contracted, and lanes do not mix.
 */
#include "_motion.h"

enum { MODE_BITS = 5 }; /* of a coefficient's place and sign, roughly */

/* What chooses between transforms: rounding, and squared steps that a bit may save. */
#define MODE_OFFSET 0.15f
#define MODE_PRICE 0.3f
#define LIKELY 0.8f /* steps; 1 less DELTA_LIKELY_OFFSET */
#define LEAST 0.5f /* steps of a latent that is listed; no offset of a quantiser is above 1/2 */

typedef float eight __attribute__((vector_size(32))); /* GCC and Clang make SIMD of it anywhere */
typedef int32_t eight_integers __attribute__((vector_size(32)));

typedef uint8_t bytes __attribute__((vector_size(16)));
typedef uint16_t words __attribute__((vector_size(16)));

#if defined(__clang__)
#define SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

INLINE void transpose(eight *d)
{
    eight a[SIDE], b[SIDE];
    for (int i = 0; i < SIDE; i += 2) {
        a[i] = SHUFFLE(eight_integers, d[i], d[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = SHUFFLE(eight_integers, d[i], d[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
    for (int i = 0; i < SIDE; i += 4)
        for (int j = 0; j < 2; j++) {
            b[i + 2 * j] = SHUFFLE(eight_integers, a[i + j], a[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + 2 * j + 1] = SHUFFLE(eight_integers, a[i + j], a[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        d[i] = SHUFFLE(eight_integers, b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        d[i + 4] = SHUFFLE(eight_integers, b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* The DCT-II of each column of eight; the basis is even or odd about the middle. */
INLINE void transform_eight(eight *d)
{
    eight sum[4], difference[4];
    for (int y = 0; y < 4; y++) {
        sum[y] = d[y] + d[7 - y];
        difference[y] = d[y] - d[7 - y];
    }
    for (int v = 0; v < SIDE; v++) {
        const eight *from = v & 1 ? difference : sum;
        eight c = from[0] * (DCT[v][0] / 4096.0f);
        for (int y = 1; y < 4; y++)
            c += from[y] * (DCT[v][y] / 4096.0f);
        d[v] = c;
    }
}

/* The same of four, twice: frequency k of half b in row 2 k + b. */
INLINE void transform_four(eight *d)
{
    eight c[SIDE];
    for (int b = 0; b < 2; b++) {
        const eight *half = d + 4 * b;
        const eight sum[2] = {half[0] + half[3], half[1] + half[2]};
        const eight difference[2] = {half[0] - half[3], half[1] - half[2]};
        for (int k = 0; k < 4; k++) {
            const eight *from = k & 1 ? difference : sum;
            c[2 * k + b] = from[0] * (DCT4[k][0] / 4096.0f) + from[1] * (DCT4[k][1] / 4096.0f);
        }
    }
    memcpy(d, c, sizeof c);
}

/* Vectors are passed by address: how they are passed otherwise depends on the processor. */
INLINE void magnitude(const eight *x, eight *out)
{
    *out = (eight)((eight_integers)*x & 0x7fffffff);
}

INLINE float sum_of(const eight *x)
{
    float sum = 0;
    for (int i = 0; i < SIDE; i++)
        sum += (*x)[i];
    return sum;
}

/* About what coefficients cost, error and bits, in squared steps. */
INLINE float cost_of(const eight *c)
{
    eight cost = {0};
    for (int v = 0; v < SIDE; v++) {
        eight x;
        magnitude(&c[v], &x);
        const eight n = __builtin_convertvector(
            __builtin_convertvector(x + MODE_OFFSET, eight_integers), eight);
        /* Bits of an n that is not 0: those of its place and sign, and of its size. */
        const eight bits = (eight)((eight_integers)(n + MODE_BITS) & (n > 0));
        cost += (x - n) * (x - n) + MODE_PRICE * bits;
    }
    return sum_of(&cost);
}

/* Whether a coefficient is large enough that a symbol is likely. */
INLINE int is_likely(const eight *c)
{
    eight_integers any = {0};
    for (int v = 0; v < SIDE; v++) {
        eight x;
        magnitude(&c[v], &x);
        any |= x >= LIKELY;
    }
    uint64_t four[4];
    memcpy(four, &any, sizeof any);
    return (four[0] | four[1] | four[2] | four[3]) != 0;
}

/* Differences of a part to its prediction; returns their energy. */
INLINE float part_of(const uint8_t *block, const uint16_t *expect, uint32_t stride, eight *d)
{
    eight energy = {0};
    for (int y = 0; y < SIDE; y++) {
        bytes is = {0};
        words was;
        memcpy(&is, block + y * stride, SIDE);
        memcpy(&was, expect + y * stride, sizeof was);
        const words wide = (words)SHUFFLE(bytes, is, (bytes){0}, 0, 16, 1, 16, 2, 16, 3, 16, 4, 16,
                                          5, 16, 6, 16, 7, 16);
        d[y] = __builtin_convertvector(__builtin_convertvector(wide, eight_integers) * FINE -
                                           __builtin_convertvector(was, eight_integers), eight);
        energy += d[y] * d[y];
    }
    return sum_of(&energy);
}

/* Both ways; what is at row h, column v of the result is of horizontal frequency h, vertical v. */
INLINE void both_ways(eight *d, float scale, int four)
{
    for (int pass = 0; pass < 2; pass++) {
        if (four)
            transform_four(d);
        else
            transform_eight(d);
        if (!pass)
            transpose(d);
    }
    for (int h = 0; h < SIDE; h++)
        d[h] *= scale;
}

/*
 * List the latents of blocks less their prediction, in steps, whose modulus is LEAST or more: their
 * numbers, place * 384 + channel, and values; ends[k] is where those of place k end. Of each part the
 * 8x8 DCT, or of all luma of a place 4x4 DCTs where that is cheaper and leaves a symbol, likely; split:
 * [places], 1 for those. steps: of luma and of chroma, in units of a prediction's. Returns how many are listed.
 */
CLONES EXPORT uint32_t rtc_transform(const uint8_t *restrict blocks,
                                     const uint16_t *restrict prediction, const float *steps,
                                     uint32_t places, uint32_t *restrict at,
                                     float *restrict values, uint32_t *restrict ends,
                                     uint8_t *restrict split)
{
    uint8_t rank[SIDE * SIDE];
    for (uint32_t k = 0; k < SIDE * SIDE; k++)
        rank[ORDER[k] % SIDE * SIDE + ORDER[k] / SIDE] = (uint8_t)k;
    uint32_t count = 0;
    for (uint32_t place = 0; place < places; place++) {
        eight c[PARTS][SIDE], small[4][SIDE];
        float whole = 0, parted = 0;
        uint32_t some = 0, likely = 0;
        for (uint32_t k = 0; k < PARTS; k++) {
            const size_t start = (size_t)place * SAMPLES + part_start(k);
            const float step = steps[k >= 4];
            const float energy = part_of(blocks + start, prediction + start, part_stride(k), c[k]);
            if (energy < LEAST * LEAST * step * step) /* no latent can be as much */
                continue;
            some |= 1u << k;
            if (k < 4) {
                memcpy(small[k], c[k], sizeof small[k]);
                both_ways(small[k], 1 / step, 1);
                parted += cost_of(small[k]);
                likely |= (uint32_t)is_likely(small[k]);
            }
            both_ways(c[k], 1 / step, 0);
            if (k < 4)
                whole += cost_of(c[k]);
        }
        split[place] = likely && parted < whole; /* nobody asks where luma says nothing */
        for (uint32_t k = 0; some >> k; k++) {
            if (!(some >> k & 1))
                continue;
            const eight *of = split[place] && k < 4 ? small[k] : c[k];
            for (uint32_t h = 0; h < SIDE; h++) {
                eight size;
                magnitude(&of[h], &size);
                const eight_integers large = size >= LEAST;
                uint64_t any[4];
                memcpy(any, &large, sizeof any);
                if (!(any[0] | any[1] | any[2] | any[3]))
                    continue;
                for (uint32_t v = 0; v < SIDE; v++) {
                    at[count] = place * SAMPLES + rank[h * SIDE + v] * PARTS + k;
                    values[count] = of[h][v];
                    count += large[v] != 0;
                }
            }
        }
        ends[place] = count;
    }
    return count;
}

/* Where symbols are not 0, in order: their numbers, and how many. `at` has room for all. */
EXPORT uint32_t rtc_nonzero(const int16_t *symbols, uint32_t size, uint32_t *at)
{
    uint32_t count = 0, i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t four[2];
        memcpy(four, symbols + i, sizeof four);
        if (!(four[0] | four[1]))
            continue;
        for (uint32_t j = i; j < i + 8; j++) {
            at[count] = j;
            count += symbols[j] != 0;
        }
    }
    for (; i < size; i++)
        if (symbols[i])
            at[count++] = i;
    return count;
}

enum {
    READ_FROM = 3, /* of contexts.py, as all below */
    LAST_KIND = 9,
    LEVELS = 16,
    CAPPED = 15,
};

static int32_t level_of(int32_t energy)
{
    static const int32_t from[] = {4, 10, 17, 31, 52, 100, 200};
    int32_t level = 0;
    for (uint32_t k = 0; k < sizeof from / sizeof *from; k++)
        level += energy >= from[k];
    return level;
}

/* Listed latents of one part of a place, from low to high frequencies. */
typedef struct {
    uint8_t rank[SIDE * SIDE];
    float value[SIDE * SIDE];
    uint32_t count;
} listed_part;

/* Take those that follow *i* in the list; returns where the next part begins. */
static uint32_t take_part(const uint32_t *at, const float *values, uint32_t size, uint32_t i,
                          listed_part *part)
{
    const uint32_t place = at[i] / SAMPLES, own = at[i] % PARTS; /* SAMPLES is a multiple of PARTS */
    part->count = 0;
    for (; i < size && at[i] / SAMPLES == place && at[i] % PARTS == own; i++) {
        const uint8_t rank = (uint8_t)(at[i] % SAMPLES / PARTS);
        uint32_t to = part->count++;
        for (; to && part->rank[to - 1] > rank; to--) {
            part->rank[to] = part->rank[to - 1];
            part->value[to] = part->value[to - 1];
        }
        part->rank[to] = rank;
        part->value[to] = values[i];
    }
    return i;
}

/*
 * Symbols of listed latents: each cut to an integer after rounding[index] was added to its modulus. The
 * index is the one that chooses its table: that of the scale network, moved by the part's symbols before
 * it; contexts: [30][LEVELS]. None where it says so. Indices and symbols are [places, stride]; symbols
 * are written where they are not 0, and those are listed: where in `symbols`, and the latent. Returns
 * how many.
 */
EXPORT uint32_t rtc_quantise(const uint32_t *at, const float *values, uint32_t size,
                             const uint8_t *restrict indices, const float *restrict rounding,
                             const int8_t *contexts, uint32_t stride, int16_t *restrict symbols,
                             uint32_t *restrict said, float *restrict meant)
{
    uint8_t diagonal[SIDE * SIDE];
    for (uint32_t k = 0; k < SIDE * SIDE; k++)
        diagonal[k] = (uint8_t)(ORDER[k] / SIDE + ORDER[k] % SIDE);
    uint32_t count = 0;
    for (uint32_t i = 0; i < size;) {
        listed_part part;
        const uint32_t place = at[i] / SAMPLES, own = at[i] % PARTS;
        const int8_t *kinds = contexts + (own < 4 ? 0 : LAST_KIND + 1) * LEVELS;
        int32_t energy = 0, sum = 0;
        uint32_t stage = 0;
        i = take_part(at, values, size, i, &part);
        for (uint32_t k = 0; k < part.count; k++) {
            const uint32_t d = diagonal[part.rank[k]], kind = d < LAST_KIND ? d : LAST_KIND;
            const uint32_t to = place * stride + part.rank[k] * PARTS + own;
            for (; stage < d; stage++, sum = 0)
                energy += 16 * sum - (energy >> 2);
            int32_t index = indices[to];
            if (!index)
                continue;
            index += kinds[kind * LEVELS + level_of(energy)];
            if (index < READ_FROM)
                continue;
            const float x = part.value[k];
            float modulus_of = (x < 0 ? -x : x) + rounding[index > 63 ? 63 : index];
            modulus_of = modulus_of < 0 ? 0 : modulus_of > 32767 ? 32767 : modulus_of;
            const int32_t n = (int32_t)modulus_of;
            if (!n)
                continue;
            sum += n < CAPPED ? n : CAPPED;
            symbols[to] = (int16_t)(x < 0 ? -n : n);
            said[count] = to;
            meant[count++] = x;
        }
    }
    return count;
}

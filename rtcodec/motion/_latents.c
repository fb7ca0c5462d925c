/*
 * From samples to symbols: the encoder's half of the transform, which it may do as it likes. The tests
 * hold latents against the basis in transform.py, hyper-latents against the network in torch, symbols
 * against `rtcodec.models.prior.quantise`.
 *
 * Latents below half a step are never coded, and those are nearly all: what is not is listed. Sums of
 * floats are in one order on every machine: nothing is contracted, and lanes do not mix.
 */
#include "_forward.h"

#define LIKELY 0.8f /* steps; 1 less DELTA_LIKELY_OFFSET */

typedef uint8_t bytes __attribute__((vector_size(16)));
typedef uint16_t words __attribute__((vector_size(16)));

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

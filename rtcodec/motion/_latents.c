/*
 * From samples to symbols: the encoder's half of the transform, which it may do as it likes. The tests
 * hold latents against the basis in transform.py, symbols against `rtcodec.models.prior.quantise`.
 */
#include "_motion.h"

enum { MODE_BITS = 5 }; /* of a coefficient's place and sign, roughly */

/* What chooses between transforms: rounding, and squared steps that a bit may save. */
#define MODE_OFFSET 0.15f
#define MODE_PRICE 0.3f
#define LEAST_ENERGY 0.25f

typedef float eight __attribute__((vector_size(32))); /* GCC and Clang make SIMD of it anywhere */

typedef struct {
    eight rows[SIDE], columns[SIDE];   /* the transform of eight and its transpose */
    eight rows4[SIDE], columns4[SIDE]; /* two of four, side by side, interleaved */
} matrices;

static void fill_matrices(matrices *m)
{
    memset(m, 0, sizeof *m);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            m->rows[i][j] = m->columns[j][i] = DCT[i][j] / 4096.0f;
            if ((i & 1) == j >> 2) /* row 2 k + b: frequency k of half b */
                m->rows4[i][j] = m->columns4[j][i] = DCT4[i >> 1][j & 3] / 4096.0f;
        }
}

/* c = rows d columns, all 8x8. */
INLINE void both_ways(const eight *rows, const eight *columns, const eight *d, eight *c)
{
    for (int v = 0; v < SIDE; v++) {
        eight down = rows[v][0] * d[0];
        for (int y = 1; y < SIDE; y++)
            down += rows[v][y] * d[y];
        eight sum = down[0] * columns[0];
        for (int x = 1; x < SIDE; x++)
            sum += down[x] * columns[x];
        c[v] = sum;
    }
}

/* About what coefficients cost, error and bits, in squared steps. */
INLINE float cost_of(const eight *c)
{
    typedef int32_t integers __attribute__((vector_size(32)));
    eight cost = {0};
    for (int v = 0; v < SIDE; v++) {
        const eight x = (eight)((integers)c[v] & 0x7fffffff); /* the modulus */
        const integers whole = __builtin_convertvector(x + MODE_OFFSET, integers);
        const eight n = __builtin_convertvector(whole, eight);
        /* Bits of an n that is not 0: those of its place and sign, and of its size. */
        const eight bits = (eight)((integers)(n + MODE_BITS) & (n > 0));
        cost += (x - n) * (x - n) + MODE_PRICE * bits;
    }
    float sum = 0;
    for (int i = 0; i < SIDE; i++)
        sum += cost[i];
    return sum;
}

/*
 * Latents [places, 384] of blocks less their prediction, divided by their step: of each part the
 * 8x8 DCT, or of all luma of a place four 4x4 DCTs where that is cheaper. split: [places], 1 for those.
 * steps: of luma and of chroma, in units of a prediction's.
 */
CLONES EXPORT void rtc_transform(const uint8_t *restrict blocks,
                                 const uint16_t *restrict prediction, const float *steps,
                                 uint32_t places, float *restrict latents,
                                 uint8_t *restrict split)
{
    matrices m;
    fill_matrices(&m);
    const float scales[2] = {1 / steps[0], 1 / steps[1]};
    for (uint32_t place = 0; place < places; place++) {
        eight d[PARTS][SIDE], c[PARTS][SIDE], small[4][SIDE];
        eight energy = {0};
        for (uint32_t k = 0; k < PARTS; k++) {
            const size_t start = (size_t)place * SAMPLES + part_start(k);
            const uint32_t stride = part_stride(k);
            for (int y = 0; y < SIDE; y++) {
                const uint8_t *block = blocks + start + y * stride;
                const uint16_t *expect = prediction + start + y * stride;
                for (int x = 0; x < SIDE; x++)
                    d[k][y][x] = (float)(block[x] * FINE - expect[x]);
                d[k][y] *= scales[k >= 4];
                energy += d[k][y] * d[k][y];
            }
        }
        float *out = latents + (size_t)place * SAMPLES;
        float sum = 0;
        for (int i = 0; i < SIDE; i++)
            sum += energy[i];
        split[place] = 0;
        if (sum < LEAST_ENERGY) { /* no latent can be as much as half a step */
            memset(out, 0, SAMPLES * sizeof *out);
            continue;
        }
        float whole = 0, parted = 0;
        for (uint32_t k = 0; k < PARTS; k++) {
            both_ways(m.rows, m.columns, d[k], c[k]);
            if (k < 4) {
                both_ways(m.rows4, m.columns4, d[k], small[k]);
                whole += cost_of(c[k]);
                parted += cost_of(small[k]);
            }
        }
        split[place] = parted < whole;
        if (split[place])
            memcpy(c, small, sizeof small);
        for (uint32_t i = 0; i < SIDE * SIDE; i++)
            for (uint32_t k = 0; k < PARTS; k++)
                out[i * PARTS + k] = ((const float *)c[k])[ORDER[i]];
    }
}

/*
 * Symbols of latents [places, channels]: each cut to an integer after rounding[index] was added to
 * its modulus; 0 at index 0. Indices and symbols have `stride` channels, of which the first ones are latents.
 */
CLONES EXPORT void rtc_quantise(const float *restrict latents, const uint8_t *restrict indices,
                                const float *restrict rounding, uint32_t places,
                                uint32_t channels, uint32_t stride, int16_t *restrict symbols)
{
    for (uint32_t place = 0; place < places; place++) {
        const uint8_t *index = indices + (size_t)place * stride;
        const float *x = latents + (size_t)place * channels;
        int16_t *out = symbols + (size_t)place * stride;
        memset(out, 0, channels * sizeof *out);
        for (uint32_t c = 0; c < channels; c++) {
            if (c % 8 == 0 && c + 8 <= channels) { /* most are skipped, or small, and not alone */
                uint64_t coded;
                uint32_t bits[8], largest = 0;
                memcpy(&coded, index + c, 8);
                memcpy(bits, x + c, sizeof bits);
                for (int i = 0; i < 8; i++) {
                    bits[i] &= 0x7fffffff; /* as numbers in the order of the moduli */
                    largest = largest < bits[i] ? bits[i] : largest;
                }
                if (!coded || largest < 0x3f000000) { /* 1/2: offsets are not above that */
                    c += 7;
                    continue;
                }
            }
            if (!index[c])
                continue;
            float modulus = (x[c] < 0 ? -x[c] : x[c]) + rounding[index[c] & 63];
            modulus = modulus < 0 ? 0 : modulus > 32767 ? 32767 : modulus;
            const int32_t n = (int32_t)modulus;
            out[c] = (int16_t)(x[c] < 0 ? -n : n);
        }
    }
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

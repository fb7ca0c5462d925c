/*
 * Products of the networks: y [n, outputs] = x [n, inputs] times weights, and what follows at once.
 * Outputs come in groups of GROUP, whose weights lie side by side for each input (floats) or each
 * pair of inputs (integers): `rtc_web_pack_*` lays them out.
 */
#include "_web.h"

enum {
    GROUP = 8,  /* outputs: two vectors of sums a row of x */
    ROWS = 4,   /* of x at once: eight sums, which fit the registers */
    STRIP = 64, /* rows of x that stay in the cache while all outputs pass */
};

/* From IEEE 754 half to single precision. */
INLINE float from_half(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
    if (rest < 0x0400) { /* zero, or below the smallest exponent: 2**-24 each */
        const float small = (float)rest * 0x1p-24f;
        return sign ? -small : small;
    }
    const uint32_t bits = sign | ((rest << 13) + 0x38000000);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

SMALL EXPORT void rtc_web_widen(const uint16_t *halves, uint32_t size, float *floats)
{
    for (uint32_t i = 0; i < size; i++)
        floats[i] = from_half(halves[i]);
}

/* Weights [outputs, inputs], `row` from one output's to the next's, packed. */
SMALL EXPORT void rtc_web_pack_floats(const float *weights, uint32_t row, uint32_t outputs,
                                uint32_t inputs, float *packed)
{
    for (uint32_t first = 0; first < outputs; first += GROUP)
        for (uint32_t k = 0; k < inputs; k++)
            for (uint32_t o = 0; o < GROUP; o++)
                *packed++ = weights[(size_t)(first + o) * row + k];
}

/* Weights [outputs, inputs] in 8 bits, packed; inputs are even. */
SMALL EXPORT void rtc_web_pack_bytes(const int8_t *weights, uint32_t outputs, uint32_t inputs,
                               int16_t *packed)
{
    for (uint32_t first = 0; first < outputs; first += GROUP)
        for (uint32_t k = 0; k < inputs; k += 2)
            for (uint32_t o = 0; o < GROUP; o++)
                for (uint32_t i = 0; i < 2; i++)
                    *packed++ = weights[(size_t)(first + o) * inputs + k + i];
}

/* Some rows of x by a group of outputs; sums begin with what is in y. */
INLINE void add_floats(const float *x, uint32_t inputs, const float *w, float *y, uint32_t outputs,
                       const uint32_t rows)
{
    v128_t sum[ROWS][2];
    for (uint32_t r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++)
            sum[r][half] = wasm_v128_load(y + r * outputs + 4 * half);
    for (uint32_t k = 0; k < inputs; k++, w += GROUP) {
        const v128_t low = wasm_v128_load(w), high = wasm_v128_load(w + 4);
        for (uint32_t r = 0; r < rows; r++) {
            const v128_t one = wasm_v128_load32_splat(x + r * inputs + k);
            sum[r][0] = wasm_f32x4_add(sum[r][0], wasm_f32x4_mul(one, low));
            sum[r][1] = wasm_f32x4_add(sum[r][1], wasm_f32x4_mul(one, high));
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++)
            wasm_v128_store(y + r * outputs + 4 * half, sum[r][half]);
}

/* Add x times packed weights to y. */
EXPORT void rtc_web_add_product(const float *x, uint32_t n, uint32_t inputs, const float *weights,
                                uint32_t outputs, float *y)
{
    for (uint32_t strip = 0; strip < n; strip += STRIP) {
        const uint32_t end = n - strip < STRIP ? n : strip + STRIP;
        for (uint32_t o = 0; o < outputs; o += GROUP) {
            const float *w = weights + (size_t)o * inputs;
            uint32_t r = strip;
            for (; r + ROWS <= end; r += ROWS)
                add_floats(x + (size_t)r * inputs, inputs, w, y + (size_t)r * outputs + o, outputs, ROWS);
            for (; r < end; r++)
                add_floats(x + (size_t)r * inputs, inputs, w, y + (size_t)r * outputs + o, outputs, 1);
        }
    }
}

INLINE void product_bytes(const int16_t *x, uint32_t inputs, const int16_t *w, const float *step,
                          const float *bias, float *y, uint32_t outputs, const int adds,
                          const uint32_t rows)
{
    v128_t sum[ROWS][2];
    for (uint32_t r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = wasm_i32x4_splat(0);
    for (uint32_t k = 0; k < inputs; k += 2, w += 2 * GROUP) {
        const v128_t low = wasm_v128_load(w), high = wasm_v128_load(w + GROUP);
        for (uint32_t r = 0; r < rows; r++) {
            const v128_t pair = wasm_v128_load32_splat(x + r * inputs + k);
            sum[r][0] = wasm_i32x4_add(sum[r][0], wasm_i32x4_dot_i16x8(pair, low));
            sum[r][1] = wasm_i32x4_add(sum[r][1], wasm_i32x4_dot_i16x8(pair, high));
        }
    }
    for (uint32_t r = 0; r < rows; r++)
        for (int half = 0; half < 2; half++) {
            float *to = y + r * outputs + 4 * half;
            v128_t value = wasm_f32x4_mul(wasm_f32x4_convert_i32x4(sum[r][half]),
                                          wasm_v128_load(step + 4 * half));
            value = wasm_f32x4_add(value, wasm_v128_load(bias + 4 * half));
            wasm_v128_store(to, adds ? wasm_f32x4_add(value, wasm_v128_load(to)) : value);
        }
}

INLINE void int8_product(const int16_t *x, uint32_t n, uint32_t inputs, const int16_t *weights,
                         const float *step, const float *bias, uint32_t outputs, float *y,
                         const int adds)
{
    for (uint32_t strip = 0; strip < n; strip += STRIP) {
        const uint32_t end = n - strip < STRIP ? n : strip + STRIP;
        for (uint32_t o = 0; o < outputs; o += GROUP) {
            const int16_t *w = weights + (size_t)o * inputs;
            uint32_t r = strip;
            for (; r + ROWS <= end; r += ROWS)
                product_bytes(x + (size_t)r * inputs, inputs, w, step + o, bias + o,
                              y + (size_t)r * outputs + o, outputs, adds, ROWS);
            for (; r < end; r++)
                product_bytes(x + (size_t)r * inputs, inputs, w, step + o, bias + o,
                              y + (size_t)r * outputs + o, outputs, adds, 1);
        }
    }
}

/*
 * x, integers of 8 bits, times packed weights, sums times `step` and `bias` added, both [outputs]; into
 * y, or added to it.
 */
EXPORT void rtc_web_int8_product(const int16_t *x, uint32_t n, uint32_t inputs,
                                 const int16_t *weights, const float *step, const float *bias,
                                 uint32_t outputs, float *y, uint32_t adds)
{
    if (adds)
        int8_product(x, n, inputs, weights, step, bias, outputs, y, 1);
    else
        int8_product(x, n, inputs, weights, step, bias, outputs, y, 0);
}

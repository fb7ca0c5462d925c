/*
 * The exact scale network; equals scale_net.py.
 */
#include "_rans.h"

typedef struct {
    const int16_t *weight[3]; /* [rows][inputs], zero beyond the true sizes */
    const int8_t *narrow[3];  /* the same in bytes, [rows][inputs up to a multiple of 4] */
    const int32_t *bias[3];   /* [rows], of the qp, before the shift, rounding half included */
    uint32_t rows[3];         /* a multiple of 8 */
    uint32_t inputs[3];       /* even */
    uint32_t shift[3];
    uint32_t hyper_channels, hidden[2], latent_channels;
} rtc_scale_net;

/*
 * A layer at 16 places: output[r][p] = clamp((bias[r] + sum_k weight[r][k] *
 * input[k][p]) >> shift, 0, top). Inputs are pairs: [inputs / 2][16 places][2].
 * Every sum is below 2**24 (asserted by ScaleNet), so int32 cannot overflow.
 */
typedef void layer(const int16_t *weight, const int32_t *bias, uint32_t rows, uint32_t inputs,
                   uint32_t shift, uint8_t top, const int16_t *input, uint8_t *output);

typedef void quad_layer(const int8_t *weight, const int32_t *bias, uint32_t rows, uint32_t quads,
                        uint32_t shift, uint8_t top, const uint8_t *input, uint8_t *output);

#ifdef __wasm_simd128__
INLINE void layer_plain(const int16_t *weight, const int32_t *bias, uint32_t rows,
                        uint32_t inputs, uint32_t shift, uint8_t top, const int16_t *input,
                        uint8_t *output)
{
    const v128_t most = wasm_u8x16_splat(top);
    for (uint32_t row = 0; row < rows; row += 2, weight += 2 * inputs) {
        v128_t sum[2][4];
        for (uint32_t r = 0; r < 2; r++)
            for (uint32_t p = 0; p < 4; p++)
                sum[r][p] = wasm_i32x4_splat(bias[row + r]);
        for (uint32_t k = 0; k < inputs; k += 2)
            for (uint32_t r = 0; r < 2; r++) {
                const v128_t w = wasm_v128_load32_splat(weight + r * inputs + k);
                for (uint32_t p = 0; p < 4; p++) {
                    const v128_t a = wasm_v128_load(input + 16 * k + 8 * p);
                    sum[r][p] = wasm_i32x4_add(sum[r][p], wasm_i32x4_dot_i16x8(w, a));
                }
            }
        for (uint32_t r = 0; r < 2; r++, output += 16) { /* saturation is the clamp */
            v128_t words[2];
            for (uint32_t p = 0; p < 2; p++)
                words[p] = wasm_i16x8_narrow_i32x4(wasm_i32x4_shr(sum[r][2 * p], shift),
                                                   wasm_i32x4_shr(sum[r][2 * p + 1], shift));
            wasm_v128_store(output,
                            wasm_u8x16_min(wasm_u8x16_narrow_i16x8(words[0], words[1]), most));
        }
    }
}
#else
INLINE void layer_plain(const int16_t *weight, const int32_t *bias, uint32_t rows,
                        uint32_t inputs, uint32_t shift, uint8_t top, const int16_t *input,
                        uint8_t *output)
{
    for (uint32_t row = 0; row < rows; row++, weight += inputs) {
        int32_t sum[16];
        for (uint32_t place = 0; place < 16; place++)
            sum[place] = bias[row];
        for (uint32_t k = 0; k < inputs; k += 2)
            for (uint32_t place = 0; place < 16; place++)
                sum[place] += weight[k] * input[16 * k + 2 * place]
                              + weight[k + 1] * input[16 * k + 2 * place + 1];
        for (uint32_t place = 0; place < 16; place++) {
            int32_t value = sum[place] >> shift;
            value = value < 0 ? 0 : value;
            *output++ = (uint8_t)(value > top ? top : value);
        }
    }
}
#endif

#ifdef RTC_X86
AVX2 static inline void layer_avx2(const int16_t *weight, const int32_t *bias, uint32_t rows,
                                   uint32_t inputs, uint32_t shift, uint8_t top,
                                   const int16_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift), most = _mm_set1_epi8((char)top);
    for (uint32_t row = 0; row < rows; row += 4, weight += 4 * inputs) {
        __m256i sum[4][2];
        for (uint32_t r = 0; r < 4; r++)
            sum[r][0] = sum[r][1] = _mm256_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < inputs; k += 2) {
            const __m256i a = _mm256_loadu_si256((const __m256i *)(input + 16 * k));
            const __m256i b = _mm256_loadu_si256((const __m256i *)(input + 16 * k + 16));
            for (uint32_t r = 0; r < 4; r++) {
                int32_t pair;
                memcpy(&pair, weight + r * inputs + k, sizeof pair);
                const __m256i w = _mm256_set1_epi32(pair);
                sum[r][0] = _mm256_add_epi32(sum[r][0], _mm256_madd_epi16(w, a));
                sum[r][1] = _mm256_add_epi32(sum[r][1], _mm256_madd_epi16(w, b));
            }
        }
        for (uint32_t r = 0; r < 4; r++, output += 16) { /* saturation is the clamp */
            const __m256i words = _mm256_permute4x64_epi64(
                _mm256_packs_epi32(_mm256_sra_epi32(sum[r][0], shifts),
                                   _mm256_sra_epi32(sum[r][1], shifts)), 0xd8);
            const __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                   _mm256_extracti128_si256(words, 1));
            _mm_storeu_si128((__m128i *)output, _mm_min_epu8(bytes, most));
        }
    }
}
#endif

#ifdef RTC_X86
VNNI static inline void layer_vnni(const int16_t *weight, const int32_t *bias, uint32_t rows,
                                   uint32_t inputs, uint32_t shift, uint8_t top,
                                   const int16_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift);
    const __m512i least = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
    for (uint32_t row = 0; row < rows; row += 8, weight += 8 * inputs) {
        __m512i sum[8]; /* enough to hide the latency of the products */
        for (uint32_t r = 0; r < 8; r++)
            sum[r] = _mm512_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < inputs; k += 2) {
            const __m512i a = _mm512_loadu_si512(input + 16 * k);
            for (uint32_t r = 0; r < 8; r++) {
                int32_t pair;
                memcpy(&pair, weight + r * inputs + k, sizeof pair);
                sum[r] = _mm512_dpwssd_epi32(sum[r], a, _mm512_set1_epi32(pair));
            }
        }
        for (uint32_t r = 0; r < 8; r++, output += 16) {
            const __m512i value = _mm512_max_epi32(_mm512_sra_epi32(sum[r], shifts), least);
            _mm_storeu_si128((__m128i *)output,
                             _mm512_cvtepi32_epi8(_mm512_min_epi32(value, most)));
        }
    }
}
#endif

#ifdef RTC_X86
/* The later layers, whose inputs are bytes: products of four at once. Inputs are [quads][16 places][4]. */
VNNI static inline void layer_quads(const int8_t *weight, const int32_t *bias, uint32_t rows,
                                    uint32_t quads, uint32_t shift, uint8_t top,
                                    const uint8_t *input, uint8_t *output)
{
    const __m128i shifts = _mm_cvtsi32_si128((int)shift);
    const __m512i least = _mm512_setzero_si512(), most = _mm512_set1_epi32(top);
    for (uint32_t row = 0; row < rows; row += 8, weight += 32 * quads) {
        __m512i sum[8];
        for (uint32_t r = 0; r < 8; r++)
            sum[r] = _mm512_set1_epi32(bias[row + r]);
        for (uint32_t k = 0; k < quads; k++) {
            const __m512i a = _mm512_loadu_si512(input + 64 * k);
            for (uint32_t r = 0; r < 8; r++) {
                int32_t four;
                memcpy(&four, weight + 4 * (r * quads + k), sizeof four);
                sum[r] = _mm512_dpbusd_epi32(sum[r], a, _mm512_set1_epi32(four));
            }
        }
        for (uint32_t r = 0; r < 8; r++, output += 16) {
            const __m512i value = _mm512_max_epi32(_mm512_sra_epi32(sum[r], shifts), least);
            _mm_storeu_si128((__m128i *)output,
                             _mm512_cvtepi32_epi8(_mm512_min_epi32(value, most)));
        }
    }
}
#endif

/* Bytes of the scratch that rtc_scale_indices needs, for int16 alignment. */
EXPORT size_t rtc_scale_scratch(const rtc_scale_net *net)
{
    const size_t out = net->rows[0] > net->rows[1] ? net->rows[0] : net->rows[1];
    return 32 * ((size_t)net->inputs[0] + 4 * net->inputs[1] + 4 * net->inputs[2])
           + 16 * (out > net->rows[2] ? out : net->rows[2]);
}

/* Where channel *c* of place *p* is in a layer's input, in pairs or in quads. */
INLINE size_t input_at(uint32_t c, uint32_t p)
{
    return (size_t)(c & ~1u) * 16 + 2 * p + (c & 1);
}

INLINE void put_input(int16_t *input, uint32_t c, uint32_t p, uint8_t value, const int in_quads)
{
    if (in_quads)
        ((uint8_t *)input)[(size_t)(c & ~3u) * 16 + 4 * p + (c & 3)] = value;
    else
        input[input_at(c, p)] = value;
}

/* Layer *n* of the net; all but the first may be in quads. */
INLINE void apply_layer(const rtc_scale_net *net, uint32_t n, uint8_t top, const int16_t *input,
                        uint8_t *output, layer apply, quad_layer apply_quads)
{
    if (n && apply_quads)
        apply_quads(net->narrow[n], net->bias[n], net->rows[n], (net->inputs[n] + 3) / 4,
                    net->shift[n], top, (const uint8_t *)input, output);
    else
        apply(net->weight[n], net->bias[n], net->rows[n], net->inputs[n], net->shift[n], top,
              input, output);
}

/* Sixteen tiles at most: a layer at 16 places is 16, 4 or 1 tiles. */
INLINE void scale_batch(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                        uint8_t *indices, int16_t *scratch, layer apply, quad_layer apply_quads)
{
    const int in_quads = apply_quads != NULL;
    int16_t *in0 = scratch, *in1 = in0 + 16 * net->inputs[0], *in2 = in1 + 64 * net->inputs[1];
    uint8_t *out = (uint8_t *)(in2 + 64 * net->inputs[2]);
    memset(scratch, 0, (size_t)(out - (uint8_t *)scratch));
    for (uint32_t tile = 0; tile < n_tiles; tile++)
        for (uint32_t c = 0; c < net->hyper_channels; c++)
            in0[input_at(c, tile)] = z[tile * net->hyper_channels + c];
    apply_layer(net, 0, 255, in0, out, apply, apply_quads);
    for (uint32_t c = 0; c < net->hidden[0]; c++)
        for (uint32_t d = 0; d < 4; d++) /* channel 4c + d goes to c at corner d */
            for (uint32_t tile = 0; tile < 16; tile++)
                put_input(in1 + tile / 4 * 16 * net->inputs[1], c, tile % 4 * 4 + d,
                          out[(4 * c + d) * 16 + tile], in_quads);
    for (uint32_t group = 0; 4 * group < n_tiles; group++) {
        apply_layer(net, 1, 255, in1 + group * 16 * net->inputs[1], out, apply, apply_quads);
        for (uint32_t c = 0; c < net->hidden[1]; c++)
            for (uint32_t d = 0; d < 4; d++)
                for (uint32_t p = 0; p < 16; p++) { /* p: tile of four, corner of the first layer */
                    const uint32_t y = (p >> 1 & 1) * 2 + (d >> 1), x = (p & 1) * 2 + (d & 1);
                    put_input(in2 + (p >> 2) * 16 * net->inputs[2], c, 4 * y + x,
                              out[(4 * c + d) * 16 + p], in_quads);
                }
        for (uint32_t tile = 4 * group; tile < n_tiles && tile < 4 * group + 4; tile++) {
            apply_layer(net, 2, SCALES - 1, in2 + tile % 4 * 16 * net->inputs[2], out, apply,
                        apply_quads);
            memcpy(indices + (size_t)tile * net->latent_channels * 16, out,
                   (size_t)net->latent_channels * 16);
        }
    }
}

INLINE void scale_indices(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                          uint8_t *indices, int16_t *scratch, layer apply,
                          quad_layer apply_quads)
{
    for (uint32_t tile = 0; tile < n_tiles; tile += 16) {
        const uint32_t n = n_tiles - tile < 16 ? n_tiles - tile : 16;
        scale_batch(net, z + (size_t)tile * net->hyper_channels, n,
                    indices + (size_t)tile * net->latent_channels * 16, scratch, apply, apply_quads);
    }
}

#ifdef RTC_X86
AVX2 static void scale_indices_avx2(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                                    uint8_t *indices, int16_t *scratch)
{
    scale_indices(net, z, n_tiles, indices, scratch, layer_avx2, NULL);
}

VNNI static void scale_indices_vnni(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                                    uint8_t *indices, int16_t *scratch)
{
    scale_indices(net, z, n_tiles, indices, scratch, layer_vnni, layer_quads);
}
#endif

/* z: [n_tiles][hyper_channels], indices: [n_tiles][latent_channels][16]. */
EXPORT void rtc_scale_indices(const rtc_scale_net *net, const int8_t *z, uint32_t n_tiles,
                              uint8_t *indices, int16_t *scratch)
{
#ifdef RTC_X86
    if (processor() & HAS_VNNI) {
        scale_indices_vnni(net, z, n_tiles, indices, scratch);
        return;
    }
    if (processor() & HAS_AVX2) {
        scale_indices_avx2(net, z, n_tiles, indices, scratch);
        return;
    }
#endif
    scale_indices(net, z, n_tiles, indices, scratch, layer_plain, NULL);
}

/*
 * From a tile's payloads to samples; equals tile.py.
 */
#include "../entropy/_reader.h"
#include "_refine.h"

/* The symbol whose range in the mean of two tables holds *slot*, and that range. */
INLINE uint32_t find_symbol(const table *a, const table *b, uint32_t slot, uint32_t *start,
                            uint32_t *width)
{
    uint16_t mean[SYMBOLS + 1];
    uint32_t symbol;
#if defined(RTC_X86)
    const __m128i sought = _mm_set1_epi16((short)slot);
    uint64_t above = 1ull << SYMBOLS;
    for (uint32_t part = 0; part < SYMBOLS; part += 16) {
        __m128i over[2];
        for (uint32_t half = 0; half < 2; half++) {
            const uint32_t k = part + 8 * half;
            const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(a->start + k));
            const __m128i y = _mm_loadu_si128((const __m128i *)(const void *)(b->start + k));
            const __m128i sum = _mm_add_epi16(_mm_srli_epi16(x, 1), _mm_srli_epi16(y, 1));
            const __m128i value = _mm_srli_epi16(sum, 2);
            _mm_storeu_si128((__m128i *)(void *)(mean + k), value);
            over[half] = _mm_cmpgt_epi16(value, sought); /* both are below 2**15 */
        }
        const int mask = _mm_movemask_epi8(_mm_packs_epi16(over[0], over[1]));
        above |= (uint64_t)(uint32_t)mask << part;
    }
    symbol = (uint32_t)__builtin_ctzll(above) - 1;
#elif defined(__wasm_simd128__)
    const v128_t sought = wasm_i16x8_splat((int16_t)slot);
    uint64_t above = 1ull << SYMBOLS;
    for (uint32_t k = 0; k < SYMBOLS; k += 8) {
        const v128_t x = wasm_v128_load(a->start + k), y = wasm_v128_load(b->start + k);
        const v128_t sum = wasm_i16x8_add(wasm_u16x8_shr(x, 1), wasm_u16x8_shr(y, 1));
        const v128_t value = wasm_u16x8_shr(sum, 2); /* below 2**15, as slot */
        wasm_v128_store(mean + k, value);
        above |= (uint64_t)wasm_i16x8_bitmask(wasm_i16x8_gt(value, sought)) << k;
    }
    symbol = (uint32_t)__builtin_ctzll(above) - 1;
#else
    uint16_t reached = 0;
    for (uint32_t k = 0; k < SYMBOLS; k++)
        mean[k] = (uint16_t)((a->start[k] / 2 + b->start[k] / 2) / 4);
    for (uint32_t k = 0; k < SYMBOLS; k++)
        reached = (uint16_t)(reached + (mean[k] <= slot));
    symbol = reached - 1u;
#endif
    mean[SYMBOLS] = PROB_SCALE;
    *start = mean[symbol];
    *width = (uint32_t)mean[symbol + 1] - mean[symbol];
    return symbol;
}

/* Steps of an escape; out of line, it is rare. */
static __attribute__((noinline)) int take_escape(reader *from, int32_t *step)
{
    uint32_t head, rest;
    if (!take_raw(from, 5, &head) || !take_raw(from, head & 15, &rest))
        return 0;
    const int32_t magnitude = (int32_t)(BEYOND - 1 + (1u << (head & 15)) + rest);
    *step = head & 16 ? -magnitude : magnitude;
    return 1;
}

INLINE int32_t read_residual(void *io, rtc_exact_state *state, uint32_t scale, uint32_t sight,
                             uint32_t shift, int32_t *residual)
{
    reader *from = io;
    table *a = state->by_scale + scale, *b = state->by_sight + sight;
    uint32_t start, width, raw = 0;
    const uint32_t symbol = find_symbol(a, b, from->state & (PROB_SCALE - 1), &start, &width);
    if (!take_range(from, start, width))
        return TRUNCATED;
    adapt(a, state->scale_seen + scale, symbol);
    adapt(b, state->sight_seen + sight, symbol);
    const uint32_t n_tail = tail_bits(symbol);
    int32_t step = (int32_t)symbol - LINEAR;
    if (UNLIKELY(symbol == ESCAPE) && !take_escape(from, &step))
        return TRUNCATED;
    if (shift + n_tail && !take_raw(from, shift + n_tail, &raw))
        return TRUNCATED;
    if (n_tail) {
        step = (int32_t)(tail_step(n_tail) + (raw >> shift));
        step = symbol > 2 * LINEAR + TAILS ? -step : step;
    }
    const int32_t low = (int32_t)(raw & ((1u << shift) - 1));
    *residual = step * (1 << shift) + low - (1 << shift) / 2;
    return OK;
}

INLINE int32_t read_flag(void *io, uint16_t *probability, uint32_t *flag)
{
    reader *from = io;
    const uint32_t width = flag_width(*probability), set = (from->state & (PROB_SCALE - 1)) < width;
    if (!take_range(from, set ? 0 : width, set ? width : PROB_SCALE - width))
        return TRUNCATED;
    adapt_flag(probability, set);
    *flag = set;
    return OK;
}

/* Nothing was sent: every residual is 0, every flag what is likelier. */
INLINE int32_t no_residual(void *io, rtc_exact_state *state, uint32_t scale, uint32_t sight,
                           uint32_t shift, int32_t *residual)
{
    (void)io, (void)shift;
    adapt(state->by_scale + scale, state->scale_seen + scale, LINEAR);
    adapt(state->by_sight + sight, state->sight_seen + sight, LINEAR);
    *residual = 0;
    return OK;
}

INLINE int32_t no_flag(void *io, uint16_t *probability, uint32_t *flag)
{
    (void)io;
    *flag = *probability >= 1 << 15;
    adapt_flag(probability, *flag);
    return OK;
}

INLINE int32_t decode_level(const rtc_exact_tile *tile, rtc_exact_state *state,
                            const uint8_t *payload, uint32_t size, uint16_t *samples,
                            size_t stride)
{
    static const coder reads = {read_residual, read_flag}, nothing = {no_residual, no_flag};
    if (!size)
        return state->refines ? OK : walk_level(tile, state, &nothing, 0, samples, stride);
    if (state->refines && !tile->bound)
        return BYTES_LEFT; /* nothing can be missing */
    reader from = {payload + 4, payload + size, 0};
    if (size < 4)
        return TRUNCATED;
    memcpy(&from.state, payload, 4);
    if (from.state < STATE_MIN)
        return STATE_TOO_SMALL;
    const int32_t status = walk_step(tile, state, &reads, &from, samples, stride);
    if (status)
        return status;
    if (from.at != from.end)
        return BYTES_LEFT;
    return from.state == STATE_MIN ? OK : STATE_LEFT;
}

#ifdef RTC_X86
AVX2 static int32_t decode_level_avx2(const rtc_exact_tile *tile, rtc_exact_state *state,
                                      const uint8_t *payload, uint32_t size, uint16_t *samples,
                                      size_t stride)
{
    return decode_level(tile, state, payload, size, samples, stride);
}
#endif

EXPORT uint32_t rtc_exact_version(void) { return EXACT_VERSION; }

EXPORT uint32_t rtc_exact_state_bytes(void) { return sizeof(rtc_exact_state); }

/* Make a state ready for the first level of a tile. */
EXPORT void rtc_exact_begin(rtc_exact_state *state)
{
    begin_model(state);
    state->level = LEVELS;
    state->refines = 0;
    state->which = 0;
}

/*
 * Decode the step that comes next; at most LEVELS + 1 times after rtc_exact_begin, once more where
 * the tile has a bound. Samples of the
 * tile are written where they belong, *stride* from row to row; the others are left alone.
 */
EXPORT int32_t rtc_exact_decode(const rtc_exact_tile *tile, rtc_exact_state *state,
                                const uint8_t *payload, uint32_t size, uint16_t *samples,
                                uint32_t stride)
{
    int32_t status;
#ifdef RTC_X86
    if (processor() & HAS_AVX2)
        status = decode_level_avx2(tile, state, payload, size, samples, stride);
    else
#endif
        status = decode_level(tile, state, payload, size, samples, stride);
    next_step(state);
    return status;
}

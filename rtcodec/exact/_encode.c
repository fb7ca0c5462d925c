/*
 * From a tile's samples to payloads, the inverse of _decode.c.
 * What is to be put is listed first: see _writer.h.
 */
#include "../entropy/_writer.h"
#include "_refine.h"

enum { ITEMS_MAX = 5 /* of one sample: flag, symbol, escape's two, bits below */ };

typedef struct {
    uint32_t *items;
    uint32_t n, n_said; /* items; and those that an empty payload would not say */
} writer;

INLINE void list_raw(writer *to, uint32_t bits, uint32_t n_bits)
{
    to->items[to->n] = RAW | n_bits << 16 | bits;
    to->n += n_bits > 0;
}

INLINE int32_t write_residual(void *io, rtc_exact_state *state, uint32_t scale, uint32_t sight,
                              uint32_t shift, int32_t *residual)
{
    writer *to = io;
    table *a = state->by_scale + scale, *b = state->by_sight + sight;
    const int32_t rounded = *residual + (1 << shift) / 2, step = rounded >> shift;
    const uint32_t low = (uint32_t)rounded & ((1u << shift) - 1);
    const uint32_t size = (uint32_t)(step < 0 ? -step : step);
    uint32_t symbol = (uint32_t)(step + LINEAR), n_tail = 0;
    if (size >= BEYOND) {
        symbol = ESCAPE;
    } else if (size > LINEAR) {
        n_tail = top_bit(size - LINEAR + 1);
        symbol = 2 * LINEAR + n_tail + (step < 0 ? TAILS : 0);
    }
    const uint32_t start = mean_start(a, b, symbol);
    to->items[to->n++] = start << 16 | (mean_start(a, b, symbol + 1) - start);
    to->n_said += *residual != 0;
    adapt(a, state->scale_seen + scale, symbol);
    adapt(b, state->sight_seen + sight, symbol);
    if (UNLIKELY(symbol == ESCAPE)) {
        const uint32_t excess = size - (BEYOND - 1), n_bits = top_bit(excess);
        list_raw(to, n_bits | (step < 0 ? 16 : 0), 5);
        list_raw(to, excess - (1u << n_bits), n_bits);
    }
    const uint32_t tail = n_tail ? size - tail_step(n_tail) : 0;
    list_raw(to, tail << shift | low, shift + n_tail);
    return OK;
}

INLINE int32_t write_flag(void *io, uint16_t *probability, uint32_t *flag)
{
    writer *to = io;
    const uint32_t width = flag_width(*probability);
    to->items[to->n++] = *flag ? width : width << 16 | (PROB_SCALE - width);
    to->n_said += *flag != (*probability >= 1 << 15);
    adapt_flag(probability, *flag);
    return OK;
}

INLINE void encode_level(const rtc_exact_tile *tile, rtc_exact_state *state, uint16_t *samples,
                         size_t stride, writer *to)
{
    static const coder writes = {write_residual, write_flag};
    walk_step(tile, state, &writes, to, samples, stride);
}

#ifdef RTC_X86
AVX2 static void encode_level_avx2(const rtc_exact_tile *tile, rtc_exact_state *state,
                                   uint16_t *samples, size_t stride, writer *to)
{
    encode_level(tile, state, samples, stride, to);
}
#endif

/*
 * Encode the level that comes next, in a payload that ends at buffer + capacity; return its size.
 * Samples become what a decoder has, also those that are refined next: then the truth is needed
 * again. items: [5 for each sample of the level]; capacity: at least 4
 * and 2 for each of those.
 */
EXPORT uint32_t rtc_exact_encode(const rtc_exact_tile *tile, rtc_exact_state *state,
                                 uint16_t *samples, uint32_t stride, uint32_t *items,
                                 uint8_t *buffer, uint32_t capacity)
{
    writer to = {items, 0, 0};
#ifdef RTC_X86
    if (processor() & HAS_AVX2)
        encode_level_avx2(tile, state, samples, stride, &to);
    else
#endif
        encode_level(tile, state, samples, stride, &to);
    next_step(state);
    if (!to.n_said)
        return 0;
    return put_items(items, to.n, buffer + capacity);
}

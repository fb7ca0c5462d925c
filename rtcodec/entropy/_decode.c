/*
 * From a payload to symbols; equals rans.py.
 */
#include "_contexts.h"

typedef struct {
    const uint8_t *payload;
    uint32_t size, position; /* bytes */
    uint32_t lanes, next;    /* lane of the next symbol */
    uint32_t state[LANES_MAX];
} rtc_decoder;

EXPORT int32_t rtc_decode_begin(rtc_decoder *decoder, const uint8_t *payload, uint32_t size,
                                uint32_t lanes)
{
    decoder->payload = payload;
    decoder->size = size;
    decoder->lanes = lanes;
    decoder->next = 0;
    decoder->position = size;
    if (size < 4 * lanes)
        return TRUNCATED;
    memcpy(decoder->state, payload, 4 * (size_t)lanes);
    for (uint32_t lane = 0; lane < lanes; lane++) {
        if (decoder->state[lane] < STATE_MIN) {
            decoder->position = 4 * lane;
            return STATE_TOO_SMALL;
        }
    }
    decoder->position = 4 * lanes;
    return OK;
}

/* Refill a state below 2**16; false where the payload ends. */
INLINE int take_word(rtc_decoder *decoder, uint32_t *state)
{
    if (*state >= STATE_MIN)
        return 1;
    if (decoder->size - decoder->position < 2) {
        decoder->position = decoder->size;
        return 0;
    }
    const uint8_t *word = decoder->payload + decoder->position;
    *state = *state << 16 | (uint32_t)(word[0] | word[1] << 8);
    decoder->position += 2;
    return 1;
}

INLINE int take_raw(rtc_decoder *decoder, uint32_t *state, uint32_t n_bits, uint32_t *bits)
{
    *bits = *state & ((1u << n_bits) - 1);
    *state >>= n_bits;
    return take_word(decoder, state);
}

/* Read the rest of an escape; out of line, it is rare. */
static __attribute__((noinline)) int32_t take_escape(rtc_decoder *decoder, uint32_t *state,
                                                     uint32_t radius, int16_t *symbol)
{
    uint32_t head, low;
    if (!take_raw(decoder, state, ESCAPE_LENGTH_BITS + 1, &head))
        return TRUNCATED;
    const uint32_t n_bits = head & ((1u << ESCAPE_LENGTH_BITS) - 1);
    if (!take_raw(decoder, state, n_bits, &low))
        return TRUNCATED;
    const uint32_t magnitude = radius + (1u << n_bits) + low;
    if (magnitude > SYMBOL_MAX)
        return ESCAPE_RANGE;
    *symbol = (int16_t)(head >> ESCAPE_LENGTH_BITS ? -(int32_t)magnitude : (int32_t)magnitude);
    return OK;
}

EXPORT int32_t rtc_decode_z(rtc_decoder *decoder, const rtc_tables *tables, uint32_t qp, int8_t *z,
                            uint32_t n_tiles)
{
    const uint16_t *row = z_tables(tables, qp);
    const uint32_t channels = tables->hyper_channels;
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        for (uint32_t channel = 0; channel < channels; channel++) {
            const uint16_t *cdf = row + channel * Z_ROW;
            uint32_t *state = decoder->state + decoder->next;
            const uint16_t slot = *state & (PROB_SCALE - 1);
            uint16_t above = 0; /* symbols that start at or below the slot */
            for (uint32_t s = 0; s < Z_ROW; s++)
                above = (uint16_t)(above + (cdf[s] <= slot));
            const uint16_t *range = cdf + above - 1;
            *state = (uint32_t)(range[1] - range[0]) * (*state >> PROB_BITS) + slot - range[0];
            if (UNLIKELY(!take_word(decoder, state)))
                return TRUNCATED;
            *z++ = (int8_t)((int32_t)above - 1 - Z_MAX);
            decoder->next = (decoder->next + 1) & (decoder->lanes - 1);
        }
    }
    return OK;
}

/*
 * Find the symbol of a state with the tables of *index*, counted from the
 * lowest, and take it out of the state; the caller refills. *escape is set for
 * the last symbol of the table.
 */
INLINE uint32_t take_symbol(const rtc_tables *tables, uint32_t index, uint32_t *state,
                            uint32_t *escape)
{
    const uint32_t slot = *state & (PROB_SCALE - 1);
    const uint16_t *start = tables->start + tables->first[index];
    uint32_t symbol = tables->lookup[index][slot >> LOOKUP_SHIFT];
    symbol += slot >= start[symbol + 1];
    uint32_t range = load32(start + symbol);
    while (UNLIKELY(slot >= range >> 16)) /* three or more symbols in eight slots */
        range = load32(start + ++symbol);
    const uint32_t low = range & 0xffff, high = range >> 16;
    *escape = high & PROB_SCALE; /* only the last symbol ends at 2**14 */
    *state = (high - low) * (*state >> PROB_BITS) + slot - low;
    return symbol;
}

/* One latent, every step checked. */
static int32_t decode_checked(rtc_decoder *decoder, const rtc_tables *tables, uint32_t index,
                              int16_t *symbol)
{
    uint32_t *state = decoder->state + decoder->next;
    uint32_t escape;
    const uint32_t radius = tables->radius[index];
    const uint32_t s = take_symbol(tables, index, state, &escape);
    int32_t status = OK;
    if (!take_word(decoder, state))
        return TRUNCATED;
    *symbol = (int16_t)(s - radius);
    if (UNLIKELY(escape))
        status = take_escape(decoder, state, radius, symbol);
    decoder->next = (decoder->next + 1) & (decoder->lanes - 1);
    return status;
}

/*
 * Decode whole groups of `lanes` latents while the payload surely suffices for
 * one more, and count them in *done. Lane k of a group is the k-th from
 * decoder->next.
 */
INLINE int32_t decode_groups(rtc_decoder *decoder, const rtc_tables *tables,
                             const uint8_t *indices, const uint32_t *found, uint32_t count,
                             int16_t *symbols, const uint32_t lanes, uint32_t *done)
{
    uint32_t state[LANES_MAX], group = 0;
    int32_t status = OK;
    const uint8_t *at = decoder->payload + decoder->position;
    const uint8_t *const end = decoder->payload + decoder->size;
    for (uint32_t k = 0; k < lanes; k++)
        state[k] = decoder->state[(decoder->next + k) & (lanes - 1)];
    for (; group + lanes <= count && (size_t)(end - at) >= 2 * ESCAPE_WORDS * lanes; group += lanes) {
#pragma GCC unroll 8
        for (uint32_t k = 0; k < lanes; k++) {
            const uint32_t place = found[group + k], index = indices[place] & (ROWS - 1);
            const uint32_t radius = tables->radius[index];
            uint32_t escape;
            const uint32_t symbol = take_symbol(tables, index, &state[k], &escape);
            uint16_t word;
            memcpy(&word, at, sizeof word);
            const uint32_t refill = 0u - (state[k] < STATE_MIN); /* a mask: no branch on luck */
            state[k] = state[k] << (refill & 16) | (word & refill);
            at += refill & 2;
            symbols[place] = (int16_t)(symbol - radius);
            if (UNLIKELY(escape)) {
                uint32_t escaped = state[k];
                decoder->position = (uint32_t)(at - decoder->payload);
                status = take_escape(decoder, &escaped, radius, symbols + place);
                at = decoder->payload + decoder->position;
                if (status)
                    return status;
                state[k] = escaped;
            }
        }
    }
    decoder->position = (uint32_t)(at - decoder->payload);
    for (uint32_t k = 0; k < lanes; k++)
        decoder->state[(decoder->next + k) & (lanes - 1)] = state[k];
    *done = group;
    return status;
}

INLINE int32_t decode_many(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                           const uint32_t *found, uint32_t count, int16_t *symbols, uint32_t *done)
{
    switch (decoder->lanes) {
    case 8: return decode_groups(decoder, tables, indices, found, count, symbols, 8, done);
    case 4: return decode_groups(decoder, tables, indices, found, count, symbols, 4, done);
    case 2: return decode_groups(decoder, tables, indices, found, count, symbols, 2, done);
    default: return decode_groups(decoder, tables, indices, found, count, symbols, 1, done);
    }
}

static int32_t decode_end(const rtc_decoder *decoder)
{
    if (decoder->position != decoder->size)
        return BYTES_LEFT;
    for (uint32_t lane = 0; lane < decoder->lanes; lane++)
        if (decoder->state[lane] != STATE_MIN)
            return STATE_LEFT;
    return OK;
}

/* Find about BATCH coded latents, decode all full groups, keep the rest for the next round. */
INLINE int32_t decode_y(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                        uint32_t count, int16_t *symbols, finder find)
{
    uint32_t found[FOUND_MAX], n = 0, from = 0;
    memset(symbols, 0, sizeof *symbols * (size_t)count);
    do {
        while (from < count && n < BATCH) {
            const uint32_t to = count - from < BATCH ? count : from + BATCH;
            n += find(indices, from, to, found + n);
            from = to;
        }
        uint32_t done = 0;
        int32_t status = decode_many(decoder, tables, indices, found, n, symbols, &done);
        const int last = from == count || n - done >= decoder->lanes;
        for (; !status && last && done < n; done++)
            status = decode_checked(decoder, tables, indices[found[done]] & (ROWS - 1),
                                    symbols + found[done]);
        if (status)
            return status;
        for (uint32_t k = 0; k < n - done; k++)
            found[k] = found[done + k];
        n -= done;
    } while (from < count);
    return decode_end(decoder);
}

/* Some latents whose places were found, every one. */
INLINE int32_t decode_all(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                          const uint32_t *found, uint32_t n, int16_t *symbols)
{
    uint32_t done = 0;
    int32_t status = OK;
    if (n >= decoder->lanes)
        status = decode_many(decoder, tables, indices, found, n, symbols, &done);
    for (; !status && done < n; done++)
        status = decode_checked(decoder, tables, indices[found[done]] & (ROWS - 1),
                                symbols + found[done]);
    return status;
}

/* Tiles of a delta frame, a stage after the other. */
INLINE int32_t decode_tiles(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                            uint32_t count, int16_t *symbols, finder find)
{
    memset(symbols, 0, sizeof *symbols * (size_t)count);
    for (uint32_t tile = 0; tile < count; tile += CHANNELS * PLACES) {
        tile_state state = {0};
        for (uint32_t stage = 0; stage < stage_count(); stage++) {
            uint8_t moved[STAGE_MAX * PLACES];
            uint32_t found[STAGE_MAX * PLACES + 8]; /* a store may reach 8 beyond */
            const uint32_t first = stage_start(stage) * PLACES;
            const uint32_t size = stage_start(stage + 1) * PLACES - first;
            stage_indices(tables, &state, stage, indices + tile, symbols + tile, 0, moved);
            const uint32_t n = find(moved, 0, size, found);
            const int32_t status
                = decode_all(decoder, tables, moved, found, n, symbols + tile + first);
            if (status)
                return status;
            stage_read(&state, stage, symbols + tile, n != 0);
        }
    }
    return decode_end(decoder);
}

#ifdef RTC_X86
AVX2 static int32_t decode_y_avx2(rtc_decoder *decoder, const rtc_tables *tables,
                                  const uint8_t *indices, uint32_t count, int16_t *symbols)
{
    if (tables->has_contexts)
        return decode_tiles(decoder, tables, indices, count, symbols, find_coded_avx2);
    return decode_y(decoder, tables, indices, count, symbols, find_coded_avx2);
}
#endif

/*
 * indices, symbols: [count], count a multiple of 16, below 2**31; with contexts whole tiles. The indices
 * are read once more while decoding; if another thread changes them meanwhile
 * the symbols are wrong, but every access stays inside.
 */
EXPORT int32_t rtc_decode_y(rtc_decoder *decoder, const rtc_tables *tables, const uint8_t *indices,
                            uint32_t count, int16_t *symbols)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2)
        return decode_y_avx2(decoder, tables, indices, count, symbols);
#endif
    if (tables->has_contexts)
        return decode_tiles(decoder, tables, indices, count, symbols, find_coded);
    return decode_y(decoder, tables, indices, count, symbols, find_coded);
}

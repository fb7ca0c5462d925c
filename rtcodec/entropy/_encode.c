/*
 * From symbols to a payload, and what they cost; equals rans.py and `bits_reference` in cost.py.
 */
#include "_rans.h"

typedef struct {
    uint32_t n_coded, n_escaped;
    uint32_t misplaced; /* not 0 where a skipped symbol is not 0 */
} rtc_census;

INLINE void list_coded(const rtc_tables *tables, const uint8_t *indices, const int16_t *symbols,
                       uint32_t count, uint32_t *list, rtc_census *census, finder find)
{
    uint32_t found[FOUND_MAX], n = 0, n_escaped = 0;
    uint16_t misplaced = 0; /* of 16 bits, or compilers do not vectorise */
    for (uint32_t from = 0; from < count; from += BATCH) {
        const uint32_t to = count - from < BATCH ? count : from + BATCH;
        const uint32_t n_found = find(indices, from, to, found);
        for (uint32_t at = from; at < to; at++)
            misplaced |= (uint16_t)(symbols[at] & -(indices[at] == 0));
        for (uint32_t k = 0; k < n_found; k++) {
            const uint32_t index = indices[found[k]] & (ROWS - 1);
            const int32_t radius = tables->radius[index], symbol = symbols[found[k]];
            uint32_t place = (uint32_t)(symbol + radius);
            if (UNLIKELY(place > 2 * (uint32_t)radius)) {
                place = (2 * (uint32_t)radius + 1) | ESCAPED;
                n_escaped++;
            }
            list[n + k] = (tables->first[index] + place) | (uint32_t)(uint16_t)symbol << 16;
        }
        n += n_found;
    }
    census->n_coded = n;
    census->n_escaped = n_escaped;
    census->misplaced = misplaced;
}

#ifdef RTC_X86
AVX2 static void list_coded_avx2(const rtc_tables *tables, const uint8_t *indices,
                                 const int16_t *symbols, uint32_t count, uint32_t *list,
                                 rtc_census *census)
{
    list_coded(tables, indices, symbols, count, list, census, find_coded_avx2);
}
#endif

enum { COST_ROW = 256 };

INLINE uint32_t cost_of(const rtc_tables *tables, const uint16_t *cost, uint32_t index,
                        int32_t symbol)
{
    const uint32_t radius = tables->radius[index], place = (uint32_t)(symbol + (int32_t)radius);
    if (place <= 2 * radius)
        return cost[index * COST_ROW + place];
    const uint32_t magnitude = (uint32_t)(symbol < 0 ? -symbol : symbol);
    const uint32_t n_bits = 31u - (uint32_t)__builtin_clz(magnitude - radius);
    return cost[index * COST_ROW + 2 * radius + 1] + 256 * (ESCAPE_LENGTH_BITS + 1 + n_bits);
}

/*
 * What the latents of each tile cost, in 1/256 bit, but for the rounding of states.
 * cost: [rows of the tables][COST_ROW], of each symbol from the lowest, the escape last, row 0 all zero;
 * indices, symbols: [n_tiles][per_tile], a multiple of 8; symbols checked: 0 where the index is.
 */
EXPORT void rtc_tile_costs(const rtc_tables *tables, const uint16_t *cost, const uint8_t *indices,
                           const int16_t *symbols, uint32_t n_tiles, uint32_t per_tile,
                           uint32_t *totals)
{
    uint16_t zero[ROWS]; /* what a symbol of 0 costs */
    for (uint32_t index = 0; index < tables->rows; index++)
        zero[index] = cost[index * COST_ROW + tables->radius[index]];
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint32_t total = 0;
        for (uint32_t group = 0; group < per_tile; group += 8, indices += 8, symbols += 8) {
            if (!load64(indices)) /* skipped, all of them: nothing to pay */
                continue;
            for (uint32_t k = 0; k < 8; k++)
                total += zero[indices[k] & (ROWS - 1)];
            if (!(load64(symbols) | load64(symbols + 4)))
                continue;
            for (uint32_t k = 0; k < 8; k++)
                if (symbols[k])
                    total += cost_of(tables, cost, indices[k] & (ROWS - 1), symbols[k])
                             - zero[indices[k] & (ROWS - 1)];
        }
        totals[tile] = total;
    }
}

/* First pass: fill list[0 .. n_coded) with entry | symbol << 16. list: [count]. */
EXPORT void rtc_encode_list(const rtc_tables *tables, const uint8_t *indices,
                            const int16_t *symbols, uint32_t count, uint32_t *list,
                            rtc_census *census)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2) {
        list_coded_avx2(tables, indices, symbols, count, list, census);
        return;
    }
#endif
    list_coded(tables, indices, symbols, count, list, census, find_coded);
}

INLINE uint32_t put(uint32_t state, uint32_t start, uint32_t frequency, uint64_t reciprocal,
                    uint8_t **at)
{
    state = make_room(state, frequency << (32 - PROB_BITS), at);
    /* Exact, as state < frequency * 2**18: state * (f - 2**46 mod f) < 2**46. */
    const uint32_t quotient = (uint32_t)(state * reciprocal >> RECIPROCAL_BITS);
    return state + quotient * (PROB_SCALE - frequency) + start;
}

/* The table that holds entry *number*; slow, for escapes. */
static uint32_t index_of(const rtc_tables *tables, uint32_t number)
{
    uint32_t index = tables->rows - 1;
    while (tables->first[index] > number)
        index--;
    return index;
}

static __attribute__((noinline)) uint32_t put_escape(uint32_t state, int32_t symbol,
                                                     uint32_t radius, uint8_t **at)
{
    const uint32_t excess = (uint32_t)(symbol < 0 ? -symbol : symbol) - radius;
    const uint32_t n_bits = 31 - (uint32_t)__builtin_clz(excess);
    const uint32_t sign = symbol < 0;
    state = put_raw(state, excess - (1u << n_bits), n_bits, at);
    return put_raw(state, n_bits | sign << ESCAPE_LENGTH_BITS, ESCAPE_LENGTH_BITS + 1, at);
}

INLINE uint32_t put_listed(const rtc_tables *tables, uint32_t state, uint32_t item, uint8_t **at)
{
    const uint32_t number = item & (ESCAPED - 1);
    const uint32_t start = tables->start[number];
    const uint32_t frequency = tables->start[number + 1] - start;
    if (UNLIKELY(item & ESCAPED)) {
        const uint32_t radius = tables->radius[index_of(tables, number)];
        uint8_t *here = *at; /* a copy, so that *at can live in a register */
        state = put_escape(state, (int16_t)(item >> 16), radius, &here);
        *at = here;
    }
    return put(state, start, frequency, tables->reciprocal[number], at);
}

INLINE uint8_t *encode_groups(const rtc_tables *tables, uint32_t *states, uint32_t first_lane,
                              const uint32_t *list, uint32_t n, uint8_t *at, const uint32_t lanes)
{
    uint32_t state[LANES_MAX];
    for (uint32_t k = 0; k < lanes; k++)
        state[k] = states[(first_lane + k) & (lanes - 1)];
    for (; n; n -= lanes) {
#pragma GCC unroll 8
        for (uint32_t k = lanes; k-- > 0;)
            state[k] = put_listed(tables, state[k], list[n - lanes + k], &at);
    }
    for (uint32_t k = 0; k < lanes; k++)
        states[(first_lane + k) & (lanes - 1)] = state[k];
    return at;
}

static uint8_t *encode_z(const rtc_tables *tables, uint32_t qp, const int8_t *z, uint32_t n_tiles,
                         uint32_t *states, uint32_t lanes, uint8_t *at)
{
    const uint16_t *row = z_tables(tables, qp);
    const uint32_t channels = tables->hyper_channels;
    for (uint32_t j = n_tiles * channels; j-- > 0;) {
        const uint16_t *cdf = row + j % channels * Z_ROW + z[j] + Z_MAX;
        const uint32_t frequency = (uint32_t)(cdf[1] - cdf[0]);
        uint32_t *state = states + (j & (lanes - 1));
        *state = make_room(*state, frequency << (32 - PROB_BITS), &at);
        *state += *state / frequency * (PROB_SCALE - frequency) + cdf[0];
    }
    return at;
}

/*
 * Second pass: write the payload so that it ends at buffer + capacity; return
 * its size. capacity is at least 4 * lanes + 2 * (n_tiles * hyper_channels +
 * n_coded + 2 * n_escaped).
 */
EXPORT uint32_t rtc_encode(const rtc_tables *tables, uint32_t qp, const int8_t *z, uint32_t n_tiles,
                           const uint32_t *list, uint32_t n_coded, uint32_t lanes, uint8_t *buffer,
                           uint32_t capacity)
{
    uint32_t states[LANES_MAX];
    uint8_t *at = buffer + capacity;
    const uint32_t n_z = n_tiles * tables->hyper_channels;
    for (uint32_t lane = 0; lane < LANES_MAX; lane++)
        states[lane] = STATE_MIN;
    uint32_t n = n_coded;
    for (; n & (lanes - 1); n--) {
        uint32_t *state = states + ((n_z + n - 1) & (lanes - 1));
        *state = put_listed(tables, *state, list[n - 1], &at);
    }
    switch (lanes) {
    case 8: at = encode_groups(tables, states, n_z, list, n, at, 8); break;
    case 4: at = encode_groups(tables, states, n_z, list, n, at, 4); break;
    case 2: at = encode_groups(tables, states, n_z, list, n, at, 2); break;
    default: at = encode_groups(tables, states, n_z, list, n, at, 1); break;
    }
    at = encode_z(tables, qp, z, n_tiles, states, lanes, at);
    at -= 4 * lanes;
    memcpy(at, states, 4 * (size_t)lanes);
    return (uint32_t)(buffer + capacity - at);
}

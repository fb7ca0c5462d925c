/*
 * Tables made ready for lookups.
 */
#include "_rans.h"

/* Raised whenever a function's arguments change; native.LIBRARY_VERSION is the same. */
#define LIBRARY_VERSION 5

EXPORT uint32_t rtc_version(void)
{
    return LIBRARY_VERSION;
}

EXPORT size_t rtc_tables_size(uint32_t hyper_channels)
{
    return sizeof(rtc_tables) + sizeof(uint16_t) * QPS * Z_ROW * (size_t)hyper_channels;
}

/*
 * y_cdf: uint16 [rows][columns], z_cdf: uint16 [64][hyper_channels][32], both valid; contexts: int8
 * [30][16], or NULL where symbols do not depend on others.
 */
EXPORT void rtc_tables_build(rtc_tables *tables, const uint16_t *y_cdf, uint32_t rows,
                             uint32_t columns, const uint16_t *z_cdf, uint32_t hyper_channels,
                             const int8_t *contexts)
{
    uint32_t next = 0;
    memset(tables, 0, sizeof *tables);
    tables->hyper_channels = hyper_channels;
    tables->has_contexts = contexts != NULL;
    tables->rows = rows;
    if (contexts)
        memcpy(tables->contexts, contexts, sizeof tables->contexts);
    for (uint32_t index = 1; index < rows; index++) {
        const uint16_t *cdf = y_cdf + (size_t)index * columns;
        uint32_t size = 0; /* symbols, the escape included */
        while (size + 1 < columns && cdf[size] < PROB_SCALE)
            size++;
        tables->first[index] = (uint16_t)next;
        tables->radius[index] = (uint8_t)(size / 2 - 1);
        for (uint32_t s = 0; s < size; s++) {
            tables->start[next + s] = cdf[s];
            tables->reciprocal[next + s]
                = (1ull << RECIPROCAL_BITS) / (uint32_t)(cdf[s + 1] - cdf[s]) + 1;
        }
        tables->start[next + size] = tables->start[next + size + 1] = PROB_SCALE;
        for (uint32_t slot = 0, s = 0; slot < PROB_SCALE; slot += 1 << LOOKUP_SHIFT) {
            while (cdf[s + 1] <= slot)
                s++;
            tables->lookup[index][slot >> LOOKUP_SHIFT] = (uint8_t)s;
        }
        next += size + 2;
    }
    memcpy(tables->z_cdf, z_cdf, sizeof(uint16_t) * QPS * Z_ROW * (size_t)hyper_channels);
}

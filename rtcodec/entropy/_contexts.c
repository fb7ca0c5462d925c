/*
 * Contexts for encoders, who know all symbols; equals `adjusted` in contexts.py.
 */
#include "_contexts.h"

#ifdef RTC_X86
AVX2 static void context_indices_avx2(const rtc_tables *tables, const uint8_t *indices,
                                      const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
    context_indices(tables, indices, symbols, n_tiles, to);
}
#endif

/* For an encoder: the indices that choose tables; all are [n_tiles][CHANNELS][PLACES]. */
EXPORT void rtc_context_indices(const rtc_tables *tables, const uint8_t *indices,
                                const int16_t *symbols, uint32_t n_tiles, uint8_t *to)
{
#ifdef RTC_X86
    if (processor() & HAS_AVX2) {
        context_indices_avx2(tables, indices, symbols, n_tiles, to);
        return;
    }
#endif
    context_indices(tables, indices, symbols, n_tiles, to);
}

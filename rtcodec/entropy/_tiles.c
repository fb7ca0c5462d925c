/*
 * Between the order of frames and that of tiles; equals tile.py.
 */
#include "_rans.h"

/*
 * A plane is [channels][4 * rows][4 * columns] in any layout, tiles are [n_tiles][channels][16];
 * where[t] = row * columns + column of tile t. size: bytes of an element, 1 or 2.
 */
typedef struct {
    ptrdiff_t channel, row, column; /* bytes from one to the next */
} rtc_strides;

INLINE void copy_tiles(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                       const uint32_t *where, uint32_t n_tiles, uint32_t first,
                       uint32_t channels, uint32_t columns, const size_t size,
                       const ptrdiff_t channel_stride, const int gather)
{
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint8_t *corner = plane + 4 * (where[tile] / columns) * strides->row
                          + 4 * (where[tile] % columns) * strides->column;
        for (uint32_t y = 0; y < 4; y++, corner += strides->row) {
            for (uint32_t x = 0; x < 4; x++) {
                uint8_t *inner
                    = tiles + (((size_t)tile * channels + first) * 16 + 4 * y + x) * size;
                uint8_t *outer = corner + (ptrdiff_t)x * strides->column
                                 + (ptrdiff_t)first * channel_stride;
                for (uint32_t channel = first; channel < channels; channel++) {
                    if (gather)
                        memcpy(inner, outer, size);
                    else
                        memcpy(outer, inner, size);
                    inner += 16 * size;
                    outer += channel_stride;
                }
            }
        }
    }
}

#ifdef RTC_X86
/* Eight rows of eight words to as many columns. */
INLINE void turn_words(const uint8_t *const from[8], uint8_t *const to[8])
{
    __m128i a[8], b[8];
    for (uint32_t i = 0; i < 8; i++)
        a[i] = _mm_loadu_si128((const __m128i *)from[i]);
    for (uint32_t pass = 0; pass < 3; pass++) { /* rows i and i + 4 woven, three times */
        for (uint32_t i = 0; i < 4; i++) {
            b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
            b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
        }
        memcpy(a, b, sizeof a);
    }
    for (uint32_t i = 0; i < 8; i++)
        _mm_storeu_si128((__m128i *)to[i], a[i]);
}

/* Sixteen rows of sixteen bytes to as many columns. */
INLINE void turn_bytes(const uint8_t *const from[16], uint8_t *const to[16])
{
    __m128i a[16], b[16];
    for (uint32_t i = 0; i < 16; i++)
        a[i] = _mm_loadu_si128((const __m128i *)from[i]);
    for (uint32_t pass = 0; pass < 4; pass++) {
        for (uint32_t i = 0; i < 8; i++) {
            b[2 * i] = _mm_unpacklo_epi8(a[i], a[i + 8]);
            b[2 * i + 1] = _mm_unpackhi_epi8(a[i], a[i + 8]);
        }
        memcpy(a, b, sizeof a);
    }
    for (uint32_t i = 0; i < 16; i++)
        _mm_storeu_si128((__m128i *)to[i], a[i]);
}

/* As many channels of tiles as fill whole vectors, where they are last in memory; returns those. */
INLINE uint32_t turn_tiles(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                           const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                           uint32_t columns, const size_t size, const int gather)
{
    const uint32_t step = 16 / (uint32_t)size, whole = channels / step * step;
    for (uint32_t tile = 0; tile < n_tiles; tile++) {
        uint8_t *place[16], *inner = tiles + (size_t)tile * channels * 16 * size;
        for (uint32_t p = 0; p < 16; p++)
            place[p] = plane + (4 * (ptrdiff_t)(where[tile] / columns) + p / 4) * strides->row
                       + (4 * (ptrdiff_t)(where[tile] % columns) + p % 4) * strides->column;
        for (uint32_t c = 0; c < whole; c += step)
            for (uint32_t first = 0; first < 16; first += step) { /* places */
                uint8_t *in[16], *out[16];
                for (uint32_t k = 0; k < step; k++) {
                    in[k] = inner + ((size_t)(c + k) * 16 + first) * size;
                    out[k] = place[first + k] + c * size;
                }
                const uint8_t *const *from = (const uint8_t *const *)(gather ? out : in);
                if (size == 1)
                    turn_bytes(from, gather ? in : out);
                else
                    turn_words(from, gather ? in : out);
            }
    }
    return whole;
}
#endif

/* The layouts that engines have, channels last, get code of their own. */
INLINE void copy_elements(uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                          const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                          uint32_t columns, const size_t size, const int gather)
{
    if (strides->channel == (ptrdiff_t)size) {
        uint32_t first = 0;
#ifdef RTC_X86
        first = turn_tiles(plane, strides, tiles, where, n_tiles, channels, columns, size, gather);
#endif
        copy_tiles(plane, strides, tiles, where, n_tiles, first, channels, columns, size,
                   (ptrdiff_t)size, gather);
    } else
        copy_tiles(plane, strides, tiles, where, n_tiles, 0, channels, columns, size,
                   strides->channel, gather);
}

EXPORT void rtc_gather(const uint8_t *plane, const rtc_strides *strides, uint8_t *tiles,
                       const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                       uint32_t columns, uint32_t size)
{
    if (size == 1)
        copy_elements((uint8_t *)plane, strides, tiles, where, n_tiles, channels, columns, 1, 1);
    else
        copy_elements((uint8_t *)plane, strides, tiles, where, n_tiles, channels, columns, 2, 1);
}

EXPORT void rtc_scatter(uint8_t *plane, const rtc_strides *strides, const uint8_t *tiles,
                        const uint32_t *where, uint32_t n_tiles, uint32_t channels,
                        uint32_t columns, uint32_t size)
{
    if (size == 1)
        copy_elements(plane, strides, (uint8_t *)tiles, where, n_tiles, channels, columns, 1, 0);
    else
        copy_elements(plane, strides, (uint8_t *)tiles, where, n_tiles, channels, columns, 2, 0);
}

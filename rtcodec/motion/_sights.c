/*
 * What the search looks at: luma in bytes, in four planes that are made once for a reference: as it
 * is, and half a sample to the right, down, and both. The encoder's own affair.
 */
#include "_motion.h"

enum { MARGIN = REACH + 2 }; /* how far around a picture the planes between samples are made */

/* Samples half way to the next ones, which are `next` apart. */
INLINE void half_way(const uint8_t *from, size_t next, uint32_t n, uint8_t *restrict to)
{
    const int8_t *taps = LUMA_TAPS[2]; /* as many on either side */
    for (uint32_t j = 0; j < n; j++) {
        int16_t sum = 32;
        for (int k = 0; k < 4; k++)
            sum = (int16_t)(sum + taps[3 - k] * (from[j - k * next] + from[j + (k + 1) * next]));
        to[j] = (uint8_t)clamp(sum >> 6, 0, 255);
    }
}

/* Make the planes of a picture. */
CLONES EXPORT void rtc_sights_fill(const rtc_sights *s)
{
    const rtc_reference *r = s->reference;
    const size_t stride = luma_stride(r);
    const uint32_t height = r->rows * BLOCK, width = r->columns * BLOCK;
    for (uint32_t i = 0; i < height + 2 * BORDER; i++) {
        const size_t line = i * stride;
        const uint16_t *from = r->y - BORDER * (stride + 1) + line;
        uint8_t *to = s->planes[0] - BORDER * (stride + 1) + line;
        for (size_t j = 0; j < stride; j++)
            to[j] = (uint8_t)((from[j] + FINE / 2) / FINE);
    }
    /* Rows and columns beyond MARGIN are never looked at, so the filters stay inside BORDER. */
    for (uint32_t i = BORDER - MARGIN - 3; i < height + BORDER + MARGIN + 4; i++) {
        const ptrdiff_t line = ((ptrdiff_t)i - BORDER) * (ptrdiff_t)stride - MARGIN;
        half_way(s->planes[0] + line, 1, width + 2 * MARGIN, s->planes[1] + line);
    }
    for (uint32_t i = BORDER - MARGIN; i < height + BORDER + MARGIN; i++) {
        const ptrdiff_t line = ((ptrdiff_t)i - BORDER) * (ptrdiff_t)stride - MARGIN;
        half_way(s->planes[0] + line, stride, width + 2 * MARGIN, s->planes[2] + line);
        half_way(s->planes[1] + line, stride, width + 2 * MARGIN, s->planes[3] + line);
    }
}

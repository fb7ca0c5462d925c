/*
 * The inverse transform of one part; normative, SPEC.md 9.3, equals transform.py.
 */
#ifndef RTC_INVERSE_H
#define RTC_INVERSE_H

#include "_motion.h"

/*
 * Add the inverse transform of coefficients to a prediction; normative, SPEC.md 9.3. rows: bit v says
 * whether row v of `c` has any that is not 0.
 */
INLINE void add_part(int32_t c[SIDE][SIDE], uint32_t rows, int split, uint16_t *part,
                     uint32_t stride)
{
    int32_t down[SIDE][SIDE] = {{0}};
    for (int v = 0; v < SIDE; v++) {
        if (!(rows >> v & 1))
            continue;
        for (int y = 0; y < SIDE; y++) {
            const int32_t f = !split ? DCT[v][y] : (v & 1) == y >> 2 ? DCT4[v >> 1][y & 3] : 0;
            for (int h = 0; h < SIDE; h++)
                down[y][h] += f * c[v][h];
        }
    }
    for (int y = 0; y < SIDE; y++) {
        int32_t sums[SIDE] = {0};
        for (int h = 0; h < SIDE; h++) {
            const int32_t t = clamp((down[y][h] + 1024) >> 11, -131071, 131071);
            if (!t)
                continue;
            for (int x = 0; x < SIDE; x++)
                sums[x] += t * (!split ? DCT[h][x] : (h & 1) == x >> 2 ? DCT4[h >> 1][x & 3] : 0);
        }
        for (int x = 0; x < SIDE; x++) {
            const int32_t sample = part[y * stride + x] + ((sums[x] + 4096) >> 13);
            part[y * stride + x] = (uint16_t)clamp(sample, 0, FINE_MAX);
        }
    }
}

#endif

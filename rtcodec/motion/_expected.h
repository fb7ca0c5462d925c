/*
 * What vectors.py expects of a vector from those before it in its tile; what is said is the rest.
 */
#ifndef RTC_EXPECTED_H
#define RTC_EXPECTED_H

#include "_motion.h"

INLINE int32_t median(int32_t a, int32_t b, int32_t c)
{
    int32_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* The vector of a quarter of the block so many rows up and columns left of `own`'s. */
INLINE const int16_t *before(const int16_t *own, uint32_t columns, int up, int left, int quarter)
{
    const ptrdiff_t blocks = up * (ptrdiff_t)columns + left;
    return own - 2 * QUARTERS * blocks + 2 * quarter;
}

/* What vectors.py expects of a block's first vector, at place (i, j) of its tile. */
INLINE void expected(const int16_t *own, uint32_t columns, uint32_t i, uint32_t j, int16_t out[2])
{
    for (int k = 0; k < 2; k++) {
        const int32_t left = j ? before(own, columns, 0, 1, 1)[k] : 0;
        const int32_t up = i ? before(own, columns, 1, 0, 2)[k] : 0;
        const int32_t corner = i && j ? before(own, columns, 1, 1, 3)[k] : 0;
        const int32_t beyond = (int16_t)(left + up - corner); /* wraps */
        out[k] = (int16_t)(i && j ? median(left, up, beyond) : i ? up : left);
    }
}

/* What vectors.py expects of a block's last vector, from its first three. */
INLINE int16_t expected_last(const int16_t *v, int k)
{
    return (int16_t)median(v[2 + k], v[4 + k], (int16_t)(v[2 + k] + v[4 + k] - v[k]));
}

#endif

/*
 * Vectors as symbols; equals vectors.py, which has the way back.
 */
#include "_expected.h"
#include "_motion.h"

enum { CHANNELS = 10 }; /* symbols of motion, and of the transform */

/*
 * Vectors [rows, columns, 4, 2] and intra [rows, columns] as symbols [rows, columns, 10], the last one
 * 0; equals motion_symbols in vectors.py.
 */
EXPORT void rtc_motion_symbols(const int16_t *vectors, const uint8_t *intra, uint32_t rows,
                               uint32_t columns, int16_t *symbols)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++, symbols += CHANNELS) {
            const size_t at = (size_t)row * columns + column;
            const int16_t *v = vectors + 2 * QUARTERS * at;
            int16_t expect[2];
            expected(v, columns, row % TILE, column % TILE, expect);
            for (int k = 0; k < 2; k++) {
                symbols[k] = (int16_t)(v[k] - expect[k]);
                symbols[3 + k] = (int16_t)(v[2 + k] - v[k]);
                symbols[5 + k] = (int16_t)(v[4 + k] - v[k]);
                symbols[7 + k] = (int16_t)(v[6 + k] - expected_last(v, k));
            }
            symbols[2] = intra[at] & ALONE ? -1 : intra[at];
            symbols[9] = 0;
        }
}

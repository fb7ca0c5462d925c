/*
 * Symbols as slices bring them, to symbols as the painter takes them; motion from symbols. A frame
 * has places [rows, columns] of 16x16 samples, tiles of TILE x TILE of those.
 */
#include "../../../rtcodec/motion/_expected.h"
#include "_web.h"

enum { PLACES = TILE * TILE };

/*
 * Put tiles [n][channels][PLACES] where they belong in a frame [rows][columns][channels] of zeros;
 * where: tile indices.
 */
EXPORT void rtc_web_scatter(const int16_t *tiles, const uint32_t *where, uint32_t n,
                            uint32_t channels, uint32_t columns, int16_t *frame)
{
    const uint32_t across = columns / TILE;
    for (uint32_t tile = 0; tile < n; tile++) {
        const uint32_t row = where[tile] / across * TILE, column = where[tile] % across * TILE;
        for (uint32_t channel = 0; channel < channels; channel++, tiles += PLACES) {
            if (!wasm_v128_any_true(wasm_v128_or(wasm_v128_load(tiles), wasm_v128_load(tiles + 8))))
                continue; /* as nearly all of delta frames */
            for (uint32_t p = 0; p < PLACES; p++)
                frame[((size_t)(row + p / TILE) * columns + column + p % TILE) * channels + channel]
                    = tiles[p];
        }
    }
}

/*
 * Vectors [rows, columns, 4, 2] and intra [rows, columns] from the symbols of motion, the first of a
 * place at `symbols` and `stride` further on those of the next; equals vectors_of in vectors.py.
 */
SMALL EXPORT void rtc_web_vectors(const int16_t *symbols, uint32_t stride, uint32_t rows,
                            uint32_t columns, int16_t *vectors, uint8_t *intra)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++, symbols += stride) {
            const size_t at = (size_t)row * columns + column;
            int16_t *v = vectors + 2 * QUARTERS * at;
            int16_t expect[2];
            expected(v, columns, row % TILE, column % TILE, expect);
            for (int k = 0; k < 2; k++) {
                v[k] = (int16_t)(symbols[k] + expect[k]);
                v[2 + k] = (int16_t)(v[k] + symbols[3 + k]);
                v[4 + k] = (int16_t)(v[k] + symbols[5 + k]);
                v[6 + k] = (int16_t)(expected_last(v, k) + symbols[7 + k]);
            }
            intra[at] = symbols[2] < 0 ? ALONE : symbols[2] > 0 ? INTRA : 0;
        }
}

/* Samples as references have them. */
SMALL EXPORT void rtc_web_fine(const uint8_t *samples, uint32_t size, uint16_t *fine)
{
    for (uint32_t i = 0; i < size; i++)
        fine[i] = (uint16_t)(samples[i] * FINE);
}

/* The mean vector of a tile: sums of 64 numbers of 16 bits, exact. */
INLINE double mean_of(const int16_t *vectors, uint32_t columns, uint32_t row, uint32_t column, int k)
{
    int32_t sum = 0;
    for (uint32_t i = 0; i < TILE; i++)
        for (uint32_t j = 0; j < TILE * QUARTERS; j++)
            sum += vectors[2 * (((size_t)(TILE * row + i) * columns + TILE * column) * QUARTERS + j) + k];
    return (double)sum / (PLACES * QUARTERS);
}

/*
 * Give the tiles that are missing the mean motion of those beside them that are there; equals
 * conceal_motion in vectors.py. present: [rows / TILE, columns / TILE]; vectors: of these symbols.
 */
SMALL EXPORT void rtc_web_conceal(int16_t *symbols, uint32_t stride, const uint8_t *present,
                            uint32_t rows, uint32_t columns, const int16_t *vectors)
{
    const int32_t down = (int32_t)(rows / TILE), across = (int32_t)(columns / TILE);
    for (int32_t row = 0; row < down; row++)
        for (int32_t column = 0; column < across; column++) {
            double sums[2] = {0, 0};
            int n = 0;
            if (present[row * across + column])
                continue;
            for (int32_t i = row - 1; i <= row + 1; i++)
                for (int32_t j = column - 1; j <= column + 1; j++) {
                    if (i < 0 || j < 0 || i >= down || j >= across || !present[i * across + j])
                        continue;
                    for (int k = 0; k < 2; k++)
                        sums[k] += mean_of(vectors, columns, (uint32_t)i, (uint32_t)j, k);
                    n++;
                }
            int16_t *first = symbols + ((size_t)row * TILE * columns + column * TILE) * stride;
            for (int k = 0; k < 2 && n; k++)
                first[k] = (int16_t)__builtin_rint(sums[k] / n);
        }
}

/*
 * Which tiles say nothing, at qps [rows / TILE, columns / TILE]: those keep what the reference has, the
 * others get qp. still: of the places. Returns whether any tile says something.
 */
EXPORT uint32_t rtc_web_still(const int16_t *symbols, uint32_t channels, uint32_t rows,
                              uint32_t columns, uint32_t qp, const uint8_t *reference_qps,
                              uint8_t *qps, uint8_t *still)
{
    uint32_t any = 0;
    for (uint32_t row = 0; row < rows; row += TILE)
        for (uint32_t column = 0; column < columns; column += TILE) {
            const size_t tile = row / TILE * (columns / TILE) + column / TILE;
            uint32_t some = 0;
            for (uint32_t i = 0; i < TILE && !some; i++) {
                const int16_t *from = symbols + ((size_t)(row + i) * columns + column) * channels;
                uint32_t j = 0; /* the places of a row are side by side */
                for (; j + 8 <= TILE * channels && !some; j += 8)
                    some = wasm_v128_any_true(wasm_v128_load(from + j));
                for (; j < TILE * channels && !some; j++)
                    some = from[j] != 0;
            }
            qps[tile] = some ? (uint8_t)qp : reference_qps[tile];
            any |= some;
            for (uint32_t i = 0; i < TILE; i++)
                memset(still + (size_t)(row + i) * columns + column, !some, TILE);
        }
    return any;
}

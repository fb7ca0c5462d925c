/*
 * Frames predicted from themselves: from symbols to samples, in integers; normative, SPEC.md 9.6,
 * equals spatial.py.
 */
#include "_inverse.h"
#include "_spatial.h"

/* Coefficients of part k of a block from its symbols; returns which rows have any that is not 0. */
INLINE uint32_t read_part(const int16_t *own, uint32_t k, int32_t step, int32_t c[SIDE][SIDE])
{
    uint32_t rows = 0;
    memset(c, 0, sizeof(int32_t[SIDE][SIDE]));
    for (uint32_t f = 0; f < SIDE * SIDE; f++) {
        const int32_t symbol = own[f * PARTS + k];
        if (symbol) {
            c[ORDER[f] / SIDE][ORDER[f] % SIDE] = clamp(symbol * step, -65535, 65535);
            rows |= 1u << ORDER[f] / SIDE;
        }
    }
    return rows;
}

/* Paint a block's luma as one part; returns which of its parts say anything. */
INLINE uint32_t paint_large(const area *t, uint32_t i, uint32_t j, const int16_t *own, int32_t step)
{
    uint8_t order[MODES];
    edges sharp, soft;
    int32_t part[BLOCK * BLOCK], c[BLOCK][BLOCK];
    uint16_t *at = luma_at(t, 2 * i, 2 * j);
    uint32_t rows = 0, coded = 0;
    order_luma(t, 2 * i, 2 * j, order);
    const uint8_t mode = order[rank_of(own[LUMA_MODES[0]], MODES)];
    set_modes(t, i, j, mode);
    read_edges(at, t->luma, sides_of_block(t, i, j), BLOCK, &sharp);
    soften(&sharp, BLOCK, &soft);
    predict_part(&sharp, &soft, mode, BLOCK, part);
    place_part(part, BLOCK, at, t->luma);
    memset(c, 0, sizeof c);
    for (uint32_t f = 0; f < SIDE * SIDE; f++)
        for (uint32_t q = 0; q < QUARTERS; q++) {
            const int32_t symbol = own[f * PARTS + q];
            if (symbol) {
                c[large_row(f, q)][large_column(f, q)] = clamp(symbol * step, -65535, 65535);
                rows |= 1u << large_row(f, q);
                coded |= 1u << q;
            }
        }
    if (rows)
        add_large(c, rows, at, t->luma);
    return coded ? 15 : 0;
}

/* Predict part k of a block and add what its symbols say; returns whether they say anything. */
INLINE uint32_t paint_part(const area *t, uint32_t i, uint32_t j, uint32_t k, const int16_t *own, int32_t step,
                           uint32_t linear, const int16_t *copies)
{
    const int is_luma = k < QUARTERS;
    const uint32_t row = part_row(i, k), column = part_column(j, k);
    uint16_t *at = is_luma ? luma_at(t, row, column) : chroma_at(t, k - QUARTERS, i, j);
    const ptrdiff_t stride = is_luma ? t->luma : t->chroma;
    uint8_t order[CHROMA_MODES];
    uint32_t modes = MODES;
    if (is_luma)
        order_luma(t, row, column, order);
    else
        modes = order_chroma(*mode_at(t, 2 * i, 2 * j), linear, order);
    const uint8_t mode = order[rank_of(own[is_luma ? LUMA_MODES[k] : CHROMA_MODE], modes)];
    int32_t part[SIDE * SIDE], c[SIDE][SIDE];
    if (is_luma && copies && is_copied(t, i, j, k, copies + 2 * k)) {
        copy_luma(t, row, column, copies + 2 * k, part);
    } else if (mode == LINEAR) {
        predict_linear(t, k - QUARTERS, i, j, part);
    } else {
        edges sharp, soft;
        read_edges(at, stride, is_luma ? sides_of_luma(t, i, j, k) : sides_of_block(t, i, j), SIDE, &sharp);
        soften(&sharp, SIDE, &soft);
        predict_part(&sharp, &soft, mode, SIDE, part);
    }
    if (is_luma)
        *mode_at(t, row, column) = mode;
    else if (copies)
        copy_chroma(t, k - QUARTERS, i, j, copies, part);
    place_part(part, SIDE, at, stride);
    const uint32_t rows = read_part(own, k, step, c);
    if (rows)
        add_part(c, rows, is_luma && own[SPLIT] != 0, at, (uint32_t)stride);
    return rows != 0;
}

INLINE uint8_t paint_block(const area *t, uint32_t i, uint32_t j, const int16_t *own,
                           const int32_t *steps, uint32_t linear, const int16_t *copies)
{
    uint32_t coded = own[LARGE] ? paint_large(t, i, j, own, steps[0]) : 0;
    for (uint32_t k = own[LARGE] ? QUARTERS : 0; k < PARTS; k++) /* one call: it is a lot of code */
        coded |= paint_part(t, i, j, k, own, steps[k >= QUARTERS], linear, own[LARGE] ? 0 : copies) << k;
    return (uint8_t)coded;
}

/*
 * Paint blocks [rows, columns, 384] from symbols [rows, columns, stride]: latents, and what is said of
 * each block. rows and columns are multiples of TILE. steps: of luma and of chroma, in units of samples.
 * coded: [rows, columns], bit k says whether part k has a symbol that is not 0. room: NULL where tiles
 * know nothing of each other, else AREA_SAMPLES for each block, to paint the frame as one area in.
 * linear: 1 where the model has that mode, else 0. copies: NULL, or where quarter q of block b is copied
 * from, rows up and columns right, at copies + b * copy_stride + 2 q.
 */
CLONES EXPORT void rtc_spatial_paint(const int16_t *restrict symbols, uint32_t rows, uint32_t columns,
                                     uint32_t stride, const int32_t *steps, uint16_t *restrict blocks,
                                     uint8_t *restrict coded, uint16_t *restrict room, uint32_t linear,
                                     const int16_t *restrict copies, uint32_t copy_stride)
{
    uint16_t of_tile[TILE * TILE * AREA_SAMPLES];
    const uint32_t down = room ? rows : TILE, across = room ? columns : TILE;
    const area t = area_in(room ? room : of_tile, down, across);
    for (uint32_t top = 0; top < rows; top += down)
        for (uint32_t left = 0; left < columns; left += across)
            for (uint32_t i = 0; i < down; i++)
                for (uint32_t j = 0; j < across; j++) {
                    const size_t place = (size_t)(top + i) * columns + left + j;
                    coded[place] = paint_block(&t, i, j, symbols + place * stride, steps, linear,
                                               copies ? copies + place * copy_stride : 0);
                    write_block(&t, i, j, blocks + place * SAMPLES);
                }
}

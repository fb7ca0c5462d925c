/*
 * Frames predicted from themselves, the encoder's second pass: symbols of chosen modes. It paints as a
 * decoder does, since each part is predicted from those painted before it.
 */
#include "_spatial_encode.h"

/* What all blocks of a frame have in common. */
typedef struct {
    const int32_t *steps; /* of luma and of chroma */
    uint32_t linear;
    const rtc_likelihood *likely;
    const int16_t *copies; /* [rows, columns, 8], or NULL */
    frequencies order;
} task;

/* Cut part p of a place and write its symbols where a frame has them. */
INLINE void cut(const task *how, size_t place, uint32_t p, open_part *part, int16_t *symbols)
{
    cut_part(how->likely, &how->order, place, p, part);
    const int32_t *from = (const int32_t *)part->symbols;
    int16_t *to = symbols + place * how->likely->stride + p;
    for (uint32_t k = 0; k < SIDE * SIDE; k++)
        to[k * PARTS] = (int16_t)from[how->order.at[k]];
}

/* Cut part p of a block and paint it. */
INLINE void cut_small(const area *t, uint32_t i, uint32_t j, size_t place, uint32_t p, const uint8_t *block,
                      const int16_t *modes, int is_split, const task *how, int16_t *symbols)
{
    const int is_luma = p < QUARTERS;
    uint16_t *at = chroma_at(t, p == QUARTERS + 1, i, j);
    ptrdiff_t across = t->chroma;
    sides there = sides_of_block(t, i, j);
    uint8_t order[CHROMA_MODES], mode;
    if (is_luma) {
        const uint32_t row = part_row(i, p), column = part_column(j, p);
        order_luma(t, row, column, order);
        mode = order[rank_of(modes[p], MODES)];
        *mode_at(t, row, column) = mode;
        at = luma_at(t, row, column);
        across = t->luma;
        there = sides_of_luma(t, i, j, p);
    } else {
        const uint32_t all = order_chroma(*mode_at(t, 2 * i, 2 * j), how->linear, order);
        mode = order[rank_of(modes[QUARTERS], all)];
    }
    open_part part;
    const int16_t *copies = how->copies ? how->copies + place * 2 * QUARTERS : NULL;
    if (is_luma && copies && is_copied(t, i, j, p, copies + 2 * p)) {
        copy_luma(t, part_row(i, p), part_column(j, p), copies + 2 * p, part.prediction);
    } else if (mode == LINEAR) {
        predict_linear(t, p - QUARTERS, i, j, part.prediction);
    } else {
        edges sharp, soft;
        read_edges(at, across, there, SIDE, &sharp);
        soften(&sharp, SIDE, &soft);
        predict_part(&sharp, &soft, mode, SIDE, part.prediction);
    }
    if (!is_luma && copies)
        copy_chroma(t, p - QUARTERS, i, j, copies, part.prediction);
    const int32_t step = how->steps[!is_luma];
    transform_part(block + part_start(p), part_stride(p), part.prediction, (float)step, is_split, part.latents);
    cut(how, place, p, &part, symbols);
    settle(&part, step, is_split, at, across);
}

/* Cut a block's luma as one part and paint it. */
INLINE void cut_large(const area *t, uint32_t i, uint32_t j, size_t place, const uint8_t *block,
                      int16_t symbol, const task *how, int16_t *symbols)
{
    open_part parts[QUARTERS];
    edges sharp, soft;
    int32_t prediction[BLOCK * BLOCK];
    uint8_t order[MODES];
    order_luma(t, 2 * i, 2 * j, order);
    const uint8_t mode = order[rank_of(symbol, MODES)];
    read_edges(luma_at(t, 2 * i, 2 * j), t->luma, sides_of_block(t, i, j), BLOCK, &sharp);
    soften(&sharp, BLOCK, &soft);
    predict_part(&sharp, &soft, mode, BLOCK, prediction);
    transform_block(block, prediction, (float)how->steps[0], parts);
    for (uint32_t q = 0; q < QUARTERS; q++)
        cut(how, place, q, &parts[q], symbols);
    settle_large(t, i, j, parts, mode, how->steps[0]);
}

/*
 * Cut the latents that follow from chosen modes to symbols [rows, columns, stride], of which the latents
 * are written, all of them. room, linear, copies: as for `rtc_spatial_choose`, and as they were chosen.
 */
CLONES EXPORT void rtc_spatial_quantise(const uint8_t *restrict blocks, uint32_t rows, uint32_t columns,
                                        const int32_t *steps, const int16_t *restrict modes,
                                        const uint8_t *restrict split, const rtc_likelihood *likely,
                                        int16_t *restrict symbols, uint16_t *restrict room,
                                        uint32_t linear, const int16_t *copies)
{
    task how = {steps, linear, likely, copies, {{0}, {0}, {0}}};
    list_frequencies(&how.order);
    uint16_t of_tile[TILE * TILE * AREA_SAMPLES];
    const uint32_t down = room ? rows : TILE, across = room ? columns : TILE;
    const area t = area_in(room ? room : of_tile, down, across);
    for (uint32_t top = 0; top < rows; top += down)
        for (uint32_t left = 0; left < columns; left += across)
            for (uint32_t n = 0; n < down * across; n++) {
                const uint32_t i = n / across, j = n % across;
                const size_t place = (size_t)(top + i) * columns + left + j;
                const uint8_t *block = blocks + place * SAMPLES;
                const int16_t *own = modes + place * (QUARTERS + 1);
                const int is_large = split[place] >> 1;
                if (is_large)
                    cut_large(&t, i, j, place, block, own[0], &how, symbols);
                for (uint32_t p = is_large ? QUARTERS : 0; p < PARTS; p++)
                    cut_small(&t, i, j, place, p, block, own, p < QUARTERS && (split[place] & 1), &how, symbols);
            }
}

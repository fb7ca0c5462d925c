/*
 * Frames predicted from themselves, the encoder's first pass: which modes and transforms, and the latents
 * that follow.
 *
 * It goes through an area as a decoder does, since each part is predicted from those painted before it.
 * Where nobody knows yet how likely symbols are they are cut roughly; what is found then says what
 * hyper-latents are about. Where it is known, from such a round before, choices are by what they cost.
 */
#include "_spatial_search.h"

#define ROUGH_OFFSET 0.3f /* added to a latent's modulus while its index is not known */
#define PRICE 0.12f       /* squared steps that a bit may save */
#define MODE_SHARE 0.6f   /* of a step, what a mode's bit may save of differences */

enum {
    SURE = 8,        /* bits of a symbol's modulus that count as one each */
    AS_BESIDE = 2,   /* about what it takes to say a copy like that on the left, */
    ANOTHER = 14,    /* and any other */
};

/* ---- one part ---------------------------------------------------------------------------------- */

/* Cut latents while no index is known. */
INLINE void cut_latents(open_part *out)
{
    eight cost = {0};
    eight_integers any = {0};
    for (int h = 0; h < SIDE; h++) {
        const eight x = out->latents[h];
        eight size;
        magnitude(&x, &size);
        const eight_integers n = __builtin_convertvector(size + ROUGH_OFFSET, eight_integers);
        const eight whole = __builtin_convertvector(n, eight);
        const eight most = {SURE, SURE, SURE, SURE, SURE, SURE, SURE, SURE};
        const eight_integers large = whole > most;
        const eight counted = (eight)(((eight_integers)most & large) | ((eight_integers)whole & ~large));
        const eight bits = (eight)((eight_integers)(counted + MODE_BITS) & (n > 0));
        cost += (size - whole) * (size - whole) + PRICE * bits;
        const eight_integers is_less = x < 0;
        out->symbols[h] = (n ^ is_less) - is_less;
        any |= n;
    }
    out->cost = sum_of(&cost);
    out->is_said = 0;
    for (int i = 0; i < SIDE; i++)
        out->is_said |= any[i];
}

typedef struct {
    int32_t steps[2];
    int thorough;
    uint32_t linear;
    const rtc_likelihood *likely; /* NULL where nothing is known */
    int16_t *copies;              /* [rows, columns, 8]: what might be copied, then what is; or NULL */
    frequencies order;
} task;

INLINE void cut(const task *how, size_t place, uint32_t p, open_part *part)
{
    if (how->likely)
        cut_part(how->likely, &how->order, place, p, part);
    else
        cut_latents(part);
}

/* ---- one block --------------------------------------------------------------------------------- */

typedef struct {
    open_part parts[PARTS];
    int16_t modes[QUARTERS + 1]; /* symbols; the last is chroma's */
    int16_t copies[2 * QUARTERS];
    int split, large;
} coded_block;

/* About what it takes to say that quarter q of a place is a copy from somewhere. */
INLINE float copy_bits(const task *how, uint32_t j, size_t place, uint32_t q, const coded_block *block,
                       const int16_t *from)
{
    const int16_t *left = q & 1 ? block->copies + 2 * (q - 1)
                          : j   ? how->copies + (place - 1) * 2 * QUARTERS + 2 * (q + 1)
                                : NULL;
    return left && left[0] == from[0] && left[1] == from[1] ? AS_BESIDE : ANOTHER;
}

/*
 * Choose modes of a block's luma in one transform; returns what it costs. A quick search in 4x4 keeps
 * those that 8x8, `whole`, came to.
 */
CLONES APART float choose_luma(const area *t, uint32_t i, uint32_t j, size_t place, const uint8_t *block,
                               const task *how, const coded_block *whole, coded_block *out)
{
    const int split = whole != NULL;
    const float step = (float)how->steps[0];
    float total = 0;
    for (uint32_t q = 0; q < QUARTERS; q++) {
        const uint32_t row = part_row(i, q), column = part_column(j, q);
        const uint8_t *part = block + part_start(q);
        uint16_t *at = luma_at(t, row, column);
        edges sharp, soft;
        sight seen;
        finds found;
        uint8_t order[MODES];
        read_edges(at, t->luma, sides_of_luma(t, i, j, q), SIDE, &sharp);
        soften(&sharp, SIDE, &soft);
        order_luma(t, row, column, order);
        if (whole && !how->thorough) {
            found.ranks[0] = rank_of(whole->modes[q], MODES);
        } else {
            look(&seen, part, BLOCK, SIDE, &sharp, &soft);
            search_modes(&found, &seen, 1, SIDE, order, MODES, MODE_SHARE * step / FINE, how->thorough);
        }
        float least = 3e38f;
        for (uint32_t n = 0; n < (how->thorough ? TRIED : 1); n++) {
            open_part now;
            const uint32_t rank = found.ranks[n];
            predict_part(&sharp, &soft, order[rank], SIDE, now.prediction);
            transform_part(part, BLOCK, now.prediction, step, split, now.latents);
            cut(how, place, q, &now);
            now.cost += PRICE * mode_bits(rank);
            if (now.cost < least) {
                least = now.cost;
                out->parts[q] = now;
                out->modes[q] = symbol_of(rank);
                *mode_at(t, row, column) = order[rank];
            }
        }
        const int16_t *from = how->copies ? how->copies + place * 2 * QUARTERS + 2 * q : NULL;
        out->copies[2 * q] = out->copies[2 * q + 1] = 0;
        if (from && is_copied(t, i, j, q, from)) {
            open_part now;
            copy_luma(t, row, column, from, now.prediction);
            transform_part(part, BLOCK, now.prediction, step, split, now.latents);
            cut(how, place, q, &now);
            now.cost += PRICE * copy_bits(how, j, place, q, out, from);
            if (now.cost < least) {
                least = now.cost;
                out->parts[q] = now;
                out->modes[q] = symbol_of(0);
                *mode_at(t, row, column) = order[0];
                memcpy(out->copies + 2 * q, from, 2 * sizeof *from);
            }
        }
        settle(&out->parts[q], how->steps[0], split, at, t->luma);
        total += least;
    }
    return total;
}

/* Choose a mode of a block's luma as one part; returns what it costs. */
CLONES APART float choose_large(const area *t, uint32_t i, uint32_t j, size_t place, const uint8_t *block,
                                const task *how, coded_block *out)
{
    const float step = (float)how->steps[0];
    uint16_t *at = luma_at(t, 2 * i, 2 * j);
    edges sharp, soft;
    sight seen;
    finds found;
    uint8_t order[MODES];
    read_edges(at, t->luma, sides_of_block(t, i, j), BLOCK, &sharp);
    soften(&sharp, BLOCK, &soft);
    look(&seen, block, BLOCK, BLOCK, &sharp, &soft);
    order_luma(t, 2 * i, 2 * j, order);
    search_modes(&found, &seen, 1, BLOCK, order, MODES, MODE_SHARE * step / FINE, how->thorough);
    float least = 3e38f;
    for (uint32_t n = 0; n < (how->thorough ? TRIED : 1); n++) {
        int32_t prediction[BLOCK * BLOCK];
        open_part now[QUARTERS];
        float cost = PRICE * mode_bits(found.ranks[n]);
        predict_part(&sharp, &soft, order[found.ranks[n]], BLOCK, prediction);
        transform_block(block, prediction, step, now);
        for (uint32_t q = 0; q < QUARTERS; q++) {
            cut(how, place, q, &now[q]);
            cost += now[q].cost;
        }
        if (cost < least) {
            least = cost;
            memcpy(out->parts, now, sizeof now);
            out->modes[0] = symbol_of(found.ranks[n]);
        }
    }
    memset(out->modes + 1, 0, (QUARTERS - 1) * sizeof *out->modes);
    return least;
}

CLONES APART void choose_chroma(const area *t, uint32_t i, uint32_t j, size_t place, const uint8_t *block,
                                const task *how, coded_block *out)
{
    const float step = (float)how->steps[1];
    edges sharp[2], soft[2];
    sight seen[2];
    finds found;
    uint8_t order[CHROMA_MODES];
    int32_t line_of_luma[2][SIDE * SIDE];
    uint16_t *at[] = {chroma_at(t, 0, i, j), chroma_at(t, 1, i, j)};
    for (uint32_t k = 0; k < 2; k++) {
        read_edges(at[k], t->chroma, sides_of_block(t, i, j), SIDE, &sharp[k]);
        soften(&sharp[k], SIDE, &soft[k]);
        look(&seen[k], block + part_start(QUARTERS + k), HALF, SIDE, &sharp[k], &soft[k]);
        if (!how->linear)
            continue;
        predict_linear(t, k, i, j, line_of_luma[k]);
        for (int n = 0; n < SIDE * SIDE; n++)
            seen[k].linear[n] = (line_of_luma[k][n] + FINE / 2) / FINE;
    }
    const uint32_t modes = order_chroma(*mode_at(t, 2 * i, 2 * j), how->linear, order);
    search_modes(&found, seen, 2, SIDE, order, modes, MODE_SHARE * step / FINE, how->thorough);
    float least = 3e38f;
    for (uint32_t n = 0; n < (how->thorough ? TRIED : 1); n++) {
        open_part now[2];
        const uint32_t rank = found.ranks[n];
        float cost = PRICE * mode_bits(rank);
        for (uint32_t k = 0; k < 2; k++) {
            if (order[rank] == LINEAR)
                memcpy(now[k].prediction, line_of_luma[k], sizeof now[k].prediction);
            else
                predict_part(&sharp[k], &soft[k], order[rank], SIDE, now[k].prediction);
            if (how->copies)
                copy_chroma(t, k, i, j, out->copies, now[k].prediction);
            transform_part(block + part_start(QUARTERS + k), HALF, now[k].prediction, step, 0, now[k].latents);
            cut(how, place, QUARTERS + k, &now[k]);
            cost += now[k].cost;
        }
        if (cost < least) {
            least = cost;
            memcpy(out->parts + QUARTERS, now, sizeof now);
            out->modes[QUARTERS] = symbol_of(rank);
        }
    }
    for (uint32_t k = 0; k < 2; k++)
        settle(&out->parts[QUARTERS + k], how->steps[1], 0, at[k], t->chroma);
}

/* Choose everything of a block, and paint it. */
INLINE void choose_block(const area *t, uint32_t i, uint32_t j, size_t place, const uint8_t *block,
                         const task *how, coded_block *out)
{
    coded_block other;
    uint16_t painted[BLOCK][BLOCK];
    uint8_t modes[QUARTERS];
    uint16_t *own = luma_at(t, 2 * i, 2 * j);
    const float large = choose_large(t, i, j, place, block, how, &other);
    float least = choose_luma(t, i, j, place, block, how, NULL, out);
    out->split = out->large = 0;
    int is_said = 0;
    for (uint32_t q = 0; q < QUARTERS; q++)
        is_said |= out->parts[q].is_said;
    if (is_said && !(large < least && !how->thorough)) { /* nobody asks for a transform where luma says nothing */
        coded_block small;
        for (uint32_t y = 0; y < BLOCK; y++)
            memcpy(painted[y], own + y * t->luma, sizeof painted[y]);
        for (uint32_t q = 0; q < QUARTERS; q++)
            modes[q] = *mode_at(t, part_row(i, q), part_column(j, q));
        const float cost = choose_luma(t, i, j, place, block, how, out, &small);
        if (cost < least) {
            least = cost;
            memcpy(out->parts, small.parts, QUARTERS * sizeof *small.parts);
            memcpy(out->modes, small.modes, QUARTERS * sizeof *small.modes);
            memcpy(out->copies, small.copies, sizeof small.copies);
            out->split = 1;
        } else {
            for (uint32_t y = 0; y < BLOCK; y++)
                memcpy(own + y * t->luma, painted[y], sizeof painted[y]);
            for (uint32_t q = 0; q < QUARTERS; q++)
                *mode_at(t, part_row(i, q), part_column(j, q)) = modes[q];
        }
    }
    if (large < least) {
        memcpy(out->parts, other.parts, QUARTERS * sizeof *other.parts);
        memcpy(out->modes, other.modes, QUARTERS * sizeof *other.modes);
        memset(out->copies, 0, sizeof out->copies);
        out->split = 0;
        out->large = 1;
        uint8_t order[MODES];
        order_luma(t, 2 * i, 2 * j, order);
        settle_large(t, i, j, out->parts, order[rank_of(out->modes[0], MODES)], how->steps[0]);
    }
    choose_chroma(t, i, j, place, block, how, out);
}

/* List a block's latents of LEAST or more where its place has room for all; returns how many. */
INLINE uint32_t list_block(const coded_block *block, uint32_t place, const uint8_t *rank, uint32_t *at,
                           float *values)
{
    const size_t room = (size_t)place * SAMPLES;
    uint32_t count = 0;
    for (uint32_t p = 0; p < PARTS; p++)
        for (uint32_t h = 0; h < SIDE; h++)
            for (uint32_t v = 0; v < SIDE; v++) {
                const float x = block->parts[p].latents[h][v];
                if (x >= LEAST || x <= -LEAST) {
                    at[room + count] = (uint32_t)room + rank[h * SIDE + v] * PARTS + p;
                    values[room + count++] = x;
                }
            }
    return count;
}

/*
 * Choose modes and transforms of blocks [rows, columns, 384], multiples of TILE, and list the latents
 * that follow whose modulus is LEAST or more, as `rtc_transform` does. modes: [rows, columns, 5], symbols
 * of the quarters and of chroma. steps: of luma and of chroma. thorough: whether all modes are looked at.
 * prediction: what the latents are beside, as blocks are. room, linear: as for `rtc_spatial_paint`. likely:
 * how likely symbols are, with prices; NULL where that is not known. copies: [rows, columns, 8], where each
 * quarter might be copied from, as for `rtc_spatial_paint`, which becomes where it is; NULL where nothing is.
 */
CLONES EXPORT uint32_t rtc_spatial_choose(const uint8_t *restrict blocks, uint32_t rows,
                                          uint32_t columns, const int32_t *steps, uint32_t thorough,
                                          int16_t *restrict modes, uint8_t *restrict split,
                                          uint32_t *restrict at, float *restrict values,
                                          uint32_t *restrict ends,
                                          uint16_t *restrict prediction, uint16_t *restrict room,
                                          uint32_t linear, const rtc_likelihood *likely,
                                          int16_t *restrict copies)
{
    task how = {{steps[0], steps[1]}, thorough != 0, linear, likely, copies, {{0}, {0}, {0}}};
    list_frequencies(&how.order);
    uint16_t of_tile[TILE * TILE * AREA_SAMPLES];
    const uint32_t down = room ? rows : TILE, across = room ? columns : TILE;
    const area t = area_in(room ? room : of_tile, down, across);
    coded_block block;
    for (uint32_t top = 0; top < rows; top += down)
        for (uint32_t left = 0; left < columns; left += across)
            for (uint32_t n = 0; n < down * across; n++) {
                const uint32_t i = n / across, j = n % across;
                const size_t place = (size_t)(top + i) * columns + left + j;
                choose_block(&t, i, j, place, blocks + place * SAMPLES, &how, &block);
                memcpy(modes + place * (QUARTERS + 1), block.modes, sizeof block.modes);
                if (copies)
                    memcpy(copies + place * 2 * QUARTERS, block.copies, sizeof block.copies);
                split[place] = (uint8_t)(block.split | block.large << 1);
                ends[place] = list_block(&block, (uint32_t)place, how.order.rank, at, values);
                for (uint32_t p = 0; p < PARTS; p++)
                    place_part(block.parts[p].prediction, SIDE, prediction + place * SAMPLES + part_start(p),
                               part_stride(p));
            }
    uint32_t count = 0; /* and now place by place without gaps */
    for (uint32_t place = 0; place < rows * columns; place++) {
        const size_t from = (size_t)place * SAMPLES;
        for (uint32_t k = 0; k < ends[place]; k++, count++) {
            at[count] = at[from + k];
            values[count] = values[from + k];
        }
        ends[place] = count;
    }
    return count;
}

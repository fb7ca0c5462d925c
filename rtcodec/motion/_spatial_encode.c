/*
 * Frames predicted from themselves, the encoder's half: which modes, and which symbols. It may do as it
 * likes; the tests ask that what it says is painted by `rtc_spatial_paint` as it thought.
 *
 * Both passes go through a tile as a decoder does, since each part is predicted from those painted
 * before it. The first chooses modes and transforms, with symbols cut as nobody knows yet how likely
 * they are; what it finds says what hyper-latents are about. The second knows the scale indices.
 */
#include "_forward.h"
#include "_inverse.h"
#include "_spatial.h"

/* Called, not put in line: the file is compiled in half the time, and nothing is slower. */
#define APART static __attribute__((noinline))

#define ROUGH_OFFSET 0.3f /* added to a latent's modulus while its index is not known */
#define PRICE 0.12f       /* squared steps that a bit may save */
#define MODE_SHARE 0.6f   /* of a step, what a mode's bit may save of differences */

enum {
    COARSE = 4,   /* angles apart that a quick search looks at first */
    TRIED = 3,    /* modes whose latents a thorough search looks at */
    SURE = 8,     /* bits of a symbol's modulus that count as one each */
    SYMBOL_MAX = 32767,
};

/* About what it takes to say a mode. */
INLINE float mode_bits(uint32_t rank)
{
    return rank == 0 ? 0.5f : rank == 1 ? 2.5f : rank == 2 ? 3 : rank <= 4 ? 4 : rank <= 8 ? 5 : 6.5f;
}

/* Which frequency, by number, is at row h, column v. */
INLINE void rank_frequencies(uint8_t *rank)
{
    for (uint32_t k = 0; k < SIDE * SIDE; k++)
        rank[ORDER[k] % SIDE * SIDE + ORDER[k] / SIDE] = (uint8_t)k;
}

/* ---- how unlike a prediction is -------------------------------------------------------------- */

typedef int16_t line __attribute__((vector_size(16)));

INLINE void butterflies(line *d)
{
    for (int apart = 1; apart < SIDE; apart *= 2)
        for (int i = 0; i < SIDE; i++)
            if (!(i & apart)) {
                const line a = d[i], b = d[i + apart];
                d[i] = a + b;
                d[i + apart] = a - b;
            }
}

INLINE void turn(line *d)
{
    line e[SIDE];
    for (int pass = 0; pass < 3; pass++) {
        for (int i = 0; i < 4; i++) {
            e[2 * i] = SHUFFLE(line, d[i], d[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
            e[2 * i + 1] = SHUFFLE(line, d[i], d[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
        }
        memcpy(d, e, sizeof e);
    }
}

/* Sum of moduli of an orthonormal Hadamard transform of a part less its prediction, in bytes' steps. */
INLINE float unlikeness(const line *part, const int32_t *prediction, int stride)
{
    line d[SIDE];
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            d[y][x] = (int16_t)(part[y][x] - prediction[y * stride + x]);
    butterflies(d);
    turn(d);
    butterflies(d);
    int32_t sum = 0;
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            sum += modulus(d[y][x]);
    return (float)sum / SIDE;
}

/* What a part of side n is, in 8x8, and the same turned, so that all directions lead down. */
typedef struct {
    line part[QUARTERS][SIDE], turned[QUARTERS][SIDE];
    edges sharp, soft; /* in bytes' steps */
} sight;

INLINE void look(sight *s, const uint8_t *part, uint32_t stride, int n, const edges *sharp,
                 const edges *soft)
{
    const int across = n / SIDE;
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            const int16_t sample = part[y * stride + x];
            s->part[y / SIDE * across + x / SIDE][y % SIDE][x % SIDE] = sample;
            s->turned[x / SIDE * across + y / SIDE][x % SIDE][y % SIDE] = sample;
        }
    for (int i = 0; i <= 2 * n; i++) {
        s->sharp.above[i] = (sharp->above[i] + FINE / 2) / FINE;
        s->sharp.left[i] = (sharp->left[i] + FINE / 2) / FINE;
        s->soft.above[i] = (soft->above[i] + FINE / 2) / FINE;
        s->soft.left[i] = (soft->left[i] + FINE / 2) / FINE;
    }
}

INLINE float unlike(const sight *s, int mode, int n)
{
    int32_t out[BLOCK * BLOCK];
    if (mode == PLANAR)
        predict_plane(&s->soft, n, out);
    else if (mode == MEAN)
        predict_mean(&s->sharp, n, out);
    else {
        const edges *e = is_soft(mode, n) ? &s->soft : &s->sharp;
        if (is_down(mode))
            predict_along(e->above, e->left, mode, n, out);
        else
            predict_along(e->left, e->above, mode, n, out);
    }
    const int across = n / SIDE;
    float sum = 0;
    for (int q = 0; q < across * across; q++) {
        const line *part = mode < FIRST_ANGLE || is_down(mode) ? s->part[q] : s->turned[q];
        sum += unlikeness(part, out + q / across * SIDE * n + q % across * SIDE, n);
    }
    return sum;
}

/* The likeliest modes found so far, the best first. */
typedef struct {
    uint32_t ranks[TRIED];
    float costs[TRIED];
    uint64_t looked_at;
} finds;

INLINE void find(finds *f, const sight *sights, uint32_t planes, int n, const uint8_t *rank, int mode,
                 float bit)
{
    if (f->looked_at >> mode & 1)
        return;
    f->looked_at |= (uint64_t)1 << mode;
    float cost = bit * mode_bits(rank[mode]);
    for (uint32_t k = 0; k < planes; k++)
        cost += unlike(&sights[k], mode, n);
    for (uint32_t k = 0; k < TRIED; k++)
        if (cost < f->costs[k]) {
            for (uint32_t l = TRIED - 1; l > k; l--) {
                f->costs[l] = f->costs[l - 1];
                f->ranks[l] = f->ranks[l - 1];
            }
            f->costs[k] = cost;
            f->ranks[k] = rank[mode];
            return;
        }
}

/* Look for modes; all of them, or those that are expected and a few angles, then their neighbours. */
INLINE void search_modes(finds *f, const sight *sights, uint32_t planes, int n, const uint8_t *order,
                         float bit, int thorough)
{
    uint8_t rank[MODES];
    for (uint32_t r = 0; r < MODES; r++)
        rank[order[r]] = (uint8_t)r;
    f->looked_at = 0;
    for (uint32_t k = 0; k < TRIED; k++)
        f->costs[k] = 3e38f;
    uint8_t modes[MODES]; /* what is looked at next: one place calls `find`, which is a lot of code */
    uint32_t count = 0;
    for (uint32_t r = 0; r < (thorough ? MODES : 4); r++)
        modes[count++] = (uint8_t)(thorough ? r : order[r]);
    int far = thorough || planes > 1 ? 0 : COARSE / 2;
    if (far)
        for (int mode = FIRST_ANGLE; mode < MODES; mode += COARSE)
            modes[count++] = (uint8_t)mode;
    for (uint32_t k = 0;; k++) {
        while (k == count) { /* beside the best so far */
            const int best = order[f->ranks[0]];
            if (!far || best < FIRST_ANGLE)
                return;
            k = count = 0;
            for (int side = -far; side <= far; side += 2 * far)
                if (best + side >= FIRST_ANGLE && best + side < MODES)
                    modes[count++] = (uint8_t)(best + side);
            far /= 2;
        }
        find(f, sights, planes, n, rank, modes[k], bit);
    }
}

/* ---- one part ---------------------------------------------------------------------------------- */

/* A part as the first pass has it: what is at row h, column v is of horizontal frequency h, vertical v. */
typedef struct {
    int32_t prediction[SIDE * SIDE];
    eight latents[SIDE];
    eight_integers symbols[SIDE];
    float cost; /* error and bits, in squared steps */
    int is_said;
} rough_part;

INLINE void transform_part(const uint8_t *part, uint32_t stride, const int32_t *prediction, float step,
                           int split, eight *d)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            d[y][x] = (float)(part[y * stride + x] * FINE - prediction[y * SIDE + x]);
    both_ways(d, 1 / step, split);
}

/* Cut latents while no index is known. */
INLINE void cut_latents(rough_part *out)
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

/* Transform a part less the prediction that it has, and cut it while no index is known. */
INLINE void cut_roughly(const uint8_t *part, uint32_t stride, float step, int split, rough_part *out)
{
    transform_part(part, stride, out->prediction, step, split, out->latents);
    cut_latents(out);
}

/* Put a prediction and what is said of it where a decoder has it. */
INLINE void settle_roughly(const rough_part *p, int32_t step, int split, uint16_t *at, ptrdiff_t stride)
{
    place_part(p->prediction, SIDE, at, stride);
    if (!p->is_said)
        return;
    int32_t c[SIDE][SIDE];
    uint32_t rows = 0;
    for (int v = 0; v < SIDE; v++)
        for (int h = 0; h < SIDE; h++) {
            c[v][h] = clamp(p->symbols[h][v] * step, -65535, 65535);
            rows |= (uint32_t)(c[v][h] != 0) << v;
        }
    add_part(c, rows, split, at, (uint32_t)stride);
}

/* ---- one block --------------------------------------------------------------------------------- */

typedef struct {
    int32_t steps[2];
    int thorough, no_large;
} task;

typedef struct {
    rough_part parts[PARTS];
    int16_t modes[QUARTERS + 1]; /* symbols; the last is chroma's */
    int split, large;
} coded_block;

/*
 * Choose modes of a block's luma in one transform; returns what it costs. A quick search in 4x4 keeps
 * those that 8x8, `whole`, came to.
 */
CLONES APART float choose_luma(const area *t, uint32_t i, uint32_t j, const uint8_t *block, const task *how,
                         const coded_block *whole, coded_block *out)
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
            found.ranks[0] = rank_of(whole->modes[q]);
        } else {
            look(&seen, part, BLOCK, SIDE, &sharp, &soft);
            search_modes(&found, &seen, 1, SIDE, order, MODE_SHARE * step / FINE, how->thorough);
        }
        float least = 3e38f;
        for (uint32_t n = 0; n < (how->thorough ? TRIED : 1); n++) {
            rough_part now;
            const uint32_t rank = found.ranks[n];
            predict_part(&sharp, &soft, order[rank], SIDE, now.prediction);
            cut_roughly(part, BLOCK, step, split, &now);
            now.cost += PRICE * mode_bits(rank);
            if (now.cost < least) {
                least = now.cost;
                out->parts[q] = now;
                out->modes[q] = symbol_of(rank);
                *mode_at(t, row, column) = order[rank];
            }
        }
        settle_roughly(&out->parts[q], how->steps[0], split, at, t->luma);
        total += least;
    }
    return total;
}

/* The DCT-II of each column of sixteen, twice, between which the block is turned: c[h][v]. */
INLINE void transform_large(float d[BLOCK][BLOCK], float scale)
{
    for (int pass = 0; pass < 2; pass++) {
        float c[BLOCK][BLOCK];
        for (int v = 0; v < BLOCK; v++)
            for (int x = 0; x < BLOCK; x += SIDE) {
                eight sum = {0};
                for (int y = 0; y < BLOCK; y++) {
                    eight from;
                    memcpy(&from, &d[y][x], sizeof from);
                    sum += from * (DCT16[v][y] / 4096.0f);
                }
                memcpy(&c[v][x], &sum, sizeof sum);
            }
        for (int v = 0; v < BLOCK; v++)
            for (int x = 0; x < BLOCK; x++) {
                if (pass)
                    d[v][x] = c[v][x] * scale;
                else
                    d[x][v] = c[v][x];
            }
    }
}

/* Latents of a block's luma less a prediction of all of it, and that prediction, by parts. */
INLINE void transform_block(const uint8_t *block, const int32_t *prediction, float step, rough_part *parts)
{
    float d[BLOCK][BLOCK];
    for (int y = 0; y < BLOCK; y++)
        for (int x = 0; x < BLOCK; x++)
            d[y][x] = (float)(block[y * BLOCK + x] * FINE - prediction[y * BLOCK + x]);
    transform_large(d, 1 / step);
    for (int q = 0; q < QUARTERS; q++)
        for (int h = 0; h < SIDE; h++)
            for (int v = 0; v < SIDE; v++) {
                parts[q].latents[h][v] = d[2 * h + (q & 1)][2 * v + (q >> 1)];
                parts[q].prediction[h * SIDE + v] =
                    prediction[((q >> 1) * SIDE + h) * BLOCK + (q & 1) * SIDE + v];
            }
}

/* Choose a mode of a block's luma as one part; returns what it costs. */
CLONES APART float choose_large(const area *t, uint32_t i, uint32_t j, const uint8_t *block, const task *how,
                          coded_block *out)
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
    search_modes(&found, &seen, 1, BLOCK, order, MODE_SHARE * step / FINE, how->thorough);
    float least = 3e38f;
    for (uint32_t n = 0; n < (how->thorough ? TRIED : 1); n++) {
        int32_t prediction[BLOCK * BLOCK];
        rough_part now[QUARTERS];
        float cost = PRICE * mode_bits(found.ranks[n]);
        predict_part(&sharp, &soft, order[found.ranks[n]], BLOCK, prediction);
        transform_block(block, prediction, step, now);
        for (uint32_t q = 0; q < QUARTERS; q++) {
            cut_latents(&now[q]);
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

/* Paint a block's luma as one part. */
INLINE void settle_large(const area *t, uint32_t i, uint32_t j, const coded_block *b, int32_t step)
{
    uint16_t *at = luma_at(t, 2 * i, 2 * j);
    int32_t c[BLOCK][BLOCK];
    uint32_t rows = 0;
    uint8_t order[MODES];
    order_luma(t, 2 * i, 2 * j, order);
    set_modes(t, i, j, order[rank_of(b->modes[0])]);
    for (uint32_t q = 0; q < QUARTERS; q++) {
        place_part(b->parts[q].prediction, SIDE, at + (q >> 1) * SIDE * t->luma + (q & 1) * SIDE, t->luma);
        for (uint32_t h = 0; h < SIDE; h++)
            for (uint32_t v = 0; v < SIDE; v++) {
                const int32_t x = clamp(b->parts[q].symbols[h][v] * step, -65535, 65535);
                c[2 * v + (q >> 1)][2 * h + (q & 1)] = x;
                rows |= (uint32_t)(x != 0) << (2 * v + (q >> 1));
            }
    }
    if (rows)
        add_large(c, rows, at, t->luma);
}

CLONES APART void choose_chroma(const area *t, uint32_t i, uint32_t j, const uint8_t *block, const task *how,
                          coded_block *out)
{
    const float step = (float)how->steps[1];
    edges sharp[2], soft[2];
    sight seen[2];
    finds found;
    uint8_t order[MODES];
    uint16_t *at[] = {chroma_at(t, 0, i, j), chroma_at(t, 1, i, j)};
    for (uint32_t k = 0; k < 2; k++) {
        read_edges(at[k], t->chroma, sides_of_block(t, i, j), SIDE, &sharp[k]);
        soften(&sharp[k], SIDE, &soft[k]);
        look(&seen[k], block + part_start(QUARTERS + k), HALF, SIDE, &sharp[k], &soft[k]);
    }
    order_modes(*mode_at(t, 2 * i, 2 * j), PLANAR, order);
    search_modes(&found, seen, 2, SIDE, order, MODE_SHARE * step / FINE, how->thorough);
    out->modes[QUARTERS] = symbol_of(found.ranks[0]);
    for (uint32_t k = 0; k < 2; k++) {
        rough_part *part = &out->parts[QUARTERS + k];
        predict_part(&sharp[k], &soft[k], order[found.ranks[0]], SIDE, part->prediction);
        cut_roughly(block + part_start(QUARTERS + k), HALF, step, 0, part);
        settle_roughly(part, how->steps[1], 0, at[k], t->chroma);
    }
}

/* Choose everything of a block, and paint it. */
INLINE void choose_block(const area *t, uint32_t i, uint32_t j, const uint8_t *block, const task *how,
                         coded_block *out)
{
    coded_block other;
    uint16_t painted[BLOCK][BLOCK];
    uint8_t modes[QUARTERS];
    uint16_t *own = luma_at(t, 2 * i, 2 * j);
    const float large = how->no_large ? 3e38f : choose_large(t, i, j, block, how, &other);
    float least = choose_luma(t, i, j, block, how, NULL, out);
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
        const float cost = choose_luma(t, i, j, block, how, out, &small);
        if (cost < least) {
            least = cost;
            memcpy(out->parts, small.parts, QUARTERS * sizeof *small.parts);
            memcpy(out->modes, small.modes, QUARTERS * sizeof *small.modes);
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
        out->split = 0;
        out->large = 1;
        settle_large(t, i, j, out, how->steps[0]);
    }
    choose_chroma(t, i, j, block, how, out);
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
 * prediction: what the latents are beside, as blocks are. room: as for `rtc_spatial_paint`.
 */
CLONES EXPORT uint32_t rtc_spatial_choose(const uint8_t *restrict blocks, uint32_t rows,
                                          uint32_t columns, const int32_t *steps, uint32_t thorough,
                                          int16_t *restrict modes, uint8_t *restrict split,
                                          uint32_t *restrict at, float *restrict values,
                                          uint32_t *restrict ends,
                                          uint16_t *restrict prediction, uint16_t *restrict room)
{
    uint8_t rank[SIDE * SIDE];
    rank_frequencies(rank);
    const task how = {{steps[0], steps[1]}, (thorough & 1) != 0, (thorough & 2) != 0};
    uint16_t of_tile[TILE * TILE * AREA_SAMPLES];
    const uint32_t down = room ? rows : TILE, across = room ? columns : TILE;
    const area t = area_in(room ? room : of_tile, down, across);
    coded_block block;
    for (uint32_t top = 0; top < rows; top += down)
        for (uint32_t left = 0; left < columns; left += across)
            for (uint32_t n = 0; n < down * across; n++) {
                const uint32_t i = n / across, j = n % across;
                const size_t place = (size_t)(top + i) * columns + left + j;
                choose_block(&t, i, j, blocks + place * SAMPLES, &how, &block);
                memcpy(modes + place * (QUARTERS + 1), block.modes, sizeof block.modes);
                split[place] = (uint8_t)(block.split | block.large << 1);
                ends[place] = list_block(&block, (uint32_t)place, rank, at, values);
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

/* ---- the second pass ---------------------------------------------------------------------------- */

/* How a part's symbols are cut. */
typedef struct {
    const uint8_t *diagonal; /* of frequencies */
    const uint8_t *indices;  /* of the part's channels, PARTS apart */
    const int8_t *kinds;     /* offsets of its kinds' contexts */
    const float *rounding;
} cutting;

/* Cut a part's latents, by frequency, to symbols PARTS apart; as `rtc_quantise`. Returns whether any is said. */
INLINE int cut_part(const float *latents, const cutting *how, int16_t *symbols)
{
    int32_t energy = 0, sum = 0;
    uint32_t stage = 0;
    int is_said = 0;
    for (uint32_t k = 0; k < SIDE * SIDE; k++) {
        const uint32_t d = how->diagonal[k];
        for (; stage < d; stage++, sum = 0)
            energy += 16 * sum - (energy >> 2);
        const float x = latents[k], size = x < 0 ? -x : x;
        int32_t n = 0, index = how->indices[k * PARTS];
        if (size >= LEAST && index) {
            index += how->kinds[(d < LAST_KIND ? d : LAST_KIND) * LEVELS + (uint32_t)level_of(energy)];
            const float whole = size + how->rounding[clamp(index, 0, 63)];
            if (index >= READ_FROM && whole >= 1)
                n = whole > SYMBOL_MAX ? SYMBOL_MAX : (int32_t)whole;
        }
        symbols[k * PARTS] = (int16_t)(x < 0 ? -n : n);
        sum += n < CAPPED ? n : CAPPED;
        is_said |= n;
    }
    return is_said;
}

/* Cut part p of a block and paint it. */
INLINE void cut_small(const area *t, uint32_t i, uint32_t j, uint32_t p, const uint8_t *block,
                      const int16_t *modes, const int32_t *steps, int is_split, const uint8_t *rank,
                      const cutting *of_block, int16_t *symbols)
{
    const int is_luma = p < QUARTERS;
    uint16_t *at = chroma_at(t, p == QUARTERS + 1, i, j);
    ptrdiff_t across = t->chroma;
    sides there = sides_of_block(t, i, j);
    uint8_t order[MODES];
    if (is_luma) {
        const uint32_t row = part_row(i, p), column = part_column(j, p);
        order_luma(t, row, column, order);
        *mode_at(t, row, column) = order[rank_of(modes[p])];
        at = luma_at(t, row, column);
        across = t->luma;
        there = sides_of_luma(t, i, j, p);
    } else {
        order_modes(*mode_at(t, 2 * i, 2 * j), PLANAR, order);
    }
    edges sharp, soft;
    rough_part part;
    float latents[SIDE * SIDE];
    const int32_t step = steps[!is_luma];
    cutting how = *of_block;
    how.indices += p;
    how.kinds += is_luma ? 0 : (LAST_KIND + 1) * LEVELS;
    read_edges(at, across, there, SIDE, &sharp);
    soften(&sharp, SIDE, &soft);
    predict_part(&sharp, &soft, order[rank_of(modes[is_luma ? p : QUARTERS])], SIDE, part.prediction);
    transform_part(block + part_start(p), part_stride(p), part.prediction, (float)step,
                   is_luma && is_split, part.latents);
    for (uint32_t h = 0; h < SIDE; h++)
        for (uint32_t v = 0; v < SIDE; v++)
            latents[rank[h * SIDE + v]] = part.latents[h][v];
    part.is_said = cut_part(latents, &how, symbols + p);
    for (uint32_t h = 0; h < SIDE; h++)
        for (uint32_t v = 0; v < SIDE; v++)
            part.symbols[h][v] = symbols[rank[h * SIDE + v] * PARTS + p];
    settle_roughly(&part, step, is_luma && is_split, at, across);
}

/* Cut a block's luma as one part and paint it. */
INLINE void cut_large(const area *t, uint32_t i, uint32_t j, const uint8_t *block, int16_t mode,
                      int32_t step, const uint8_t *rank, const cutting *of_block, int16_t *symbols)
{
    coded_block b;
    edges sharp, soft;
    int32_t prediction[BLOCK * BLOCK];
    uint8_t order[MODES];
    b.modes[0] = mode;
    order_luma(t, 2 * i, 2 * j, order);
    read_edges(luma_at(t, 2 * i, 2 * j), t->luma, sides_of_block(t, i, j), BLOCK, &sharp);
    soften(&sharp, BLOCK, &soft);
    predict_part(&sharp, &soft, order[rank_of(mode)], BLOCK, prediction);
    transform_block(block, prediction, (float)step, b.parts);
    for (uint32_t q = 0; q < QUARTERS; q++) {
        float latents[SIDE * SIDE];
        cutting how = *of_block;
        how.indices += q;
        for (uint32_t h = 0; h < SIDE; h++)
            for (uint32_t v = 0; v < SIDE; v++)
                latents[rank[h * SIDE + v]] = b.parts[q].latents[h][v];
        cut_part(latents, &how, symbols + q);
        for (uint32_t h = 0; h < SIDE; h++)
            for (uint32_t v = 0; v < SIDE; v++)
                b.parts[q].symbols[h][v] = symbols[rank[h * SIDE + v] * PARTS + q];
    }
    settle_large(t, i, j, &b, step);
}

/*
 * Cut the latents that follow from chosen modes to symbols [rows, columns, stride], of which the latents
 * are written, all of them. indices: [rows, columns, stride]; contexts: [30][LEVELS]; rounding: [64];
 * room: as for `rtc_spatial_paint`, and as the modes were chosen.
 */
CLONES EXPORT void rtc_spatial_quantise(const uint8_t *restrict blocks, uint32_t rows, uint32_t columns,
                                        const int32_t *steps, const int16_t *restrict modes,
                                        const uint8_t *restrict split, const uint8_t *restrict indices,
                                        const float *rounding, const int8_t *contexts, uint32_t stride,
                                        int16_t *restrict symbols, uint16_t *restrict room)
{
    uint8_t rank[SIDE * SIDE], diagonal[SIDE * SIDE];
    rank_frequencies(rank);
    for (uint32_t k = 0; k < SIDE * SIDE; k++)
        diagonal[k] = (uint8_t)(ORDER[k] / SIDE + ORDER[k] % SIDE);
    uint16_t of_tile[TILE * TILE * AREA_SAMPLES];
    const uint32_t down = room ? rows : TILE, across = room ? columns : TILE;
    const area t = area_in(room ? room : of_tile, down, across);
    for (uint32_t top = 0; top < rows; top += down)
        for (uint32_t left = 0; left < columns; left += across)
            for (uint32_t n = 0; n < down * across; n++) {
                const uint32_t i = n / across, j = n % across;
                const size_t place = (size_t)(top + i) * columns + left + j;
                const cutting how = {diagonal, indices + place * stride, contexts, rounding};
                const int is_large = split[place] >> 1;
                if (is_large)
                    cut_large(&t, i, j, blocks + place * SAMPLES, modes[place * (QUARTERS + 1)], steps[0],
                              rank, &how, symbols + place * stride);
                for (uint32_t p = is_large ? QUARTERS : 0; p < PARTS; p++)
                    cut_small(&t, i, j, p, blocks + place * SAMPLES, modes + place * (QUARTERS + 1),
                              steps, split[place] & 1, rank, &how, symbols + place * stride);
            }
}

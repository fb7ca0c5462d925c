/*
 * Levels and phases of a tile, for both directions: equals tile.py.
 *
 * Before a level every other row and column of it is known, the grid. Its phases are what has an
 * odd row and an odd column, then an odd column, then an odd row. Each sample is predicted from
 * TAPS neighbours that are known by then, in the plane of its phase or others.
 */
#ifndef RTC_EXACT_WALK_H
#define RTC_EXACT_WALK_H

#include "_model.h"

enum { GRID, ODD, COLUMNS, ROWS, PLANES }; /* planes; phase p fills plane p + 1 */

typedef struct {
    uint8_t plane;
    int8_t down, right;
} neighbour;

enum { WEST = CALM, NORTH = CALM + 1, THIRD = CALM + 2 };

static const neighbour NEIGHBOURS[PHASES][TAPS] = {
    {{GRID, 0, 0}, {GRID, 0, 1}, {GRID, 1, 0}, {GRID, 1, 1},
     {GRID, -1, 0}, {GRID, -1, 1}, {GRID, 2, 0}, {GRID, 2, 1},
     {GRID, 0, -1}, {GRID, 1, -1}, {GRID, 0, 2}, {GRID, 1, 2},
     {ODD, 0, -1}, {ODD, -1, 0}, {ODD, -1, -1}, {ODD, -1, 1}},
    {{GRID, 0, 0}, {GRID, 0, 1}, {ODD, -1, 0}, {ODD, 0, 0},
     {ODD, -1, -1}, {ODD, -1, 1}, {ODD, 0, -1}, {ODD, 0, 1},
     {GRID, -1, 0}, {GRID, -1, 1}, {GRID, 1, 0}, {GRID, 1, 1},
     {COLUMNS, 0, -1}, {COLUMNS, -1, 0}, {COLUMNS, -1, -1}, {COLUMNS, -1, 1}},
    {{GRID, 0, 0}, {GRID, 1, 0}, {ODD, 0, -1}, {ODD, 0, 0},
     {COLUMNS, 0, -1}, {COLUMNS, 0, 0}, {COLUMNS, 1, -1}, {COLUMNS, 1, 0},
     {GRID, 0, -1}, {GRID, 0, 1}, {GRID, 1, -1}, {GRID, 1, 1},
     {ROWS, 0, -1}, {ROWS, -1, 0}, {ROWS, -1, 1}, {ODD, -1, 0}},
};

/* A coder of one direction; `io` is its own. Each returns a status. */
typedef struct {
    /* One residual by two tables, in steps of 2**shift; the decoder sets it, the encoder reads it. */
    int32_t (*residual)(void *io, rtc_exact_state *state, uint32_t scale, uint32_t sight,
                        uint32_t shift, int32_t *residual);
    int32_t (*flag)(void *io, uint16_t *probability, uint32_t *flag);
} coder;

INLINE uint32_t half_up(uint32_t n, uint32_t times) { return (n + (1u << times) - 1) >> times; }
INLINE int32_t within(int64_t value, int32_t high)
{
    return value < 0 ? 0 : value > high ? high : (int32_t)value;
}
INLINE uint32_t apart(int32_t a, int32_t b) { return (uint32_t)(a > b ? a - b : b - a); }

INLINE size_t at(int32_t row, int32_t column)
{
    return (size_t)((row + BORDER) * PLANE_SIDE + column + BORDER);
}

/*
 * Code one sample given its prediction: *sample is the truth for the encoder; for both it becomes
 * what the decoder has. Returns a status.
 */
INLINE int32_t code_sample(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                           void *io, int32_t bound, int32_t prediction, uint32_t eighths,
                           uint32_t sight, uint16_t *sample, uint16_t *error)
{
    const int32_t high = (int32_t)tile->high;
    const int32_t step = 2 * bound + 1, truth = *sample;
    if (bound)
        eighths /= (uint32_t)step;
    const uint32_t scale = scale_of(eighths);
    sight += scale / 2 * SIGHTS;
    int32_t residual = truth - prediction;
    if (bound)
        residual = (residual < 0 ? residual - bound : residual + bound) / step;
    const int32_t status = coder->residual(io, state, scale, sight, shift_of(scale), &residual);
    const int32_t value = within(prediction + (int64_t)residual * step, high);
    *sample = (uint16_t)value;
    *error = (uint16_t)apart(value, prediction);
    return status;
}

INLINE plane *known_grid(rtc_exact_state *state) { return state->grid + state->which; }

/* The coarsest grid, raster order, from the samples left, above and before that. */
INLINE int32_t walk_grid(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                         void *io, uint16_t *samples, size_t stride)
{
    const uint32_t rows = half_up(tile->height, LEVELS), columns = half_up(tile->width, LEVELS);
    plane *grid = known_grid(state);
    for (int32_t row = 0; row < (int32_t)rows; row++) {
        for (int32_t column = 0; column < (int32_t)columns; column++) {
            uint16_t *here = grid->sample + at(row, column), *error = grid->error + at(row, column);
            int32_t west, north, corner;
            uint32_t errors;
            if (row && column) {
                west = here[-1], north = here[-PLANE_SIDE], corner = here[-PLANE_SIDE - 1];
                errors = (uint32_t)error[-1] + error[-PLANE_SIDE];
            } else if (row || column) {
                const int32_t back = row ? PLANE_SIDE : 1;
                west = north = corner = here[-back];
                errors = 2u * error[-back];
            } else {
                west = north = corner = (int32_t)(tile->high / 2);
                errors = tile->high / 2;
            }
            const int32_t least = west < north ? west : north, most = west + north - least;
            const int32_t slope = west + north - corner;
            const int32_t prediction = slope < least ? least : slope > most ? most : slope;
            uint16_t *sample = samples + (((size_t)row * stride + (size_t)column) << LEVELS);
            const int32_t status = code_sample(tile, state, coder, io, (int32_t)tile->max_error,
                                               prediction, 4 * errors + 4, 0, sample, error);
            if (status)
                return status;
            *here = *sample;
        }
    }
    return OK;
}

/* Repeat the edges of a plane into its border. */
static void close_plane(uint16_t *samples, int32_t rows, int32_t columns)
{
    for (int32_t row = 0; row < rows; row++)
        for (int32_t k = 1; k <= BORDER; k++) {
            samples[at(row, -k)] = samples[at(row, 0)];
            samples[at(row, columns - 1 + k)] = samples[at(row, columns - 1)];
        }
    const size_t size = sizeof *samples * (size_t)(columns + 2 * BORDER);
    for (int32_t k = 1; k <= BORDER; k++) {
        memcpy(samples + at(-k, -BORDER), samples + at(0, -BORDER), size);
        memcpy(samples + at(rows - 1 + k, -BORDER), samples + at(rows - 1, -BORDER), size);
    }
}

/* Copy what surrounds rows first.. of the grid, which stands in for what is not known. */
static void borrow(uint16_t *to, const uint16_t *grid, int32_t first, int32_t end, int32_t columns)
{
    for (int32_t row = first; row < end; row++)
        memcpy(to + at(row, -BORDER), grid + at(row, -BORDER),
               sizeof *to * (size_t)(columns + 2 * BORDER));
}

/* What is said of a sample's neighbours before it is predicted. */
typedef struct {
    int32_t value[TAPS];
    int32_t base;
    uint32_t activity, outer;
} view;

/* Put the mean of the known neighbours where padding is; return the context of the flag, or -1. */
static __attribute__((noinline)) int32_t see_padding(view *seen, int32_t pad, uint32_t phase)
{
    uint32_t n_near = 0, n_all = 0;
    int32_t near = 0, all = 0;
    for (uint32_t k = 0; k < TAPS; k++) {
        const uint32_t known = seen->value[k] != pad;
        n_all += known;
        all += known ? seen->value[k] : 0;
        if (k < NEAR)
            n_near += known, near += known ? seen->value[k] : 0;
    }
    if (n_all == TAPS)
        return -1;
    const uint32_t context = (phase * 5 + n_near) * 8 + (seen->value[WEST] == pad) * 4u
                             + (seen->value[NORTH] == pad) * 2u + (seen->value[THIRD] == pad);
    const int32_t mean = n_near  ? near / (int32_t)n_near
                         : n_all ? all / (int32_t)n_all
                                 : pad;
    for (uint32_t k = 0; k < TAPS; k++)
        if (seen->value[k] == pad)
            seen->value[k] = mean;
    return (int32_t)context;
}

/* Return what the fit adds to the base in 2**WEIGHT_BITS-ths, and see how much neighbours differ. */
INLINE int64_t see_slopes(view *seen, const rtc_exact_fit *fit)
{
    const int32_t *value = seen->value;
    const int32_t base = (value[0] + value[1] + value[2] + value[3] + 2) >> 2;
    uint32_t near = 0, outer = 0, class = 0;
#pragma GCC unroll 16
    for (uint32_t k = 0; k < CALM; k++)
        *(k < NEAR ? &near : &outer) += apart(value[k], base);
    const uint32_t activity = near + outer / 2;
    for (uint32_t k = 0; k + 1 < fit->classes; k++)
        class += activity >= fit->threshold[k];
    int64_t sum = 0;
#pragma GCC unroll 16
    for (uint32_t k = 0; k < TAPS; k++)
        sum += (int64_t)fit->weight[class][k] * (value[k] - base);
    seen->base = base, seen->activity = activity, seen->outer = outer;
    return sum;
}

/* What is expected of the error, in eighths. */
INLINE uint32_t weigh(const uint32_t *energy, const rtc_exact_fit *fit)
{
    uint64_t expected = 0;
#pragma GCC unroll 16
    for (uint32_t k = 0; k < ENERGIES; k++)
        expected += (uint64_t)energy[k] * fit->energy[k];
    expected >>= ENERGY_BITS;
    return expected > 1 << 24 ? 1 << 24 : (uint32_t)expected;
}

INLINE int32_t walk_row(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                        void *io, int32_t bound, const rtc_exact_fit *fit, const uint32_t phase,
                        int32_t row, int32_t columns, uint16_t *samples, size_t spacing)
{
    const plane *planes[PLANES] = {known_grid(state), state->phase, state->phase + 1, state->phase + 2};
    uint16_t *here = state->phase[phase].sample + at(row, 0);
    uint16_t *errors = state->phase[phase].error + at(row, 0);
    const uint16_t *tap[TAPS], *tap_error[2 * NEAR];
    for (uint32_t k = 0; k < TAPS; k++) {
        const neighbour *n = &NEIGHBOURS[phase][k];
        tap[k] = planes[n->plane]->sample + at(row + n->down, n->right);
        if (k < 2 * NEAR)
            tap_error[k] = planes[n->plane]->error + at(row + n->down, n->right);
    }
    here[-1] = here[-PLANE_SIDE], errors[-1] = errors[-PLANE_SIDE];
    for (int32_t column = 0; column < columns; column++) {
        view seen;
        int32_t context = -1;
        uint16_t *sample = samples + (size_t)column * spacing;
#pragma GCC unroll 16
        for (uint32_t k = 0; k < TAPS; k++)
            seen.value[k] = tap[k][column];
        if (tile->pad <= tile->high) {
            context = see_padding(&seen, (int32_t)tile->pad, phase);
            if (context >= 0) {
                uint32_t flag = *sample == tile->pad;
                const int32_t status = coder->flag(io, state->pad + context, &flag);
                if (status)
                    return status;
                if (flag) {
                    *sample = here[column] = (uint16_t)tile->pad;
                    errors[column] = 0;
                    continue;
                }
            }
        }
        const int32_t *value = seen.value;
        const int64_t moved = see_slopes(&seen, fit) + (1 << (WEIGHT_BITS - 1));
        const int32_t prediction = within(seen.base + (moved >> WEIGHT_BITS), (int32_t)tile->high);

        uint32_t energy[ENERGIES] = {
            16, errors[column - 1], errors[column - PLANE_SIDE],
            (uint32_t)errors[column - PLANE_SIDE - 1] + errors[column - PLANE_SIDE + 1], 0, 0, 0,
            apart(value[0], value[1]), apart(value[2], value[3]),
            apart(value[0] + value[1], value[2] + value[3]), seen.outer,
        };
        const uint32_t n_errors = phase == ROWS - 1 ? 2 * NEAR : NEAR;
#pragma GCC unroll 8
        for (uint32_t k = 0; k < n_errors; k++)
            energy[4 + NEIGHBOURS[phase][k].plane] += tap_error[k][column];
        const uint32_t eighths = weigh(energy, fit);
        uint32_t sight = CALM_BELOW + seen.activity;
        if (seen.activity >= CALM_BELOW) {
            sight = 0;
            for (uint32_t k = 0; k < NEAR; k++)
                sight |= (uint32_t)(value[k] > prediction) << k;
        }
        const int32_t status = code_sample(tile, state, coder, io, bound, prediction, eighths,
                                           sight, sample, errors + column);
        if (status)
            return status;
        here[column] = *sample;
    }
    here[columns] = here[columns - 1], errors[columns] = errors[columns - 1];
    return OK;
}

/* One phase of the level with *rows* x *columns* samples, *spacing* apart in the tile. */
INLINE int32_t walk_phase(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                          void *io, const uint32_t phase, uint32_t level, uint16_t *samples,
                          size_t stride)
{
    const int32_t height = (int32_t)half_up(tile->height, level);
    const int32_t width = (int32_t)half_up(tile->width, level);
    const int32_t odd_row = phase != COLUMNS - 1, odd_column = phase != ROWS - 1;
    const int32_t rows = (height + !odd_row) / 2, columns = (width + !odd_column) / 2;
    const rtc_exact_fit *fit = &tile->fit[smaller(level, GROUPS - 1)][phase];
    const int32_t bound = (int32_t)(level ? tile->max_error : tile->max_error + tile->bound);
    plane *own = state->phase + phase;
    const plane *grid = known_grid(state);
    if (!rows || !columns) { /* the grid stands in */
        const int32_t end = (height + 1) / 2 + BORDER, all = (width + 1) / 2;
        borrow(own->sample, grid->sample, -BORDER, end, all);
        borrow(own->error, grid->error, -BORDER, end, all);
        return OK;
    }
    borrow(own->sample, grid->sample, -1, 0, columns);
    borrow(own->error, grid->error, -1, 0, columns);
    for (int32_t row = 0; row < rows; row++) {
        uint16_t *from = samples
                         + (((size_t)(2 * row + odd_row) * stride + (size_t)odd_column) << level);
        const int32_t status = walk_row(tile, state, coder, io, bound, fit, phase, row, columns,
                                        from, (size_t)2 << level);
        if (status)
            return status;
    }
    close_plane(own->sample, rows, columns);
    close_plane(own->error, rows, columns);
    return OK;
}

/* Put the planes of a level together: the grid of the next. */
static void join(rtc_exact_state *state, int32_t height, int32_t width)
{
    plane *to = state->grid + !state->which;
    for (int32_t row = 0; row < height; row++) {
        const plane *even = row % 2 ? state->phase + ROWS - 1 : known_grid(state);
        const plane *odd = row % 2 ? state->phase + ODD - 1 : state->phase + COLUMNS - 1;
        for (int32_t column = 0; column < width; column++) {
            const plane *from = column % 2 ? odd : even;
            to->sample[at(row, column)] = from->sample[at(row / 2, column / 2)];
            to->error[at(row, column)] = from->error[at(row / 2, column / 2)];
        }
    }
    close_plane(to->sample, height, width);
    close_plane(to->error, height, width);
    state->which = !state->which;
}

/* Code the level that comes next; samples of the tile are *stride* apart from row to row. */
INLINE int32_t walk_level(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                          void *io, uint16_t *samples, size_t stride)
{
    int32_t status;
    const uint32_t level = state->level;
    if (level == LEVELS) {
        status = walk_grid(tile, state, coder, io, samples, stride);
        if (status)
            return status;
        const int32_t rows = (int32_t)half_up(tile->height, LEVELS);
        const int32_t columns = (int32_t)half_up(tile->width, LEVELS);
        close_plane(known_grid(state)->sample, rows, columns);
        close_plane(known_grid(state)->error, rows, columns);
        return OK;
    }
    if ((status = walk_phase(tile, state, coder, io, 0, level, samples, stride))
        || (status = walk_phase(tile, state, coder, io, 1, level, samples, stride))
        || (status = walk_phase(tile, state, coder, io, 2, level, samples, stride)))
        return status;
    if (level)
        join(state, (int32_t)half_up(tile->height, level), (int32_t)half_up(tile->width, level));
    return OK;
}

#endif

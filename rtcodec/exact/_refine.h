/*
 * What each sample of the finest level lacks once all are within a bound: equals tile.py.
 *
 * All samples around it are known by now, to the bound or exactly: a prediction from both sides
 * says where within the bound the sample is likely to be.
 */
#ifndef RTC_EXACT_REFINE_H
#define RTC_EXACT_REFINE_H

#include "_walk.h"

/* Nearest ones first, then their diagonals, then the nearest of the own plane and theirs. */
static const neighbour AROUND[PHASES][TAPS] = {
    {{ROWS, 0, 0}, {ROWS, 0, 1}, {COLUMNS, 0, 0}, {COLUMNS, 1, 0},
     {GRID, 0, 0}, {GRID, 0, 1}, {GRID, 1, 0}, {GRID, 1, 1},
     {ODD, 0, -1}, {ODD, 0, 1}, {ODD, -1, 0}, {ODD, 1, 0},
     {ODD, -1, -1}, {ODD, -1, 1}, {ODD, 1, -1}, {ODD, 1, 1}},
    {{GRID, 0, 0}, {GRID, 0, 1}, {ODD, -1, 0}, {ODD, 0, 0},
     {ROWS, -1, 0}, {ROWS, -1, 1}, {ROWS, 0, 0}, {ROWS, 0, 1},
     {COLUMNS, 0, -1}, {COLUMNS, 0, 1}, {COLUMNS, -1, 0}, {COLUMNS, 1, 0},
     {COLUMNS, -1, -1}, {COLUMNS, -1, 1}, {COLUMNS, 1, -1}, {COLUMNS, 1, 1}},
    {{ODD, 0, -1}, {ODD, 0, 0}, {GRID, 0, 0}, {GRID, 1, 0},
     {COLUMNS, 0, -1}, {COLUMNS, 0, 0}, {COLUMNS, 1, -1}, {COLUMNS, 1, 0},
     {ROWS, 0, -1}, {ROWS, 0, 1}, {ROWS, -1, 0}, {ROWS, 1, 0},
     {ROWS, -1, -1}, {ROWS, -1, 1}, {ROWS, 1, -1}, {ROWS, 1, 1}},
};

INLINE int32_t refine_row(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                          void *io, uint32_t phase, int32_t row, int32_t columns,
                          uint16_t *samples)
{
    const plane *planes[PLANES] = {known_grid(state), state->phase, state->phase + 1, state->phase + 2};
    const rtc_exact_fit *fit = tile->refinement + phase;
    const uint32_t bound = tile->bound;
    uint16_t *here = state->phase[phase].sample + at(row, 0);
    const uint16_t *tap[TAPS];
    for (uint32_t k = 0; k < TAPS; k++) {
        const neighbour *n = &AROUND[phase][k];
        tap[k] = planes[n->plane]->sample + at(row + n->down, n->right);
    }
    for (int32_t column = 0; column < columns; column++) {
        uint16_t *sample = samples + (size_t)column * 2;
        const int32_t known = here[column];
        view seen;
#pragma GCC unroll 16
        for (uint32_t k = 0; k < TAPS; k++)
            seen.value[k] = tap[k][column];
        if (tile->pad <= tile->high)
            see_padding(&seen, (int32_t)tile->pad, phase);
        const int64_t moved = see_slopes(&seen, fit) + (1 << (WEIGHT_BITS - 2));
        const int64_t halves = 2 * (seen.base - known) + (moved >> (WEIGHT_BITS - 1));
        const uint32_t size = smaller((uint32_t)within(halves < 0 ? -halves : halves, 1 << 16),
                                      most_halves(bound) - 1);
        const int32_t *value = seen.value;
        uint32_t energy[ENERGIES] = {16};
#pragma GCC unroll 16
        for (uint32_t k = 0; k < TAPS; k++)
            energy[1 + k / 2] += apart(value[k], seen.base);
        energy[9] = apart(value[0] + value[1], value[2] + value[3]);
        energy[10] = apart(known, seen.base);
        const uint32_t octave = smaller(scale_of(weigh(energy, fit)) / 4, OCTAVES - 1);
        uint32_t coarse = coarse_missing(octave, size, bound), fine = fine_missing(octave, size);
        if (known == (int32_t)tile->pad)
            coarse = COARSE_PAD, fine = FINE_PAD;
        int32_t missing = *sample - known;
        missing = halves < 0 ? -missing : missing;
        const int32_t status = coder->residual(io, state, coarse, fine, 0, &missing);
        if (status)
            return status;
        if (apart(missing, 0) > bound)
            return ESCAPE_RANGE;
        const int32_t exact = within(known + (halves < 0 ? -missing : missing), (int32_t)tile->high);
        *sample = here[column] = (uint16_t)exact;
    }
    return OK;
}

/* Refine the phases in their order; outside a plane is what was there before it was refined. */
INLINE int32_t refine(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                      void *io, uint32_t phase, uint16_t *samples, size_t stride)
{
    const int32_t odd_row = phase != COLUMNS - 1, odd_column = phase != ROWS - 1;
    const int32_t rows = ((int32_t)tile->height + !odd_row) / 2;
    const int32_t columns = ((int32_t)tile->width + !odd_column) / 2;
    if (!rows || !columns)
        return OK;
    for (int32_t row = 0; row < rows; row++) {
        uint16_t *from = samples + (size_t)(2 * row + odd_row) * stride + (size_t)odd_column;
        const int32_t status = refine_row(tile, state, coder, io, phase, row, columns, from);
        if (status)
            return status;
    }
    close_plane(state->phase[phase].sample, rows, columns);
    return OK;
}

/* Code what comes next: a level, or what the finest one lacks. */
INLINE int32_t walk_step(const rtc_exact_tile *tile, rtc_exact_state *state, const coder *coder,
                         void *io, uint16_t *samples, size_t stride)
{
    if (!state->refines)
        return walk_level(tile, state, coder, io, samples, stride);
    if (!tile->bound)
        return OK;
    begin_missing(state, tile->bound);
#pragma GCC unroll 1 /* three times the code for no more speed */
    for (uint32_t phase = 0; phase < PHASES; phase++) {
        const int32_t status = refine(tile, state, coder, io, phase, samples, stride);
        if (status)
            return status;
    }
    return OK;
}

INLINE void next_step(rtc_exact_state *state)
{
    state->refines = state->level == 0;
    state->level -= state->level > 0;
}

#endif

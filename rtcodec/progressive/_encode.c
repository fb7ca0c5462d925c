/*
 * From samples to passes and a payload, the inverse of _decode.c.
 *
 * A payload is read in the order of passes and written in the reverse, so passes are listed first:
 * an item is a bit, in bit 15, and the width of a one.
 */
#include "_layout.h"
#include "_walk.h"
#include "_wavelet.h"

typedef struct {
    uint16_t *items;
    uint32_t n;
} writer;

static int write_bit(void *io, uint32_t width, uint32_t *bit)
{
    writer *to = io;
    to->items[to->n++] = (uint16_t)(*bit << 15 | width);
    return 1;
}

/* Transform the samples of a component and divide them by steps; returns the planes there are. */
EXPORT uint32_t rtc_progressive_analyse(rtc_progressive *state, uint32_t index,
                                        const uint8_t *samples)
{
    component *c = state->of + index;
    for (size_t k = 0; k < (size_t)c->width * c->height; k++)
        c->samples[k] = (samples[k] - 128) * (1 << FRACTION_BITS);
    for (uint32_t level = 0; level < c->levels; level++) {
        lines across, down;
        lines_of(c, level, &across, &down);
        analyse_lines(&across, state->transform);
        analyse_lines(&down, state->transform);
    }
    uint32_t any = 0;
    for (const band *b = c->bands; b < c->bands + c->n_bands; b++) {
        const uint32_t step = step_of(state->transform, b->level, b->orientation);
        const size_t gap = (size_t)1 << b->level;
        const int32_t *from = c->samples + band_start(c, b);
        for (uint32_t y = 0; y < b->height; y++)
            for (uint32_t x = 0; x < b->width; x++) {
                const int32_t value = from[(y * (size_t)c->width + x) * gap];
                const uint32_t modulus = (uint32_t)(value < 0 ? -value : value);
                const uint32_t size =
                    smaller((uint32_t)(((uint64_t)modulus << STEP_BITS) / step), 65535);
                const size_t to = b->at + (size_t)y * b->stride + x;
                c->true_size[to] = (uint16_t)size;
                c->said[to] = UNSAID | (value < 0 ? NEGATIVE : 0);
                any |= size;
            }
    }
    return any ? 32 - (uint32_t)__builtin_clz(any) : 0;
}

/* The squared error that is left of a component, in squares of half a sample. */
EXPORT double rtc_progressive_error(const rtc_progressive *state, uint32_t index)
{
    const component *c = state->of + index;
    double sum = 0;
    for (const band *b = c->bands; b < c->bands + c->n_bands; b++) {
        for (uint32_t y = 0; y < b->height; y++)
            for (uint32_t x = 0; x < b->width; x++) {
                const size_t at = b->at + (size_t)y * b->stride + x;
                const uint32_t plane = c->said[at] & UNSAID;
                const double shown = c->size[at] ? c->size[at] + 0.5 * (1u << plane) : 0;
                const double error = c->true_size[at] + 0.5 - shown;
                sum += c->true_size[at] ? error * error : 1.0 / 3;
            }
    }
    return sum;
}

/* Samples as decoders have them after the passes that were listed, in 64ths from mid grey, unrefined. */
EXPORT void rtc_progressive_known(rtc_progressive *state, uint32_t index, int32_t *samples)
{
    component *c = state->of + index;
    synthesise(c, state->transform);
    memcpy(samples, c->samples, (size_t)c->width * c->height * sizeof *samples);
}

/* Have nothing said of a component, again. */
EXPORT void rtc_progressive_restart(rtc_progressive *state, uint32_t index, uint32_t n_planes)
{
    component *c = state->of + index;
    memset(c->size, 0, c->n * sizeof *c->size);
    for (size_t k = 0; k < c->n; k++)
        c->said[k] |= UNSAID;
    memset(c->live, 0, c->n_blocks);
    begin_model(c->model);
    c->done = !n_planes;
    c->plane = n_planes - 1;
    c->pass = FRESH;
}

/*
 * List the next pass of a component as it is where luma and U are complete from these planes on;
 * items: [2 for each coefficient, 1 for each block].
 */
EXPORT uint32_t rtc_progressive_pass(rtc_progressive *state, uint32_t index, uint32_t luma,
                                     uint32_t first, uint16_t *items)
{
    writer to = {items, 0};
    state->of[index].complete[0] = luma;
    state->of[index].complete[1] = first;
    walk_pass(state, state->of + index, write_bit, &to);
    return to.n;
}

/* Write items in a payload that ends at buffer + capacity; returns its size, at most 4 + 2 n. */
EXPORT uint32_t rtc_progressive_pack(const uint16_t *items, uint32_t n, uint8_t *buffer,
                                     uint32_t capacity)
{
    uint8_t *at = buffer + capacity;
    uint32_t x = STATE_MIN;
    while (n-- > 0) {
        const uint32_t one = items[n] & 0x7fff, bit = items[n] >> 15;
        const uint32_t width = bit ? one : PROB_SCALE - one;
        x = make_room(x, width << (32 - PROB_BITS), &at);
        x += x / width * (PROB_SCALE - width) + (bit ? 0 : one);
    }
    at -= 4;
    memcpy(at, &x, 4);
    return (uint32_t)(buffer + capacity - at);
}

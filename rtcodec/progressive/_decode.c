/*
 * From a payload, or as much as there is of it, to samples (SPEC.md).
 */
#include "_layout.h"
#include "_refine.h"
#include "_walk.h"
#include "_wavelet.h"

typedef struct {
    const uint8_t *at, *end;
    uint32_t state;
    uint32_t ended; /* a word is missing: what was read stands, nothing more can be */
} reader;

static int read_bit(void *io, uint32_t width, uint32_t *bit)
{
    reader *from = io;
    if (UNLIKELY(from->ended))
        return 0;
    const uint32_t slot = from->state & (PROB_SCALE - 1);
    *bit = slot < width;
    from->state = *bit ? width * (from->state >> PROB_BITS) + slot
                       : (PROB_SCALE - width) * (from->state >> PROB_BITS) + slot - width;
    if (from->state < STATE_MIN) {
        if (UNLIKELY(from->end - from->at < 2)) {
            from->ended = 1;
            return 1;
        }
        from->state = from->state << 16 | (uint32_t)(from->at[0] | from->at[1] << 8);
        from->at += 2;
    }
    return 1;
}

EXPORT uint32_t rtc_progressive_version(void) { return PROGRESSIVE_VERSION; }

/*
 * Begin a picture in *state*, which is all zeros, and of which nothing was said; returns the bytes
 * that it takes. Without a state they are only counted.
 */
EXPORT uint64_t rtc_progressive_begin(rtc_progressive *state, uint32_t width, uint32_t height,
                                      uint32_t transform, uint32_t encodes)
{
    component counted;
    pieces from = {(uint8_t *)state, (sizeof *state + 15) & ~(size_t)15};
    for (uint32_t k = 0; k < COMPONENTS; k++)
        lay_out(state ? state->of + k : &counted, k ? halved_up(width) : width,
                k ? halved_up(height) : height, encodes, &from);
    if (state) {
        for (uint32_t k = 0; k < COMPONENTS; k++)
            for (uint32_t j = 0; j < k; j++)
                state->of[k].earlier[j] = state->of + j;
        state->width = width;
        state->height = height;
        state->transform = transform;
        make_logits(state->logit);
    }
    return from.used;
}

/* Say how many planes a component has, 0 to PLANES_MAX. */
EXPORT void rtc_progressive_planes(rtc_progressive *state, uint32_t index, uint32_t n)
{
    component *c = state->of + index;
    c->done = !n;
    c->plane = n - 1;
    c->pass = FRESH; /* nothing is known yet */
}

/* Which component comes next: one bit for each that is not done, but the last, until one is set. */
/* Say what of earlier components is complete as a pass begins. */
INLINE void look_at_earlier(rtc_progressive *state, component *c)
{
    for (uint32_t k = 0; k < EARLIER; k++)
        c->complete[k] = state->of[k].done ? 0 : state->of[k].plane + 1;
}

INLINE int next_component(const rtc_progressive *state, reader *from, uint32_t *index)
{
    uint32_t left = !state->of[0].done + !state->of[1].done + !state->of[2].done;
    for (*index = 0; *index < COMPONENTS; ++*index) {
        uint32_t bit = 0;
        if (state->of[*index].done)
            continue;
        if (left-- == 1)
            return 1;
        if (!read_bit(from, PROB_SCALE / 2, &bit))
            return 0;
        if (bit)
            return 1;
    }
    return 0;
}

/*
 * Read what there is of a payload. Returns OK at its end, TRUNCATED where it ends before, or what
 * is wrong with it.
 */
EXPORT int32_t rtc_progressive_decode(rtc_progressive *state, const uint8_t *payload,
                                      uint32_t size)
{
    reader from = {payload, payload + size, 0, 0};
    if (size < 4)
        return TRUNCATED;
    memcpy(&from.state, payload, 4);
    from.at += 4;
    if (from.state < STATE_MIN)
        return STATE_TOO_SMALL;
    for (;;) {
        uint32_t index;
        if (state->of[0].done && state->of[1].done && state->of[2].done)
            break;
        if (!next_component(state, &from, &index))
            return TRUNCATED;
        look_at_earlier(state, state->of + index);
        if (!walk_pass(state, state->of + index, read_bit, &from))
            return TRUNCATED;
    }
    if (from.ended)
        return TRUNCATED;
    return from.at != from.end ? BYTES_LEFT : from.state != STATE_MIN ? STATE_LEFT : OK;
}

/* Paint a component [height, width], as far as it is known. */
EXPORT void rtc_progressive_paint(rtc_progressive *state, uint32_t index, uint8_t *samples)
{
    component *c = state->of + index;
    synthesise(c, state->transform);
    if (state->transform == WIDE) {
        refine(c, samples);
        return;
    }
    for (size_t k = 0; k < (size_t)c->width * c->height; k++) {
        const int32_t half = 1 << (FRACTION_BITS - 1);
        const int32_t value = (plus(c->samples[k], half) >> FRACTION_BITS) + 128;
        samples[k] = (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
}

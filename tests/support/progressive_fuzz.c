/*
 * Runs the progressive codec on random pictures and payloads, each buffer allocated at its exact
 * size, so that sanitizers see any access outside.
 *
 *     cc -fsanitize=address,undefined progressive_fuzz.c -o progressive_fuzz
 *     ./progressive_fuzz SEED ROUNDS
 *
 * Prints how many payloads decoded, whole or cut, and how many were refused.
 */
#include "../../rtcodec/progressive/_decode.c"
#include "../../rtcodec/progressive/_encode.c"

#include "fuzz.h"

static rtc_progressive *new_state(uint32_t width, uint32_t height, uint32_t transform,
                                  uint32_t encodes)
{
    const uint64_t size = rtc_progressive_begin(0, width, height, transform, encodes);
    rtc_progressive *state = block(size);
    memset(state, 0, size);
    rtc_progressive_begin(state, width, height, transform, encodes);
    return state;
}

static size_t samples_of(const rtc_progressive *state, uint32_t index)
{
    return (size_t)state->of[index].width * state->of[index].height;
}

static void fill(uint8_t *samples, size_t count)
{
    const uint32_t range = 1 + (255 >> draw(8)), ground = draw(257 - range), run = 1 + draw(9);
    for (size_t k = 0; k < count; k++)
        samples[k] = (uint8_t)(k % run ? samples[k - 1] : ground + draw(range));
}

/* List all of a picture, components in turn as they have passes; returns its items. */
static uint32_t list_all(rtc_progressive *state, uint16_t *items, uint32_t planes[COMPONENTS])
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < COMPONENTS; k++) {
        uint8_t *samples = block(samples_of(state, k));
        fill(samples, samples_of(state, k));
        planes[k] = rtc_progressive_analyse(state, k, samples);
        rtc_progressive_planes(state, k, planes[k]);
        free(samples);
    }
    for (uint32_t k = 0; k < COMPONENTS; k++)
        while (!state->of[k].done) {
            uint32_t left = 0;
            for (uint32_t other = k; other < COMPONENTS; other++)
                left += !state->of[other].done;
            if (left > 1)
                items[n++] = 1 << 15 | PROB_SCALE / 2;
            n += rtc_progressive_pass(state, k, 0, 0, items + n);
        }
    return n;
}

static int32_t decode(uint32_t width, uint32_t height, uint32_t transform,
                      const uint32_t planes[COMPONENTS], const uint8_t *from, uint32_t size)
{
    rtc_progressive *state = new_state(width, height, transform, 0);
    uint8_t *payload = block(size);
    memcpy(payload, from, size);
    for (uint32_t k = 0; k < COMPONENTS; k++)
        rtc_progressive_planes(state, k, planes[k]);
    const int32_t status = rtc_progressive_decode(state, payload, size);
    for (uint32_t k = 0; k < COMPONENTS; k++) {
        uint8_t *samples = block(samples_of(state, k));
        rtc_progressive_paint(state, k, samples);
        free(samples);
    }
    free(payload), free(state);
    return status;
}

int main(int argc, char **argv)
{
    uint32_t decoded = 0, refused = 0;
    check(argc == 3, "usage: progressive_fuzz SEED ROUNDS");
    begin_drawing(argv[1]);
    for (uint32_t round = (uint32_t)atoi(argv[2]); round--;) {
        const uint32_t sides[] = {1, 2, 3, 9, 33, 40};
        const uint32_t width = sides[draw(6)], height = sides[draw(6)];
        const uint32_t transform = draw(TRANSFORMS);
        rtc_progressive *state = new_state(width, height, transform, 1);
        /* of each plane: a bit and a sign at most of a coefficient, blocks, choices */
        const uint32_t most = 3 * PLANES_MAX * (2 * (width + 1) * (height + 1) + 300);
        uint16_t *items = block(2 * (size_t)most);
        uint8_t *buffer = block(4 + 2 * (size_t)most);
        uint32_t planes[COMPONENTS];
        const uint32_t n = list_all(state, items, planes);
        check(n <= most, "more items than there can be");
        const uint32_t size = rtc_progressive_pack(items, n, buffer, 4 + 2 * most);
        uint8_t *payload = buffer + 4 + 2 * (size_t)most - size;
        check(!decode(width, height, transform, planes, payload, size),
              "what was coded is refused");
        decode(width, height, transform, planes, payload, draw(size));
        for (uint32_t k = 0; k < 3; k++) {
            if (k)
                planes[draw(COMPONENTS)] = draw(PLANES_MAX + 1);
            payload[draw(size)] ^= (uint8_t)(1 + draw(255));
            const int32_t status = decode(width, height, transform, planes, payload, size);
            decoded += status <= TRUNCATED;
            refused += status > TRUNCATED;
        }
        free(buffer), free(items), free(state);
    }
    printf("%u decoded, %u refused\n", decoded, refused);
    return 0;
}

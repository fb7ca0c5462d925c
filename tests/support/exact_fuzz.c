/*
 * Runs the exact codec on random tiles, fits and payloads, each buffer allocated at its exact
 * size, so that sanitizers see any access outside.
 *
 *     cc -fsanitize=address,undefined exact_fuzz.c -o exact_fuzz && ./exact_fuzz SEED ROUNDS
 *
 * Prints how many payloads decoded and how many were refused.
 */
#include "../../rtcodec/exact/_decode.c"
#include "../../rtcodec/exact/_encode.c"

#include "fuzz.h"

static void fill_fit(rtc_exact_fit *fit)
{
    const uint32_t reach = 1 + draw(draw(2) ? 100 : 32767);
    fit->classes = 1 + draw(CLASSES_MAX);
    for (uint32_t k = 0; k < CLASSES_MAX - 1; k++)
        fit->threshold[k] = draw(1 << 24) >> draw(24);
    for (uint32_t k = 0; k < CLASSES_MAX * TAPS; k++)
        fit->weight[k / TAPS][k % TAPS] = (int16_t)((int32_t)draw(2 * reach + 1) - (int32_t)reach);
    for (uint32_t k = 0; k < ENERGIES; k++)
        fit->energy[k] = (uint16_t)(draw(65536) >> draw(16));
}

static void fill_tile(rtc_exact_tile *tile)
{
    const uint32_t sides[] = {1, 2, 3, 33, 64, 97};
    tile->width = sides[draw(6)];
    tile->height = sides[draw(6)];
    tile->high = draw(65536) >> draw(16);
    tile->pad = draw(2) ? draw(tile->high + 1) : UINT32_MAX;
    tile->max_error = draw(2) ? draw(65536) >> draw(16) : 0;
    for (uint32_t group = 0; group < GROUPS; group++)
        for (uint32_t phase = 0; phase < PHASES; phase++)
            fill_fit(&tile->fit[group][phase]);
    tile->bound = tile->max_error ? 0 : draw(BOUND_MAX + 1);
    for (uint32_t phase = 0; phase < PHASES; phase++)
        fill_fit(&tile->refinement[phase]);
}

/* Samples in steps of a random size, some of them padding. */
static void fill_samples(const rtc_exact_tile *tile, uint16_t *samples, size_t count)
{
    const uint32_t range = 1 + (tile->high >> draw(16));
    for (size_t k = 0; k < count; k++)
        samples[k] = (uint16_t)(tile->pad <= tile->high && !draw(3) ? tile->pad : draw(range));
}

int main(int argc, char **argv)
{
    uint32_t decoded = 0, refused = 0;
    check(argc == 3, "usage: exact_fuzz SEED ROUNDS");
    begin_drawing(argv[1]);
    rtc_exact_state *state = block(rtc_exact_state_bytes());
    for (uint32_t round = (uint32_t)atoi(argv[2]); round--;) {
        rtc_exact_tile *tile = block(sizeof *tile);
        fill_tile(tile);
        const size_t count = (size_t)tile->width * tile->height;
        const uint32_t capacity = 4 + 2 * ITEMS_MAX * (uint32_t)count;
        const uint32_t steps = LEVELS + 1 + (tile->bound > 0);
        uint16_t *samples = block(2 * count), *twin = block(2 * count), *near = block(2 * count);
        uint32_t *items = block(4 * ITEMS_MAX * count);
        uint8_t *buffer = block(capacity), *payload[LEVELS + 2];
        uint32_t size[LEVELS + 2];
        fill_samples(tile, samples, count);
        rtc_exact_begin(state);
        for (uint32_t step = 0; step < steps; step++) {
            const int stays = tile->bound && step == LEVELS; /* the truth is needed once more */
            memcpy(near, samples, 2 * count);
            size[step] = rtc_exact_encode(tile, state, stays ? near : samples, tile->width, items,
                                          buffer, capacity);
            payload[step] = block(size[step]);
            memcpy(payload[step], buffer + capacity - size[step], size[step]);
        }
        rtc_exact_begin(state);
        for (uint32_t step = 0; step < steps; step++) {
            check(!rtc_exact_decode(tile, state, payload[step], size[step], twin, tile->width),
                  "what was coded is refused");
            for (size_t k = 0; tile->bound && step == LEVELS && k < count; k++)
                check(apart(samples[k], twin[k]) <= tile->bound, "a sample is beyond the bound");
        }
        for (size_t k = 0; k < count; k++)
            check(samples[k] == twin[k], "a sample came back as another");
        const uint32_t damaged = draw(steps);
        if (size[damaged])
            payload[damaged][draw(size[damaged])] ^= (uint8_t)(1 + draw(255));
        rtc_exact_begin(state);
        for (uint32_t step = 0; step < steps; step++) {
            const uint32_t shorter = draw(4) ? size[step] : draw(size[step] + 1);
            if (rtc_exact_decode(tile, state, payload[step], shorter, twin, tile->width))
                refused++;
            else
                decoded++;
            free(payload[step]);
        }
        for (size_t k = 0; k < count; k++)
            check(twin[k] <= tile->high, "a sample is too large");
        free(buffer), free(items), free(near), free(twin), free(samples), free(tile);
    }
    free(state);
    printf("%u decoded, %u refused\n", decoded, refused);
    return 0;
}

/*
 * Paints, predicts, smooths and refines pictures from random numbers, cleans and codes random ones, each
 * buffer allocated at its exact size, so that sanitizers see any access outside.
 *
 *     cc -fsanitize=address,undefined motion_fuzz.c rtcodec/motion/_*.c -o motion_fuzz
 *     ./motion_fuzz SEED ROUNDS
 *
 * Prints how many pictures were painted and how many were coded.
 */
#include "../../rtcodec/motion/_motion.h"

#include "fuzz.h"

enum {
    SAID = 10, /* numbers of a block behind its latents */
    STRIDE = SAMPLES + SAID,
    STEP_MAX = 4096, /* twice the coarsest */
    QPS = 64,
    HYPER = 48,
};

/* As in the C files that use them. */
typedef struct {
    const int16_t *luma, *chroma;
    int32_t clips[4], chroma_clips[4], activity[7];
} rtc_refinement;

typedef struct {
    const float *first, *second, *third, *biases;
    uint32_t hyper;
} rtc_hyper;

typedef struct {
    uint8_t *plane[3];
    ptrdiff_t stride[3];
    uint32_t height, width;
} rtc_picture;

typedef struct {
    const int16_t *vectors;
    const uint8_t *intra;
    const uint16_t *before;
    uint32_t rows, columns, noise[3];
} rtc_moved;

void rtc_reference_fill(const rtc_reference *, const uint16_t *);
void rtc_predict(const rtc_reference *, const int16_t *, const uint8_t *, uint16_t *);
void rtc_predict_best(const rtc_reference *, const int16_t *, uint8_t *, const uint8_t *, uint32_t,
                      uint16_t *);
void rtc_rounded(const uint16_t *, uint32_t, uint8_t *);
void rtc_sights_fill(const rtc_sights *);
void rtc_search(const rtc_sights *, const uint8_t *, uint32_t, uint32_t, int16_t *, uint8_t *);
void rtc_motion_symbols(const int16_t *, const uint8_t *, uint32_t, uint32_t, int16_t *);
void rtc_blocks_fill(const rtc_picture *, uint32_t, uint32_t, uint8_t *);
void rtc_planes_fill(const uint16_t *, uint32_t, const rtc_picture *);
uint32_t rtc_transform(const uint8_t *, const uint16_t *, const float *, uint32_t, uint32_t *, float *,
                       uint32_t *, uint8_t *);
uint32_t rtc_describe(const rtc_hyper *, const uint32_t *, const float *, const uint32_t *,
                      const int16_t *, uint32_t, uint32_t, uint32_t *, int8_t *);
uint32_t rtc_nonzero(const int16_t *, uint32_t, uint32_t *);
uint32_t rtc_quantise(const uint32_t *, const float *, uint32_t, const uint8_t *, const float *,
                      const int8_t *, uint32_t, int16_t *, uint32_t *, float *);
void rtc_paint(const int16_t *, const uint8_t *, const int32_t *, uint32_t, uint32_t, uint32_t,
               uint16_t *, uint8_t *);
void rtc_smooth(uint16_t *, const uint8_t *, const int16_t *, const uint8_t *, const uint8_t *,
                const int32_t *, uint32_t, uint32_t);
void rtc_refine(const rtc_reference *, const rtc_refinement *, const uint8_t *, uint16_t *);
typedef struct {
    const uint8_t *indices;
    const float *rounding;
    const int8_t *contexts;
    const float *prices;
    uint32_t stride;
} rtc_likelihood;

void rtc_spatial_paint(const int16_t *, uint32_t, uint32_t, uint32_t, const int32_t *, uint16_t *,
                       uint8_t *, uint16_t *, uint32_t, const int16_t *, uint32_t);
uint32_t rtc_spatial_matches(const uint8_t *, const uint8_t *, const uint8_t *, uint32_t, uint32_t,
                             uint64_t *, uint32_t *, int16_t *);
int32_t rtc_copies_decode(const uint8_t *, uint32_t, uint32_t, uint32_t, uint32_t, int16_t *, uint32_t *);
uint32_t rtc_copies_encode(int16_t *, uint32_t, uint32_t, uint32_t *, uint8_t *, uint32_t);
uint32_t rtc_spatial_choose(const uint8_t *, uint32_t, uint32_t, const int32_t *, uint32_t, int16_t *,
                            uint8_t *, uint32_t *, float *, uint32_t *, uint16_t *, uint16_t *,
                            uint32_t, const rtc_likelihood *, int16_t *);
void rtc_spatial_quantise(const uint8_t *, uint32_t, uint32_t, const int32_t *, const int16_t *,
                          const uint8_t *, const rtc_likelihood *, int16_t *, uint16_t *, uint32_t,
                          const int16_t *);
void rtc_average(const rtc_moved *, const uint8_t *, uint16_t *, uint16_t *);
void rtc_shrink(const rtc_reference *, const rtc_reference *, const uint16_t *, const float *, float,
                uint32_t, uint32_t, float *, uint16_t *);

static int32_t around(int32_t most) { return (int32_t)draw(2 * (uint32_t)most + 1) - most; }

/* Any number of 16 bits, small ones as likely as large ones. */
static int16_t wild(void) { return (int16_t)(around(32768) >> draw(16)); }

/* Numbers of which a share is not 0. */
static int16_t *numbers(size_t count, uint32_t one_in)
{
    int16_t *of = block(count * sizeof *of);
    for (size_t k = 0; k < count; k++)
        of[k] = draw(one_in) ? 0 : wild();
    return of;
}

static uint8_t *bytes(size_t count, uint32_t below)
{
    uint8_t *of = block(count);
    for (size_t k = 0; k < count; k++)
        of[k] = (uint8_t)draw(below);
    return of;
}

static uint16_t *fine(size_t count)
{
    uint16_t *of = block(count * sizeof *of);
    const uint32_t quiet = draw(12);
    for (size_t k = 0; k < count; k++)
        of[k] = (uint16_t)(draw(FINE_MAX + 1) >> quiet);
    return of;
}

static void check_fine(const uint16_t *blocks, size_t count)
{
    for (size_t k = 0; k < count; k++)
        check(blocks[k] <= FINE_MAX, "a sample is too large");
}

/* A reference, and what is allocated for it. */
typedef struct {
    rtc_reference reference;
    uint16_t *planes[3];
} stored;

static void store(stored *to, uint32_t rows, uint32_t columns, const uint16_t *blocks)
{
    to->reference = (rtc_reference){.rows = rows, .columns = columns};
    uint16_t **starts[3] = {&to->reference.y, &to->reference.u, &to->reference.v};
    for (int k = 0; k < 3; k++) {
        const uint32_t n = k ? HALF : BLOCK, border = k ? BORDER / 2 : BORDER;
        const size_t width = columns * n + 2 * border, height = rows * n + 2 * border;
        to->planes[k] = block(width * height * sizeof **to->planes);
        *starts[k] = to->planes[k] + border * width + border;
    }
    rtc_reference_fill(&to->reference, blocks);
}

static void forget(stored *of)
{
    for (int k = 0; k < 3; k++)
        free(of->planes[k]);
}

/* Where a frame is painted as one area, or NULL to paint it tile by tile. */
static uint16_t *draw_room(size_t places)
{
    return draw(2) ? block(places * (SAMPLES + 2) * sizeof(uint16_t)) : NULL;
}

static void draw_limits(int32_t *limits)
{
    for (int k = 0; k < 6; k++)
        limits[k] = (int32_t)draw(8192);
}

/* Copies as bytes from outside say them, or any numbers where those are none. */
static int16_t *draw_copies(uint32_t rows, uint32_t columns)
{
    const size_t count = (size_t)rows * columns * 2 * QUARTERS;
    int16_t *copies = block(count * sizeof *copies), *again = block(count * sizeof *again);
    uint32_t *items = block(count * 8 * sizeof *items), size = 4 + 2 * 8 * (uint32_t)count, position;
    uint8_t *buffer = block(size);
    const uint32_t far = 1u << draw(16);
    for (size_t k = 0; k < count; k++)
        copies[k] = (int16_t)(k & 1 ? around((int32_t)far - 1) : (int32_t)draw(far));
    memcpy(again, copies, count * sizeof *copies);
    const uint32_t used = rtc_copies_encode(again, rows, columns, items, buffer, size);
    uint8_t *payload = block(used);
    memcpy(payload, buffer + size - used, used);
    check(rtc_copies_decode(payload, used, rows, columns, 2 * QUARTERS, again, &position) == 0
              && !memcmp(again, copies, count * sizeof *copies),
          "copies do not come back");
    for (uint32_t k = draw(4); k > 0; k--)
        payload[draw(used)] ^= (uint8_t)(1 << draw(8));
    rtc_copies_decode(payload, draw(used + 1), rows, columns, 2 * QUARTERS, copies, &position);
    check(position <= used, "more was read than there is");
    free(payload), free(buffer), free(items), free(again);
    return copies;
}

/* Where parts of a picture might be copied from. */
static int16_t *find_copies(const uint8_t *blocks, uint32_t rows, uint32_t columns)
{
    const size_t places = (size_t)rows * columns;
    uint8_t *planes = block(places * SAMPLES);
    memcpy(planes, blocks, places * SAMPLES); /* any picture will do */
    uint64_t *sums = block(columns * BLOCK * sizeof *sums);
    uint32_t *table = block(sizeof *table << 18);
    memset(table, 0, sizeof *table << 18);
    int16_t *copies = block(places * 2 * QUARTERS * sizeof *copies);
    rtc_spatial_matches(planes, planes + places * 256, planes + places * 320, rows, columns, sums, table,
                        copies);
    free(table), free(sums), free(planes);
    return copies;
}

/* Two frames as a decoder has them, of any numbers: alone, then one that leans on it; refined. */
static void paint_frames(uint32_t rows, uint32_t columns)
{
    const size_t places = (size_t)rows * columns, all = places * SAMPLES;
    const int32_t steps[2] = {1 + (int32_t)draw(STEP_MAX), 1 + (int32_t)draw(STEP_MAX)};
    int16_t *symbols = numbers(places * STRIDE, 1 + draw(200));
    int16_t *vectors = numbers(places * 2 * QUARTERS, 1 + draw(8));
    uint8_t *intra = bytes(places, 8), *still = bytes(places, 2), *coded = block(places);
    uint16_t *blocks = block(all * sizeof *blocks), *refined = block(all * sizeof *refined);
    uint16_t *room = draw_room(places);
    int32_t limits[6];
    stored past;

    draw_limits(limits);
    int16_t *copies = draw(2) ? draw_copies(rows, columns) : NULL;
    rtc_spatial_paint(symbols, rows, columns, STRIDE, steps, blocks, coded, room, draw(2), copies,
                      2 * QUARTERS);
    free(room);
    free(copies);
    check_fine(blocks, all);
    rtc_smooth(blocks, coded, vectors, intra, still, limits, rows, columns);
    check_fine(blocks, all);

    store(&past, rows, columns, blocks);
    rtc_predict(&past.reference, vectors, intra, blocks);
    check_fine(blocks, all);
    rtc_paint(symbols, still, steps, (uint32_t)places, STRIDE, STRIDE - 1, blocks, coded);
    check_fine(blocks, all);

    int16_t *luma = numbers(40 * 12 * 4, 1), *chroma = numbers(2 * 6 * 4, 1);
    rtc_refinement *how = block(QPS * sizeof *how);
    for (int qp = 0; qp < QPS; qp++) {
        how[qp].luma = luma, how[qp].chroma = chroma;
        for (int k = 0; k < 4; k++)
            how[qp].clips[k] = (int32_t)draw(8192), how[qp].chroma_clips[k] = (int32_t)draw(8192);
        for (int k = 0; k < 7; k++)
            how[qp].activity[k] = (int32_t)draw(1 << 19);
    }
    uint8_t *qps = bytes(places / (TILE * TILE), 80);
    rtc_refine(&past.reference, how, qps, refined);
    check_fine(refined, all);

    const uint32_t height = 1 + draw(rows * BLOCK), width = 1 + draw(columns * BLOCK);
    rtc_picture shown = {.height = height, .width = width};
    for (int k = 0; k < 3; k++) {
        const uint32_t h = k ? (height + 1) / 2 : height, w = k ? (width + 1) / 2 : width;
        shown.plane[k] = block((size_t)h * w);
        shown.stride[k] = (ptrdiff_t)w;
    }
    rtc_planes_fill(refined, columns, &shown);
    uint8_t *again = block(all);
    rtc_blocks_fill(&shown, rows, columns, again);

    free(again), free(shown.plane[0]), free(shown.plane[1]), free(shown.plane[2]);
    free(qps), free(how), free(chroma), free(luma);
    forget(&past);
    free(refined), free(blocks), free(coded), free(still), free(intra), free(vectors), free(symbols);
}

/* A picture as an encoder has it: noise, or bands with some. */
static uint8_t *draw_picture(size_t all)
{
    const uint32_t noise = 1 + draw(256) / (1 + draw(64)), length = 1 + draw(3000);
    uint8_t *blocks = block(all), level = 0;
    for (size_t k = 0; k < all; k++) {
        if (k % length == 0)
            level = (uint8_t)draw(257 - noise);
        blocks[k] = (uint8_t)(level + draw(noise));
    }
    return blocks;
}

static float *floats(size_t count, float most)
{
    float *of = block(count * sizeof *of);
    for (size_t k = 0; k < count; k++)
        of[k] = most * (float)around(1000) / 1000;
    return of;
}

static rtc_hyper draw_hyper(void)
{
    return (rtc_hyper){floats((SAMPLES + SAID) * 64, 1), floats(4 * 64 * 96, 1),
                       floats(4 * 96 * HYPER, 1), floats(64 + 96 + HYPER, 9), HYPER};
}

/* Latents of a frame, listed; and what follows from the list. */
typedef struct {
    uint32_t *at, *ends, count;
    float *values;
    uint8_t *split;
} list;

static list make_list(size_t places)
{
    const size_t all = places * SAMPLES;
    return (list){block(all * 4), block(places * 4), 0, block(all * 4), block(places)};
}

static void describe(const list *l, const int16_t *said, uint32_t rows, uint32_t columns)
{
    const uint32_t n_tiles = rows * columns / (TILE * TILE);
    const rtc_hyper hyper = draw_hyper();
    uint32_t *tiles = block(n_tiles * sizeof *tiles);
    int8_t *z = block((size_t)n_tiles * HYPER);
    check(rtc_describe(&hyper, l->at, l->values, l->ends, said, rows, columns, tiles, z) <= n_tiles,
          "more tiles than there are");
    free(z), free(tiles);
    free((void *)hyper.first), free((void *)hyper.second), free((void *)hyper.third);
    free((void *)hyper.biases);
}

/* A picture averaged with its prediction, in place, by any vectors, and what is left of its noise. */
static void clean(const stored *past, const uint8_t *blocks, uint16_t *prediction)
{
    const uint32_t rows = past->reference.rows, columns = past->reference.columns;
    const size_t places = (size_t)rows * columns;
    int16_t *vectors = numbers(places * 2 * QUARTERS, 1 + draw(8));
    uint8_t *intra = bytes(places, 8);
    uint16_t *before = block(places * 8 * sizeof *before), *gains = block(places * 8 * sizeof *gains);
    for (size_t k = 0; k < places * 8; k++)
        before[k] = (uint16_t)(10 + draw(247));
    const rtc_moved moved = {vectors, intra, before, rows, columns,
                             {draw(73000000), draw(73000000) >> draw(20), draw(20)}};
    rtc_average(&moved, blocks, prediction, gains);
    check_fine(prediction, places * SAMPLES);

    float noise[3 * 64];
    for (size_t k = 0; k < sizeof noise / sizeof *noise; k++)
        noise[k] = (float)(1 + draw(1024));
    const uint32_t down = 1u << draw(3), across = 2 * (1 + draw(4));
    float *scratch = block(16 * (columns * BLOCK + 16) * sizeof *scratch);
    uint16_t *cleaned = block(places * SAMPLES * sizeof *cleaned);
    rtc_shrink(&past->reference, draw(2) ? &past->reference : NULL, gains, noise, 2.7f, down, across,
               scratch, cleaned);
    check_fine(cleaned, places * SAMPLES);
    free(cleaned), free(scratch), free(gains), free(before), free(intra), free(vectors);
}

static void forget_list(list *l) { free(l->at), free(l->ends), free(l->values), free(l->split); }

static void code_frames(uint32_t rows, uint32_t columns)
{
    const size_t places = (size_t)rows * columns, all = places * SAMPLES;
    const int32_t steps[2] = {1 + (int32_t)draw(STEP_MAX), 1 + (int32_t)draw(STEP_MAX)};
    const float as_floats[2] = {(float)steps[0], (float)steps[1]};
    uint8_t *blocks = draw_picture(all), *indices = bytes(places * STRIDE, 64);
    uint16_t *before = fine(all), *prediction = block(all * sizeof *prediction);
    uint16_t *room = draw_room(places);
    int16_t *vectors = numbers(places * 2 * QUARTERS, 1 + draw(8));
    int16_t *said = block(places * SAID * sizeof *said), *modes = block(places * 5 * sizeof *modes);
    int16_t *symbols = numbers(places * STRIDE, 1 << 30);
    uint8_t *intra = block(places), *coded = block(places), *whole = block(all);
    int8_t *contexts = (int8_t *)bytes(30 * 16, 256);
    float *prices = floats(64 * 16, 2), *rounding = floats(64, 0.5f), *meant = block(all * sizeof *meant);
    uint32_t *listed = block(places * STRIDE * sizeof *listed);
    list delta = make_list(places), alone = make_list(places);
    stored past;

    store(&past, rows, columns, before);
    rtc_sights sights = {&past.reference, {0}};
    uint8_t *planes[4];
    const size_t size = luma_stride(&past.reference) * (rows * BLOCK + 2 * BORDER);
    for (int k = 0; k < 4; k++) {
        planes[k] = block(size);
        memset(planes[k], 0, size);
        sights.planes[k] = planes[k] + BORDER * (luma_stride(&past.reference) + 1);
    }
    rtc_sights_fill(&sights);
    rtc_search(&sights, blocks, draw(65537) >> draw(16), draw(65537) >> draw(16), vectors, intra);
    rtc_predict_best(&past.reference, vectors, intra, blocks, 1 + draw(STEP_MAX), prediction);
    check_fine(prediction, all);
    rtc_rounded(prediction, (uint32_t)all, whole);
    rtc_motion_symbols(vectors, intra, rows, columns, said);
    delta.count = rtc_transform(blocks, prediction, as_floats, (uint32_t)places, delta.at,
                                delta.values, delta.ends, delta.split);
    describe(&delta, said, rows, columns);
    const uint32_t n_said = rtc_quantise(delta.at, delta.values, delta.count, indices, rounding,
                                         contexts, STRIDE, symbols, listed, meant);
    check(rtc_nonzero(symbols, (uint32_t)(places * STRIDE), listed) == n_said, "symbols are missing");

    memset(symbols, 0, places * STRIDE * sizeof *symbols);
    const rtc_likelihood likely = {indices, rounding, contexts, prices, STRIDE};
    const uint32_t linear = draw(2);
    int16_t *copies = find_copies(blocks, rows, columns);
    for (int known = 0; known < 2; known++) {
        alone.count = rtc_spatial_choose(blocks, rows, columns, steps, draw(2), modes, alone.split,
                                         alone.at, alone.values, alone.ends, prediction, room,
                                         linear, known ? &likely : NULL, room ? copies : NULL);
        check_fine(prediction, all);
        describe(&alone, said, rows, columns);
    }
    rtc_spatial_quantise(blocks, rows, columns, steps, modes, alone.split, &likely, symbols, room,
                         linear, room ? copies : NULL);
    rtc_spatial_paint(symbols, rows, columns, STRIDE, steps, prediction, coded, room, linear,
                      room ? copies : NULL, 2 * QUARTERS);
    free(room);
    free(copies);
    free(prices);
    check_fine(prediction, all);

    clean(&past, blocks, prediction);
    for (int k = 0; k < 4; k++)
        free(planes[k]);
    forget(&past);
    forget_list(&alone), forget_list(&delta);
    free(listed), free(meant), free(rounding), free(contexts), free(whole), free(coded), free(intra);
    free(symbols), free(modes), free(said), free(vectors), free(prediction), free(before);
    free(indices), free(blocks);
}

int main(int argc, char **argv)
{
    uint32_t painted = 0, coded = 0;
    check(argc == 3, "usage: motion_fuzz SEED ROUNDS");
    begin_drawing(argv[1]);
    for (long rounds = strtol(argv[2], NULL, 10); rounds > 0; rounds--) {
        for (int k = 0; k < 4; k++, painted++)
            paint_frames(TILE * (1 + draw(3)), TILE * (1 + draw(3)));
        code_frames(TILE * (1 + draw(2)), TILE * (1 + draw(2)));
        coded++;
    }
    printf("%u painted, %u coded\n", painted, coded);
    return 0;
}

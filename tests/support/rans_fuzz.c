/*
 * Runs every function of the entropy coder on random and mutated input, each buffer
 * allocated at its exact size, so that sanitizers see any access outside.
 *
 *     cc -fsanitize=address,undefined rans_fuzz.c -o rans_fuzz && ./rans_fuzz SEED ROUNDS
 *
 * Prints how many payloads decoded and how many were refused.
 */
#include "../../rtcodec/entropy/_tables.c"
#include "../../rtcodec/entropy/_contexts.c"
#include "../../rtcodec/entropy/_decode.c"
#include "../../rtcodec/entropy/_encode.c"
#include "../../rtcodec/entropy/_tiles.c"
#include "../../rtcodec/entropy/_scale_net.c"

#include "fuzz.h"

/* A random cumulative table of *size* symbols in *columns* numbers. */
static void fill_table(uint16_t *cdf, uint32_t size, uint32_t columns)
{
    const uint32_t peak = draw(size), spread = 1 + draw((PROB_SCALE - size) / size + 1);
    uint32_t left = PROB_SCALE - size, sum = 0;
    for (uint32_t s = 0; s < size; s++) {
        uint32_t extra = s == peak ? 0 : draw(spread);
        cdf[s] = (uint16_t)(1 + extra);
        left -= extra;
    }
    cdf[peak] = (uint16_t)(cdf[peak] + left);
    for (uint32_t s = 0; s < columns; s++) {
        const uint32_t frequency = s < size ? cdf[s] : 0;
        cdf[s] = (uint16_t)sum;
        sum += frequency;
    }
}

static rtc_tables *make_tables(uint32_t hyper_channels, int with_contexts)
{
    enum { COLUMNS = 257 };
    const uint32_t rows = draw(2) ? SCALES : SCALES + SAID;
    uint16_t *y = block(sizeof *y * rows * COLUMNS);
    uint16_t *z = block(sizeof *z * QPS * hyper_channels * Z_ROW);
    rtc_tables *tables = block(rtc_tables_size(hyper_channels));
    memset(y, 0, sizeof *y * COLUMNS);
    for (uint32_t index = 1; index < rows; index++)
        fill_table(y + index * COLUMNS, 2 * (1 + draw(index % 7 ? 8 : 128)), COLUMNS);
    for (uint32_t row = 0; row < QPS * hyper_channels; row++)
        fill_table(z + row * Z_ROW, Z_ROW - 1, Z_ROW);
    int8_t *contexts = block(KINDS * LEVELS);
    for (uint32_t k = 0; k < KINDS * LEVELS; k++)
        contexts[k] = (int8_t)((int32_t)draw(127) - 63);
    rtc_tables_build(tables, y, rows, COLUMNS, z, hyper_channels, with_contexts ? contexts : NULL);
    free(contexts);
    free(y);
    free(z);
    return tables;
}

static int32_t decode(const rtc_tables *tables, const uint8_t *payload, uint32_t size,
                      uint32_t n_tiles, uint32_t lanes, const uint8_t *indices, uint32_t count,
                      int8_t *z, int16_t *symbols)
{
    rtc_decoder decoder;
    int32_t status = rtc_decode_begin(&decoder, payload, size, lanes);
    if (!status)
        status = rtc_decode_z(&decoder, tables, 3, z, n_tiles);
    if (!status)
        status = rtc_decode_y(&decoder, tables, indices, count, symbols);
    check(decoder.position <= size, "the position is outside the payload");
    return status;
}

static void round_trip(const rtc_tables *tables, uint32_t n_tiles, uint32_t channels,
                       uint32_t lanes, uint32_t counts[2])
{
    const uint32_t n_z = n_tiles * tables->hyper_channels, count = n_tiles * channels * 16;
    const uint32_t density = draw(101), wild = draw(8) ? 2000 : 2;
    int8_t *z = block(n_z), *z_back = block(n_z);
    uint8_t *indices = block(count);
    int16_t *symbols = block(2 * (size_t)count), *back = block(2 * (size_t)count);
    uint32_t *list = block(4 * (size_t)count);
    for (uint32_t j = 0; j < n_z; j++)
        z[j] = (int8_t)((int32_t)draw(31) - 15);
    for (uint32_t j = 0; j < count; j++) {
        indices[j] = draw(100) < density ? (uint8_t)(1 + draw(tables->rows - 1)) : 0;
        const int32_t symbol = draw(wild) ? (int32_t)draw(9) - 4 : (int32_t)draw(65535) - 32767;
        symbols[j] = indices[j] ? (int16_t)symbol : 0;
    }
    uint8_t *moved = block(count);
    memcpy(moved, indices, count);
    /* What is not read is 0, which moves the indices of what comes later: a stage a round. */
    for (uint32_t stage = 0; tables->has_contexts && stage <= stage_count(); stage++) {
        rtc_context_indices(tables, indices, symbols, n_tiles, moved);
        for (uint32_t j = 0; j < count; j++)
            symbols[j] = moved[j] ? symbols[j] : 0;
    }
    uint16_t *costs = block(2 * (size_t)tables->rows * COST_ROW);
    uint32_t *totals = block(4 * (size_t)n_tiles);
    memset(costs, 1, 2 * (size_t)tables->rows * COST_ROW);
    rtc_tile_costs(tables, costs, moved, symbols, n_tiles, channels * 16, totals);
    free(costs), free(totals);
    rtc_census census;
    rtc_encode_list(tables, moved, symbols, count, list, &census);
    check(!census.misplaced, "misplaced");
    const uint32_t capacity = 4 * lanes + 2 * (n_z + census.n_coded + 2 * census.n_escaped);
    uint8_t *buffer = block(capacity);
    const uint32_t size = rtc_encode(tables, 3, z, n_tiles, list, census.n_coded, lanes, buffer,
                                     capacity);
    uint8_t *payload = block(size); /* exact */
    memcpy(payload, buffer + capacity - size, size);
    check(!decode(tables, payload, size, n_tiles, lanes, indices, count, z_back, back),
          "a payload is refused");
    for (uint32_t j = 0; j < n_z; j++)
        check(z[j] == z_back[j], "z differs");
    for (uint32_t j = 0; j < count; j++)
        check(symbols[j] == back[j], "symbols differ");
    for (uint32_t mutation = 0; mutation < 20; mutation++) {
        const uint32_t cut = draw(3) ? size : draw(size + 1);
        uint8_t *bad = block(cut);
        memcpy(bad, payload, cut);
        for (uint32_t flips = draw(4); cut && flips; flips--)
            bad[draw(cut)] ^= (uint8_t)(1u << draw(8));
        if (!draw(8)) /* what the network says may be anything too */
            for (uint32_t j = 0; j < count; j++)
                indices[j] = (uint8_t)draw(256);
        const int refused = decode(tables, bad, cut, n_tiles, lanes, indices, count, z_back, back) != 0;
        counts[refused]++;
        free(bad);
    }
    free(z), free(z_back), free(indices), free(symbols), free(back), free(list), free(buffer), free(moved);
    free(payload);
}

static void copy_round_trip(void)
{
    const uint32_t channels = draw(5), rows = 1 + draw(4), columns = 1 + draw(5);
    const uint32_t size = 1 + draw(2), n_tiles = draw(rows * columns + 1);
    const size_t plane_size = (size_t)channels * rows * columns * 16 * size;
    uint8_t *plane = block(plane_size), *tiles = block((size_t)n_tiles * channels * 16 * size);
    uint32_t *where = block(4 * (size_t)n_tiles);
    for (size_t i = 0; i < plane_size; i++)
        plane[i] = (uint8_t)draw(256);
    for (uint32_t t = 0; t < n_tiles; t++)
        where[t] = draw(rows * columns);
    const ptrdiff_t one = (ptrdiff_t)size, width = 4 * (ptrdiff_t)columns, height = 4 * (ptrdiff_t)rows;
    const rtc_strides planar = {one * width * height, one * width, one},
                      last = {one, one * channels * width, one * channels};
    const rtc_strides *strides = draw(2) ? &planar : &last;
    rtc_gather(plane, strides, tiles, where, n_tiles, channels, columns, size);
    uint8_t *before = block(plane_size);
    memcpy(before, plane, plane_size);
    rtc_scatter(plane, strides, tiles, where, n_tiles, channels, columns, size);
    for (size_t i = 0; i < plane_size; i++)
        check(plane[i] == before[i], "a tile went elsewhere");
    free(before);
    free(plane), free(tiles), free(where);
}

static void run_scale_net(void)
{
    const uint32_t sizes[4] = {1 + draw(9), 1 + draw(9), 1 + draw(9), 1 + draw(40)};
    const uint32_t n_tiles = draw(40);
    rtc_scale_net net = {.hyper_channels = sizes[0], .hidden = {sizes[1], sizes[2]},
                         .latent_channels = sizes[3], .shift = {4, 8, 8}};
    int16_t *weights[3];
    int8_t *narrow[3];
    int32_t *biases[3];
    for (uint32_t l = 0; l < 3; l++) {
        net.rows[l] = ((l == 2 ? sizes[3] : 4 * sizes[l + 1]) + 7) / 8 * 8;
        net.inputs[l] = (sizes[l] + 1) / 2 * 2;
        net.weight[l] = weights[l] = block(2 * (size_t)net.rows[l] * net.inputs[l]);
        net.bias[l] = biases[l] = block(4 * (size_t)net.rows[l]);
        const uint32_t padded = (net.inputs[l] + 3) / 4 * 4;
        net.narrow[l] = narrow[l] = block((size_t)net.rows[l] * padded);
        memset(narrow[l], 0, (size_t)net.rows[l] * padded);
        for (uint32_t row = 0; row < net.rows[l]; row++)
            for (uint32_t k = 0; k < net.inputs[l]; k++) {
                const int8_t weight = (int8_t)((int32_t)draw(255) - 127);
                weights[l][row * net.inputs[l] + k] = narrow[l][row * padded + k] = weight;
            }
        for (uint32_t j = 0; j < net.rows[l]; j++)
            biases[l][j] = (int32_t)draw(1 << 20) - (1 << 19);
    }
    int8_t *z = block((size_t)n_tiles * sizes[0]);
    uint8_t *indices = block((size_t)n_tiles * sizes[3] * 16);
    int16_t *scratch = block(rtc_scale_scratch(&net));
    for (uint32_t j = 0; j < n_tiles * sizes[0]; j++)
        z[j] = (int8_t)((int32_t)draw(31) - 15);
    rtc_scale_indices(&net, z, n_tiles, indices, scratch);
    for (uint32_t j = 0; j < n_tiles * sizes[3] * 16; j++)
        check(indices[j] < SCALES, "an index is too large");
    for (uint32_t l = 0; l < 3; l++)
        free(weights[l]), free(narrow[l]), free(biases[l]);
    free(z), free(indices), free(scratch);
}

int main(int argc, char **argv)
{
    uint32_t counts[2] = {0, 0};
    check(argc == 3, "usage: rans_fuzz SEED ROUNDS");
    begin_drawing(argv[1]);
    for (long rounds = strtol(argv[2], NULL, 10); rounds > 0; rounds--) {
        rtc_tables *tables = make_tables(1 + draw(6), 0);
        for (uint32_t k = 0; k < 12; k++)
            round_trip(tables, draw(6), draw(40), 1u << draw(4), counts);
        free(tables);
        tables = make_tables(1 + draw(6), 1);
        round_trip(tables, draw(3), CHANNELS, 1u << draw(4), counts);
        free(tables);
        copy_round_trip();
        run_scale_net();
    }
    printf("%u decoded, %u refused\n", counts[0], counts[1]);
    return 0;
}

/*
 * Block motion in integers: find vectors, and predict blocks with them. And what else delta frames
 * need sample by sample.
 *
 * One freestanding C11 source (GCC or Clang), for Python through ctypes and for wasm32. It
 * allocates nothing and calls nothing but memcpy and memset. `rtc_predict` is normative (SPEC.md
 * section 9) and equals predict.py; `rtc_search` is the encoder's own affair. Arguments come
 * checked from native.py; vectors may be any numbers.
 *
 * A reference is three planes with BORDER repeated samples around (half that for chroma), so that
 * the filters may read beyond the frame. Samples of references and predictions have 4 bits more
 * than a byte: devices differ by a rounding here and there, and in bytes those would add up from
 * frame to frame (docs/adr/019).
 */
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))

/* x86: compiled for AVX2 as well, chosen when the library is loaded. */
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx2", "default")))
#else
#define CLONES
#endif

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

enum {
    BLOCK = 16,
    HALF = BLOCK / 2,
    SAMPLES = 384,
    BORDER = 32, /* of luma; >= BLOCK + 8 taps, so that no clamped block reads outside */
    REACH = BLOCK + 6, /* how far a block may lie outside the frame before nothing changes */
    GREY = 128,
    FINE = 16,       /* of a sample's steps, in references and predictions */
    FINE_MAX = 4080, /* 255 of them */
    TILE = 4, /* blocks along the side of a tile */
    TILE_BITS = 24, /* what it costs to say that a tile does not rest: roughly, its z */
    INTRA_BITS = 24, /* what a block costs more without a prediction: its mean, mostly */
};

/* ITU-T H.265 8.5.3.3.3: luma at quarters of a sample, chroma at eighths. */
static const int8_t LUMA_TAPS[4][8] = {
    {0, 0, 0, 64, 0, 0, 0, 0},
    {-1, 4, -10, 58, 17, -5, 1, 0},
    {-1, 4, -11, 40, 40, -11, 4, -1},
    {0, 1, -5, 17, 58, -10, 4, -1},
};
static const int8_t CHROMA_TAPS[8][4] = {
    {0, 64, 0, 0},    {-2, 58, 10, -2}, {-4, 54, 16, -2}, {-6, 46, 28, -4},
    {-4, 36, 36, -4}, {-4, 28, 46, -6}, {-2, 16, 54, -4}, {-2, 10, 58, -2},
};

typedef struct {
    uint16_t *y, *u, *v; /* the sample at row 0, column 0 */
    uint8_t *search;     /* luma again in bytes, for the search */
    uint32_t rows, columns; /* blocks */
} rtc_reference;

static const uint32_t VERSION = 4;

EXPORT uint32_t rtc_motion_version(void)
{
    return VERSION;
}

INLINE size_t luma_stride(const rtc_reference *r) { return r->columns * BLOCK + 2 * BORDER; }
INLINE size_t chroma_stride(const rtc_reference *r) { return r->columns * HALF + BORDER; }
INLINE int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* Repeat the edges of a plane of samples of `size` bytes all around. */
INLINE void repeat_edges(uint8_t *plane, size_t stride, uint32_t height, uint32_t width,
                         uint32_t border, size_t size)
{
    for (uint32_t i = 0; i < height; i++) {
        uint8_t *line = plane + i * stride * size, *end = line + width * size;
        for (uint32_t j = 1; j <= border; j++) {
            memcpy(line - j * size, line, size);
            memcpy(end + (j - 1) * size, end - size, size);
        }
    }
    const size_t whole = (width + 2 * border) * size;
    uint8_t *first = plane - border * size, *last = first + (height - 1) * stride * size;
    for (uint32_t i = 1; i <= border; i++) {
        memcpy(first - i * stride * size, first, whole);
        memcpy(last + i * stride * size, last, whole);
    }
}

INLINE void fill_plane(uint16_t *plane, size_t stride, const uint16_t *blocks, uint32_t rows,
                       uint32_t columns, uint32_t n, uint32_t border)
{
    for (uint32_t row = 0; row < rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            const uint16_t *block = blocks + ((size_t)row * columns + column) * SAMPLES;
            uint16_t *to = plane + row * n * stride + column * n;
            for (uint32_t i = 0; i < n; i++)
                memcpy(to + i * stride, block + i * n, n * sizeof *to);
        }
    repeat_edges((uint8_t *)plane, stride, rows * n, columns * n, border, sizeof *plane);
}

/* Copy blocks [rows, columns, 384] into a reference and repeat its edges. */
CLONES EXPORT void rtc_reference_fill(const rtc_reference *to, const uint16_t *blocks)
{
    const uint32_t rows = to->rows, columns = to->columns;
    const size_t stride = luma_stride(to);
    fill_plane(to->y, stride, blocks, rows, columns, BLOCK, BORDER);
    fill_plane(to->u, chroma_stride(to), blocks + 256, rows, columns, HALF, BORDER / 2);
    fill_plane(to->v, chroma_stride(to), blocks + 320, rows, columns, HALF, BORDER / 2);
    for (uint32_t i = 0; i < rows * BLOCK; i++)
        for (uint32_t j = 0; j < columns * BLOCK; j++)
            to->search[i * stride + j] = (uint8_t)((to->y[i * stride + j] + FINE / 2) / FINE);
    repeat_edges(to->search, stride, rows * BLOCK, columns * BLOCK, BORDER, 1);
}

/* n x n samples at a place between samples, into rows of n; for the search. */
INLINE void interpolate(const uint8_t *from, size_t stride, const int8_t *across,
                        const int8_t *down, int taps, uint32_t n, uint8_t *restrict to)
{
    int16_t lines[(BLOCK + 7) * BLOCK];
    const int before = taps / 2 - 1;
    const uint8_t *start = from - before * stride - before;
    for (uint32_t i = 0; i < n + taps - 1; i++)
        for (uint32_t j = 0; j < n; j++) {
            int16_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum = (int16_t)(sum + across[k] * start[i * stride + j + k]);
            lines[i * n + j] = sum;
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            int32_t sum = 2048;
            for (int k = 0; k < taps; k++)
                sum += down[k] * lines[(i + k) * n + j];
            to[i * n + j] = (uint8_t)clamp(sum >> 12, 0, 255);
        }
}

INLINE void interpolate_one_way(const uint8_t *from, size_t stride, size_t next,
                                const int8_t *filter, int taps, uint32_t n, uint8_t *restrict to)
{
    const uint8_t *start = from - (taps / 2 - 1) * next;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            int16_t sum = 32;
            for (int k = 0; k < taps; k++)
                sum = (int16_t)(sum + filter[k] * start[i * stride + j + k * next]);
            to[i * n + j] = (uint8_t)clamp(sum >> 6, 0, 255);
        }
}

INLINE void sample(const uint8_t *from, size_t stride, const int8_t *across, const int8_t *down,
                   int moved_across, int moved_down, int taps, uint32_t n, uint8_t *restrict to)
{
    if (!moved_across && !moved_down)
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * n, from + i * stride, n);
    else if (!moved_down)
        interpolate_one_way(from, stride, 1, across, taps, n, to);
    else if (!moved_across)
        interpolate_one_way(from, stride, stride, down, taps, n, to);
    else
        interpolate(from, stride, across, down, taps, n, to);
}

/*
 * The same for predictions, of 12 bits, as ITU-T H.265 8.5.3.3.3 and 8.5.3.3.4.2 have it for that
 * depth: sums of a pass are cut to 14 bits, the last one is rounded to 12.
 */
INLINE uint16_t from_14_bits(int32_t x)
{
    return (uint16_t)clamp((x + 2) >> 2, 0, FINE_MAX);
}

INLINE void fine_sample(const uint16_t *from, size_t stride, const int8_t *across,
                        const int8_t *down, int moved_across, int moved_down, int taps, uint32_t n,
                        uint16_t *restrict to)
{
    int16_t lines[(BLOCK + 7) * BLOCK];
    const int before = taps / 2 - 1;
    if (!moved_across && !moved_down) {
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * n, from + i * stride, n * sizeof *to);
        return;
    }
    if (!moved_across || !moved_down) {
        const size_t next = moved_across ? 1 : stride;
        const int8_t *filter = moved_across ? across : down;
        const uint16_t *start = from - before * next;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++) {
                int32_t sum = 0;
                for (int k = 0; k < taps; k++)
                    sum += filter[k] * (int16_t)start[i * stride + j + k * next];
                to[i * n + j] = from_14_bits(sum >> 4);
            }
        return;
    }
    const uint16_t *start = from - before * stride - before;
    for (uint32_t i = 0; i < n + taps - 1; i++)
        for (uint32_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += across[k] * (int16_t)start[i * stride + j + k];
            lines[i * n + j] = (int16_t)(sum >> 4);
        }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            int32_t sum = 0;
            for (int k = 0; k < taps; k++)
                sum += down[k] * lines[(i + k) * n + j];
            to[i * n + j] = from_14_bits(sum >> 6);
        }
}

/* Where a block lies, limited to where a further step changes nothing. */
INLINE int32_t limited(int32_t place, int32_t blocks, int32_t unit)
{
    return clamp(place, -REACH * unit, (blocks * BLOCK + REACH - BLOCK) * unit);
}

/* Luma in bytes, for the search. */
CLONES static void luma_at(const rtc_reference *r, int32_t x, int32_t y, uint8_t *restrict to)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r);
    const uint8_t *from = r->search + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, BLOCK, to);
}

CLONES static void block_at(const rtc_reference *r, int32_t x, int32_t y, uint16_t *restrict to)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r);
    const uint16_t *from = r->y + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    fine_sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, BLOCK, to);
}

CLONES static void chroma_at(const rtc_reference *r, int32_t x, int32_t y, uint16_t *restrict to)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = chroma_stride(r);
    const ptrdiff_t start = (y >> 3) * (ptrdiff_t)stride + (x >> 3);
    const int8_t *across = CHROMA_TAPS[x & 7], *down = CHROMA_TAPS[y & 7];
    fine_sample(r->u + start, stride, across, down, x & 7, y & 7, 4, HALF, to);
    fine_sample(r->v + start, stride, across, down, x & 7, y & 7, 4, HALF, to + 64);
}

/*
 * Predicted blocks [rows, columns, 384] from vectors int16 [rows, columns, 2], across and down in
 * quarters of a luma sample; GREY where intra [rows, columns] is not 0.
 */
EXPORT void rtc_predict(const rtc_reference *r, const int16_t *vectors, const uint8_t *intra,
                        uint16_t *blocks)
{
    for (uint32_t row = 0; row < r->rows; row++)
        for (uint32_t column = 0; column < r->columns; column++) {
            const size_t at = (size_t)row * r->columns + column;
            uint16_t *block = blocks + at * SAMPLES;
            if (intra[at]) {
                for (int i = 0; i < SAMPLES; i++)
                    block[i] = GREY * FINE;
                continue;
            }
            const int32_t x = (int32_t)(column * BLOCK * 4) + vectors[2 * at];
            const int32_t y = (int32_t)(row * BLOCK * 4) + vectors[2 * at + 1];
            block_at(r, x, y, block);
            chroma_at(r, x, y, block + 256);
        }
}

/* Sum of absolute differences of a block's luma and what is at a place. */
#if defined(__x86_64__)
#include <emmintrin.h>
INLINE uint32_t difference(const uint8_t *block, const uint8_t *from, size_t stride)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < BLOCK; i++) {
        __m128i a = _mm_loadu_si128((const __m128i *)(block + i * BLOCK));
        __m128i b = _mm_loadu_si128((const __m128i *)(from + i * stride));
        sum = _mm_add_epi32(sum, _mm_sad_epu8(a, b));
    }
    return (uint32_t)(_mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4));
}
#else
INLINE uint32_t difference(const uint8_t *block, const uint8_t *from, size_t stride)
{
    uint32_t sum = 0;
    for (int i = 0; i < BLOCK; i++)
        for (int j = 0; j < BLOCK; j++) {
            int d = block[i * BLOCK + j] - from[i * stride + j];
            sum += (uint32_t)(d < 0 ? -d : d);
        }
    return sum;
}
#endif

/* Bits of a vector's difference from what is expected, in sixteenths; roughly. */
INLINE uint32_t bits16(int32_t d)
{
    uint32_t magnitude = (uint32_t)(d < 0 ? -d : d), n = 0;
    if (!magnitude)
        return 8;
    while (magnitude >> n)
        n++;
    return 16 * (2 * n) + 8;
}

typedef struct {
    const rtc_reference *r;
    const uint8_t *block;
    int32_t left, top;    /* of the block, in quarters */
    int32_t expect_x, expect_y;
    uint32_t price;       /* of a sixteenth of a bit, in 1/256 of a sample's difference */
    int32_t x, y;         /* the best vector, in quarters */
    uint32_t cost;
} search_state;

INLINE uint32_t vector_cost(const search_state *s, int32_t x, int32_t y)
{
    return ((bits16(x - s->expect_x) + bits16(y - s->expect_y)) * s->price) >> 8;
}

/* Whether a whole-sample vector is better than the best so far, which it then becomes. */
INLINE int try_whole(search_state *s, int32_t x, int32_t y)
{
    const rtc_reference *r = s->r;
    int32_t across = s->left + x, down = s->top + y;
    if (across != limited(across, (int32_t)r->columns, 4) ||
        down != limited(down, (int32_t)r->rows, 4))
        return 0;
    const uint8_t *from = r->search + (down >> 2) * (ptrdiff_t)luma_stride(r) + (across >> 2);
    uint32_t cost = vector_cost(s, x, y);
    if (cost >= s->cost)
        return 0;
    cost += difference(s->block, from, luma_stride(r));
    if (cost >= s->cost)
        return 0;
    s->cost = cost, s->x = x, s->y = y;
    return 1;
}

INLINE int try_part(search_state *s, int32_t x, int32_t y)
{
    uint8_t moved[BLOCK * BLOCK];
    uint32_t cost = vector_cost(s, x, y);
    if (cost >= s->cost)
        return 0;
    luma_at(s->r, s->left + x, s->top + y, moved);
    cost += difference(s->block, moved, BLOCK);
    if (cost >= s->cost)
        return 0;
    s->cost = cost, s->x = x, s->y = y;
    return 1;
}

/* Sum of differences to the mean of a block's luma. */
CLONES static uint32_t spread(const uint8_t *block)
{
    uint32_t sum = 0, mean = BLOCK * BLOCK / 2;
    for (int i = 0; i < BLOCK * BLOCK; i++)
        mean += block[i];
    mean /= BLOCK * BLOCK;
    for (int i = 0; i < BLOCK * BLOCK; i++) {
        int d = block[i] - (int)mean;
        sum += (uint32_t)(d < 0 ? -d : d);
    }
    return sum;
}

static const int8_t AROUND[8][2] = {{0, -1}, {-1, 0}, {1, 0}, {0, 1},
                                    {-1, -1}, {1, -1}, {-1, 1}, {1, 1}};
static const int8_t HEXAGON[6][2] = {{-2, 0}, {2, 0}, {-1, -2}, {1, -2}, {-1, 2}, {1, 2}};

INLINE int32_t median(int32_t a, int32_t b, int32_t c)
{
    int32_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
}

/* The four neighbours at a part of a sample, and the corner between the two best of them. */
static void refine(search_state *s, int32_t unit)
{
    const int32_t x = s->x, y = s->y;
    try_part(s, x - unit, y);
    if (s->x == x)
        try_part(s, x + unit, y);
    const int32_t across = s->x;
    try_part(s, across, y - unit);
    if (s->y == y)
        try_part(s, across, y + unit);
}

/* What vectors.py expects of a vector from those before it in its tile, place (i, j). */
static void expected(const int16_t *own, uint32_t columns, uint32_t i, uint32_t j, int16_t out[2])
{
    for (int k = 0; k < 2; k++) {
        const int32_t left = j ? own[k - 2] : 0;
        const int32_t up = i ? own[k - 2 * (ptrdiff_t)columns] : 0;
        const int32_t corner = i && j ? own[k - 2 - 2 * (ptrdiff_t)columns] : 0;
        out[k] = (int16_t)(i && j ? median(left, up, left + up - corner) : i ? up : left);
    }
}

/*
 * Let tiles rest whose motion is not worth what it costs to say that they move at all: a change of
 * the sum of differences below `least`.
 */
static void settle(const rtc_reference *r, const uint8_t *blocks, uint32_t least,
                   int16_t *vectors, const uint8_t *intra)
{
    uint8_t moved[BLOCK * BLOCK];
    for (uint32_t top = 0; top < r->rows; top += TILE)
        for (uint32_t first = 0; first < r->columns; first += TILE) {
            uint32_t gained = 0, keep = 0;
            for (uint32_t k = 0; k < TILE * TILE && !keep; k++) {
                const uint32_t row = top + k / TILE, column = first + k % TILE;
                const size_t at = (size_t)row * r->columns + column;
                const int16_t *v = vectors + 2 * at;
                keep |= intra[at];
                if (!(v[0] | v[1]))
                    continue;
                const uint8_t *block = blocks + at * SAMPLES;
                const size_t stride = luma_stride(r);
                luma_at(r, (int32_t)column * BLOCK * 4 + v[0], (int32_t)row * BLOCK * 4 + v[1],
                        moved);
                gained += difference(block, r->search + row * BLOCK * stride + column * BLOCK, stride);
                gained -= difference(block, moved, BLOCK);
                keep |= (int32_t)gained > (int32_t)least;
            }
            for (uint32_t k = 0; k < TILE * TILE && !keep; k++)
                memset(vectors + 2 * ((size_t)(top + k / TILE) * r->columns + first + k % TILE), 0,
                       2 * sizeof *vectors);
        }
}

/*
 * Vectors [rows, columns, 2] that take *r* to *blocks*, whole tiles, and intra [rows, columns], 1 where nothing
 * does; the vectors there on entry are tried first.
 *
 * price: of a bit, in 1/16 of a sample's difference. calm: a block whose mean difference to the
 * reference at rest is below this (in 1/16 of a sample) is left at rest without a search.
 */
EXPORT void rtc_search(const rtc_reference *r, const uint8_t *blocks, uint32_t price,
                       uint32_t calm, int16_t *vectors, uint8_t *intra)
{
    const uint32_t columns = r->columns;
    for (uint32_t row = 0; row < r->rows; row++)
        for (uint32_t column = 0; column < columns; column++) {
            int16_t *own = vectors + 2 * ((size_t)row * columns + column);
            const int16_t zero[2] = {0, 0};
            const int16_t *left = column ? own - 2 : zero;
            const int16_t *up = row ? own - 2 * columns : zero;
            const int16_t *corner = row && column ? up - 2 : zero;
            int16_t expect[2];
            expected(own, columns, row % TILE, column % TILE, expect);
            search_state s = {
                .r = r,
                .block = blocks + ((size_t)row * columns + column) * SAMPLES,
                .left = (int32_t)column * BLOCK * 4,
                .top = (int32_t)row * BLOCK * 4,
                .expect_x = expect[0],
                .expect_y = expect[1],
                .price = price,
                .cost = UINT32_MAX,
            };
            intra[(size_t)row * columns + column] = 0;
            try_whole(&s, 0, 0);
            if (s.cost < calm * 16) {
                own[0] = own[1] = 0;
                continue;
            }
            const int16_t *guesses[4] = {own, left, up, corner};
            for (int i = 0; i < 4; i++) {
                int32_t x = (guesses[i][0] + 2) & ~3, y = (guesses[i][1] + 2) & ~3;
                if (x | y)
                    try_whole(&s, x, y);
            }
            try_whole(&s, (s.expect_x + 2) & ~3, (s.expect_y + 2) & ~3);
            for (int step = 0; step < 12; step++) {
                int32_t x = s.x, y = s.y, better = 0;
                for (int i = 0; i < 6; i++)
                    better |= try_whole(&s, x + 4 * HEXAGON[i][0], y + 4 * HEXAGON[i][1]);
                if (!better)
                    break;
            }
            for (int i = 0, x = s.x, y = s.y; i < 8; i++)
                try_whole(&s, x + 4 * AROUND[i][0], y + 4 * AROUND[i][1]);
            for (int unit = 2; unit; unit /= 2)
                refine(&s, unit);
            own[0] = (int16_t)s.x, own[1] = (int16_t)s.y;
            if (s.cost > INTRA_BITS * price / 16 + spread(s.block)) {
                own[0] = own[1] = 0;
                intra[(size_t)row * columns + column] = 1;
            }
        }
    settle(r, blocks, TILE_BITS * price / 16, vectors, intra);
}

/* A prediction in bytes, as the networks look at it; size samples. */
CLONES EXPORT void rtc_rounded(const uint16_t *restrict prediction, uint32_t size,
                               uint8_t *restrict out)
{
    for (uint32_t i = 0; i < size; i++)
        out[i] = (uint8_t)((prediction[i] + FINE / 2) / FINE);
}

/* blocks less a prediction in bytes plus GREY, limited to a byte; size samples. */
CLONES EXPORT void rtc_differences(const uint8_t *restrict blocks,
                                   const uint8_t *restrict prediction, uint32_t size,
                                   uint8_t *restrict out)
{
    for (uint32_t i = 0; i < size; i++) {
        int16_t d = (int16_t)(blocks[i] - prediction[i] + GREY);
        out[i] = (uint8_t)(d < 0 ? 0 : d > 255 ? 255 : d);
    }
}

/*
 * Symbols of latents [places, channels]: each cut to an integer after rounding[index] was added to
 * its modulus; 0 at index 0. Indices and symbols have `stride` channels, of which the first ones are latents.
 */
CLONES EXPORT void rtc_quantise(const float *restrict latents, const uint8_t *restrict indices,
                                const float *restrict rounding, uint32_t places,
                                uint32_t channels, uint32_t stride, int16_t *restrict symbols)
{
    for (uint32_t place = 0; place < places; place++) {
        const uint8_t *index = indices + (size_t)place * stride;
        const float *x = latents + (size_t)place * channels;
        int16_t *out = symbols + (size_t)place * stride;
        memset(out, 0, channels * sizeof *out);
        for (uint32_t c = 0; c < channels; c++) {
            if (c % 8 == 0 && c + 8 <= channels) { /* most are skipped, and not alone */
                uint64_t eight;
                memcpy(&eight, index + c, 8);
                if (!eight) {
                    c += 7;
                    continue;
                }
            }
            if (!index[c])
                continue;
            float modulus = (x[c] < 0 ? -x[c] : x[c]) + rounding[index[c] & 63];
            modulus = modulus < 0 ? 0 : modulus > 32767 ? 32767 : modulus;
            const int32_t n = (int32_t)modulus;
            out[c] = (int16_t)(x[c] < 0 ? -n : n);
        }
    }
}

/* Where symbols are not 0, in order: their numbers, and how many. `at` has room for all. */
EXPORT uint32_t rtc_nonzero(const int16_t *symbols, uint32_t size, uint32_t *at)
{
    uint32_t count = 0, i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t four[2];
        memcpy(four, symbols + i, sizeof four);
        if (!(four[0] | four[1]))
            continue;
        for (uint32_t j = i; j < i + 8; j++) {
            at[count] = j;
            count += symbols[j] != 0;
        }
    }
    for (; i < size; i++)
        if (symbols[i])
            at[count++] = i;
    return count;
}

typedef struct {
    const float *weights;      /* of the linear path, [latents, SAMPLES] */
    const float *gains;        /* of latents, times 255 FINE */
    const float *corrections;  /* [places, SAMPLES], in sample values */
    const uint16_t *prediction; /* [places, SAMPLES] */
    const uint8_t *still;      /* [places], not 0 where the prediction stays as it is */
    const int16_t *symbols;    /* [places, stride], the first ones are latents */
    const uint32_t *at;        /* from rtc_nonzero */
    uint32_t count, places, latents, stride;
} rtc_painting;

/*
 * Samples from prediction, corrections and the linear path of those symbols that are not 0: a few
 * in a hundred, so this is ten times as fast as a matrix product.
 */
CLONES EXPORT void rtc_paint(const rtc_painting *p, uint16_t *restrict blocks)
{
    float sums[SAMPLES];
    uint32_t n = 0;
    for (uint32_t place = 0; place < p->places; place++) {
        const uint16_t *prediction = p->prediction + (size_t)place * SAMPLES;
        uint16_t *block = blocks + (size_t)place * SAMPLES;
        const uint32_t end = (place + 1) * p->stride;
        if (p->still[place]) {
            while (n < p->count && p->at[n] < end)
                n++;
            memcpy(block, prediction, SAMPLES * sizeof *block);
            continue;
        }
        const float *corrections = p->corrections + (size_t)place * SAMPLES;
        for (int i = 0; i < SAMPLES; i++)
            sums[i] = corrections[i] * FINE + prediction[i] + 0.5f;
        for (; n < p->count && p->at[n] < end; n++) {
            const uint32_t channel = p->at[n] - place * p->stride;
            if (channel >= p->latents)
                continue;
            const float factor = p->symbols[p->at[n]] * p->gains[channel];
            const float *row = p->weights + (size_t)channel * SAMPLES;
            for (int i = 0; i < SAMPLES; i++)
                sums[i] += factor * row[i];
        }
        for (int i = 0; i < SAMPLES; i++) {
            const float x = sums[i] < 0 ? 0 : sums[i] > FINE_MAX ? FINE_MAX : sums[i];
            block[i] = (uint16_t)(int32_t)x;
        }
    }
}

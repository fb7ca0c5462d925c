/*
 * Block motion in integers: find vectors, and predict blocks with them. And what else delta frames
 * need sample by sample.
 *
 * One freestanding C11 source (GCC or Clang), for Python through ctypes and for wasm32. It
 * allocates nothing and calls nothing but memcpy and memset. Normative (SPEC.md section 9) are
 * `rtc_predict`, `rtc_paint` and `rtc_smooth`; they equal predict.py, transform.py and smoothing.py.
 * The rest is the encoder's own affair. Arguments come checked from native.py; vectors may be any
 * numbers.
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
    SAMPLES = 384, /* of a block: luma, u, v */
    BLOCK = 16,
    HALF = BLOCK / 2, /* a quarter of a block; and a block of chroma */
    QUARTERS = 4,     /* each has a vector: top left, top right, bottom left, bottom right */
    SIDE = 8,         /* of what is transformed: quarters of luma, all of u, all of v */
    PARTS = SAMPLES / 64,
    MODE_BITS = 5, /* of a coefficient's place and sign, roughly */
    BORDER = 32, /* of luma; >= BLOCK + 8 taps, so that no clamped block reads outside */
    REACH = BLOCK + 6, /* how far a block may lie outside the frame before nothing changes */
    GREY = 128,
    FINE = 16,       /* of a sample's steps, in references and predictions */
    FINE_MAX = 4080, /* 255 of them */
    TILE = 4, /* blocks along the side of a tile */
    TILE_BITS = 24, /* what it costs to say that a tile does not rest: roughly, its z */
    INTRA_BITS = 24, /* what a block costs more without a prediction: its mean, mostly */
    SPLIT_BITS = 6,  /* what it costs to say that a block's vectors differ, but for themselves */
    SPECK_LEAST = 20, /* what a sample of chroma may be off; or most of a step of the quantiser */
    SMOOTH = 10,      /* mean difference to the mean of a block's luma, at most */
    QUIET_BITS = 12, /* a quarter whose differences are worth less is not looked at further */
    SPLIT_FROM = 40, /* bits that a block's differences must be worth for that to be tried */
};

/* What chooses between transforms: rounding, and squared steps that a bit may save. */
#define MODE_OFFSET 0.15f
#define MODE_PRICE 0.3f
#define LEAST_ENERGY 0.25f

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

static const uint32_t VERSION = 5;

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

/* n x n samples at a place between samples, into rows `pitch` apart; for the search. */
INLINE void interpolate(const uint8_t *from, size_t stride, const int8_t *across,
                        const int8_t *down, int taps, uint32_t n, uint8_t *restrict to,
                        size_t pitch)
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
            to[i * pitch + j] = (uint8_t)clamp(sum >> 12, 0, 255);
        }
}

INLINE void interpolate_one_way(const uint8_t *from, size_t stride, size_t next,
                                const int8_t *filter, int taps, uint32_t n, uint8_t *restrict to,
                                size_t pitch)
{
    const uint8_t *start = from - (taps / 2 - 1) * next;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++) {
            int16_t sum = 32;
            for (int k = 0; k < taps; k++)
                sum = (int16_t)(sum + filter[k] * start[i * stride + j + k * next]);
            to[i * pitch + j] = (uint8_t)clamp(sum >> 6, 0, 255);
        }
}

INLINE void sample(const uint8_t *from, size_t stride, const int8_t *across, const int8_t *down,
                   int moved_across, int moved_down, int taps, uint32_t n, uint8_t *restrict to,
                   size_t pitch)
{
    if (!moved_across && !moved_down)
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * pitch, from + i * stride, n);
    else if (!moved_down)
        interpolate_one_way(from, stride, 1, across, taps, n, to, pitch);
    else if (!moved_across)
        interpolate_one_way(from, stride, stride, down, taps, n, to, pitch);
    else
        interpolate(from, stride, across, down, taps, n, to, pitch);
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
                        uint16_t *restrict to, size_t pitch)
{
    int16_t lines[(BLOCK + 7) * BLOCK];
    const int before = taps / 2 - 1;
    if (!moved_across && !moved_down) {
        for (uint32_t i = 0; i < n; i++)
            memcpy(to + i * pitch, from + i * stride, n * sizeof *to);
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
                to[i * pitch + j] = from_14_bits(sum >> 4);
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
            to[i * pitch + j] = from_14_bits(sum >> 6);
        }
}

/* Where a block lies, limited to where a further step changes nothing. */
INLINE int32_t limited(int32_t place, int32_t blocks, int32_t unit)
{
    return clamp(place, -REACH * unit, (blocks * BLOCK + REACH - BLOCK) * unit);
}

/* n x n of luma in bytes, for the search. */
INLINE void luma_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t n, uint8_t *restrict to,
                    size_t pitch)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r);
    const uint8_t *from = r->search + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, n, to, pitch);
}

CLONES static void luma_at(const rtc_reference *r, int32_t x, int32_t y, uint8_t *restrict to)
{
    luma_of(r, x, y, BLOCK, to, BLOCK);
}

CLONES static void quarter_at(const rtc_reference *r, int32_t x, int32_t y, uint8_t *restrict to,
                              size_t pitch)
{
    luma_of(r, x, y, HALF, to, pitch);
}

/* n x n of luma, and a quarter as many of each chroma plane, of a prediction. */
INLINE void samples_of(const rtc_reference *r, int32_t x, int32_t y, uint32_t n,
                       uint16_t *restrict luma, uint16_t *restrict chroma)
{
    x = limited(x, (int32_t)r->columns, 4);
    y = limited(y, (int32_t)r->rows, 4);
    const size_t stride = luma_stride(r), half = chroma_stride(r);
    const uint16_t *from = r->y + (y >> 2) * (ptrdiff_t)stride + (x >> 2);
    fine_sample(from, stride, LUMA_TAPS[x & 3], LUMA_TAPS[y & 3], x & 3, y & 3, 8, n, luma, BLOCK);
    const ptrdiff_t start = (y >> 3) * (ptrdiff_t)half + (x >> 3);
    const int8_t *across = CHROMA_TAPS[x & 7], *down = CHROMA_TAPS[y & 7];
    fine_sample(r->u + start, half, across, down, x & 7, y & 7, 4, n / 2, chroma, HALF);
    fine_sample(r->v + start, half, across, down, x & 7, y & 7, 4, n / 2, chroma + 64, HALF);
}

CLONES static void predict_block(const rtc_reference *r, int32_t x, int32_t y, uint16_t *block)
{
    samples_of(r, x, y, BLOCK, block, block + 256);
}

CLONES static void predict_quarter(const rtc_reference *r, int32_t x, int32_t y, int quarter,
                                   uint16_t *block)
{
    const int across = quarter & 1, down = quarter >> 1;
    samples_of(r, x, y, HALF, block + (down * BLOCK + across) * HALF,
               block + 256 + (down * HALF + across) * (HALF / 2));
}

/* Whether the four vectors of a block, two numbers each, are one. */
INLINE int is_whole(const int16_t *v)
{
    int differ = 0;
    for (int i = 2; i < 2 * QUARTERS; i++)
        differ |= v[i] ^ v[i & 1];
    return !differ;
}

/* A block predicted with vectors [4, 2]; x, y: of the block, in quarters of a sample. */
INLINE void predict_with(const rtc_reference *r, const int16_t *v, int32_t x, int32_t y,
                         uint16_t *block)
{
    if (is_whole(v)) {
        predict_block(r, x + v[0], y + v[1], block);
        return;
    }
    for (int k = 0; k < QUARTERS; k++)
        predict_quarter(r, x + (k & 1) * HALF * 4 + v[2 * k],
                        y + (k >> 1) * HALF * 4 + v[2 * k + 1], k, block);
}

/*
 * Predicted blocks [rows, columns, 384] from vectors int16 [rows, columns, 4, 2], across and down
 * in quarters of a luma sample; GREY where intra [rows, columns] is not 0.
 */
EXPORT void rtc_predict(const rtc_reference *r, const int16_t *vectors, const uint8_t *intra,
                        uint16_t *blocks)
{
    for (uint32_t row = 0; row < r->rows; row++)
        for (uint32_t column = 0; column < r->columns; column++) {
            const size_t at = (size_t)row * r->columns + column;
            const int16_t *v = vectors + 2 * QUARTERS * at;
            uint16_t *block = blocks + at * SAMPLES;
            const int32_t x = (int32_t)(column * BLOCK * 4), y = (int32_t)(row * BLOCK * 4);
            if (intra[at])
                for (int i = 0; i < SAMPLES; i++)
                    block[i] = GREY * FINE;
            else
                predict_with(r, v, x, y, block);
        }
}

/* Sum of absolute differences of n x n samples of a block's luma and what is at a place. */
#if defined(__x86_64__)
#include <emmintrin.h>
INLINE uint32_t difference(const uint8_t *block, const uint8_t *from, size_t stride, int n)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < n; i++) {
        const void *one = block + i * BLOCK, *other = from + i * stride;
        const int whole = n == BLOCK;
        __m128i a = whole ? _mm_loadu_si128(one) : _mm_loadl_epi64(one);
        __m128i b = whole ? _mm_loadu_si128(other) : _mm_loadl_epi64(other);
        sum = _mm_add_epi32(sum, _mm_sad_epu8(a, b));
    }
    return (uint32_t)(_mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4));
}
#else
INLINE uint32_t difference(const uint8_t *block, const uint8_t *from, size_t stride, int n)
{
    uint32_t sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
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
    int side;             /* of what moves: BLOCK or HALF */
    int32_t x, y;         /* the best vector, in quarters */
    uint32_t cost;
} search_state;

INLINE uint32_t vector_cost(const search_state *s, int32_t x, int32_t y)
{
    return ((bits16(x - s->expect_x) + bits16(y - s->expect_y)) * s->price) >> 8;
}

/* Whether a whole-sample vector is better than the best so far, which it then becomes. */
static int try_whole(search_state *s, int32_t x, int32_t y)
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
    cost += s->side == BLOCK ? difference(s->block, from, luma_stride(r), BLOCK)
                             : difference(s->block, from, luma_stride(r), HALF);
    if (cost >= s->cost)
        return 0;
    s->cost = cost, s->x = x, s->y = y;
    return 1;
}

static int try_part(search_state *s, int32_t x, int32_t y)
{
    uint8_t moved[BLOCK * BLOCK];
    uint32_t cost = vector_cost(s, x, y);
    if (cost >= s->cost)
        return 0;
    if (s->side == BLOCK) {
        luma_at(s->r, s->left + x, s->top + y, moved);
        cost += difference(s->block, moved, BLOCK, BLOCK);
    } else {
        quarter_at(s->r, s->left + x, s->top + y, moved, BLOCK);
        cost += difference(s->block, moved, BLOCK, HALF);
    }
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

/* Whole samples around the best vector so far, then halves and quarters. */
static void descend(search_state *s, int steps)
{
    for (int step = 0; step < steps; step++) {
        const int32_t x = s->x, y = s->y;
        int better = 0;
        for (int i = 0; i < 6; i++)
            better |= try_whole(s, x + 4 * HEXAGON[i][0], y + 4 * HEXAGON[i][1]);
        if (!better)
            break;
    }
    const int32_t x = s->x, y = s->y;
    for (int i = 0; i < 8; i++)
        try_whole(s, x + 4 * AROUND[i][0], y + 4 * AROUND[i][1]);
    for (int unit = 2; unit; unit /= 2)
        refine(s, unit);
}

/* The vector of a quarter of the block so many rows up and columns left of `own`'s. */
INLINE const int16_t *before(const int16_t *own, uint32_t columns, int up, int left, int quarter)
{
    const ptrdiff_t blocks = up * (ptrdiff_t)columns + left;
    return own - 2 * QUARTERS * blocks + 2 * quarter;
}

/* What vectors.py expects of a block's first vector, at place (i, j) of its tile. */
static void expected(const int16_t *own, uint32_t columns, uint32_t i, uint32_t j, int16_t out[2])
{
    for (int k = 0; k < 2; k++) {
        const int32_t left = j ? before(own, columns, 0, 1, 1)[k] : 0;
        const int32_t up = i ? before(own, columns, 1, 0, 2)[k] : 0;
        const int32_t corner = i && j ? before(own, columns, 1, 1, 3)[k] : 0;
        out[k] = (int16_t)(i && j ? median(left, up, left + up - corner) : i ? up : left);
    }
}

INLINE void set_all(int16_t *own, int32_t x, int32_t y)
{
    for (int k = 0; k < QUARTERS; k++)
        own[2 * k] = (int16_t)x, own[2 * k + 1] = (int16_t)y;
}

/*
 * Look for a vector of each quarter around the block's and those beside it. Returns what the four
 * cost together, in the units of `whole->cost`, and writes them to `found`.
 */
static uint32_t split(const search_state *whole, const int16_t *const guesses[], int count,
                      int16_t found[2 * QUARTERS])
{
    uint32_t cost = (SPLIT_BITS * 16 * whole->price) >> 8;
    const uint32_t quiet = (QUIET_BITS * 16 * whole->price) >> 8;
    for (int k = 0; k < QUARTERS && cost < whole->cost; k++) {
        search_state s = *whole;
        s.block += ((k >> 1) * BLOCK + (k & 1)) * HALF;
        s.left += (k & 1) * HALF * 4;
        s.top += (k >> 1) * HALF * 4;
        s.side = HALF;
        /* The first one is coded like the block's; the others lean on it. */
        if (k)
            s.expect_x = found[0], s.expect_y = found[1];
        s.cost = UINT32_MAX;
        try_part(&s, whole->x, whole->y);
        if (s.cost > quiet) {
            for (int i = 0; i < count; i++)
                if (guesses[i][0] != whole->x || guesses[i][1] != whole->y)
                    try_part(&s, guesses[i][0], guesses[i][1]);
            for (int i = 0; i < k; i++)
                if (found[2 * i] != whole->x || found[2 * i + 1] != whole->y)
                    try_part(&s, found[2 * i], found[2 * i + 1]);
        }
        if (s.cost <= quiet) { /* little is left to gain */
            found[2 * k] = (int16_t)s.x, found[2 * k + 1] = (int16_t)s.y;
            cost += s.cost;
            continue;
        }
        /* From whole samples again, unless it stays there anyway. */
        const int32_t x = s.x, y = s.y;
        const uint32_t best = s.cost;
        s.cost = UINT32_MAX;
        try_whole(&s, (x + 2) & ~3, (y + 2) & ~3);
        if (s.cost == UINT32_MAX)
            s.x = x, s.y = y;
        descend(&s, 4);
        if (best <= s.cost)
            s.x = x, s.y = y, s.cost = best;
        found[2 * k] = (int16_t)s.x, found[2 * k + 1] = (int16_t)s.y;
        cost += s.cost;
    }
    return cost;
}

/*
 * Whether vectors bring a speck of colour into a smooth block, such as what moved away left behind. A
 * transform spreads it over all coefficients, each too small for the dead zone, and it would stay.
 */
CLONES static int has_speck(const search_state *s, const int16_t *v, uint32_t price)
{
    uint16_t predicted[SAMPLES];
    int32_t most = 0, sum = 0;
    predict_with(s->r, v, s->left, s->top, predicted);
    for (int i = BLOCK * BLOCK; i < SAMPLES; i++) {
        const int32_t d = s->block[i] * FINE - predicted[i], size = d < 0 ? -d : d;
        most = most < size ? size : most;
        sum += size;
    }
    const int32_t least = price / 12 < SPECK_LEAST ? SPECK_LEAST : (int32_t)(price / 12);
    return most > least * FINE && sum < most * (SAMPLES - BLOCK * BLOCK) / 8 &&
           spread(s->block) < SMOOTH * BLOCK * BLOCK;
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
                const int16_t *v = vectors + 2 * QUARTERS * at;
                keep |= intra[at] | !is_whole(v);
                if (keep || !(v[0] | v[1]))
                    continue;
                const uint8_t *block = blocks + at * SAMPLES;
                const size_t stride = luma_stride(r);
                const uint8_t *here = r->search + row * BLOCK * stride + column * BLOCK;
                luma_at(r, (int32_t)column * BLOCK * 4 + v[0], (int32_t)row * BLOCK * 4 + v[1],
                        moved);
                gained += difference(block, here, stride, BLOCK);
                gained -= difference(block, moved, BLOCK, BLOCK);
                keep |= (int32_t)gained > (int32_t)least;
            }
            for (uint32_t k = 0; k < TILE * TILE && !keep; k++) {
                const size_t at = (size_t)(top + k / TILE) * r->columns + first + k % TILE;
                set_all(vectors + 2 * QUARTERS * at, 0, 0);
            }
        }
}

/*
 * Vectors [rows, columns, 4, 2] that take *r* to *blocks*, whole tiles, and intra [rows, columns],
 * 1 where nothing does; the vectors there on entry are tried first.
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
            const size_t at = (size_t)row * columns + column;
            int16_t *own = vectors + 2 * QUARTERS * at;
            int16_t expect[2];
            expected(own, columns, row % TILE, column % TILE, expect);
            search_state s = {
                .r = r,
                .block = blocks + at * SAMPLES,
                .left = (int32_t)column * BLOCK * 4,
                .top = (int32_t)row * BLOCK * 4,
                .expect_x = expect[0],
                .expect_y = expect[1],
                .price = price,
                .side = BLOCK,
                .cost = UINT32_MAX,
            };
            intra[at] = 0;
            try_whole(&s, 0, 0);
            if (s.cost < calm * 16) {
                set_all(own, 0, 0);
                intra[at] = (uint8_t)has_speck(&s, own, price);
                continue;
            }
            /* Those of the last frame here, and of the blocks before this one. */
            const int16_t *guesses[2 * QUARTERS];
            int count = 0;
            for (int k = 0; k < QUARTERS; k++)
                guesses[count++] = own + 2 * k;
            if (column)
                guesses[count++] = before(own, columns, 0, 1, 1);
            if (row)
                guesses[count++] = before(own, columns, 1, 0, 2);
            if (row && column)
                guesses[count++] = before(own, columns, 1, 1, 3);
            for (int i = 0; i < count; i++) {
                int32_t x = (guesses[i][0] + 2) & ~3, y = (guesses[i][1] + 2) & ~3;
                if (x | y)
                    try_whole(&s, x, y);
            }
            try_whole(&s, (s.expect_x + 2) & ~3, (s.expect_y + 2) & ~3);
            descend(&s, 12);
            int16_t found[2 * QUARTERS];
            const uint32_t of_vector = vector_cost(&s, s.x, s.y);
            if (s.cost - of_vector > SPLIT_FROM * price / 16) {
                const uint32_t cost = split(&s, guesses + QUARTERS, count - QUARTERS, found);
                if (cost < s.cost)
                    s.cost = cost;
                else
                    set_all(found, s.x, s.y);
            } else
                set_all(found, s.x, s.y);
            if (s.cost > INTRA_BITS * price / 16 + spread(s.block) || has_speck(&s, found, price)) {
                set_all(found, 0, 0);
                intra[at] = 1;
            }
            memcpy(own, found, sizeof found);
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

/* The DCT-II of eight samples, times 4096: rows are frequencies. */
static const int16_t DCT[SIDE][SIDE] = {
    {1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448},
    {2009, 1703, 1138, 400, -400, -1138, -1703, -2009},
    {1892, 784, -784, -1892, -1892, -784, 784, 1892},
    {1703, -400, -2009, -1138, 1138, 2009, 400, -1703},
    {1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448},
    {1138, -2009, 400, 1703, -1703, -400, 2009, -1138},
    {784, -1892, 1892, -784, -784, 1892, -1892, 784},
    {400, -1138, 1703, -2009, 2009, -1703, 1138, -400},
};

/* The same of four. */
static const int16_t DCT4[4][4] = {
    {2048, 2048, 2048, 2048},
    {2676, 1108, -1108, -2676},
    {2048, -2048, -2048, 2048},
    {1108, -2676, 2676, -1108},
};

/*
 * Which coefficient, 8 * vertical + horizontal frequency, is the k-th of a part: by their sum. Latent
 * k of part p of a place is its channel k * PARTS + p.
 */
static const uint8_t ORDER[SIDE * SIDE] = {
    0, 1, 8, 2, 9, 16, 3, 10, 17, 24, 4, 11, 18, 25, 32, 5,
    12, 19, 26, 33, 40, 6, 13, 20, 27, 34, 41, 48, 7, 14, 21, 28,
    35, 42, 49, 56, 15, 22, 29, 36, 43, 50, 57, 23, 30, 37, 44, 51,
    58, 31, 38, 45, 52, 59, 39, 46, 53, 60, 47, 54, 61, 55, 62, 63,
};

/* Where in a block the samples of its part k begin, and how far apart their rows are. */
INLINE uint32_t part_start(uint32_t k) { return k < 4 ? (k >> 1) * 128 + (k & 1) * 8 : 64 * k; }
INLINE uint32_t part_stride(uint32_t k) { return k < 4 ? BLOCK : HALF; }

typedef float eight __attribute__((vector_size(32))); /* GCC and Clang make SIMD of it anywhere */

typedef struct {
    eight rows[SIDE], columns[SIDE];   /* the transform of eight and its transpose */
    eight rows4[SIDE], columns4[SIDE]; /* two of four, side by side, interleaved */
} matrices;

static void fill_matrices(matrices *m)
{
    memset(m, 0, sizeof *m);
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++) {
            m->rows[i][j] = m->columns[j][i] = DCT[i][j] / 4096.0f;
            if ((i & 1) == j >> 2) /* row 2 k + b: frequency k of half b */
                m->rows4[i][j] = m->columns4[j][i] = DCT4[i >> 1][j & 3] / 4096.0f;
        }
}

/* c = rows d columns, all 8x8. */
INLINE void both_ways(const eight *rows, const eight *columns, const eight *d, eight *c)
{
    for (int v = 0; v < SIDE; v++) {
        eight down = rows[v][0] * d[0];
        for (int y = 1; y < SIDE; y++)
            down += rows[v][y] * d[y];
        eight sum = down[0] * columns[0];
        for (int x = 1; x < SIDE; x++)
            sum += down[x] * columns[x];
        c[v] = sum;
    }
}

/* About what coefficients cost, error and bits, in squared steps. */
INLINE float cost_of(const eight *c)
{
    typedef int32_t integers __attribute__((vector_size(32)));
    eight cost = {0};
    for (int v = 0; v < SIDE; v++) {
        const eight x = (eight)((integers)c[v] & 0x7fffffff); /* the modulus */
        const integers whole = __builtin_convertvector(x + MODE_OFFSET, integers);
        const eight n = __builtin_convertvector(whole, eight);
        /* Bits of an n that is not 0: those of its place and sign, and of its size. */
        const eight bits = (eight)((integers)(n + MODE_BITS) & (n > 0));
        cost += (x - n) * (x - n) + MODE_PRICE * bits;
    }
    float sum = 0;
    for (int i = 0; i < SIDE; i++)
        sum += cost[i];
    return sum;
}

/*
 * Latents [places, 384] of blocks less their prediction, divided by their step: of each part the
 * 8x8 DCT, or of all luma of a place four 4x4 DCTs where that is cheaper. split: [places], 1 for those.
 * steps: of luma and of chroma, in units of a prediction's.
 */
CLONES EXPORT void rtc_transform(const uint8_t *restrict blocks,
                                 const uint16_t *restrict prediction, const float *steps,
                                 uint32_t places, float *restrict latents,
                                 uint8_t *restrict split)
{
    matrices m;
    fill_matrices(&m);
    const float scales[2] = {1 / steps[0], 1 / steps[1]};
    for (uint32_t place = 0; place < places; place++) {
        eight d[PARTS][SIDE], c[PARTS][SIDE], small[4][SIDE];
        eight energy = {0};
        for (uint32_t k = 0; k < PARTS; k++) {
            const size_t start = (size_t)place * SAMPLES + part_start(k);
            const uint32_t stride = part_stride(k);
            for (int y = 0; y < SIDE; y++) {
                const uint8_t *block = blocks + start + y * stride;
                const uint16_t *expect = prediction + start + y * stride;
                for (int x = 0; x < SIDE; x++)
                    d[k][y][x] = (float)(block[x] * FINE - expect[x]);
                d[k][y] *= scales[k >= 4];
                energy += d[k][y] * d[k][y];
            }
        }
        float *out = latents + (size_t)place * SAMPLES;
        float sum = 0;
        for (int i = 0; i < SIDE; i++)
            sum += energy[i];
        split[place] = 0;
        if (sum < LEAST_ENERGY) { /* no latent can be as much as half a step */
            memset(out, 0, SAMPLES * sizeof *out);
            continue;
        }
        float whole = 0, parted = 0;
        for (uint32_t k = 0; k < PARTS; k++) {
            both_ways(m.rows, m.columns, d[k], c[k]);
            if (k < 4) {
                both_ways(m.rows4, m.columns4, d[k], small[k]);
                whole += cost_of(c[k]);
                parted += cost_of(small[k]);
            }
        }
        split[place] = parted < whole;
        if (split[place])
            memcpy(c, small, sizeof small);
        for (uint32_t i = 0; i < SIDE * SIDE; i++)
            for (uint32_t k = 0; k < PARTS; k++)
                out[i * PARTS + k] = ((const float *)c[k])[ORDER[i]];
    }
}

/*
 * Add the inverse transform of coefficients to a prediction; normative, SPEC.md 9.3. rows: bit v says
 * whether row v of `c` has any that is not 0.
 */
INLINE void add_part(int32_t c[SIDE][SIDE], uint32_t rows, int split, const uint16_t *prediction,
                     uint32_t stride, uint16_t *restrict out)
{
    int32_t down[SIDE][SIDE] = {{0}};
    for (int v = 0; v < SIDE; v++) {
        if (!(rows >> v & 1))
            continue;
        for (int y = 0; y < SIDE; y++) {
            const int32_t f = !split ? DCT[v][y] : (v & 1) == y >> 2 ? DCT4[v >> 1][y & 3] : 0;
            for (int h = 0; h < SIDE; h++)
                down[y][h] += f * c[v][h];
        }
    }
    for (int y = 0; y < SIDE; y++) {
        int32_t sums[SIDE] = {0};
        for (int h = 0; h < SIDE; h++) {
            const int32_t t = clamp((down[y][h] + 1024) >> 11, -131071, 131071);
            if (!t)
                continue;
            for (int x = 0; x < SIDE; x++)
                sums[x] += t * (!split ? DCT[h][x] : (h & 1) == x >> 2 ? DCT4[h >> 1][x & 3] : 0);
        }
        for (int x = 0; x < SIDE; x++) {
            const int32_t sample = prediction[y * stride + x] + ((sums[x] + 4096) >> 13);
            out[y * stride + x] = (uint16_t)clamp(sample, 0, FINE_MAX);
        }
    }
}

/*
 * Blocks from a prediction and symbols [places, stride], the first 384 of latents; luma's are of
 * 4x4 DCTs where the one at `split` is not 0. still: [places], not 0 where the prediction stays as it
 * is. steps: of luma and of chroma, in units of a prediction's. coded: [places], bit k says whether
 * part k has a symbol that is not 0.
 */
CLONES EXPORT void rtc_paint(const uint16_t *restrict prediction, const int16_t *restrict symbols,
                             const uint8_t *restrict still, const int32_t *steps, uint32_t places,
                             uint32_t stride, uint32_t split, uint16_t *restrict blocks,
                             uint8_t *restrict coded)
{
    memcpy(blocks, prediction, (size_t)places * SAMPLES * sizeof *blocks);
    for (uint32_t place = 0; place < places; place++) {
        coded[place] = 0;
        if (still[place])
            continue;
        const int16_t *own = symbols + (size_t)place * stride;
        int32_t c[PARTS][SIDE][SIDE];
        uint32_t rows[PARTS] = {0};
        int touched = 0;
        for (uint32_t i = 0; i < SAMPLES; i += 4) {
            uint64_t four;
            memcpy(&four, own + i, sizeof four);
            if (!four)
                continue;
            if (!touched)
                memset(c, 0, sizeof c);
            touched = 1;
            for (uint32_t j = i; j < i + 4; j++) {
                if (!own[j])
                    continue;
                const uint32_t k = j % PARTS, at = ORDER[j / PARTS];
                c[k][at / SIDE][at % SIDE] = clamp(own[j] * steps[k >= 4], -65535, 65535);
                rows[k] |= 1u << at / SIDE;
            }
        }
        for (uint32_t k = 0; k < PARTS && touched; k++)
            if (rows[k]) {
                coded[place] |= (uint8_t)(1u << k);
                const size_t start = (size_t)place * SAMPLES + part_start(k);
                const uint32_t apart = part_stride(k);
                if (k < 4 && own[split])
                    add_part(c[k], rows[k], 1, prediction + start, apart, blocks + start);
                else
                    add_part(c[k], rows[k], 0, prediction + start, apart, blocks + start);
            }
    }
}

/* ---- smoothing of edges ------------------------------------------------------------------- */

typedef struct {
    int32_t alpha, beta, most; /* differences across and beside an edge, and the largest change */
} limits;

INLINE int32_t modulus(int32_t x) { return x < 0 ? -x : x; }

/* One line across an edge: p on one side, q on the other, `step` from one sample to the next. */
INLINE void smooth_line(uint16_t *p, uint16_t *q, ptrdiff_t step, const limits *l, int luma)
{
    const int32_t p0 = p[0], p1 = p[-step], q0 = q[0], q1 = q[step];
    if (modulus(p0 - q0) >= l->alpha || modulus(p1 - p0) >= l->beta ||
        modulus(q1 - q0) >= l->beta)
        return;
    if (luma) {
        const int32_t p2 = p[-2 * step], q2 = q[2 * step], middle = (p0 + q0 + 1) >> 1;
        if (modulus(p2 - p0) < l->beta)
            p[-step] = (uint16_t)(p1 + clamp((p2 + middle - 2 * p1) >> 1, -l->most, l->most));
        if (modulus(q2 - q0) < l->beta)
            q[step] = (uint16_t)(q1 + clamp((q2 + middle - 2 * q1) >> 1, -l->most, l->most));
    }
    const int32_t change = clamp((4 * (q0 - p0) + p1 - q1 + 4) >> 3, -2 * l->most, 2 * l->most);
    p[0] = (uint16_t)clamp(p0 + change, 0, FINE_MAX);
    q[0] = (uint16_t)clamp(q0 - change, 0, FINE_MAX);
}

typedef struct {
    uint16_t *blocks;
    const uint8_t *coded, *intra, *still;
    const int16_t *vectors;
    uint32_t rows, columns;
} picture;

/* Whether the edge between quarter a of place m and quarter b of place n is to be smoothed. */
INLINE int is_edge(const picture *p, size_t m, int a, size_t n, int b)
{
    if (p->still[m] | p->still[n])
        return 0;
    const int16_t *v = p->vectors + 2 * (QUARTERS * m + a), *w = p->vectors + 2 * (QUARTERS * n + b);
    return (p->coded[m] >> a & 1) | (p->coded[n] >> b & 1) | (p->intra[m] | p->intra[n]) |
           (modulus(v[0] - w[0]) >= 4) | (modulus(v[1] - w[1]) >= 4);
}

/* The edges of a picture's quarters that run down, or those that run across. */
INLINE void smooth_edges(const picture *p, int down, const limits *luma, const limits *chroma)
{
    /* From a sample to the next one across the edge, and along it. */
    const ptrdiff_t over = down ? 1 : BLOCK, along = down ? BLOCK : 1;
    const ptrdiff_t over_chroma = down ? 1 : HALF, along_chroma = down ? HALF : 1;
    for (uint32_t row = 0; row < p->rows; row++)
        for (uint32_t column = 0; column < p->columns; column++) {
            const size_t at = (size_t)row * p->columns + column;
            uint16_t *own = p->blocks + at * SAMPLES;
            const int outer = down ? column > 0 : row > 0;
            const size_t last = outer ? at - (down ? 1 : p->columns) : at;
            uint16_t *other = p->blocks + last * SAMPLES;
            for (int half = 0; half < 2; half++) { /* along the edge */
                const int near = down ? 2 * half : half, far = near + (down ? 1 : 2);
                const ptrdiff_t first = half * HALF * along;
                if (outer && is_edge(p, last, far, at, near)) {
                    for (int i = 0; i < HALF; i++) {
                        const ptrdiff_t line = first + i * along;
                        smooth_line(other + line + (BLOCK - 1) * over, own + line, over, luma, 1);
                    }
                    for (int i = 0; i < 2 * (HALF / 2); i++) { /* u, then v */
                        const ptrdiff_t line = 256 + (i >> 2) * 64 +
                                               (half * (HALF / 2) + (i & 3)) * along_chroma;
                        smooth_line(other + line + (HALF - 1) * over_chroma, own + line,
                                    over_chroma, chroma, 0);
                    }
                }
                if (is_edge(p, at, near, at, far))
                    for (int i = 0; i < HALF; i++) {
                        uint16_t *line = own + first + i * along + HALF * over;
                        smooth_line(line - over, line, over, luma, 1);
                    }
            }
        }
}

/*
 * Smooth the edges of 8x8 parts of `blocks` [rows, columns, 384], in place: first those that run down,
 * then those that run across; normative, SPEC.md 9.4. After ITU-T H.264 8.7.2. Only where both sides
 * are of tiles that are coded, and something is coded, moves differently or has no prediction.
 */
CLONES EXPORT void rtc_smooth(uint16_t *blocks, const uint8_t *coded, const int16_t *vectors,
                              const uint8_t *intra, const uint8_t *still, const int32_t *all,
                              uint32_t rows, uint32_t columns)
{
    const picture p = {blocks, coded, intra, still, vectors, rows, columns};
    const limits luma = {all[0], all[1], all[2]}, chroma = {all[3], all[4], all[5]};
    smooth_edges(&p, 1, &luma, &chroma);
    smooth_edges(&p, 0, &luma, &chroma);
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
            if (c % 8 == 0 && c + 8 <= channels) { /* most are skipped, or small, and not alone */
                uint64_t coded;
                uint32_t bits[8], largest = 0;
                memcpy(&coded, index + c, 8);
                memcpy(bits, x + c, sizeof bits);
                for (int i = 0; i < 8; i++) {
                    bits[i] &= 0x7fffffff; /* as numbers in the order of the moduli */
                    largest = largest < bits[i] ? bits[i] : largest;
                }
                if (!coded || largest < 0x3f000000) { /* 1/2: offsets are not above that */
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

/*
 * Vectors that take a reference to a picture; the encoder's own affair. There is no second form: the
 * tests ask that it finds what moved, and that every build of this file finds the same.
 *
 * The search looks at luma in bytes, in four planes that are made once for a reference: as it is, and
 * half a sample to the right, down, and both. What lies at a quarter of a sample is taken for the mean
 * of two of their samples, as in ITU-T H.264 8.4.2.2.1: near enough to choose by, and a difference
 * needs no filter.
 */
#include "_motion.h"

#if defined(__x86_64__) && !defined(RTC_PORTABLE)
#include <emmintrin.h>
#endif

enum {
    TILE_BITS = 24,   /* what it costs to say that a tile does not rest: roughly, its z */
    INTRA_BITS = 24,  /* what a block costs more without a prediction: its mean, mostly */
    SPLIT_BITS = 6,   /* what it costs to say that a block's vectors differ, but for themselves */
    SPECK_LEAST = 20, /* what a sample of chroma may be off; or most of a step of the quantiser */
    SMOOTH = 10,      /* mean difference to the mean of a block's luma, at most */
    QUIET_BITS = 12,  /* a quarter whose differences are worth less is not looked at further */
    SPLIT_FROM = 40,  /* bits that a block's differences must be worth for that to be tried */
    MARGIN = REACH + 2, /* how far around a picture the planes between samples are made */
    GUESSES = 12,
};

typedef struct {
    const rtc_reference *reference;
    /* Luma in bytes, with BORDER around: [0], half right [1], half down [2], both [3]. */
    uint8_t *planes[4];
} rtc_sights;

/* Samples half way to the next ones, which are `next` apart. */
INLINE void half_way(const uint8_t *from, size_t next, uint32_t n, uint8_t *restrict to)
{
    const int8_t *taps = LUMA_TAPS[2]; /* as many on either side */
    for (uint32_t j = 0; j < n; j++) {
        int16_t sum = 32;
        for (int k = 0; k < 4; k++)
            sum = (int16_t)(sum + taps[3 - k] * (from[j - k * next] + from[j + (k + 1) * next]));
        to[j] = (uint8_t)clamp(sum >> 6, 0, 255);
    }
}

/* Make the planes of a picture. */
CLONES EXPORT void rtc_sights_fill(const rtc_sights *s)
{
    const rtc_reference *r = s->reference;
    const size_t stride = luma_stride(r);
    const uint32_t height = r->rows * BLOCK, width = r->columns * BLOCK;
    for (uint32_t i = 0; i < height + 2 * BORDER; i++) {
        const size_t line = i * stride;
        const uint16_t *from = r->y - BORDER * (stride + 1) + line;
        uint8_t *to = s->planes[0] - BORDER * (stride + 1) + line;
        for (size_t j = 0; j < stride; j++)
            to[j] = (uint8_t)((from[j] + FINE / 2) / FINE);
    }
    /* Rows and columns beyond MARGIN are never looked at, so the filters stay inside BORDER. */
    for (uint32_t i = BORDER - MARGIN - 3; i < height + BORDER + MARGIN + 4; i++) {
        const ptrdiff_t line = ((ptrdiff_t)i - BORDER) * (ptrdiff_t)stride - MARGIN;
        half_way(s->planes[0] + line, 1, width + 2 * MARGIN, s->planes[1] + line);
    }
    for (uint32_t i = BORDER - MARGIN; i < height + BORDER + MARGIN; i++) {
        const ptrdiff_t line = ((ptrdiff_t)i - BORDER) * (ptrdiff_t)stride - MARGIN;
        half_way(s->planes[0] + line, stride, width + 2 * MARGIN, s->planes[2] + line);
        half_way(s->planes[1] + line, stride, width + 2 * MARGIN, s->planes[3] + line);
    }
}

/*
 * Sum of absolute differences of n x n samples of a block's luma and what is at a place, or the mean of
 * what is at two places.
 */
#if defined(__x86_64__) && !defined(RTC_PORTABLE)
INLINE uint32_t difference(const uint8_t *block, const uint8_t *one, const uint8_t *two,
                           size_t stride, int n)
{
    __m128i sum = _mm_setzero_si128();
    for (int i = 0; i < n; i += 1 + (n == HALF)) { /* two rows of eight at once */
        __m128i a, b, c;
        if (n == BLOCK) {
            a = _mm_loadu_si128((const void *)(block + i * BLOCK));
            b = _mm_loadu_si128((const void *)(one + i * stride));
            if (two)
                c = _mm_loadu_si128((const void *)(two + i * stride));
        } else {
            a = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(block + i * BLOCK)),
                                   _mm_loadl_epi64((const void *)(block + (i + 1) * BLOCK)));
            b = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(one + i * stride)),
                                   _mm_loadl_epi64((const void *)(one + (i + 1) * stride)));
            if (two)
                c = _mm_unpacklo_epi64(_mm_loadl_epi64((const void *)(two + i * stride)),
                                       _mm_loadl_epi64((const void *)(two + (i + 1) * stride)));
        }
        if (two)
            b = _mm_avg_epu8(b, c);
        sum = _mm_add_epi32(sum, _mm_sad_epu8(a, b));
    }
    return (uint32_t)(_mm_cvtsi128_si32(sum) + _mm_extract_epi16(sum, 4));
}
#else
INLINE uint32_t difference(const uint8_t *block, const uint8_t *one, const uint8_t *two,
                           size_t stride, int n)
{
    uint32_t sum = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            const size_t at = i * stride + j;
            const int there = two ? (one[at] + two[at] + 1) >> 1 : one[at];
            sum += (uint32_t)modulus(block[i * BLOCK + j] - there);
        }
    return sum;
}
#endif

/* Bits of a vector's difference from what is expected, in sixteenths; roughly. */
INLINE uint32_t bits16(int32_t d)
{
    return d ? 32 * (32 - (uint32_t)__builtin_clz((uint32_t)modulus(d))) + 8 : 8;
}

typedef struct {
    const rtc_sights *sights;
    const uint8_t *block;
    size_t stride;
    int32_t left, top;        /* of the block, in quarters of a sample */
    int32_t right_end, bottom_end; /* where it may be at most */
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

/* Of the planes' samples, the one at a place in halves of a sample. */
INLINE const uint8_t *half_at(const search_state *s, int32_t x, int32_t y)
{
    const uint8_t *plane = s->sights->planes[(x & 1) + 2 * (y & 1)];
    return plane + (y >> 1) * (ptrdiff_t)s->stride + (x >> 1);
}

/* What a block differs from what is at a place, in quarters. */
INLINE uint32_t difference_at(const search_state *s, int32_t x, int32_t y)
{
    const int32_t i = x >> 1, j = y >> 1;
    const uint8_t *one, *two = NULL;
    const int across = x & 1, down = y & 1;
    if (across & down & ~(i ^ j)) { /* of four around, the two that lie between samples one way */
        one = half_at(s, i + 1, j);
        two = half_at(s, i, j + 1);
    } else {
        one = half_at(s, i, j);
        if (across | down)
            two = half_at(s, i + across, j + down);
    }
    if (s->side == BLOCK)
        return two ? difference(s->block, one, two, s->stride, BLOCK)
                   : difference(s->block, one, NULL, s->stride, BLOCK);
    return two ? difference(s->block, one, two, s->stride, HALF)
               : difference(s->block, one, NULL, s->stride, HALF);
}

/* Whether a vector is better than the best so far, which it then becomes. */
static int try_vector(search_state *s, int32_t x, int32_t y)
{
    const int32_t across = s->left + x, down = s->top + y;
    uint32_t cost = vector_cost(s, x, y);
    if (cost >= s->cost || across < -REACH * 4 || across > s->right_end || down < -REACH * 4 ||
        down > s->bottom_end)
        return 0;
    cost += difference_at(s, across, down);
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
    for (int i = 0; i < BLOCK * BLOCK; i++)
        sum += (uint32_t)modulus(block[i] - (int)mean);
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
    if (!try_vector(s, x - unit, y))
        try_vector(s, x + unit, y);
    const int32_t across = s->x;
    if (!try_vector(s, across, y - unit))
        try_vector(s, across, y + unit);
}

/* Whole samples around the best vector so far, then halves and quarters. */
static void descend(search_state *s, int steps)
{
    for (int step = 0; step < steps; step++) {
        const int32_t x = s->x, y = s->y;
        int better = 0;
        for (int i = 0; i < 6; i++)
            better |= try_vector(s, x + 4 * HEXAGON[i][0], y + 4 * HEXAGON[i][1]);
        if (!better)
            break;
    }
    const int32_t x = s->x, y = s->y;
    for (int i = 0; i < 8; i++)
        try_vector(s, x + 4 * AROUND[i][0], y + 4 * AROUND[i][1]);
    refine(s, 2);
    refine(s, 1);
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
        try_vector(&s, whole->x, whole->y);
        if (s.cost > quiet) {
            for (int i = 0; i < count; i++)
                try_vector(&s, guesses[i][0], guesses[i][1]);
            for (int i = 0; i < k; i++)
                try_vector(&s, found[2 * i], found[2 * i + 1]);
        }
        if (s.cost > quiet)
            descend(&s, 4);
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
    rtc_predict_block(s->sights->reference, v, s->left, s->top, predicted);
    for (int i = BLOCK * BLOCK; i < SAMPLES; i++) {
        const int32_t size = modulus(s->block[i] * FINE - predicted[i]);
        most = most < size ? size : most;
        sum += size;
    }
    const int32_t least = price / 12 < SPECK_LEAST ? SPECK_LEAST : (int32_t)(price / 12);
    return most > least * FINE && sum < most * (SAMPLES - BLOCK * BLOCK) / 8 &&
           spread(s->block) < SMOOTH * BLOCK * BLOCK;
}

typedef struct {
    const rtc_sights *sights;
    const uint8_t *blocks;
    uint32_t price, calm;
    int16_t *vectors;
    uint8_t *intra;
} task;

/* Find the vectors of the block at a place. Returns what that saves against none, at most. */
static uint32_t search_block(const task *t, uint32_t row, uint32_t column)
{
    const rtc_reference *r = t->sights->reference;
    const uint32_t columns = r->columns, price = t->price;
    const size_t at = (size_t)row * columns + column;
    int16_t *own = t->vectors + 2 * QUARTERS * at;
    int16_t expect[2], found[2 * QUARTERS];
    expected(own, columns, row % TILE, column % TILE, expect);
    search_state s = {
        .sights = t->sights,
        .block = t->blocks + at * SAMPLES,
        .stride = luma_stride(r),
        .left = (int32_t)column * BLOCK * 4,
        .top = (int32_t)row * BLOCK * 4,
        .right_end = ((int32_t)columns * BLOCK + REACH - BLOCK) * 4,
        .bottom_end = ((int32_t)r->rows * BLOCK + REACH - BLOCK) * 4,
        .expect_x = expect[0],
        .expect_y = expect[1],
        .price = price,
        .side = BLOCK,
        .cost = UINT32_MAX,
    };
    const uint32_t rest = difference_at(&s, s.left, s.top);
    t->intra[at] = 0;
    if (rest + vector_cost(&s, 0, 0) < t->calm * 16) {
        set_all(own, 0, 0);
        t->intra[at] = (uint8_t)has_speck(&s, own, price);
        return t->intra[at] ? UINT32_MAX : 0;
    }
    s.cost = rest + vector_cost(&s, 0, 0);
    /* Those of the last frame here and beyond, and of the blocks before this one. */
    const int16_t *guesses[GUESSES];
    int count = 0;
    if (column + 1 < columns)
        guesses[count++] = own + 2 * QUARTERS;
    if (row + 1 < r->rows)
        guesses[count++] = own + 2 * QUARTERS * columns;
    const int16_t was[2 * QUARTERS] = {own[0], own[1], own[2], own[3],
                                       own[4], own[5], own[6], own[7]};
    for (int k = 0; k < QUARTERS; k++)
        guesses[count++] = was + 2 * k;
    const int near = count;
    if (column)
        guesses[count++] = before(own, columns, 0, 1, 1);
    if (row)
        guesses[count++] = before(own, columns, 1, 0, 2);
    if (row && column)
        guesses[count++] = before(own, columns, 1, 1, 3);
    for (int i = 0; i < count; i++)
        try_vector(&s, guesses[i][0], guesses[i][1]);
    try_vector(&s, s.expect_x, s.expect_y);
    descend(&s, 12);
    set_all(found, s.x, s.y);
    if (s.cost - vector_cost(&s, s.x, s.y) > SPLIT_FROM * price / 16) {
        const uint32_t cost = split(&s, guesses + near, count - near, found);
        if (cost < s.cost)
            s.cost = cost;
        else
            set_all(found, s.x, s.y);
    }
    if (s.cost > INTRA_BITS * price / 16 + spread(s.block) || has_speck(&s, found, price)) {
        set_all(found, 0, 0);
        t->intra[at] = 1;
    }
    memcpy(own, found, sizeof found);
    if (t->intra[at] || !is_whole(own))
        return UINT32_MAX;
    const uint32_t moved = difference_at(&s, s.left + own[0], s.top + own[1]);
    return rest > moved ? rest - moved : 0;
}

/*
 * Vectors [rows, columns, 4, 2] that take a reference to *blocks*, whole tiles, and intra [rows,
 * columns], 1 where nothing does; the vectors there on entry are tried first.
 *
 * price: of a bit, in 1/16 of a sample's difference. calm: a block whose mean difference to the
 * reference at rest is below this (in 1/16 of a sample) is left at rest without a search. A tile
 * whose motion is not worth what it costs to say that it moves at all is left at rest as well.
 */
EXPORT void rtc_search(const rtc_sights *sights, const uint8_t *blocks, uint32_t price,
                       uint32_t calm, int16_t *vectors, uint8_t *intra)
{
    const task t = {sights, blocks, price, calm, vectors, intra};
    const uint32_t rows = sights->reference->rows, columns = sights->reference->columns;
    for (uint32_t top = 0; top < rows; top += TILE)
        for (uint32_t first = 0; first < columns; first += TILE) {
            uint64_t saved = 0;
            for (uint32_t k = 0; k < TILE * TILE; k++)
                saved += search_block(&t, top + k / TILE, first + k % TILE);
            for (uint32_t k = 0; k < TILE * TILE && saved <= TILE_BITS * price / 16; k++) {
                const size_t at = (size_t)(top + k / TILE) * columns + first + k % TILE;
                set_all(vectors + 2 * QUARTERS * at, 0, 0);
            }
        }
}

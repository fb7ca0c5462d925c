/*
 * Vectors that take a reference to a picture; the encoder's own affair. There is no second form: the
 * tests ask that it finds what moved, and predictions from any vectors are checked in _predict.c.
 */
#include "_motion.h"

enum {
    TILE_BITS = 24,   /* what it costs to say that a tile does not rest: roughly, its z */
    INTRA_BITS = 24,  /* what a block costs more without a prediction: its mean, mostly */
    SPLIT_BITS = 6,   /* what it costs to say that a block's vectors differ, but for themselves */
    SPECK_LEAST = 20, /* what a sample of chroma may be off; or most of a step of the quantiser */
    SMOOTH = 10,      /* mean difference to the mean of a block's luma, at most */
    QUIET_BITS = 12,  /* a quarter whose differences are worth less is not looked at further */
    SPLIT_FROM = 40,  /* bits that a block's differences must be worth for that to be tried */
};

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
    rtc_predict_block(s->r, v, s->left, s->top, predicted);
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

/*
 * Vectors that take a reference to a picture; the encoder's own affair. There is no second form: the
 * tests ask that it finds what moved, and that every build of this file finds the same.
 *
 * Steps and halves are chosen by plain differences, quarters, and whether a block is split, by what
 * differences are after a transform.
 */
#include "_difference.h"
#include "_expected.h"
#include "_motion.h"

enum {
    TILE_BITS = 24,   /* what it costs to say that a tile does not rest: roughly, its z */
    INTRA_BITS = 24,  /* what a block costs more without a prediction: its mean, mostly */
    SPLIT_BITS = 6,   /* what it costs to say that a block's vectors differ, but for themselves */
    SPECK_LEAST = 20, /* what a sample of chroma may be off; or most of a step of the quantiser */
    SMOOTH = 10,      /* mean difference to the mean of a block's luma, at most */
    QUIET_BITS = 12,  /* a quarter whose differences are worth less is not looked at further */
    FAR_BITS = 48,    /* one that is worth less is looked for close by only */
    LITTLE_BITS = 24, /* a block's differences that are worth less are not transformed */
    CLOSE_BITS = 72,  /* one whose are worth less is looked for close by only */
    SPLIT_FROM = 40,  /* bits that a block's differences must be worth for that to be tried */
    PASSES = 2,
    GUESSES = 9,
};

/* Bits of a vector's difference from what is expected, in sixteenths; roughly. */
INLINE uint32_t bits16(int32_t d)
{
    return d ? 32 * (32 - (uint32_t)__builtin_clz((uint32_t)modulus(d))) + 8 : 8;
}

typedef struct {
    const rtc_sights *sights;
    const uint8_t *block;
    size_t stride;
    int32_t left, top;             /* of the block, in quarters of a sample */
    int32_t right_end, bottom_end; /* where it may be at most */
    int32_t expect_x, expect_y;
    uint32_t price; /* of a sixteenth of a bit, in 1/256 of a sample's difference */
    int side;       /* of what moves: BLOCK or HALF */
    int32_t x, y;   /* the best vector, in quarters */
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

/*
 * What is seen at a place in quarters of a sample. Between halves it is taken for the mean of two, as
 * in ITU-T H.264 8.4.2.2.1: near enough to choose by, and a difference needs no filter.
 */
INLINE seen seen_at(const search_state *s, int32_t x, int32_t y)
{
    const int32_t i = x >> 1, j = y >> 1;
    const int across = x & 1, down = y & 1;
    if (across & down & ~(i ^ j)) /* of four around, the two that lie between samples one way */
        return (seen){half_at(s, i + 1, j), half_at(s, i, j + 1)};
    const uint8_t *one = half_at(s, i, j);
    return (seen){one, across | down ? half_at(s, i + across, j + down) : one};
}

/* What a block differs from what is at a place, in quarters. */
INLINE uint32_t difference_at(const search_state *s, int32_t x, int32_t y)
{
    const seen at = seen_at(s, x, y);
    const uint8_t *two = at.two == at.one ? NULL : at.two;
    if (s->side == BLOCK)
        return two ? difference(s->block, at.one, two, s->stride, BLOCK)
                   : difference(s->block, at.one, NULL, s->stride, BLOCK);
    return two ? difference(s->block, at.one, two, s->stride, HALF)
               : difference(s->block, at.one, NULL, s->stride, HALF);
}

/* Whether the block may lie at a place, in quarters. */
INLINE int is_within(const search_state *s, int32_t x, int32_t y)
{
    return x >= -REACH * 4 && x <= s->right_end && y >= -REACH * 4 && y <= s->bottom_end;
}

/* What one or two vectors cost after a transform; one outside costs all there is. */
static void bits_of(const search_state *s, const int32_t v[2][2], int count, uint32_t cost[2])
{
    seen at[2];
    uint32_t sums[2], out[2] = {0};
    int inside[2];
    for (int k = 0; k < 2; k++) {
        const int32_t x = s->left + v[k][0], y = s->top + v[k][1];
        inside[k] = is_within(s, x, y);
        at[k] = inside[k] ? seen_at(s, x, y) : seen_at(s, s->left, s->top);
    }
    if (s->side == HALF)
        hadamard(s->block, s->block, &at[0], &at[1], s->stride, out);
    else
        for (int k = 0; k < count; k++)
            for (int half = 0; half < 2 && inside[k]; half++) {
                const size_t down = half * SIDE * s->stride;
                const seen left = {at[k].one + down, at[k].two + down};
                const seen right = {left.one + SIDE, left.two + SIDE};
                const uint8_t *block = s->block + half * SIDE * BLOCK;
                hadamard(block, block + SIDE, &left, &right, s->stride, sums);
                out[k] += sums[0] + sums[1];
            }
    for (int k = 0; k < count; k++)
        cost[k] = inside[k] ? out[k] + vector_cost(s, v[k][0], v[k][1]) : UINT32_MAX;
}

/* Whether a vector is better than the best so far, which it then becomes. */
static int try_vector(search_state *s, int32_t x, int32_t y)
{
    const int32_t across = s->left + x, down = s->top + y;
    uint32_t cost = vector_cost(s, x, y);
    if (cost >= s->cost || !is_within(s, across, down))
        return 0;
    cost += difference_at(s, across, down);
    if (cost >= s->cost)
        return 0;
    s->cost = cost, s->x = x, s->y = y;
    return 1;
}

static const int8_t AROUND[4][2] = {{0, -1}, {-1, 0}, {1, 0}, {0, 1}};
static const int8_t HEXAGON[6][2] = {{-2, 0}, {-1, -2}, {1, -2}, {2, 0}, {1, 2}, {-1, 2}};

/* Two vectors at once against the best so far. */
INLINE void try_two(search_state *s, int32_t x, int32_t y, int32_t dx, int32_t dy)
{
    const int32_t v[2][2] = {{x - dx, y - dy}, {x + dx, y + dy}};
    uint32_t cost[2];
    bits_of(s, v, 2, cost);
    for (int k = 0; k < 2; k++)
        if (cost[k] < s->cost)
            s->cost = cost[k], s->x = v[k][0], s->y = v[k][1];
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

/* From differences to bits: what the best vector costs after a transform. */
static void weigh(search_state *s)
{
    const int32_t v[2][2] = {{s->x, s->y}, {s->x, s->y}};
    uint32_t cost[2];
    bits_of(s, v, 1, cost);
    s->cost = cost[0];
}

/*
 * Whole samples around the best vector so far, then halves and quarters: those by bits, unless it
 * costs less than `little` by then.
 */
static void descend(search_state *s, int steps, uint32_t little)
{
    int way = -1; /* of the last step; after one only three places are new */
    for (int step = 0; step < steps; step++) {
        const int32_t x = s->x, y = s->y;
        const int first = way < 0 ? 0 : way + 5, count = way < 0 ? 6 : 3;
        way = -1;
        for (int i = first; i < first + count; i++)
            if (try_vector(s, x + 4 * HEXAGON[i % 6][0], y + 4 * HEXAGON[i % 6][1]))
                way = i % 6;
        if (way < 0)
            break;
    }
    const int32_t x = s->x, y = s->y;
    for (int i = 0; i < 4; i++)
        try_vector(s, x + 4 * AROUND[i][0], y + 4 * AROUND[i][1]);
    refine(s, 2);
    if (s->cost < little) {
        refine(s, 1);
        return;
    }
    weigh(s);
    try_two(s, s->x, s->y, 1, 0);
    try_two(s, s->x, s->y, 0, 1);
}

/* Whether guess n is none of those before it. */
INLINE int is_new(const int16_t *const guesses[], int n)
{
    for (int i = 0; i < n; i++)
        if (guesses[i][0] == guesses[n][0] && guesses[i][1] == guesses[n][1])
            return 0;
    return 1;
}

INLINE void set_all(int16_t *own, int32_t x, int32_t y)
{
    for (int k = 0; k < QUARTERS; k++)
        own[2 * k] = (int16_t)x, own[2 * k + 1] = (int16_t)y;
}

/* The search for quarter k of a block: so far, where all of it goes. */
static search_state quarter_of(const search_state *whole, int k)
{
    const int across = (k & 1) * HALF, down = (k >> 1) * HALF;
    search_state s = *whole;
    s.block += down * BLOCK + across;
    s.left += 4 * across;
    s.top += 4 * down;
    s.right_end += 4 * HALF;
    s.bottom_end += 4 * HALF;
    s.side = HALF;
    return s;
}

/*
 * Look for a vector of each quarter around the block's and those beside it. Returns what the four
 * cost together, in the units of `whole->cost`, and writes them to `found`.
 */
static uint32_t split(const search_state *whole, const int16_t *const guesses[], int count,
                      int16_t found[2 * QUARTERS])
{
    uint32_t cost = SPLIT_BITS * whole->price / 16;
    const uint32_t quiet = QUIET_BITS * whole->price / 16, far = FAR_BITS * whole->price / 16;
    for (int k = 0; k < QUARTERS && cost < whole->cost; k++) {
        search_state s = quarter_of(whole, k);
        /* The first one is coded like the block's; the others lean on those before. */
        if (k)
            s.expect_x = found[0], s.expect_y = found[1];
        if (k == 3)
            s.expect_x = expected_last(found, 0), s.expect_y = expected_last(found, 1);
        s.cost = UINT32_MAX;
        try_vector(&s, whole->x, whole->y);
        if (s.cost > quiet) {
            for (int i = 0; i < count; i++)
                if (is_new(guesses, i))
                    try_vector(&s, guesses[i][0], guesses[i][1]);
            for (int i = 0; i < k; i++)
                try_vector(&s, found[2 * i], found[2 * i + 1]);
        }
        if (s.cost > quiet)
            descend(&s, s.cost > far ? 4 : 0, 0);
        else
            weigh(&s);
        found[2 * k] = (int16_t)s.x, found[2 * k + 1] = (int16_t)s.y;
        cost += s.cost;
    }
    return cost;
}

/* What a block differs from what four vectors bring. */
static uint32_t moved_difference(const search_state *whole, const int16_t *v)
{
    if (is_whole(v))
        return difference_at(whole, whole->left + v[0], whole->top + v[1]);
    uint32_t sum = 0;
    for (int k = 0; k < QUARTERS; k++) {
        const search_state s = quarter_of(whole, k);
        sum += difference_at(&s, s.left + v[2 * k], s.top + v[2 * k + 1]);
    }
    return sum;
}

/*
 * Whether vectors bring a speck of colour into a smooth block, such as what moved away left behind. A
 * transform spreads it over all coefficients, each too small for the dead zone, and it would stay.
 */
CLONES static int has_speck(const search_state *s, const int16_t *v, uint32_t price)
{
    uint16_t predicted[2 * 64];
    const uint8_t *block = s->block + BLOCK * BLOCK;
    int32_t most = 0, sum = 0;
    rtc_predict_chroma(s->sights->reference, v, s->left, s->top, predicted);
    for (int i = 0; i < 2 * 64; i++) {
        const int32_t size = modulus(block[i] * FINE - predicted[i]);
        most = most < size ? size : most;
        sum += size;
    }
    const int32_t least = price / 12 < SPECK_LEAST ? SPECK_LEAST : (int32_t)(price / 12);
    return most > least * FINE && sum < most * (2 * 64) / 8;
}

typedef struct {
    const rtc_sights *sights;
    const uint8_t *blocks;
    uint32_t price, calm;
    int16_t *vectors;
    uint8_t *intra;
} task;

typedef struct {
    const int16_t *at[GUESSES]; /* those of the last frame, here and beyond; then of blocks before */
    int16_t was[2 * QUARTERS];
    int count, before;          /* all, and where the latter begin */
} guesses;

static void guess(const task *t, uint32_t row, uint32_t column, guesses *g)
{
    const rtc_reference *r = t->sights->reference;
    const uint32_t columns = r->columns;
    const int16_t *own = t->vectors + 2 * QUARTERS * ((size_t)row * columns + column);
    g->count = 0;
    memcpy(g->was, own, sizeof g->was);
    for (int k = 0; k < QUARTERS; k++)
        g->at[g->count++] = g->was + 2 * k;
    if (column + 1 < columns)
        g->at[g->count++] = own + 2 * QUARTERS;
    if (row + 1 < r->rows)
        g->at[g->count++] = own + 2 * QUARTERS * columns;
    g->before = g->count;
    if (column)
        g->at[g->count++] = before(own, columns, 0, 1, 1);
    if (row)
        g->at[g->count++] = before(own, columns, 1, 0, 2);
    if (row && column)
        g->at[g->count++] = before(own, columns, 1, 1, 3);
}

/* The search for the block at a place, at rest so far. */
static search_state begin(const task *t, uint32_t row, uint32_t column)
{
    const rtc_reference *r = t->sights->reference;
    const size_t at = (size_t)row * r->columns + column;
    int16_t expect[2];
    expected(t->vectors + 2 * QUARTERS * at, r->columns, row % TILE, column % TILE, expect);
    search_state s = {
        .sights = t->sights,
        .block = t->blocks + at * SAMPLES,
        .stride = luma_stride(r),
        .left = (int32_t)column * BLOCK * 4,
        .top = (int32_t)row * BLOCK * 4,
        .right_end = ((int32_t)r->columns * BLOCK + REACH - BLOCK) * 4,
        .bottom_end = ((int32_t)r->rows * BLOCK + REACH - BLOCK) * 4,
        .expect_x = expect[0],
        .expect_y = expect[1],
        .price = t->price,
        .side = BLOCK,
        .cost = UINT32_MAX,
    };
    try_vector(&s, 0, 0);
    return s;
}

/* Find the vectors of a block that does not rest. */
static void find(search_state *s, const guesses *g, int16_t found[2 * QUARTERS])
{
    for (int i = 0; i < g->count; i++)
        if (is_new(g->at, i))
            try_vector(s, g->at[i][0], g->at[i][1]);
    try_vector(s, s->expect_x, s->expect_y);
    descend(s, s->cost > CLOSE_BITS * s->price / 16 ? 12 : 0, LITTLE_BITS * s->price / 16);
    set_all(found, s->x, s->y);
    if (s->cost - vector_cost(s, s->x, s->y) <= SPLIT_FROM * s->price / 16)
        return;
    int16_t parts[2 * QUARTERS];
    if (split(s, g->at + g->before, g->count - g->before, parts) < s->cost)
        memcpy(found, parts, sizeof parts);
}

/* Search one block. Returns what its motion saves: all there is if it may not be left out. */
static uint32_t search_block(const task *t, uint32_t row, uint32_t column)
{
    const size_t at = (size_t)row * t->sights->reference->columns + column;
    int16_t *own = t->vectors + 2 * QUARTERS * at;
    search_state s = begin(t, row, column);
    const uint32_t rest = s.cost - vector_cost(&s, 0, 0), busy = spread(s.block);
    const int smooth = busy < SMOOTH * BLOCK * BLOCK;
    if (s.cost < t->calm * 16) {
        set_all(own, 0, 0);
        t->intra[at] = smooth && has_speck(&s, own, t->price);
        return t->intra[at] ? UINT32_MAX : 0;
    }
    guesses g;
    int16_t found[2 * QUARTERS];
    guess(t, row, column, &g);
    find(&s, &g, found);
    const uint32_t moved = moved_difference(&s, found);
    t->intra[at] = moved + vector_cost(&s, found[0], found[1]) >
                       INTRA_BITS * t->price / 16 + busy ||
                   (smooth && has_speck(&s, found, t->price));
    if (t->intra[at])
        set_all(found, 0, 0);
    memcpy(own, found, sizeof found);
    if (t->intra[at] || !is_whole(own))
        return UINT32_MAX;
    return rest > moved ? rest - moved : 0;
}

/* Bits, in sixteenths, of what a block's first vector differs from what is expected there. */
static uint32_t bits_at(const task *t, uint32_t row, uint32_t column)
{
    const uint32_t columns = t->sights->reference->columns;
    const int16_t *own = t->vectors + 2 * QUARTERS * ((size_t)row * columns + column);
    int16_t expect[2];
    expected(own, columns, row % TILE, column % TILE, expect);
    return bits16(own[0] - expect[0]) + bits16(own[1] - expect[1]);
}

/* The same of a block and of those that lean on it. */
static uint32_t bits_around(const task *t, uint32_t row, uint32_t column)
{
    const int right = (column + 1) % TILE != 0, below = (row + 1) % TILE != 0;
    uint32_t bits = bits_at(t, row, column);
    if (right)
        bits += bits_at(t, row, column + 1);
    if (below)
        bits += bits_at(t, row + 1, column);
    if (right && below)
        bits += bits_at(t, row + 1, column + 1);
    return bits;
}

/*
 * Take over a neighbour's vector, or the expected one, where that is better once what it does to the
 * blocks that lean on this one is counted too.
 */
static void reconsider(const task *t, uint32_t row, uint32_t column)
{
    const uint32_t columns = t->sights->reference->columns;
    const size_t at = (size_t)row * columns + column;
    int16_t *own = t->vectors + 2 * QUARTERS * at;
    if (t->intra[at] || !is_whole(own))
        return;
    search_state s = begin(t, row, column);
    s.price = 0; /* of vectors: those are counted here */
    int16_t tried[6][2] = {{own[0], own[1]}, {(int16_t)s.expect_x, (int16_t)s.expect_y}};
    int count = 2, best = 0;
    if (column % TILE)
        memcpy(tried[count++], before(own, columns, 0, 1, 1), sizeof *tried);
    if (row % TILE)
        memcpy(tried[count++], before(own, columns, 1, 0, 2), sizeof *tried);
    if ((column + 1) % TILE)
        memcpy(tried[count++], own + 2 * QUARTERS, sizeof *tried);
    if ((row + 1) % TILE)
        memcpy(tried[count++], own + 2 * QUARTERS * columns, sizeof *tried);
    uint32_t least = UINT32_MAX;
    for (int k = 0; k < count; k++) {
        int again = 0;
        for (int j = 0; j < k; j++)
            again |= tried[k][0] == tried[j][0] && tried[k][1] == tried[j][1];
        if (again)
            continue;
        const int32_t pair[2][2] = {{tried[k][0], tried[k][1]}, {tried[k][0], tried[k][1]}};
        set_all(own, tried[k][0], tried[k][1]);
        const uint32_t bits = (bits_around(t, row, column) * t->price) >> 8;
        if (bits >= least)
            continue;
        uint32_t cost[2];
        bits_of(&s, pair, 1, cost);
        if (cost[0] < least - bits)
            least = cost[0] + bits, best = k;
    }
    set_all(own, tried[best][0], tried[best][1]);
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
            for (uint32_t k = 0; k < PASSES * TILE * TILE && saved > TILE_BITS * price / 16; k++)
                reconsider(&t, top + k / TILE % TILE, first + k % TILE);
            for (uint32_t k = 0; k < TILE * TILE && saved <= TILE_BITS * price / 16; k++) {
                const size_t at = (size_t)(top + k / TILE) * columns + first + k % TILE;
                set_all(vectors + 2 * QUARTERS * at, 0, 0);
            }
        }
}

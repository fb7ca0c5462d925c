/*
 * From a JPEG-LS image of one component to samples: ITU-T T.87, lossless and near-lossless.
 *
 *     ff d8 | segments | ff f7: size | segments | ff da: bound | coded samples | ff d9
 *
 * Names are the standard's, section numbers its own. Images of several components, restart
 * intervals and mapping tables are refused: no exact picture holds them (SPEC.md 2.4). An image may
 * be any bytes; it is read between *image* and its end, and nothing but *samples* is written.
 */
#include "_exact.h"

enum { DAMAGED = 6, UNKNOWN_FORM = 7 }; /* beside those of _words.h; native.py has the words */

enum {
    SOI = 0xd8, EOI = 0xd9, SOS = 0xda, LSE = 0xf8, SOF55 = 0xf7, COM = 0xfe, APP0 = 0xe0,
    APP15 = 0xef,
    REGULAR = 365, /* contexts; two more are for what ends a run */
    RUNS = 32,
    K_MAX = 24, /* no image that an encoder wrote needs more than 17 */
};

static const uint8_t J[RUNS] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,  2,  3,  3,  3,  3,
                                4, 4, 5, 5, 6, 6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15};

typedef struct {
    const uint8_t *at, *end;
} bytes;

/* Bits of the coded samples, the next one the highest. */
typedef struct {
    const uint8_t *at, *end;
    uint64_t bits;
    uint32_t count;
    uint32_t after_ff; /* whether the byte before *at* was ff: one bit less is in the next */
} bit_reader;

typedef struct {
    uint32_t a;
    int32_t b, c;
    uint32_t n;
} context;

typedef struct {
    uint32_t width, height;
    int32_t maxval, near, t1, t2, t3;
    uint32_t reset;
    int32_t range, step; /* RANGE; 2 * NEAR + 1 */
    uint32_t qbpp, limit;
    uint32_t run_index;
    context regular[REGULAR], run[2];
    int32_t negative[2]; /* Nn of the two: how many errors that ended a run were below 0 */
    bit_reader from;
} scan;

INLINE int32_t clamped(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

INLINE int32_t magnitude_of(int32_t value) { return value < 0 ? -value : value; }

/* ---- bits ---- */

/* Take in bytes until a marker or the end: 56 bits are there, or no more than were sent. */
static void fill(bit_reader *from)
{
    while (from->count <= 56 && from->at < from->end) {
        const uint32_t byte = *from->at, n_bits = 8 - from->after_ff;
        if (byte == 0xff && (from->end - from->at < 2 || from->at[1] > 0x7f))
            return;
        from->bits |= (uint64_t)byte << (64 - n_bits) >> from->count;
        from->count += n_bits;
        from->after_ff = byte == 0xff;
        from->at++;
    }
}

/* Take up to 32 bits; false where there are not so many. */
INLINE int take_bits(bit_reader *from, uint32_t n_bits, uint32_t *value)
{
    if (from->count < n_bits)
        fill(from);
    if (UNLIKELY(from->count < n_bits))
        return 0;
    *value = n_bits ? (uint32_t)(from->bits >> (64 - n_bits)) : 0;
    from->bits <<= n_bits;
    from->count -= n_bits;
    return 1;
}

/* A.5.3: a number in a limited Golomb code. */
INLINE int32_t take_golomb(scan *s, uint32_t k, uint32_t limit, uint32_t *value)
{
    bit_reader *from = &s->from;
    const uint32_t longest = limit - s->qbpp - 1;
    uint32_t zeros, rest;
    if (from->count < 56)
        fill(from);
    zeros = from->bits ? (uint32_t)__builtin_clzll(from->bits) : 64;
    if (zeros > longest)
        return from->count > longest ? DAMAGED : TRUNCATED;
    if (!take_bits(from, zeros + 1, &rest))
        return TRUNCATED;
    if (!take_bits(from, zeros < longest ? k : s->qbpp, &rest))
        return TRUNCATED;
    *value = zeros < longest ? (zeros << k) + rest : rest + 1;
    return *value <= (uint32_t)s->range ? OK : DAMAGED;
}

/* The k of a Golomb code: A.5.1, A.7.2. */
INLINE uint32_t golomb_k(uint32_t n, uint32_t a)
{
    uint32_t k = 0;
    while (k < K_MAX && (uint64_t)n << k < a)
        k++;
    return k;
}

/* ---- samples ---- */

INLINE int32_t quantized(const scan *s, int32_t d)
{
    const int32_t size = magnitude_of(d);
    const int32_t q = (size > s->near) + (size >= s->t1) + (size >= s->t2) + (size >= s->t3);
    return d < 0 ? -q : q;
}

/* A.4.5: what a prediction and an error make. */
INLINE int32_t reconstructed(const scan *s, int32_t prediction, int32_t error)
{
    int32_t value = prediction + error * s->step;
    if (value < -s->near)
        value += s->range * s->step;
    else if (value > s->maxval + s->near)
        value -= s->range * s->step;
    return clamped(value, 0, s->maxval);
}

/* A.6.1, A.6.2 */
INLINE void learn(const scan *s, context *c, int32_t error)
{
    c->b += error * s->step;
    c->a += (uint32_t)magnitude_of(error);
    if (c->n == s->reset) {
        c->a >>= 1;
        c->b = c->b >= 0 ? c->b >> 1 : -((1 - c->b) >> 1);
        c->n >>= 1;
    }
    c->n++;
    const int32_t n = (int32_t)c->n;
    if (c->b <= -n) {
        c->b = c->b + n > -n ? c->b + n : 1 - n;
        c->c -= c->c > -128;
    } else if (c->b > 0) {
        c->b = c->b - n < 0 ? c->b - n : 0;
        c->c += c->c < 127;
    }
}

/* A.4 to A.6: a sample from its neighbours; *mixed* is the number of its context, with sign. */
INLINE int32_t take_regular(scan *s, int32_t mixed, int32_t ra, int32_t rb, int32_t rc, int32_t *rx)
{
    const int32_t sign = mixed < 0 ? -1 : 1;
    context *c = s->regular + mixed * sign;
    const int32_t low = ra < rb ? ra : rb, high = ra < rb ? rb : ra;
    const int32_t flat = rc >= high ? low : rc <= low ? high : ra + rb - rc;
    const int32_t px = clamped(flat + sign * c->c, 0, s->maxval);
    const uint32_t k = golomb_k(c->n, c->a);
    uint32_t mapped;
    const int32_t status = take_golomb(s, k, s->limit, &mapped);
    if (UNLIKELY(status))
        return status;
    const int32_t half = (int32_t)(mapped >> 1);
    int32_t error = mapped & 1 ? -half - 1 : half;
    if (!s->near && !k && 2 * c->b <= -(int32_t)c->n)
        error = -error - 1; /* A.5.2: the other way around */
    learn(s, c, error);
    *rx = reconstructed(s, px, sign * error);
    return OK;
}

/* A.7.2: the sample that ends a run. */
static int32_t take_run_end(scan *s, int32_t ra, int32_t rb, int32_t *rx)
{
    const uint32_t same = magnitude_of(ra - rb) <= s->near; /* RItype */
    context *c = s->run + same;
    const uint32_t k = golomb_k(c->n, c->a + (same ? c->n >> 1 : 0));
    uint32_t mapped;
    const int32_t status = take_golomb(s, k, s->limit - J[s->run_index] - 1, &mapped);
    if (status)
        return status;
    const uint32_t map = (mapped + same) & 1;
    const int32_t size = (int32_t)((mapped + same + map) >> 1);
    const uint32_t below = k || 2 * s->negative[same] >= (int32_t)c->n;
    const int32_t error = below == map ? -size : size;
    s->negative[same] += error < 0;
    c->a += (mapped + 1 - same) >> 1;
    if (c->n == s->reset) {
        c->a >>= 1;
        c->n >>= 1;
        s->negative[same] >>= 1;
    }
    c->n++;
    *rx = same ? reconstructed(s, ra, error) : reconstructed(s, rb, ra > rb ? -error : error);
    return OK;
}

/* A.7: a run, and what ends it within the row; *x* moves on. */
static int32_t take_run(scan *s, uint16_t *row, const uint16_t *above, int32_t ra, uint32_t *x)
{
    uint32_t bit, length;
    for (;;) {
        if (!take_bits(&s->from, 1, &bit))
            return TRUNCATED;
        const uint32_t left = s->width - *x;
        length = 1u << J[s->run_index];
        if (!bit)
            break;
        const uint32_t many = length < left ? length : left;
        for (uint32_t k = 0; k < many; k++)
            row[(*x)++] = (uint16_t)ra;
        if (length <= left)
            s->run_index += s->run_index < RUNS - 1;
        if (*x == s->width)
            return OK;
    }
    if (!take_bits(&s->from, J[s->run_index], &length))
        return TRUNCATED;
    if (length >= s->width - *x)
        return DAMAGED;
    while (length--)
        row[(*x)++] = (uint16_t)ra;
    int32_t rx;
    const int32_t status = take_run_end(s, ra, above ? above[*x] : 0, &rx);
    if (status)
        return status;
    row[(*x)++] = (uint16_t)rx;
    s->run_index -= s->run_index > 0;
    return OK;
}

/* One row; *above* is 0 for the first, *before* what stood left of the row above: A.2.1. */
static int32_t take_row(scan *s, uint16_t *row, const uint16_t *above, int32_t before)
{
    int32_t ra = above ? above[0] : 0, rc = before, rb = ra;
    for (uint32_t x = 0; x < s->width;) {
        const int32_t rd = !above ? 0 : x + 1 < s->width ? above[x + 1] : rb;
        const int32_t q1 = quantized(s, rd - rb), q2 = quantized(s, rb - rc);
        const int32_t mixed = 81 * q1 + 9 * q2 + quantized(s, rc - ra);
        int32_t status;
        if (mixed) {
            int32_t rx;
            status = take_regular(s, mixed, ra, rb, rc, &rx);
            if (UNLIKELY(status))
                return status;
            row[x++] = (uint16_t)rx;
            ra = rx;
            rc = rb;
            rb = rd;
            continue;
        }
        status = take_run(s, row, above, ra, &x);
        if (status)
            return status;
        if (x == s->width)
            break;
        ra = row[x - 1];
        rc = above ? above[x - 1] : 0;
        rb = above ? above[x] : 0;
    }
    return OK;
}

/* ---- segments ---- */

INLINE uint32_t u16(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

/* Take a segment without its length out of *from*. */
static int take_segment(bytes *from, bytes *content)
{
    const size_t left = (size_t)(from->end - from->at);
    const uint32_t size = left < 2 ? 0 : u16(from->at);
    if (left < 2 || left < size)
        return TRUNCATED;
    if (size < 2)
        return DAMAGED;
    content->at = from->at + 2;
    content->end = from->at += size;
    return OK;
}

static int32_t read_size(scan *s, const bytes *content, uint32_t width, uint32_t height)
{
    const uint8_t *at = content->at;
    if (content->end - at < 6 || at[0] < 2 || at[0] > 16)
        return DAMAGED;
    if (at[5] != 1)
        return UNKNOWN_FORM;
    if (content->end - at != 9 || u16(at + 1) != height || u16(at + 3) != width)
        return DAMAGED;
    s->maxval = (1 << at[0]) - 1;
    return OK;
}

/* C.2.4.1: the parameters of coding; 0 stands for what is usual. */
static int32_t read_preset(scan *s, const bytes *content)
{
    const uint8_t *at = content->at;
    if (content->at == content->end)
        return DAMAGED;
    if (at[0] != 1)
        return UNKNOWN_FORM;
    if (content->end - at != 11)
        return DAMAGED;
    if (u16(at + 1) && (int32_t)u16(at + 1) != s->maxval) /* CharLS decodes such to other samples */
        return UNKNOWN_FORM;
    s->t1 = (int32_t)u16(at + 3);
    s->t2 = (int32_t)u16(at + 5);
    s->t3 = (int32_t)u16(at + 7);
    s->reset = u16(at + 9);
    return OK;
}

INLINE int32_t usual(int32_t value, int32_t low, int32_t high)
{
    return value > high || value < low ? low : value;
}

/* C.2.4.1.1, and A.2.1 */
static int32_t begin_scan(scan *s, const bytes *content)
{
    const uint8_t *at = content->at;
    if (content->end - at < 1 || at[0] != 1)
        return UNKNOWN_FORM;
    if (content->end - at != 6 || at[3] > s->maxval / 2)
        return DAMAGED;
    if (at[2] || at[4] || at[5]) /* a mapping table, interleaving, a point transform */
        return UNKNOWN_FORM;
    s->near = at[3];
    s->step = 2 * s->near + 1;
    const int32_t most = s->maxval < 4095 ? s->maxval : 4095;
    int32_t t1, t2, t3;
    if (s->maxval >= 128) {
        const int32_t factor = (most + 128) >> 8;
        t1 = usual(factor + 2 + 3 * s->near, s->near + 1, s->maxval);
        t2 = usual(factor * 4 + 3 + 5 * s->near, t1, s->maxval);
        t3 = usual(factor * 17 + 4 + 7 * s->near, t2, s->maxval);
    } else {
        const int32_t factor = 256 / (s->maxval + 1);
        const int32_t a = 3 / factor + 3 * s->near, b = 7 / factor + 5 * s->near;
        const int32_t c = 21 / factor + 7 * s->near;
        t1 = usual(a > 2 ? a : 2, s->near + 1, s->maxval);
        t2 = usual(b > 3 ? b : 3, t1, s->maxval);
        t3 = usual(c > 4 ? c : 4, t2, s->maxval);
    }
    s->t1 = s->t1 ? s->t1 : t1;
    s->t2 = s->t2 ? s->t2 : t2;
    s->t3 = s->t3 ? s->t3 : t3;
    s->reset = s->reset ? s->reset : 64;
    const uint32_t reset_most = s->maxval > 255 ? (uint32_t)s->maxval : 255;
    if (s->t1 <= s->near || s->t2 < s->t1 || s->t3 < s->t2 || s->t3 > s->maxval || s->reset < 3
        || s->reset > reset_most)
        return DAMAGED;
    s->range = (s->maxval + 2 * s->near) / s->step + 1;
    uint32_t bpp = 2;
    while (s->maxval >> bpp)
        bpp++;
    for (s->qbpp = 0; (s->range - 1) >> s->qbpp; s->qbpp++)
        ;
    s->limit = 2 * (bpp + (bpp > 8 ? bpp : 8));
    const uint32_t a = (uint32_t)(s->range + 32) >> 6;
    const context fresh = {a > 2 ? a : 2, 0, 0, 1};
    for (uint32_t k = 0; k < REGULAR; k++)
        s->regular[k] = fresh;
    s->run[0] = s->run[1] = fresh;
    return OK;
}

/* Read what comes before the coded samples. */
static int32_t read_head(scan *s, bytes *from, uint32_t width, uint32_t height)
{
    int has_size = 0;
    if (from->end - from->at < 2)
        return TRUNCATED;
    if (u16(from->at) != (0xff00 | SOI))
        return DAMAGED;
    from->at += 2;
    for (;;) {
        bytes content;
        if (from->end - from->at < 2)
            return TRUNCATED;
        const uint32_t marker = u16(from->at) ^ 0xff00;
        from->at += 2;
        if (marker > 0xff)
            return DAMAGED;
        int32_t status = take_segment(from, &content);
        if (status)
            return status;
        const int is_about = marker == COM || (marker >= APP0 && marker <= APP15);
        if (is_about)
            continue;
        if (marker == SOF55 ? has_size : !has_size)
            return DAMAGED;
        if (marker == SOF55) {
            has_size = 1;
            status = read_size(s, &content, width, height);
        } else if (marker == LSE) {
            status = read_preset(s, &content);
        } else if (marker == SOS) {
            return begin_scan(s, &content);
        } else {
            return UNKNOWN_FORM;
        }
        if (status)
            return status;
    }
}

/* What follows the last sample: bits that fill its byte, and the end. */
static int32_t read_end(bit_reader *from)
{
    const uint8_t *at = from->at;
    uint32_t count = from->count, after_ff = from->after_ff;
    while (count >= 8u - (at[-2] == 0xff)) { /* give back whole bytes that were taken in too early */
        at--;
        count -= 8u - (at[-1] == 0xff);
        after_ff = at[-1] == 0xff;
    }
    if (after_ff && at < from->end && *at <= 0x7f)
        at++;
    if (from->end - at < 2)
        return TRUNCATED;
    if (u16(at) != (0xff00 | EOI))
        return DAMAGED;
    return from->end - at == 2 ? OK : BYTES_LEFT;
}

/*
 * Decode an image of *width* x *height* samples; it has to be of that size, 1..65535 each. Samples
 * are written next to each other, row after row; they are of no use unless it returns OK.
 */
EXPORT int32_t rtc_jpeg_ls_decode(const uint8_t *image, uint32_t size, uint32_t width,
                                  uint32_t height, uint16_t *samples)
{
    scan s;
    bytes from = {image, image + size};
    memset(&s, 0, sizeof s);
    s.width = width;
    s.height = height;
    int32_t status = read_head(&s, &from, width, height);
    if (status)
        return status;
    s.from = (bit_reader){from.at, from.end, 0, 0, 0};
    int32_t before = 0, start = 0; /* left of the row above, and of this one */
    for (uint32_t y = 0; y < height; y++) {
        uint16_t *row = samples + (size_t)y * width;
        status = take_row(&s, row, y ? row - width : 0, before);
        if (status)
            return status;
        before = start;
        start = row[0];
    }
    return read_end(&s.from);
}

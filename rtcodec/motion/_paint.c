/*
 * From symbols to samples, in integers; normative, SPEC.md 9.3 and 9.4. `rtc_paint` equals
 * transform.py, `rtc_smooth` equals smoothing.py.
 */
#include "_inverse.h"

/*
 * Add symbols [places, stride], the first 384 of latents, to a prediction, in place; luma's are of
 * 4x4 DCTs where the one at `split` is not 0. still: [places], not 0 where the prediction stays as it
 * is. steps: of luma and of chroma, in units of a prediction's. coded: [places], bit k says whether
 * part k has a symbol that is not 0.
 */
CLONES EXPORT void rtc_paint(const int16_t *restrict symbols, const uint8_t *restrict still,
                             const int32_t *steps, uint32_t places, uint32_t stride,
                             uint32_t split, uint16_t *restrict blocks, uint8_t *restrict coded)
{
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
                uint16_t *part = blocks + (size_t)place * SAMPLES + part_start(k);
                if (k < 4 && own[split])
                    add_part(c[k], rows[k], 1, part, part_stride(k));
                else
                    add_part(c[k], rows[k], 0, part, part_stride(k));
            }
    }
}

/* ---- smoothing of edges ------------------------------------------------------------------- */

typedef struct {
    int32_t alpha, beta, most; /* differences across and beside an edge, and the largest change */
} limits;

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
    if (p->still[m] | p->still[n] | (m == n && p->intra[m] & WHOLE))
        return 0;
    const int16_t *v = p->vectors + 2 * (QUARTERS * m + a), *w = p->vectors + 2 * (QUARTERS * n + b);
    return (p->coded[m] >> a & 1) | (p->coded[n] >> b & 1) | ((p->intra[m] | p->intra[n]) & INTRA) |
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

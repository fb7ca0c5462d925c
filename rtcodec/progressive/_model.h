/*
 * How likely a bit is, and how that adapts (SPEC.md 5): counters mixed in the logistic domain.
 */
#ifndef RTC_PROGRESSIVE_MODEL_H
#define RTC_PROGRESSIVE_MODEL_H

#include "_progressive.h"

enum {
    USED_MAX = 100, /* uses after which a counter adapts no more slowly */
    LOGIT_MAX = 2047, /* logits have 8 bits of fraction */
    LEARN = 16,
    WEIGHT_BITS = 16,
    WEIGHT = 9830, /* at first: 0.15 */
    SIGN_WEIGHT = 3 * WEIGHT, /* there are fewer counters of signs */
};

/* 65536 / (1 + exp(-k / 4)), k = -32..32. */
static const uint16_t LOGISTIC[65] = {
    22, 28, 36, 47, 60, 77, 98, 126, 162, 208,
    267, 342, 439, 562, 720, 922, 1179, 1506, 1921, 2446,
    3108, 3938, 4971, 6249, 7812, 9702, 11955, 14595, 17625, 21025,
    24743, 28693, 32768, 36843, 40793, 44511, 47911, 50941, 53581, 55834,
    57724, 59287, 60565, 61598, 62428, 63090, 63615, 64030, 64357, 64614,
    64816, 64974, 65097, 65194, 65269, 65328, 65374, 65410, 65438, 65459,
    65476, 65489, 65500, 65508, 65514,
};

INLINE int32_t within(int32_t logit)
{
    return logit > LOGIT_MAX ? LOGIT_MAX : logit < -LOGIT_MAX ? -LOGIT_MAX : logit;
}

/* The probability, of 65536, of a logit that is within(). */
INLINE uint32_t squash(int32_t logit)
{
    const uint32_t at = (uint32_t)(logit + 2048), k = at >> 6, f = at & 63;
    return (LOGISTIC[k] * (64 - f) + LOGISTIC[k + 1] * f + 32) >> 6;
}

INLINE void count(counter *of, uint32_t bit)
{
    static const uint16_t SHARE[] = {
        /* 65536 / (n + 1.6) */
        40960, 25206, 18204, 14247, 11703, 9930, 8623, 7620, 6827, 6183, 5650, 5201, 4819, 4489,
        4201, 3948, 3724, 3523, 3344, 3181, 3034, 2900, 2777, 2664, 2560, 2464, 2374, 2291, 2214,
        2142, 2074, 2010,
    };
    const uint32_t p = of->p >> 10, n = of->p & 1023;
    const uint32_t share = n < 32 ? SHARE[n] : 65536u / (n + 2);
    const int32_t goal = bit ? (1 << 22) - 1 : 0;
    const int32_t next = (int32_t)p + (int32_t)(((int64_t)(goal - (int32_t)p) * share) >> 16);
    of->p = (uint32_t)next << 10 | (n < USED_MAX ? n + 1 : n);
}

INLINE uint32_t p16(const counter *of) { return of->p >> 16; }

/* As a range of PROB_SCALE, never certain. */
INLINE uint32_t width_of(uint32_t p)
{
    const uint32_t width = p >> 2;
    return width < 1 ? 1 : width > PROB_SCALE - 1 ? PROB_SCALE - 1 : width;
}

enum { SETS = 3 };

typedef struct {
    counter *from[TABLES];
    int32_t *weights[SETS];
    int32_t logit[TABLES];
    uint32_t said[SETS]; /* what each set of weights says */
    uint32_t n; /* counters that are mixed */
} mixture;

/* Probability of a one, of 65536. */
INLINE uint32_t mix(mixture *m, const int16_t *logits)
{
    for (uint32_t k = 0; k < m->n; k++) {
        const uint32_t used = m->from[k]->p & 1023;
        const int32_t logit = logits[p16(m->from[k]) >> 4];
        m->logit[k] = used == 0 ? 0 : used < 3 ? logit / 2 : logit;
    }
    int32_t all = 0;
    for (uint32_t set = 0; set < SETS; set++) {
        int64_t sum = 0;
        for (uint32_t k = 0; k < m->n; k++)
            sum += (int64_t)m->logit[k] * m->weights[set][k];
        const int32_t logit = within((int32_t)(sum >> WEIGHT_BITS));
        m->said[set] = squash(logit);
        all += logit;
    }
    return squash(all / SETS);
}

INLINE void learn(mixture *m, uint32_t bit)
{
    for (uint32_t set = 0; set < SETS; set++) {
        const int32_t error = ((int32_t)(bit << 16) - (int32_t)m->said[set]) * LEARN;
        for (uint32_t k = 0; k < m->n; k++)
            m->weights[set][k] += (int32_t)(((int64_t)m->logit[k] * error + (1 << 19)) >> 20);
    }
    for (uint32_t k = 0; k < m->n; k++)
        count(m->from[k], bit);
}

#endif

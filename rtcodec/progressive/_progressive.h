/*
 * What the C files of this folder share: the state of a picture that any prefix decodes.
 *
 *     _layout.h   where everything of a picture lies in memory
 *     _wavelet.h  between samples and coefficients
 *     _model.h    how likely a bit is, and how that adapts
 *     _context.h  what stands around a coefficient
 *     _refine.h   what is added to samples for what their neighbours are
 *     _walk.h     passes over bit planes; one source for both directions
 *     _decode.c   from a payload, or the beginning of one, to samples      normative (SPEC.md)
 *     _encode.c   from samples to passes and a payload
 *
 * Freestanding C11 (GCC or Clang), one library, for Python through ctypes and for wasm32. It
 * allocates nothing and calls nothing but memcpy and memset; what a decoder does is integers.
 * Arguments come checked from native.py; payloads may be any bytes.
 */
#ifndef RTC_PROGRESSIVE_H
#define RTC_PROGRESSIVE_H

#include "../entropy/_words.h"

enum {
    PROGRESSIVE_VERSION = 4, /* of what native.py passes */
    COMPONENTS = 3,
    LEVELS_MAX = 6,
    GROUPS_MAX = LEVELS_MAX + 1, /* the coarsest band alone, then three of each level */
    BANDS_MAX = 1 + 3 * LEVELS_MAX,
    SMALLEST = 8, /* a side that is halved no further */
    PLANES_MAX = 16,
    FRACTION_BITS = 6, /* of samples while they are transformed */
    STEP_BITS = 8,     /* of a step, beside those */
    EDGE = 2,          /* zeros around a band */
    BLOCK = 8,         /* side of what is known to be zero together */
    UNSAID = 31,       /* in place of a plane: nothing was said of a coefficient */
    NEGATIVE = 0x80,
    LIKELY = 40, /* energy, in sixteenths, from which a coefficient comes in the first pass */
    POSSIBLE = 12,
    SHOWN_EDGE = 8, /* samples around those that are refined */

    TABLES = 10, /* of chroma */
    LUMA_TABLES = 8,
    SIGN_TABLES = 3,
    EARLIER = 2, /* components that one can look at */
    CONTEXTS = 512,
    ENERGIES = 32,
    KIN = 64,
    SIGNS = 4 * 81,
    BLOCKS = GROUPS_MAX * 16,
};

enum pass { LIKELY_ONES, POSSIBLE_ONES, FRESH, FINER, PASSES };

/* What is coded of a coefficient: a first one, likely or not; then by what is known of it. */
enum kind { NEW_LIKELY, NEW, SECOND, THIRD, LATER, SIGN, KINDS };

typedef struct {
    uint32_t p; /* probability of a one in the high 22 bits, how often it was used in the low 10 */
} counter;

typedef struct {
    counter mixed[TABLES][KINDS][CONTEXTS];
    counter sign[SIGNS];
    counter block[BLOCKS];
    int32_t by_group[KINDS * GROUPS_MAX][TABLES]; /* weights of logits, 65536 for 1 */
    int32_t by_energy[KINDS * ENERGIES][TABLES];
    int32_t by_kin[KINDS * KIN][TABLES];
} model;

typedef struct {
    uint32_t width, height;
    uint32_t at, stride;             /* first coefficient, and from row to row */
    uint32_t block_at, block_stride; /* the same of blocks */
    uint32_t orientation;            /* bit 0: high across, bit 1: high down */
    uint32_t level;                  /* halvings */
} band;

typedef struct component {
    uint32_t width, height, levels, n_bands;
    uint32_t plane, pass; /* that come next; planes count down */
    uint32_t done;
    uint32_t n, n_blocks; /* in size and said, in live */
    band bands[BANDS_MAX];
    const struct component *earlier[EARLIER]; /* luma, then U */
    uint32_t complete[EARLIER]; /* planes from which on all of those is known */
    model *model;
    int32_t *samples; /* transformed in place */
    int16_t *shown;   /* a decoder's: those of what is refined, with what is around it */
    uint16_t *size;   /* of coefficients, as far as it is known */
    uint8_t *said;    /* plane of the last decision, and the sign */
    uint8_t *live;    /* blocks with anything in them */
    uint16_t *true_size; /* an encoder's */
} component;

typedef struct {
    uint32_t width, height, transform;
    int16_t logit[4096]; /* of probabilities in 4096ths */
    component of[COMPONENTS];
} rtc_progressive;

INLINE uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }
INLINE uint32_t halved_up(uint32_t n) { return (n + 1) / 2; }

/* What is refined is laid out in whole vectors and cells. */
INLINE uint32_t shown_stride(uint32_t width) { return ((width + 15) & ~15u) + 2 * SHOWN_EDGE; }
INLINE uint32_t shown_rows(uint32_t height) { return ((height + 3) & ~3u) + 2 * SHOWN_EDGE; }

#endif

/*
 * What the C files of this folder share: the model of a sample and how a tile is walked.
 *
 *     _model.h    what is expected of a residual, and how that adapts
 *     _walk.h     levels and phases of a tile; one source for both directions
 *     _refine.h   what the finest level lacks once it is within a bound; the same
 *     _decode.c   from payloads to samples      normative (SPEC.md), equals tile.py
 *     _encode.c   from samples to payloads
 *     _jpeg_ls.c  from a JPEG-LS image to samples, for frames that are not tiles
 *
 * Freestanding C11 (GCC or Clang), one library, for Python through ctypes and for wasm32. It
 * allocates nothing and calls nothing but memcpy and memset; no floats. Arguments come checked
 * from native.py; payloads may be any bytes, and fits any numbers.
 */
#ifndef RTC_EXACT_H
#define RTC_EXACT_H

#include "../entropy/_words.h"

enum {
    EXACT_VERSION = 3, /* of what native.py passes */
    TILE_MAX = 512, /* samples along a side */
    LEVELS = 5,     /* that a tile has beside its coarsest grid; each halves the spacing */
    PHASES = 3,     /* of a level, in coding order: odd rows and columns, columns, rows */
    GROUPS = 3,     /* of levels that share a fit: the finest, the next, the others */
    TAPS = 16,
    NEAR = 4, /* of them, the nearest */
    CALM = 12, /* of them, those that do not depend on the row being coded */
    CLASSES_MAX = 8,
    ENERGIES = 11,
    WEIGHT_BITS = 8, /* fraction of a weight */
    ENERGY_BITS = 8, /* fraction of what an energy is multiplied by */
    BORDER = 2,
    PLANE_SIDE = TILE_MAX / 2 + 2 * BORDER,

    SYMBOLS = 32,
    SCALES = 76, /* quarters of octaves of the expected error */
    SIGHTS = 32, /* which of the nearest are above the prediction; or how little they differ */
    CALM_BELOW = 16,
    BOUND_MAX = 11, /* what is missing within a bound has a symbol each way */
    GAP = 4, /* least width of a symbol in a table of 2**16 */
    PAD_CONTEXTS = PHASES * 5 * 8,
};

/* How the samples of one phase are expected; fitted by the encoder. */
typedef struct {
    uint32_t classes; /* 1..CLASSES_MAX */
    uint32_t threshold[CLASSES_MAX - 1];
    int16_t weight[CLASSES_MAX][TAPS];
    uint16_t energy[ENERGIES];
    uint16_t reserved;
} rtc_exact_fit;

typedef struct {
    uint32_t width, height; /* of the tile, 1..TILE_MAX */
    uint32_t high;          /* samples are 0..high, at most 65535 */
    uint32_t pad;           /* the sample that stands for "nothing here"; above high: none */
    uint32_t max_error;     /* 0: exact */
    uint32_t bound;         /* 0, or what the finest level is within before it is refined */
    rtc_exact_fit fit[GROUPS][PHASES], refinement[PHASES];
} rtc_exact_tile;

/* Samples and their errors, BORDER of each around. */
typedef struct {
    uint16_t sample[PLANE_SIDE * PLANE_SIDE];
    uint16_t error[PLANE_SIDE * PLANE_SIDE];
} plane;

typedef struct {
    uint16_t start[SYMBOLS]; /* where each symbol starts, of 2**16; the first is 0 */
} table;

/* What a tile's payloads teach and leave; the caller's, its content nobody else's business. */
typedef struct {
    table by_scale[SCALES];
    table by_sight[SCALES / 2 * SIGHTS];
    uint8_t scale_seen[SCALES], sight_seen[SCALES / 2 * SIGHTS];
    uint16_t pad[PAD_CONTEXTS];
    uint32_t level; /* that comes next: LEVELS is the coarsest grid, 0 the finest level */
    uint32_t refines; /* whether, after that, it is refined */
    uint32_t which; /* of the grids is known; the other is where the next one is put together */
    plane grid[2];
    plane phase[PHASES];
} rtc_exact_state;

#endif

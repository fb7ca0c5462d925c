/*
 * Where parts of a picture might be copied from: the encoder's search. It looks for the same luma, which
 * screens are full of; what is only alike is left to prediction.
 */
#include "_spatial.h"

#define FACTOR 0x9e3779b97f4a7c15u

enum {
    TABLE_BITS = 18,
    RECENT = 8, /* copies before this one that are tried first: they take fewer bits */
};

/* The picture as it is to be coded, padded to whole blocks. */
typedef struct {
    const uint8_t *y, *u, *v;
    uint32_t rows, columns; /* of blocks */
    size_t stride;          /* of luma */
} planes;

INLINE uint64_t line_at(const planes *p, uint32_t y, uint32_t x)
{
    uint64_t line;
    memcpy(&line, p->y + y * p->stride + x, sizeof line);
    return line;
}

INLINE int is_flat(const planes *p, uint32_t y, uint32_t x)
{
    const uint64_t first = (line_at(p, y, x) & 255) * 0x0101010101010101u;
    for (uint32_t i = 0; i < SIDE; i++)
        if (line_at(p, y + i, x) != first)
            return 0;
    return 1;
}

/* Whether the parts at (y, x) and (from_y, from_x) are the same, and their chroma where it would be copied. */
INLINE int is_same(const planes *p, uint32_t y, uint32_t x, uint32_t from_y, uint32_t from_x)
{
    for (uint32_t i = 0; i < SIDE; i++)
        if (line_at(p, y + i, x) != line_at(p, from_y + i, from_x))
            return 0;
    if ((from_y | from_x) & 1)
        return 1;
    const size_t stride = p->stride / 2;
    for (uint32_t i = 0; i < SIDE / 2; i++)
        for (uint32_t k = 0; k < SIDE / 2; k++) {
            const size_t to = (y / 2 + i) * stride + x / 2 + k;
            const size_t from = (from_y / 2 + i) * stride + from_x / 2 + k;
            if (p->u[to] != p->u[from] || p->v[to] != p->v[from])
                return 0;
        }
    return 1;
}

/* Note where the parts that begin in line *y* are, by what they look like; sums: of each, moved on a line. */
INLINE void note_line(const planes *p, uint32_t y, uint64_t *sums, uint32_t *table)
{
    uint64_t last = 1;
    for (uint32_t i = 0; i < SIDE; i++)
        last *= FACTOR;
    const uint32_t end = (uint32_t)p->stride - SIDE;
    for (uint32_t x = 0; x <= end; x++) {
        uint64_t sum = 0;
        if (y == 0)
            for (uint32_t i = 0; i < SIDE; i++)
                sum = sum * FACTOR + line_at(p, i, x);
        else
            sum = sums[x] * FACTOR + line_at(p, y + SIDE - 1, x) - last * line_at(p, y - 1, x);
        sums[x] = sum;
        table[sum * FACTOR >> (64 - TABLE_BITS)] = y * (uint32_t)p->stride + x + 1;
    }
}

INLINE uint32_t place_of(const planes *p, uint32_t y, uint32_t x, const uint32_t *table)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < SIDE; i++)
        sum = sum * FACTOR + line_at(p, y + i, x);
    return table[sum * FACTOR >> (64 - TABLE_BITS)];
}

/*
 * Find, for each quarter [rows, columns, 4] of a picture's blocks, how many rows above and columns on the
 * right of it the same is painted before; 0, 0 where nothing is, or where it is flat. y: [16 rows,
 * 16 columns]; u and v: half of that each way. sums: room for 16 columns; table: for 2**18, zeros. Returns
 * how many there are.
 */
EXPORT uint32_t rtc_spatial_matches(const uint8_t *y, const uint8_t *u, const uint8_t *v, uint32_t rows,
                                    uint32_t columns, uint64_t *sums, uint32_t *table, int16_t *copies)
{
    const planes p = {y, u, v, rows, columns, (size_t)columns * BLOCK};
    const area t = {.columns = columns};
    int16_t recent[RECENT][2] = {{0}};
    uint32_t noted = 0, count = 0;
    for (uint32_t i = 0; i < rows; i++) {
        for (; noted + SIDE <= i * BLOCK; noted++)
            note_line(&p, noted, sums, table);
        for (uint32_t j = 0; j < columns; j++)
            for (uint32_t q = 0; q < QUARTERS; q++) {
                const uint32_t top = part_row(i, q) * SIDE, left = part_column(j, q) * SIDE;
                int16_t *to = copies + (((size_t)i * columns + j) * QUARTERS + q) * 2;
                to[0] = to[1] = 0;
                if (is_flat(&p, top, left))
                    continue;
                const uint32_t place = place_of(&p, top, left, table);
                int16_t tried[RECENT + 1][2];
                memcpy(tried, recent, sizeof recent);
                tried[RECENT][0] = tried[RECENT][1] = 0;
                if (place) {
                    tried[RECENT][0] = (int16_t)(top - (place - 1) / (uint32_t)p.stride);
                    tried[RECENT][1] = (int16_t)((place - 1) % (uint32_t)p.stride - left);
                }
                for (uint32_t n = 0; n <= RECENT; n++) {
                    const int16_t up = tried[n][0], right = tried[n][1];
                    if (!is_copied(&t, i, j, q, tried[n])
                        || !is_same(&p, top, left, top - (uint32_t)up, left + (uint32_t)right))
                        continue;
                    to[0] = up;
                    to[1] = right;
                    for (uint32_t k = n < RECENT ? n : RECENT - 1; k > 0; k--)
                        memcpy(recent[k], recent[k - 1], sizeof recent[k]);
                    memcpy(recent[0], to, sizeof recent[0]);
                    count++;
                    break;
                }
            }
    }
    return count;
}

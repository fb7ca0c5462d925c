/*
 * Planes to RGBA for showing; equals planes_to_rgb in rtcodec/media/color.py, which is in floats too.
 */
#include "_web.h"

enum { WIDEST = 16384 + 2 };

typedef struct {
    const uint8_t *y, *u, *v;
    uint32_t width, height;
    float black, luma, red_v, green_u, green_v, blue_u; /* of samples as they are, less 128 for chroma */
} rtc_web_color;

/* A row of chroma at twice the size, by a triangle filter both ways, less 128. */
INLINE void chroma_row(const uint8_t *plane, uint32_t width, uint32_t height, uint32_t row,
                       float *mixed, float *restrict to)
{
    const uint32_t near = row / 2, last = height - 1;
    const uint32_t far = row & 1 ? (near < last ? near + 1 : last) : (near ? near - 1 : 0);
    const uint8_t *a = plane + (size_t)near * width, *b = plane + (size_t)far * width;
    for (uint32_t i = 0; i < width; i++)
        mixed[i] = 0.75f * a[i] + 0.25f * b[i] - 128;
    mixed[-1] = mixed[0];
    mixed[width] = mixed[width - 1];
    for (uint32_t i = 0; i < width; i++) {
        to[2 * i] = 0.75f * mixed[i] + 0.25f * mixed[(ptrdiff_t)i - 1];
        to[2 * i + 1] = 0.75f * mixed[i] + 0.25f * mixed[i + 1];
    }
}

INLINE uint32_t to_byte(float x)
{
    return (uint32_t)(int32_t)__builtin_rintf(clipped(x, 0, 255));
}

EXPORT void rtc_web_rgba(const rtc_web_color *c, uint32_t *rgba)
{
    static float mixed[WIDEST / 2 + 2], u[WIDEST], v[WIDEST];
    const uint32_t half_width = (c->width + 1) / 2, half_height = (c->height + 1) / 2;
    for (uint32_t row = 0; row < c->height; row++, rgba += c->width) {
        const uint8_t *y = c->y + (size_t)row * c->width;
        chroma_row(c->u, half_width, half_height, row, mixed + 1, u);
        chroma_row(c->v, half_width, half_height, row, mixed + 1, v);
        for (uint32_t i = 0; i < c->width; i++) {
            const float luma = (y[i] - c->black) * c->luma;
            const uint32_t red = to_byte(luma + c->red_v * v[i]);
            const uint32_t green = to_byte(luma + c->green_u * u[i] + c->green_v * v[i]);
            const uint32_t blue = to_byte(luma + c->blue_u * u[i]);
            rgba[i] = 0xff000000 | blue << 16 | green << 8 | red;
        }
    }
}

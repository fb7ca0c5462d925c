/*
 * Decodes JPEG-LS images of random heads and bits, each buffer allocated at its exact size, so that
 * sanitizers see any access outside.
 *
 *     cc -fsanitize=address,undefined jpeg_ls_fuzz.c -o jpeg_ls_fuzz && ./jpeg_ls_fuzz SEED ROUNDS
 *
 * Prints how many images came to all their samples and how many were refused before.
 */
#include "../../rtcodec/exact/_jpeg_ls.c"

#include "fuzz.h"

enum { SIZE_MAX_BYTES = 4096, UNTOUCHED = 0xffff };

static uint32_t put_number(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return 2;
}

/* A head that may be decoded, mostly; return its size. */
static uint32_t write_head(uint8_t *at, uint32_t bits, uint32_t width, uint32_t height)
{
    const uint32_t high = (1u << bits) - 1, most_near = high / 2 < 255 ? high / 2 : 255;
    const uint32_t near = draw(2) ? draw(most_near + 1) : 0;
    uint32_t size = put_number(at, 0xffd8);
    if (!draw(8)) {
        size += put_number(at + size, 0xffe0 + draw(16));
        size += put_number(at + size, 4);
        size += put_number(at + size, draw(65536));
    }
    size += put_number(at + size, 0xfff7);
    size += put_number(at + size, 11);
    at[size++] = (uint8_t)bits;
    size += put_number(at + size, height);
    size += put_number(at + size, width);
    at[size++] = 1, at[size++] = 1, at[size++] = 0x11, at[size++] = 0;
    if (draw(2)) {
        uint32_t t1 = near + 1 + draw(high - near), t2 = t1 + draw(high - t1 + 1);
        size += put_number(at + size, 0xfff8);
        size += put_number(at + size, 13);
        at[size++] = 1;
        size += put_number(at + size, draw(2) ? high : 0);
        size += put_number(at + size, draw(4) ? t1 : 0);
        size += put_number(at + size, draw(4) ? t2 : 0);
        size += put_number(at + size, draw(4) ? t2 + draw(high - t2 + 1) : 0);
        size += put_number(at + size, draw(4) ? 3 + draw(high > 255 ? high - 2 : 253) : 0);
    }
    size += put_number(at + size, 0xffda);
    size += put_number(at + size, 8);
    at[size++] = 1, at[size++] = 1, at[size++] = 0, at[size++] = (uint8_t)near;
    at[size++] = 0, at[size++] = 0;
    return size;
}

int main(int argc, char **argv)
{
    uint32_t complete = 0, refused = 0;
    check(argc == 3, "usage: jpeg_ls_fuzz SEED ROUNDS");
    begin_drawing(argv[1]);
    for (uint32_t round = (uint32_t)atoi(argv[2]); round--;) {
        const uint32_t bits = 2 + draw(15), high = (1u << bits) - 1;
        const uint32_t width = 1 + draw(40), height = 1 + draw(40);
        const uint32_t density = 1 + draw(8), is_changed = !draw(4);
        uint8_t image[SIZE_MAX_BYTES];
        uint32_t size = write_head(image, bits, width, height);
        if (is_changed)
            image[draw(size)] ^= (uint8_t)(1u << draw(8));
        const uint32_t end = size + draw(SIZE_MAX_BYTES - 64 - size);
        while (size < end) {
            uint32_t byte = 0;
            for (uint32_t k = 0; k < 8; k++)
                byte = byte << 1 | !!draw(density);
            image[size++] = (uint8_t)byte;
            if (byte == 0xff && draw(50))
                image[size++] = (uint8_t)draw(128);
        }
        size += put_number(image + size, 0xffd9);
        uint8_t *exact = block(size);
        memcpy(exact, image, size);
        uint16_t *samples = block(2 * (size_t)width * height);
        for (uint32_t k = 0; k < width * height; k++)
            samples[k] = UNTOUCHED;
        const int32_t status = rtc_jpeg_ls_decode(exact, size, width, height, samples);
        check(status >= 0 && status <= UNKNOWN_FORM, "a status of its own");
        uint32_t k = 0;
        while (k < width * height && samples[k] != UNTOUCHED)
            check(samples[k++] <= high || is_changed, "a sample is too large");
        if (k == width * height)
            complete++;
        else
            refused++;
        for (; k < width * height && bits < 16 && !is_changed; k++)
            check(samples[k] == UNTOUCHED, "a sample was written out of order");
        free(samples), free(exact);
    }
    printf("%u complete, %u refused\n", complete, refused);
    return 0;
}

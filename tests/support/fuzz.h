/*
 * What the fuzzing programs share: numbers that look random and buffers of exact size.
 */
#ifndef RTC_FUZZ_H
#define RTC_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)((seed >> 32) * below >> 32);
}

static void begin_drawing(const char *text)
{
    seed = strtoull(text, NULL, 10) * 2 + 1;
    for (int k = 0; k < 20; k++)
        draw(2); /* the first few hardly differ from seed to seed */
}

static void *block(size_t size) /* exact: malloc(0) gives no byte at all */
{
    void *memory = malloc(size);
    if (!memory)
        abort();
    return memory;
}

static void check(int good, const char *what)
{
    if (!good) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

#endif

/*
 * What the C files of this folder share. They are what a browser needs beside rtcodec/entropy and
 * rtcodec/motion, which are compiled with them into one module:
 *
 *     _memory.c    memcpy, memset
 *     _check.c     CRC-32
 *     _symbols.c   symbols as the painter takes them; motion of missing tiles: equals vectors.py
 *     _products.c  products of the networks, in floats and in 8 bits
 *     _layers.c    everything else of the networks: equals graph.py within roundings
 *     _color.c     planes to RGBA: equals rtcodec/media/color.py within a level
 *
 * Freestanding C11 for Clang, wasm32 with SIMD. It allocates nothing; src/machine.js lays out
 * memory and its callers check every argument. Tensors have their channels last.
 */
#ifndef RTC_WEB_H
#define RTC_WEB_H

#include <stddef.h>
#include <stdint.h>
#include <wasm_simd128.h>

#define EXPORT __attribute__((visibility("default")))
/* What takes no time, or is rare: pages load every byte of it. */
#define SMALL __attribute__((minsize))
#define INLINE static inline __attribute__((always_inline))

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memset(void *to, int value, size_t size);

INLINE float clipped(float x, float low, float high)
{
    return x < low ? low : x > high ? high : x;
}

#endif

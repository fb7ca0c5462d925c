/*
 * What every rANS payload is made of, here and in rtcodec/exact: states, words, raw bits (SPEC.md 7).
 *
 * Freestanding, as _rans.h says. A state has 32 bits and at least STATE_MIN; words have 16.
 */
#ifndef RTC_WORDS_H
#define RTC_WORDS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only little-endian machines are supported"
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

#ifdef __wasm_simd128__
#include <wasm_simd128.h>
#endif

/* x86: the hot loops are compiled for several processors and chosen when called. */
#if defined(__x86_64__) && !defined(RTC_PORTABLE)
#define RTC_X86 1
#include <cpuid.h>
#include <immintrin.h>
#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512vnni")))

enum { HAS_AVX2 = 1, HAS_VNNI = 2, IS_KNOWN = 4 };

/* What the processor and the operating system offer; asked once, cpuid is slow. */
static inline uint32_t processor(void)
{
    static uint32_t known; /* threads may race to write the same value */
    uint32_t found = __atomic_load_n(&known, __ATOMIC_RELAXED), a, b, c, d, low, high;
    if (found)
        return found;
    found = IS_KNOWN;
    if (__get_cpuid(1, &a, &b, &c, &d) && c >> 27 & 1 && c >> 23 & 1) { /* xgetbv, popcnt */
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        if (!__get_cpuid_count(7, 0, &a, &b, &c, &d))
            b = c = 0;
        if ((low & 0x06) == 0x06 && b >> 3 & b >> 5 & b >> 8 & 1) /* bmi, avx2, bmi2 */
            found |= HAS_AVX2;
        if ((low & 0xe6) == 0xe6 && b >> 16 & b >> 30 & c >> 11 & 1) /* avx512 f, bw, vnni */
            found |= HAS_VNNI;
    }
    __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    return found;
}
#endif

/* Declared by hand: -ffreestanding has no string.h, and would call them for two bytes. */
void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
#define memcpy __builtin_memcpy
#define memset __builtin_memset

enum {
    PROB_BITS = 14,
    PROB_SCALE = 1 << PROB_BITS,
};
static const uint32_t STATE_MIN = 1u << 16;

enum status { OK, TRUNCATED, STATE_TOO_SMALL, ESCAPE_RANGE, BYTES_LEFT, STATE_LEFT };

/* Make a state smaller than *limit*; the word goes before *at*. */
INLINE uint32_t make_room(uint32_t state, uint32_t limit, uint8_t **at)
{
    const uint16_t word = (uint16_t)state;
    const uint32_t full = state >= limit;
    memcpy(*at - 2, &word, sizeof word);
    *at -= 2 * full; /* arithmetic, no branch */
    return state >> (full << 4);
}

INLINE uint32_t put_raw(uint32_t state, uint32_t bits, uint32_t n_bits, uint8_t **at)
{
    if (!n_bits) /* the limit would be 2**32 */
        return state;
    return make_room(state, 1u << (32 - n_bits), at) << n_bits | bits;
}

#endif

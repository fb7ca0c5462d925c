/*
 * What compilers call, as instructions of the machine.
 */
#include "_web.h"

void *memcpy(void *restrict to, const void *restrict from, size_t size)
{
    return __builtin_memcpy(to, from, size); /* memory.copy, as bulk memory is on */
}

void *memset(void *to, int value, size_t size)
{
    return __builtin_memset(to, value, size);
}

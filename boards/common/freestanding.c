/* The four functions a freestanding compiler may still call (GCC manual, "Standards"). */
#include <stdint.h>

#include "string.h"

/* An empty asm in each loop keeps the compiler from turning it into a call of itself. */
#define KEEP_LOOP() __asm__ volatile("" ::: "memory")

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((((uintptr_t)out | (uintptr_t)in) & 3u) == 0) {
        for (; count >= 4; count -= 4, out += 4, in += 4) {
            *(uint32_t *)(void *)out = *(const uint32_t *)(const void *)in;
            KEEP_LOOP();
        }
    }
    for (; count > 0; count--) {
        *out++ = *in++;
        KEEP_LOOP();
    }
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    uint8_t *out = to;
    const uint8_t *in = from;
    if ((uintptr_t)out <= (uintptr_t)in) {
        return memcpy(to, from, count);
    }
    while (count > 0) {
        count--;
        out[count] = in[count];
        KEEP_LOOP();
    }
    return to;
}

void *memset(void *to, int value, size_t count)
{
    uint8_t *out = to;
    if (((uintptr_t)out & 3u) == 0) {
        uint32_t word = (uint8_t)value * 0x01010101u;
        for (; count >= 4; count -= 4, out += 4) {
            *(uint32_t *)(void *)out = word;
            KEEP_LOOP();
        }
    }
    for (; count > 0; count--) {
        *out++ = (uint8_t)value;
        KEEP_LOOP();
    }
    return to;
}

int memcmp(const void *left, const void *right, size_t count)
{
    const uint8_t *a = left;
    const uint8_t *b = right;
    for (; count > 0; count--, a++, b++) {
        if (*a != *b) {
            return *a - *b;
        }
        KEEP_LOOP();
    }
    return 0;
}

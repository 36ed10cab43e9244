#include "elementwise.h"
#include "xpulp.h"

/* 9 instructions an element; LOAD_X and LOAD_Y are the funct3 of p.lb (0) or p.lbu (4). */
#define ADD(name, LOAD_X, LOAD_Y)                                                                  \
    void name(const void *shape, const void *step, layer_probe_t *probe)                           \
    {                                                                                              \
        const add_shape_t *layer = shape;                                                          \
        const add_step_t *tile = step;                                                             \
        const share_t share = share_of(tile->count, tile->count_a_core, core_id());                \
        const uint8_t *x = scratch + tile->x + share.begin;                                        \
        const uint8_t *y = scratch + tile->y + share.begin;                                        \
        uint8_t *out = scratch + tile->output + share.begin;                                       \
        int32_t a, b, sum;                                                                         \
        (void)probe;                                                                               \
        if (share.begin == share.end) {                                                            \
            return;                                                                                \
        }                                                                                          \
        __asm__ volatile(                                                                          \
            LP_SETUP("%[count]", "9")                                                              \
            ".insn i 0x0b, " LOAD_X ", %[a], 1(%[x])\n\t"                                          \
            ".insn i 0x0b, " LOAD_Y ", %[b], 1(%[y])\n\t"                                          \
            "addi %[sum], %[rounding], 0\n\t"                                                      \
            ".insn r 0x33, 0, 0x21, %[sum], %[a], %[mx]\n\t" /* p.mac */                           \
            ".insn r 0x33, 0, 0x21, %[sum], %[b], %[my]\n\t"                                       \
            "sra %[sum], %[sum], %[shift]\n\t"                                                     \
            ".insn r 0x33, 6, 0x02, %[sum], %[sum], %[lowest]\n\t"  /* p.max */                    \
            ".insn r 0x33, 4, 0x02, %[sum], %[sum], %[highest]\n\t" /* p.min */                    \
            ".insn s 0x2b, 0, %[sum], 1(%[out])\n\t"                /* p.sb sum,1(out!) */         \
            LP_END                                                                                 \
            : [x] "+r"(x), [y] "+r"(y), [out] "+r"(out), [a] "=&r"(a), [b] "=&r"(b),               \
              [sum] "=&r"(sum)                                                                     \
            : [mx] "r"(layer->multiplier_x), [my] "r"(layer->multiplier_y),                        \
              [rounding] "r"(layer->rounding), [shift] "r"(layer->shift),                          \
              [lowest] "r"((int32_t)layer->lowest), [highest] "r"((int32_t)layer->highest),        \
              [count] "r"(share.end - share.begin)                                                 \
            : "memory");                                                                           \
    }

ADD(add_s8_s8, "0", "0")
ADD(add_s8_u8, "0", "4")
ADD(add_u8_s8, "4", "0")
ADD(add_u8_u8, "4", "4")

/* The CIFAR-10 network of the CMSIS-NN paper (arXiv:1801.06601, table 1) on CMSIS-NN's own q7
 * kernels, layer by layer by the cycle counter. A line a layer goes to USART3: name, cycles, and a
 * hash of its output. The weights come from weights.c, which the test writes. */
#include "arm_nnfunctions.h"
#include "board.h"
#include "chip.h"
#include "registers.h"
#include "weights.h"

#define SEMIHOSTING_EXIT 0x18u
#define EXIT_OK 0x20026u
#define EXIT_FAILED 0x20023u

#define BIAS_SHIFT 0u
#define KERNEL 5u
#define POOL 3u
#define POOL_STRIDE 2u

static q7_t conv_out[32 * 32 * 32]; /* largest output of a convolution, input of a pooling */
static q7_t pool_out[16 * 16 * 32];
static q15_t columns[2 * KERNEL * KERNEL * 32]; /* two columns of im2col */
static q7_t scores[10];

static uint32_t began;

void fault_handler(void);

static void leave(uint32_t reason)
{
    register uint32_t r0 __asm__("r0") = SEMIHOSTING_EXIT;
    register uint32_t r1 __asm__("r1") = reason;
    __asm__ volatile("bkpt 0xAB" : : "r"(r0), "r"(r1) : "memory");
    for (;;) {
    }
}

void fault_handler(void)
{
    leave(EXIT_FAILED);
}

static void put_text(const char *text)
{
    const char *end = text;
    while (*end) {
        end++;
    }
    board_console_put((const uint8_t *)text, (size_t)(end - text));
}

static void put_number(uint32_t value)
{
    char digits[12];
    char *at = digits + sizeof digits;
    *--at = 0;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put_text(at);
}

static uint32_t hash(const q7_t *data, uint32_t count)
{
    uint32_t sum = 2166136261u; /* FNV-1a */
    for (uint32_t i = 0; i < count; i++) {
        sum = (sum ^ (uint8_t)data[i]) * 16777619u;
    }
    return sum;
}

static void begin(void)
{
    dsb();
    began = board_cycles();
}

static void end(const char *name, const q7_t *output, uint32_t count)
{
    dsb();
    uint32_t cycles = board_cycles() - began;
    put_text(name);
    put_text(" ");
    put_number(cycles);
    put_text(" ");
    put_number(hash(output, count));
    put_text("\n");
}

static void pool(const char *name, uint16_t size, uint16_t channels)
{
    uint16_t out = size / 2;
    begin();
    arm_maxpool_q7_HWC(conv_out, size, channels, POOL, 0, POOL_STRIDE, out, NULL, pool_out);
    end(name, pool_out, (uint32_t)out * out * channels);
}

static void conv(const char *name, uint16_t size, uint16_t channels, const q7_t *weights,
                 const q7_t *bias, uint16_t out_shift)
{
    begin();
    arm_convolve_HWC_q7_fast(pool_out, size, 32, weights, channels, KERNEL, 2, 1, bias, BIAS_SHIFT,
                             out_shift, conv_out, size, columns, NULL);
    arm_relu_q7(conv_out, (uint16_t)(size * size * channels));
    end(name, conv_out, (uint32_t)size * size * channels);
}

static void first_conv(void)
{
    begin();
    arm_convolve_HWC_q7_RGB(image, 32, 3, conv1_weights, 32, KERNEL, 2, 1, conv1_bias, BIAS_SHIFT,
                            CONV1_SHIFT, conv_out, 32, columns, NULL);
    arm_relu_q7(conv_out, 32 * 32 * 32);
    end("conv1", conv_out, 32 * 32 * 32);
}

static void classify(void)
{
    begin();
    arm_fully_connected_q7_opt(pool_out, fc_weights, 4 * 4 * 64, 10, BIAS_SHIFT, FC_SHIFT, fc_bias,
                               scores, columns);
    end("fc", scores, 10);
}

int main(void)
{
    clock_init();
    counters_init();
    console_uart_init();
    first_conv();
    pool("pool1", 32, 32);
    conv("conv2", 16, 32, conv2_weights, conv2_bias, CONV2_SHIFT);
    pool("pool2", 16, 32);
    conv("conv3", 8, 64, conv3_weights, conv3_bias, CONV3_SHIFT);
    pool("pool3", 8, 64);
    classify();
    leave(EXIT_OK);
    return 0;
}

/* Console protocol, version 2. Generated from hil/core/console.py; do not edit. */
#ifndef CONSOLE_PROTOCOL_H
#define CONSOLE_PROTOCOL_H

#include <stdint.h>

/* Frame: SYNC, header, payload, CRC-32 of header and payload. Little-endian, as both boards. */
#define CONSOLE_PROTOCOL_VERSION 2
#define CONSOLE_MAX_PAYLOAD 2048
#define CONSOLE_MAX_EMPTY_WINDOWS 64
#define CONSOLE_RESPONSE 0x80

static const uint8_t console_sync[2] = {0xA5, 0x5A};

enum console_message {
    MESSAGE_HELLO = 0x00,
    MESSAGE_IDENTIFY = 0x01,
    MESSAGE_SELF_TEST = 0x02,
    MESSAGE_LOAD_INPUT = 0x03,
    MESSAGE_SET_PARTITION = 0x04,
    MESSAGE_RUN = 0x05,
    MESSAGE_READ_TENSOR = 0x06,
    MESSAGE_READ_DIGESTS = 0x07,
    MESSAGE_REPEAT_LAYERS = 0x08,
    MESSAGE_READ_FAULT = 0x09,
    MESSAGE_RESET = 0x0A,
    MESSAGE_EMPTY_WINDOWS = 0x0B,
    MESSAGE_ERROR = 0x7F,
};

enum console_run_flag {
    RUN_FLAG_MARKER = 1,
    RUN_FLAG_DIGEST = 2,
    RUN_FLAG_TOTAL_ONLY = 4,
};

enum console_error_code {
    ERROR_BAD_CRC = 1,
    ERROR_UNKNOWN_MESSAGE = 2,
    ERROR_BAD_LENGTH = 3,
    ERROR_BAD_ARGUMENT = 4,
    ERROR_FAULT = 5,
};

/* Frame header, after SYNC. */
typedef struct __attribute__((packed)) {
    uint8_t type;
    uint8_t sequence;
    uint16_t length;
} console_header_t;
_Static_assert(sizeof(console_header_t) == 4, "as in hil/core/console.py");

/* HELLO and the answer to IDENTIFY. */
typedef struct __attribute__((packed)) {
    uint16_t protocol;
    uint16_t layers;
    uint32_t compute_clock_hz;
    uint32_t control_clock_hz;
    uint32_t reset_cause;
    uint8_t chip_id[16];
    uint8_t build_id[32];
    uint8_t board[16];
    uint8_t network[32];
} console_identity_t;
_Static_assert(sizeof(console_identity_t) == 112, "as in hil/core/console.py");

/* Answer to SELF_TEST. */
typedef struct __attribute__((packed)) {
    uint32_t counter_cycles;
    uint32_t reference_cycles;
    uint32_t iterations;
} console_self_test_t;
_Static_assert(sizeof(console_self_test_t) == 12, "as in hil/core/console.py");

/* LOAD_INPUT; the bytes follow. */
typedef struct __attribute__((packed)) {
    uint32_t offset;
} console_load_input_t;
_Static_assert(sizeof(console_load_input_t) == 4, "as in hil/core/console.py");

/* SET_PARTITION. */
typedef struct __attribute__((packed)) {
    uint16_t layers;
} console_set_partition_t;
_Static_assert(sizeof(console_set_partition_t) == 2, "as in hil/core/console.py");

/* Answer to SET_PARTITION. */
typedef struct __attribute__((packed)) {
    uint32_t output_bytes;
} console_partition_set_t;
_Static_assert(sizeof(console_partition_set_t) == 4, "as in hil/core/console.py");

/* RUN. */
typedef struct __attribute__((packed)) {
    uint16_t warmup;
    uint16_t iterations;
    uint8_t flags;
} console_run_t;
_Static_assert(sizeof(console_run_t) == 5, "as in hil/core/console.py");

/* Answer to RUN; layer_cycles follow. */
typedef struct __attribute__((packed)) {
    uint16_t iterations;
    uint64_t total_cycles;
} console_run_done_t;
_Static_assert(sizeof(console_run_done_t) == 10, "as in hil/core/console.py");

/* Cycles of one layer. */
typedef struct __attribute__((packed)) {
    uint32_t total;
    uint32_t compute;
    uint32_t copy;
} console_layer_cycles_t;
_Static_assert(sizeof(console_layer_cycles_t) == 12, "as in hil/core/console.py");

/* READ_TENSOR. */
typedef struct __attribute__((packed)) {
    uint16_t tensor;
    uint32_t offset;
    uint16_t length;
} console_read_tensor_t;
_Static_assert(sizeof(console_read_tensor_t) == 8, "as in hil/core/console.py");

/* REPEAT_LAYERS; a u16 count a layer follows. */
typedef struct __attribute__((packed)) {
    uint16_t first;
    uint32_t gap_us;
} console_repeat_layers_t;
_Static_assert(sizeof(console_repeat_layers_t) == 6, "as in hil/core/console.py");

/* EMPTY_WINDOWS. */
typedef struct __attribute__((packed)) {
    uint16_t count;
    uint32_t gap_us;
} console_empty_windows_t;
_Static_assert(sizeof(console_empty_windows_t) == 6, "as in hil/core/console.py");

/* Cycles of one empty window. */
typedef struct __attribute__((packed)) {
    uint32_t rise;
    uint32_t pass;
    uint32_t fall;
    uint32_t layer;
} console_empty_window_t;
_Static_assert(sizeof(console_empty_window_t) == 16, "as in hil/core/console.py");

/* Answer to READ_FAULT. */
typedef struct __attribute__((packed)) {
    uint8_t present;
    uint32_t cause;
    uint32_t pc;
    uint32_t address;
    uint32_t words[4];
} console_fault_t;
_Static_assert(sizeof(console_fault_t) == 29, "as in hil/core/console.py");

/* ERROR. */
typedef struct __attribute__((packed)) {
    uint8_t code;
    uint32_t detail;
} console_error_t;
_Static_assert(sizeof(console_error_t) == 5, "as in hil/core/console.py");

#endif

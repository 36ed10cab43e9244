#include "console.h"

#include "board.h"
#include "console_protocol.h"
#include "crc32.h"
#include "network.h"
#include "runner.h"
#include "string.h"

enum { HEADER_AT = sizeof console_sync, PAYLOAD_AT = HEADER_AT + sizeof(console_header_t) };

static console_header_t header;
static uint8_t request[CONSOLE_MAX_PAYLOAD];
static uint8_t frame[PAYLOAD_AT + CONSOLE_MAX_PAYLOAD + sizeof(uint32_t)];
static uint8_t *const reply = frame + PAYLOAD_AT;

static uint16_t partition; /* layers that RUN runs */
static run_job_t run_job;
static union { /* needed only while their request is answered */
    repeat_job_t repeat;
    empty_job_t empty;
} job;
static uint16_t digest_count; /* layers in run_job.digests, 0 before the first RUN with DIGEST */

/* ------------------------------------------------------------------------------------------
 * Frames
 * ---------------------------------------------------------------------------------------- */

static void send(uint8_t type, uint8_t sequence, uint16_t length)
{
    console_header_t head = {type, sequence, length};
    memcpy(frame, console_sync, sizeof console_sync);
    memcpy(frame + HEADER_AT, &head, sizeof head);
    uint32_t crc = crc32(0, frame + HEADER_AT, sizeof head + length);
    memcpy(reply + length, &crc, sizeof crc);
    board_console_put(frame, PAYLOAD_AT + length + sizeof crc);
}

static void send_error(uint8_t code, uint32_t detail)
{
    console_error_t error = {code, detail};
    memcpy(reply, &error, sizeof error);
    send(MESSAGE_ERROR, header.sequence, sizeof error);
}

static void get(void *to, uint32_t count)
{
    uint8_t *out = to;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = board_console_get();
    }
}

/* Skips bytes until the two of SYNC have come in a row: line noise, or the rest of a frame whose
 * header was damaged. */
static void wait_for_sync(void)
{
    uint8_t previous = 0;
    for (;;) {
        uint8_t byte = board_console_get();
        if (previous == console_sync[0] && byte == console_sync[1]) {
            return;
        }
        previous = byte;
    }
}

/* Takes a frame into `header` and `request`; 0 when it was refused. */
static int receive(void)
{
    wait_for_sync();
    get(&header, sizeof header);
    if (header.length > CONSOLE_MAX_PAYLOAD) {
        send_error(ERROR_BAD_LENGTH, header.length);
        return 0;
    }
    uint32_t sent_crc;
    get(request, header.length);
    get(&sent_crc, sizeof sent_crc);
    uint32_t crc = crc32(0, (const uint8_t *)&header, sizeof header);
    crc = crc32(crc, request, header.length);
    if (crc != sent_crc) {
        send_error(ERROR_BAD_CRC, crc);
        return 0;
    }
    return 1;
}

/* ------------------------------------------------------------------------------------------
 * Requests. Each returns its reply's length, or REFUSED with `refused_value` set to the argument
 * that was wrong.
 * ---------------------------------------------------------------------------------------- */

#define REFUSED (-1)

static uint32_t refused_value;

static int32_t refuse(uint32_t value)
{
    refused_value = value;
    return REFUSED;
}

static int32_t identify(void)
{
    console_identity_t identity = {
        .protocol = CONSOLE_PROTOCOL_VERSION,
        .layers = network_layer_count,
        .compute_clock_hz = board_compute_clock_hz(),
        .control_clock_hz = board_control_clock_hz(),
        .reset_cause = board_reset_cause(),
    };
    board_chip_id(identity.chip_id);
    memcpy(identity.build_id, firmware_build_id, sizeof identity.build_id);
    memcpy(identity.board, board_name, sizeof identity.board);
    memcpy(identity.network, network_name, sizeof identity.network);
    memcpy(reply, &identity, sizeof identity);
    return sizeof identity;
}

static int32_t self_test(void)
{
    static self_test_t result;
    board_offload(runner_self_test, &result);
    console_self_test_t answer = {
        result.counter_cycles,
        result.reference_cycles,
        result.iterations,
    };
    memcpy(reply, &answer, sizeof answer);
    return sizeof answer;
}

static int32_t load_input(void)
{
    console_load_input_t ask;
    memcpy(&ask, request, sizeof ask);
    uint32_t count = header.length - sizeof ask;
    if (ask.offset > network_input_bytes || count > network_input_bytes - ask.offset) {
        return refuse(ask.offset);
    }
    memcpy(network_input + ask.offset, request + sizeof ask, count);
    return 0;
}

static int32_t set_partition(void)
{
    console_set_partition_t ask;
    memcpy(&ask, request, sizeof ask);
    if (ask.layers < 1 || ask.layers > network_layer_count) {
        return refuse(ask.layers);
    }
    partition = ask.layers;
    console_partition_set_t answer = {network_layers[partition - 1].output_bytes};
    memcpy(reply, &answer, sizeof answer);
    return sizeof answer;
}

static int32_t run(void)
{
    console_run_t ask;
    memcpy(&ask, request, sizeof ask);
    if (ask.iterations == 0) {
        return refuse(ask.iterations);
    }
    if (ask.flags & ~(RUN_FLAG_MARKER | RUN_FLAG_DIGEST | RUN_FLAG_TOTAL_ONLY)) {
        return refuse(ask.flags);
    }
    run_job.layers = partition;
    run_job.warmup = ask.warmup;
    run_job.iterations = ask.iterations;
    run_job.flags = ask.flags;
    board_offload(runner_run, &run_job);
    if (ask.flags & RUN_FLAG_DIGEST) {
        digest_count = partition;
    }
    console_run_done_t answer = {ask.iterations, run_job.total_cycles};
    memcpy(reply, &answer, sizeof answer);
    if (ask.flags & RUN_FLAG_TOTAL_ONLY) {
        return sizeof answer;
    }
    uint32_t table_bytes = partition * sizeof run_job.cycles[0];
    memcpy(reply + sizeof answer, run_job.cycles, table_bytes);
    return (int32_t)(sizeof answer + table_bytes);
}

static int32_t read_tensor(void)
{
    console_read_tensor_t ask;
    memcpy(&ask, request, sizeof ask);
    if (ask.tensor > network_layer_count) {
        return refuse(ask.tensor);
    }
    const uint8_t *bytes = network_input;
    uint32_t size = network_input_bytes;
    if (ask.tensor > 0) {
        bytes = network_layers[ask.tensor - 1].output;
        size = network_layers[ask.tensor - 1].output_bytes;
    }
    if (ask.length > CONSOLE_MAX_PAYLOAD) {
        return refuse(ask.length);
    }
    if (ask.offset > size || ask.length > size - ask.offset) {
        return refuse(ask.offset);
    }
    memcpy(reply, bytes + ask.offset, ask.length);
    return ask.length;
}

static int32_t read_digests(void)
{
    if (digest_count == 0) {
        return refuse(0); /* no RUN with DIGEST since reset */
    }
    uint32_t bytes = digest_count * sizeof run_job.digests[0];
    memcpy(reply, run_job.digests, bytes);
    return (int32_t)bytes;
}

static int32_t repeat_layers(void)
{
    console_repeat_layers_t ask;
    memcpy(&ask, request, sizeof ask);
    uint32_t list_bytes = header.length - sizeof ask;
    uint32_t count = list_bytes / sizeof job.repeat.repeats[0];
    if (list_bytes % sizeof job.repeat.repeats[0] != 0) {
        return refuse(list_bytes);
    }
    if (ask.first > network_layer_count || count > (uint32_t)(network_layer_count - ask.first)) {
        return refuse(ask.first);
    }
    job.repeat.first = ask.first;
    job.repeat.count = (uint16_t)count;
    job.repeat.gap_us = ask.gap_us;
    memcpy(job.repeat.repeats, request + sizeof ask, list_bytes);
    board_offload(runner_repeat, &job.repeat);
    uint32_t bytes = count * sizeof job.repeat.window_cycles[0];
    memcpy(reply, job.repeat.window_cycles, bytes);
    return (int32_t)bytes;
}

static int32_t empty_windows(void)
{
    console_empty_windows_t ask;
    memcpy(&ask, request, sizeof ask);
    if (ask.count < 1 || ask.count > CONSOLE_MAX_EMPTY_WINDOWS) {
        return refuse(ask.count);
    }
    job.empty.count = ask.count;
    job.empty.gap_us = ask.gap_us;
    board_offload(runner_empty, &job.empty);
    uint32_t bytes = ask.count * sizeof job.empty.windows[0];
    memcpy(reply, job.empty.windows, bytes);
    return (int32_t)bytes;
}

static int32_t read_fault(void)
{
    const fault_record_t *fault = board_last_fault();
    console_fault_t answer = {
        .present = fault->cause != 0,
        .cause = fault->cause,
        .pc = fault->pc,
        .address = fault->address,
    };
    memcpy(answer.words, fault->words, sizeof answer.words);
    memcpy(reply, &answer, sizeof answer);
    return sizeof answer;
}

/* Answered here, done by console_run() once the answer has left the pin. */
static int32_t reset(void)
{
    return 0;
}

/* ------------------------------------------------------------------------------------------
 * Dispatch
 * ---------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t type;
    uint16_t shortest; /* payload bytes */
    uint16_t longest;
    int32_t (*answer)(void);
} request_kind_t;

static const request_kind_t kinds[] = {
    {MESSAGE_IDENTIFY, 0, 0, identify},
    {MESSAGE_SELF_TEST, 0, 0, self_test},
    {MESSAGE_LOAD_INPUT, sizeof(console_load_input_t), CONSOLE_MAX_PAYLOAD, load_input},
    {MESSAGE_SET_PARTITION, sizeof(console_set_partition_t), sizeof(console_set_partition_t),
     set_partition},
    {MESSAGE_RUN, sizeof(console_run_t), sizeof(console_run_t), run},
    {MESSAGE_READ_TENSOR, sizeof(console_read_tensor_t), sizeof(console_read_tensor_t),
     read_tensor},
    {MESSAGE_READ_DIGESTS, 0, 0, read_digests},
    {MESSAGE_REPEAT_LAYERS, sizeof(console_repeat_layers_t),
     sizeof(console_repeat_layers_t) + sizeof job.repeat.repeats, repeat_layers},
    {MESSAGE_READ_FAULT, 0, 0, read_fault},
    {MESSAGE_RESET, 0, 0, reset},
    {MESSAGE_EMPTY_WINDOWS, sizeof(console_empty_windows_t), sizeof(console_empty_windows_t),
     empty_windows},
};

static const request_kind_t *find_kind(uint8_t type)
{
    for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i].type == type) {
            return &kinds[i];
        }
    }
    return NULL;
}

static void answer_request(void)
{
    const request_kind_t *kind = find_kind(header.type);
    if (kind == NULL) {
        send_error(ERROR_UNKNOWN_MESSAGE, header.type);
        return;
    }
    if (header.length < kind->shortest || header.length > kind->longest) {
        send_error(ERROR_BAD_LENGTH, header.length);
        return;
    }
    int32_t length = kind->answer();
    if (length == REFUSED) {
        send_error(ERROR_BAD_ARGUMENT, refused_value);
        return;
    }
    send(header.type | CONSOLE_RESPONSE, header.sequence, (uint16_t)length);
    if (header.type == MESSAGE_RESET) {
        board_reset();
    }
}

void console_run(void)
{
    partition = network_layer_count;
    send(MESSAGE_HELLO, 0, (uint16_t)identify());
    for (;;) {
        if (receive()) {
            answer_request();
        }
    }
}

/* console_run() of an EnergyRunner image: the ASCII protocol with which the public runners of
 * MLPerf Tiny drive a board (docs/energyrunner.md). It takes the place of console.c. */
#include "board.h"
#include "console.h"
#include "energyrunner_config.h"
#include "network.h"
#include "string.h"

#define COMMAND_CHARACTERS 80u /* without the '%' that ends a command */
#define MARKER_HOLD_US 50u     /* the line's low time; the rule asks for 1 us and more */
#define BYTES_A_PRINTED_LINE 8u
#define DEFAULT_WARMUPS 10u

/* ------------------------------------------------------------------------------------------
 * Text to the host. Lines end with CR and LF; end_line() returns when the UART is idle.
 * ---------------------------------------------------------------------------------------- */

static uint8_t line[128];
static uint32_t line_length;

static void flush(void)
{
    board_console_put(line, line_length);
    line_length = 0;
}

static void put_character(char character)
{
    if (line_length == sizeof line) {
        flush();
    }
    line[line_length++] = (uint8_t)character;
}

static void put_text(const char *text)
{
    for (; *text != '\0'; text++) {
        /* What came over the wire is echoed in errors; it must not break the line. */
        put_character(*text >= ' ' && *text <= '~' ? *text : '?');
    }
}

static void put_unsigned(uint64_t value)
{
    char digits[20];
    uint32_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10u);
        value /= 10u;
    } while (value > 0);
    while (count > 0) {
        put_character(digits[--count]);
    }
}

static void put_signed(int32_t value)
{
    if (value < 0) {
        put_character('-');
    }
    put_unsigned((uint64_t)(value < 0 ? -(int64_t)value : value));
}

static void put_hex(uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";
    put_character(digits[byte >> 4]);
    put_character(digits[byte & 15u]);
}

static void end_line(void)
{
    put_character('\r');
    put_character('\n');
    flush();
}

static void say(const char *text)
{
    put_text(text);
    end_line();
}

static void say_count(const char *before, uint64_t value, const char *after)
{
    put_text(before);
    put_unsigned(value);
    put_text(after);
    end_line();
}

/* ------------------------------------------------------------------------------------------
 * Commands from the host: words separated by spaces, ended by '%'
 * ---------------------------------------------------------------------------------------- */

static char command[COMMAND_CHARACTERS + 1];
static char *rest; /* of the command, behind the words already taken */

/* Takes what comes up to the next '%'; 0 when it was too long to keep. */
static int receive_command(void)
{
    uint32_t length = 0;
    int fits = 1;
    for (;;) {
        char character = (char)board_console_get();
        if (character == '%') {
            command[length] = '\0';
            rest = command;
            return fits;
        }
        if (length < COMMAND_CHARACTERS) {
            command[length++] = character;
        } else {
            fits = 0;
        }
    }
}

/* The next word of the command, NULL behind the last. */
static char *next_word(void)
{
    while (*rest == ' ') {
        rest++;
    }
    if (*rest == '\0') {
        return NULL;
    }
    char *word = rest;
    while (*rest != ' ' && *rest != '\0') {
        rest++;
    }
    if (*rest == ' ') {
        *rest++ = '\0';
    }
    return word;
}

static int equal(const char *left, const char *right)
{
    while (*left != '\0' && *left == *right) {
        left++;
        right++;
    }
    return *left == *right;
}

/* The value of a decimal number below 2^31; -1 for any other word. */
static int32_t decimal(const char *word)
{
    int64_t value = 0;
    for (; *word != '\0'; word++) {
        if (*word < '0' || *word > '9') {
            return -1;
        }
        value = value * 10 + (*word - '0');
        if (value > INT32_MAX) {
            return -1;
        }
    }
    return (int32_t)value;
}

/* The value of a hexadecimal digit; -1 for any other character. */
static int32_t hex_digit(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------
 * Jobs of the computing core
 * ---------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t passes;
    uint64_t start_cycles;
    uint64_t end_cycles;
} infer_job_t;

/* Computing cycles since the first look at the 32-bit counter. It is looked at in every pass, so
 * that a window of any length is exact; while the board waits for the host for longer than the
 * counter's period, whole periods are lost. */
static uint64_t clock_cycles;
static uint32_t clock_seen;

static uint64_t clock_now(void)
{
    uint32_t now = board_cycles();
    clock_cycles += now - clock_seen;
    clock_seen = now;
    return clock_cycles;
}

/* In energy mode the falling edge is the timestamp; the line idles high. */
static uint64_t take_timestamp(void)
{
    uint64_t cycles = clock_now();
#if ENERGYRUNNER_ENERGY_MODE
    board_marker(0);
    board_delay_us(MARKER_HOLD_US);
    board_marker(1);
#endif
    return cycles;
}

static void run_passes(uint32_t passes)
{
    for (uint32_t pass = 0; pass < passes; pass++) {
        for (uint16_t layer = 0; layer < network_layer_count; layer++) {
            layer_probe_t ignored = {0, 0};
            network_layers[layer].run(&ignored);
        }
        (void)clock_now();
    }
}

static void warm_up(void *infer_job)
{
    infer_job_t *job = infer_job;
    run_passes(job->passes);
}

static void run_timed(void *infer_job)
{
    infer_job_t *job = infer_job;
    job->start_cycles = take_timestamp();
    run_passes(job->passes);
    job->end_cycles = take_timestamp();
}

static void stamp(void *cycles)
{
    *(uint64_t *)cycles = take_timestamp();
}

/* The text of a timestamp that was taken; none in energy mode. */
static void say_timestamp(uint64_t cycles)
{
#if ENERGYRUNNER_ENERGY_MODE
    (void)cycles;
#else
    uint32_t clock_hz = board_compute_clock_hz();
    uint64_t seconds = cycles / clock_hz;
    uint64_t part_us = cycles % clock_hz * 1000000u / clock_hz;
    say_count("m-lap-us-", seconds * 1000000u + part_us, "");
#endif
}

/* ------------------------------------------------------------------------------------------
 * db: the input tensor is the buffer
 * ---------------------------------------------------------------------------------------- */

static uint32_t expected_bytes; /* of the download under way, 0 when there is none */
static uint32_t stored_bytes;
static int input_is_whole;
static int has_results;

static void db_load(void)
{
    char *word = next_word();
    if (word == NULL) {
        say("e-[Command 'db load' requires the # of bytes]");
        return;
    }
    expected_bytes = 0;
    stored_bytes = 0;
    input_is_whole = 0;
    int32_t count = decimal(word);
    if (count <= 0) {
        say("e-[Command 'db load' must be >0 bytes]");
        return;
    }
    if ((uint32_t)count > network_input_bytes) {
        put_text("e-[Supplied buffer size ");
        put_unsigned((uint32_t)count);
        say_count(" exceeds maximum of ", network_input_bytes, "]");
        return;
    }
    expected_bytes = (uint32_t)count;
    say_count("m-[Expecting ", expected_bytes, " bytes]");
}

static void db_print(void)
{
    for (uint32_t at = 0; at < stored_bytes; at++) {
        put_text(at % BYTES_A_PRINTED_LINE == 0 ? "m-buffer-" : "-");
        put_hex(network_input[at] ^ ENERGYRUNNER_INPUT_FLIP);
        if (at % BYTES_A_PRINTED_LINE == BYTES_A_PRINTED_LINE - 1 || at == stored_bytes - 1) {
            end_line();
        }
    }
}

static void db_data(const char *digits)
{
    if (expected_bytes == 0) {
        say("e-[Command 'db load' must come before data]");
        return;
    }
    uint32_t odd = 0;
    for (const char *digit = digits; *digit != '\0'; digit++) {
        odd ^= 1u;
    }
    if (odd) {
        say("e-[Insufficent number of hex digits]"); /* spelt as the runners' makers do */
        return;
    }
    for (; *digits != '\0' && stored_bytes < expected_bytes; digits += 2) {
        int32_t high = hex_digit(digits[0]);
        int32_t low = hex_digit(digits[1]);
        if (high < 0 || low < 0) {
            char shown[] = {digits[0], digits[1], '\0'};
            put_text("e-[Invalid hex digit '");
            put_text(shown);
            say("']");
            return;
        }
        network_input[stored_bytes++] = (uint8_t)(high << 4 | low) ^ ENERGYRUNNER_INPUT_FLIP;
    }
    if (stored_bytes == expected_bytes) {
        input_is_whole = stored_bytes == network_input_bytes;
        expected_bytes = 0;
        say("m-load-done");
    }
}

static void answer_db(void)
{
    char *word = next_word();
    if (word == NULL) {
        say("e-[Command 'db' requires a subcommand]");
    } else if (equal(word, "load")) {
        db_load();
    } else if (equal(word, "print")) {
        db_print();
    } else {
        db_data(word);
    }
}

/* ------------------------------------------------------------------------------------------
 * The other commands
 * ---------------------------------------------------------------------------------------- */

static void answer_name(void)
{
    say("m-name-dut-[" ENERGYRUNNER_NAME "]");
}

static void answer_profile(void)
{
    say("m-profile-[ULPMark for tinyML Firmware V0.0.1]");
    say("m-model-[" ENERGYRUNNER_MODEL "]");
}

static void answer_help(void)
{
    say("name, profile, timestamp, results");
    say("db load N, db HH.., db print");
    say("infer N W: W warm-ups, then N inferences between two timestamps (N 1, W 10)");
    put_text("build ");
    for (uint32_t i = 0; i < sizeof firmware_build_id; i++) {
        put_hex(firmware_build_id[i]);
    }
    end_line();
}

static void answer_timestamp(void)
{
    static uint64_t cycles;
    board_offload(stamp, &cycles);
    say_timestamp(cycles);
}

static void say_results(void)
{
    const layer_t *last = &network_layers[network_layer_count - 1];
    const energyrunner_result_t *values = (const energyrunner_result_t *)last->output;
    put_text("m-results-[");
    for (uint32_t i = 0; i < last->output_bytes; i++) {
        put_text(i == 0 ? "" : ",");
        put_signed(values[i]);
    }
    say("]");
}

static void answer_results(void)
{
    if (!has_results) {
        say("e-[No results before 'infer']");
        return;
    }
    say_results();
}

static void infer(uint32_t iterations, uint32_t warmups)
{
    static infer_job_t job;
    say_count("m-warmup-start-", warmups, "");
    job.passes = warmups;
    board_offload(warm_up, &job);
    say("m-warmup-done");
    say_count("m-infer-start-", iterations, "");
    job.passes = iterations;
    board_offload(run_timed, &job);
    has_results = 1;
    /* Both texts after the window: sending the first takes longer than many an inference. */
    say_timestamp(job.start_cycles);
    say_timestamp(job.end_cycles);
    say("m-infer-done");
    say_results();
}

static void answer_infer(void)
{
    char *iterations_word = next_word();
    char *warmups_word = next_word();
    int32_t iterations = iterations_word == NULL ? 1 : decimal(iterations_word);
    int32_t warmups = warmups_word == NULL ? (int32_t)DEFAULT_WARMUPS : decimal(warmups_word);
    if (iterations <= 0) {
        say("e-[Inference iterations must be >0]");
    } else if (warmups < 0) {
        say("e-[Inference warmup must be >=0]");
    } else if (!input_is_whole) {
        say_count("e-[No input: load all ", network_input_bytes, " bytes with 'db' first]");
    } else {
        infer((uint32_t)iterations, (uint32_t)warmups);
    }
}

/* ------------------------------------------------------------------------------------------
 * Dispatch
 * ---------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*answer)(void);
} commands[] = {
    {"name", answer_name},       {"profile", answer_profile}, {"help", answer_help},
    {"timestamp", answer_timestamp}, {"db", answer_db},       {"infer", answer_infer},
    {"results", answer_results},
};

static void answer_command(void)
{
    char *word = next_word();
    if (word == NULL) {
        return; /* an empty command is none; the prompt follows all the same */
    }
    for (uint32_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (equal(word, commands[i].name)) {
            commands[i].answer();
            return;
        }
    }
    put_text("e-[Unknown command: ");
    put_text(word);
    say("]");
}

void console_run(void)
{
    say("m-timestamp-mode-" ENERGYRUNNER_MODE);
    answer_timestamp(); /* in energy mode the line goes high here */
    say("m-init-done");
    say("m-ready");
    for (;;) {
        if (receive_command()) {
            answer_command();
        } else {
            say_count("e-[Command longer than ", COMMAND_CHARACTERS, " characters]");
        }
        say("m-ready");
    }
}

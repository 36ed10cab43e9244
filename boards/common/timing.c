#include "timing.h"

#include "board.h"

void timing_window(void (*pass)(void *work), void *work, uint16_t count, int marked,
                   window_t *window)
{
    uint64_t passes = 0;
    uint32_t before = board_cycles();
    if (marked) {
        board_marker(1);
    }
    uint32_t first = board_cycles();
    uint32_t last = first;
    for (uint16_t i = 0; i < count; i++) {
        pass(work);
        uint32_t now = board_cycles();
        passes += now - last;
        last = now;
    }
    if (marked) {
        board_marker(0);
    }
    window->fall = board_cycles() - last;
    window->rise = first - before;
    window->passes = passes;
}

void timing_layer(const layer_t *layer, console_layer_cycles_t *cycles)
{
    layer_probe_t probe = {0, 0};
    uint32_t start = board_cycles();
    layer->run(&probe);
    cycles->total = board_cycles() - start;
    cycles->compute = probe.compute;
    cycles->copy = probe.copy;
}

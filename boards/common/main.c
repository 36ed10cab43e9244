#include "board.h"
#include "console.h"
#include "crc32.h"

int main(void)
{
    board_init();
    crc32_init();
    console_run();
    return 0;
}

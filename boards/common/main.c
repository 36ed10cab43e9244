#include "board.h"
#include "console.h"
#include "crc32.h"

int main(void)
{
    crc32_init(); /* first: a board may check a kept fault record with it */
    board_init();
    console_run();
    return 0;
}

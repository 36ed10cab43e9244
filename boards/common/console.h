/* The board's end of the console. An image has one of two: console.c (docs/console-protocol.md)
 * or energyrunner.c (docs/energyrunner.md). */
#ifndef CONSOLE_H
#define CONSOLE_H

/* Announces the board, then answers requests for ever. */
void console_run(void);

#endif

/* The board's end of the console (docs/console-protocol.md). */
#ifndef CONSOLE_H
#define CONSOLE_H

/* Announces the board, then answers requests for ever. */
void console_run(void);

#endif

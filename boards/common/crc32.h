/* CRC-32 of IEEE 802.3 (reflected polynomial 0xEDB88320), as zlib computes it. */
#ifndef CRC32_H
#define CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Builds the table; call once before the first crc32(). */
void crc32_init(void);

/* CRC of `count` bytes, continuing from `crc` (0 to start). */
uint32_t crc32(uint32_t crc, const uint8_t *data, size_t count);

#endif

#include "crc32.h"

/* Built at start: 1 KB of RAM instead of 1 KB of image, and no table to mistype. */
static uint32_t table[256];

void crc32_init(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t remainder = byte;
        for (int bit = 0; bit < 8; bit++) {
            remainder = (remainder >> 1) ^ ((remainder & 1u) ? 0xEDB88320u : 0u);
        }
        table[byte] = remainder;
    }
}

uint32_t crc32(uint32_t crc, const uint8_t *data, size_t count)
{
    crc = ~crc;
    for (size_t i = 0; i < count; i++) {
        crc = (crc >> 8) ^ table[(crc ^ data[i]) & 0xFFu];
    }
    return ~crc;
}

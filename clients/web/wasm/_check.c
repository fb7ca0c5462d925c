/*
 * CRC-32 (ISO-HDLC, that of zlib), eight bytes at a time.
 */
#include "_web.h"

enum { SLICES = 8, POLYNOMIAL = (int)0xedb88320u };

static uint32_t table[SLICES][256];

static void fill_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((uint32_t)POLYNOMIAL & (0u - (crc & 1)));
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++)
        for (int k = 1; k < SLICES; k++)
            table[k][byte] = table[k - 1][byte] >> 8 ^ table[0][table[k - 1][byte] & 255];
}

/* Go on from *crc*, 0 at first. */
EXPORT uint32_t rtc_web_crc(uint32_t crc, const uint8_t *data, size_t size)
{
    if (!table[0][1])
        fill_table();
    crc = ~crc;
    for (; size >= SLICES; size -= SLICES, data += SLICES) {
        uint32_t low, high;
        memcpy(&low, data, sizeof low);
        memcpy(&high, data + 4, sizeof high);
        low ^= crc;
        crc = table[7][low & 255] ^ table[6][low >> 8 & 255] ^ table[5][low >> 16 & 255] ^
              table[4][low >> 24] ^ table[3][high & 255] ^ table[2][high >> 8 & 255] ^
              table[1][high >> 16 & 255] ^ table[0][high >> 24];
    }
    for (; size; size--)
        crc = crc >> 8 ^ table[0][(crc ^ *data++) & 255];
    return ~crc;
}

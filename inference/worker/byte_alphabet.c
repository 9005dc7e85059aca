#include "inference/worker/byte_alphabet.h"

static bool is_printable(unsigned byte)
{
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

void byte_alphabet_init(struct byte_alphabet *a)
{
    for (unsigned i = 0; i < 512; i++) {
        a->byte_of[i] = -1;
    }
    unsigned next = 256;
    for (unsigned byte = 0; byte < 256; byte++) {
        a->byte_of[is_printable(byte) ? byte : next++] = (int16_t)byte;
    }
}

int64_t byte_alphabet_decode(const struct byte_alphabet *a, struct str text, char *out)
{
    int64_t n = 0;
    for (size_t i = 0; i < text.n;) {
        unsigned c = (uint8_t)text.p[i++];
        if (c >= 0x80) {
            if ((c & 0xE0) != 0xC0 || i == text.n) {
                return -1;
            }
            c = (c & 0x1F) << 6 | ((uint8_t)text.p[i++] & 0x3F);
        }
        if (c >= 512 || a->byte_of[c] < 0) {
            return -1;
        }
        out[n++] = (char)a->byte_of[c];
    }
    return n;
}

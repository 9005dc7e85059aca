#include "status/short_code.h"

#include <sodium.h>

#include "base/id.h"

static void write_base36(const uint8_t bytes[SHORT_CODE_LEN], char out[SHORT_CODE_LEN + 1])
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (size_t i = 0; i < SHORT_CODE_LEN; i++) {
        out[i] = digits[bytes[i] % 36];
    }
    out[SHORT_CODE_LEN] = 0;
}

void short_code_of(struct str seed, char out[SHORT_CODE_LEN + 1])
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, (const unsigned char *)seed.p, seed.n);
    write_base36(digest, out);
}

void short_code_draw(char out[SHORT_CODE_LEN + 1])
{
    uint8_t bytes[SHORT_CODE_LEN];
    id_random(bytes, sizeof bytes);
    write_base36(bytes, out);
}

bool short_code_is_valid(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool ok = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9');
        if (!ok) {
            return false;
        }
    }
    return s.n == SHORT_CODE_LEN;
}

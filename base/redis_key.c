#include "base/redis_key.h"

unsigned redis_key_slot(struct str key)
{
    static const uint16_t nibbles[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                         0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
    const char *open = memchr(key.p, '{', key.n);
    if (open) {
        struct str rest = str_skip(key, (size_t)(open - key.p) + 1);
        const char *end = memchr(rest.p, '}', rest.n);
        if (end && end != rest.p) {
            key = str_of(rest.p, (size_t)(end - rest.p));
        }
    }
    uint16_t crc = 0;
    for (size_t i = 0; i < key.n; i++) {
        uint8_t byte = (uint8_t)key.p[i];
        crc = (uint16_t)((crc << 4) ^ nibbles[(crc >> 12) ^ (byte >> 4)]);
        crc = (uint16_t)((crc << 4) ^ nibbles[(crc >> 12) ^ (byte & 15)]);
    }
    return crc % REDIS_SLOTS;
}

/* The next argument of "$3\r\nGET\r\n..."; false at the end, or where this is not RESP. */
static bool next_argument(struct str *in, struct str *out)
{
    const char *end = memchr(in->p, '\n', in->n);
    uint64_t n = 0;
    if (!end || *in->p != '$' || end - in->p < 3) {
        return false;
    }
    struct str rest = str_skip(*in, (size_t)(end - in->p) + 1);
    if (!str_u64(str_of(in->p + 1, (size_t)(end - in->p) - 2), &n) || rest.n < 2 || n > rest.n - 2) {
        return false;
    }
    *out = str_of(rest.p, (size_t)n);
    *in = str_skip(rest, (size_t)n + 2);
    return true;
}

bool redis_key_of_command(struct str resp, struct str *key)
{
    struct str name;
    struct str script;
    struct str count;
    const char *end = memchr(resp.p, '\n', resp.n);
    if (!end) {
        return false;
    }
    resp = str_skip(resp, (size_t)(end - resp.p) + 1);
    if (!next_argument(&resp, &name)) {
        return false;
    }
    if (str_is(name, "EVALSHA") || str_is(name, "EVAL") || str_is(name, "FCALL")) {
        return next_argument(&resp, &script) && next_argument(&resp, &count) && !str_is(count, "0") &&
               next_argument(&resp, key);
    }
    return next_argument(&resp, key);
}

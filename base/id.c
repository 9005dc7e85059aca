#include "base/id.h"

#include <pthread.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/err.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint8_t siphash_key[crypto_shorthash_KEYBYTES];

static void start(void)
{
    BUG_ON(sodium_init() < 0);
    crypto_shorthash_keygen(siphash_key);
}

void id_random(void *out, size_t n)
{
    pthread_once(&once, start);
    randombytes_buf(out, n);
}

uint32_t id_random_below(uint32_t n)
{
    pthread_once(&once, start);
    return randombytes_uniform(n);
}

/* --- fast, guessable numbers: xoshiro256** (Blackman, Vigna)
 * -------------------------------------- */

static _Thread_local struct {
    uint64_t s[4];
    uint64_t request_prefix; /* of this thread's request ids */
    uint64_t request_count;
    bool seeded;
} mine;

static void seed(void)
{
    id_random(mine.s, sizeof(mine.s));
    id_random(&mine.request_prefix, sizeof(mine.request_prefix));
    id_random(&mine.request_count, sizeof(mine.request_count));
    mine.s[0] |= 1;
    mine.request_prefix |= (uint64_t)1 << 63;
    mine.seeded = true;
}

static uint64_t rotate(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t id_fast_random(void)
{
    if (!mine.seeded) {
        seed();
    }
    uint64_t *s = mine.s;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

/* The finaliser of SplitMix64: a bijection, so that a counter gives no number twice. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

/* Eight nibbles become eight letters at once: spread over the bytes of a word, then 0-9 and a-f by adding. */
static void put_hex32(uint32_t v, char *out)
{
    uint64_t x = __builtin_bswap32(v);
    x = ((x & 0xffff0000U) << 16) | (x & 0xffffU);
    x = ((x << 8) | x) & 0x00ff00ff00ff00ffU;
    x = ((x >> 4) & 0x000f000f000f000fU) | ((x & 0x000f000f000f000fU) << 8);
    uint64_t letters = ((x + 0x0606060606060606U) >> 4) & 0x0101010101010101U; /* 1 where 10 or more */
    x += 0x3030303030303030U + letters * ('a' - '0' - 10);
    memcpy(out, &x, sizeof(x)); /* its low byte first: little-endian machines only, as json_text.c asserts */
}

static void put_hex64(uint64_t v, char *out)
{
    put_hex32((uint32_t)(v >> 32), out);
    put_hex32((uint32_t)v, out + 8);
}

void id_request(char out[ID_REQUEST_TEXT + 1])
{
    if (!mine.seeded) {
        seed();
    }
    put_hex64(mine.request_prefix, out);
    put_hex64(mix(mine.request_count++), out + 16);
    out[ID_REQUEST_TEXT] = '\0';
}

/* --- UUID
 * ----------------------------------------------------------------------------------------- */

struct uuid uuid_v7(void)
{
    struct uuid u;
    id_random(u.b + 6, 10);
    uint64_t ms = (uint64_t)clock_wall_ms();
    for (int i = 5; i >= 0; i--) {
        u.b[i] = (uint8_t)ms;
        ms >>= 8;
    }
    u.b[6] = (uint8_t)((u.b[6] & 0x0f) | 0x70);
    u.b[8] = (uint8_t)((u.b[8] & 0x3f) | 0x80);
    return u;
}

/* Byte lengths of the five groups. */
static const uint8_t groups[] = {4, 2, 2, 2, 6};

void uuid_format(const struct uuid *u, char out[ID_UUID_TEXT + 1])
{
    const uint8_t *from = u->b;
    for (size_t g = 0; g < sizeof(groups); g++) {
        str_hex_encode(from, groups[g], out);
        from += groups[g];
        out += 2 * groups[g];
        *out++ = '-';
    }
    out[-1] = '\0';
}

bool uuid_parse(struct str s, struct uuid *out)
{
    struct uuid u;
    uint8_t *to = u.b;
    if (s.n != ID_UUID_TEXT) {
        return false;
    }
    for (size_t g = 0; g < sizeof(groups); g++) {
        if (str_hex_decode(str_of(s.p, 2 * groups[g]), to, groups[g]) < 0) {
            return false;
        }
        to += groups[g];
        s = str_skip(s, 2 * groups[g]);
        if (s.n > 0 && s.p[0] != '-') {
            return false;
        }
        s = str_skip(s, s.n > 0);
    }
    *out = u;
    return true;
}

bool uuid_eq(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->b, b->b, ID_UUID_BYTES) == 0;
}

uint64_t id_siphash(const void *p, size_t n)
{
    uint8_t hash[crypto_shorthash_BYTES];
    uint64_t v;
    pthread_once(&once, start);
    crypto_shorthash(hash, p, n, siphash_key);
    memcpy(&v, hash, sizeof(v));
    return v;
}

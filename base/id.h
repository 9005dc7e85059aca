/* Random bytes and the identifiers made of them.
 *
 * Source: libsodium's randombytes (getrandom). UUID version 7 after RFC 9562 5.7.
 * Thread rule: any thread. */
#ifndef TIDE_BASE_ID_H
#define TIDE_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { ID_UUID_BYTES = 16, ID_UUID_TEXT = 36, ID_REQUEST_TEXT = 32 };

struct uuid {
    uint8_t b[ID_UUID_BYTES];
};

void id_random(void *out, size_t n);
uint32_t id_random_below(uint32_t n); /* uniform in 0..n-1 */
uint64_t id_fast_random(void); /* per-thread xoshiro, for load balancing and jitter, never for secrets */

struct uuid uuid_v7(void);
void uuid_format(const struct uuid *u, char out[ID_UUID_TEXT + 1]); /* lower case */
bool uuid_parse(struct str s, struct uuid *out);                    /* the 36-character form only */
bool uuid_eq(const struct uuid *a, const struct uuid *b);

/* 32 hex digits: doubles as a W3C trace id, so never all zero. Cheap: process prefix, thread, counter, mixed. */
void id_request(char out[ID_REQUEST_TEXT + 1]);

/* SipHash-2-4 with a key drawn at start: for tables that an attacker can fill. */
uint64_t id_siphash(const void *p, size_t n);

#endif

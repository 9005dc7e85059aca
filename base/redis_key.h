/* Which slot of a Redis Cluster a command belongs to. Part of base/redis.
 *
 * A key's slot is CRC16 (XMODEM) of the key, or of what stands between its first { and the next } when that is
 * not empty (the "hash tag": keys with one tag share a slot), modulo 16384.
 * Thread rule: pure functions. */
#ifndef TIDE_BASE_REDIS_KEY_H
#define TIDE_BASE_REDIS_KEY_H

#include <stdbool.h>

#include "base/str.h"

enum { REDIS_SLOTS = 16384 };

unsigned redis_key_slot(struct str key);
/* The first key of a command in RESP: argument 3 of EVAL, EVALSHA, FCALL, else argument 1. false: it has none. */
bool redis_key_of_command(struct str resp, struct str *key);

#endif

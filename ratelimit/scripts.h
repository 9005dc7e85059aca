/* The Lua that decides inside Redis, where one clock and one thread make it exact. See scripts.c.
 * Thread rule: limit_scripts_init once, before threads; then only read. */
#ifndef TIDE_RATELIMIT_SCRIPTS_H
#define TIDE_RATELIMIT_SCRIPTS_H

#include "base/redis.h"

/* KEYS: one a rule, enforced ones first. ARGV: how many are enforced; then inc, tau, cap of each key (us).
 * Answer: 1 or 0 (allowed), then each key's distance in us. Allowed: every key that itself allows is charged.
 * Denied: nothing is written. */
extern struct redis_script limit_script_take;
/* As take, for calls with a key that is leased or counts what runs at once (rules.h: unit concurrent). */
extern struct redis_script limit_script_reserve;
/* KEYS: one hash. ARGV: our field, its life in ms, "-" or how many run here. Answer: how many are noted. */
extern struct redis_script limit_script_hold;
/* KEYS: one. ARGV: "used" and cap, or "running" and the life of a field in ms. Answer: us in use, or how many run.
 * Writes nothing. */
extern struct redis_script limit_script_peek;
/* KEYS as above. ARGV: inc, cap of each key; inc may be negative (refund). Always done. Answer: 1. */
extern struct redis_script limit_script_settle;
/* KEYS: the hash of gateways. ARGV: this gateway's name, its life in ms. Answer: how many live. */
extern struct redis_script limit_script_beat;

void limit_scripts_init(void);

#endif

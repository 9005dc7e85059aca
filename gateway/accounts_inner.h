/* What accounts.c, accounts_sync.c and emergency.c share. Private to them.
 *
 * Thread rule: said for each group of fields. */
#ifndef TIDE_GATEWAY_ACCOUNTS_INNER_H
#define TIDE_GATEWAY_ACCOUNTS_INNER_H

#include <stdatomic.h>

#include "auth/auth.h"
#include "auth/sync.h"
#include "base/pg.h"
#include "gateway/known_accounts.h"

struct accounts;
struct emergency;
struct gateway;
struct gateway_loop;
struct hooks;
struct revoked;
struct waitlist;

/* One thing to fetch: one job at a time, again when it moved meanwhile or failed. Control thread. */
struct fetch {
    struct pg_job job;
    struct accounts *accounts;
    bool is_running;
    bool is_due;
    unsigned failures; /* in a row */
};

struct accounts {
    struct gateway *gateway;
    struct auth_ports ports;
    struct hooks *hooks;
    struct waitlist *waitlist;
    struct known_accounts *known;
    struct emergency *emergency; /* emergency.h; the control thread's */
    atomic_bool has_policy;
    /* the control thread's; the main thread's before it runs and after it ended */
    char policy_path[512];
    char ended_path[512];
    struct policy *policy; /* a reference */
    struct fetch policy_fetch, ended_fetch, purge;
    struct auth_sync policy_sync, ended_sync;
    struct auth_sync_mark ended_until; /* of the last read */
    struct revoked *ended_known;       /* the sessions of `ended`, to see what is new */
    struct auth_ended *ended;          /* in order of arrival: what is kept on disk */
    unsigned ended_count, ended_room;
    int64_t era;          /* sessions of an earlier one have ended; in the file too */
    unsigned ended_saved; /* of them in the file; 0: it is to be written anew */
    bool is_era_saved;
    uint64_t ended_whole_ms; /* monotonic: when it was written anew */
};

struct accounts_loop {
    struct auth_loop auth;
    struct known_loop known;
};

/* Reads what is on disk, then watches the database. The main thread, before any loop runs. */
void accounts_sync_open(struct accounts *a);
void accounts_sync_loop_open(struct accounts *a, struct gateway_loop *gl); /* what is known at the start */
void accounts_sync_close(struct accounts *a);

#endif

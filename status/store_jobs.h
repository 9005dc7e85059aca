/* The transactions of store.c. Inner header.
 *
 * A job's struct owns its texts; run fills results from scratch, since it may be repeated.
 * Thread rule: run on the database thread, everything else on the control thread. */
#ifndef TIDE_STATUS_STORE_JOBS_H
#define TIDE_STATUS_STORE_JOBS_H

#include "base/pg.h"
#include "status/board.h"

struct store;

/* Kinds of notices; of each the newest stands. */
enum { STORE_NOTICE_SIGNUP = 0, STORE_NOTICE_ATTACK = 1, STORE_NOTICES = 2 };

struct store_poll {
    struct pg_job job;
    struct store *store;
    int64_t known_notice[STORE_NOTICES]; /* in: row ids already told */
    int64_t known_stamp;                 /* in: incidents are read when their stamp is another */
    bool wants_uptime;                   /* in */
    bool is_writer;                      /* out: this session holds the lock */
    struct store_notice {
        int64_t id; /* 0 = none newer */
        int64_t at_ms;
        char *body;
    } notices[STORE_NOTICES];  /* out */
    int64_t stamp;             /* out: newest change of any incident, microseconds */
    struct incident_book book; /* out: filled when stamp is not known_stamp */
    struct store_uptime {
        char component[SHORT_CODE_LEN + 1];
        struct uptime_day day;
    } * uptime; /* out, when wanted */
    int uptime_count;
};
int store_poll_run(struct pg *pg, void *arg);
void store_poll_clear(struct store_poll *p);

enum { STORE_WRITE_INCIDENTS = 8 };

struct store_write {
    struct pg_job job;
    struct store *store;
    struct store_component {
        char code[SHORT_CODE_LEN + 1];
        char key[COMPONENT_KEY_MAX];
        enum component_status status;
        int64_t updated_ms;
        unsigned day_count;
        struct uptime_day days[2]; /* today, and yesterday while it may still be unsaved */
    } components[STATUS_COMPONENTS_MAX];
    unsigned component_count;
    struct incident *incidents[STORE_WRITE_INCIDENTS]; /* copies */
    uint64_t versions[STORE_WRITE_INCIDENTS];          /* of the originals when copied */
    unsigned incident_count;
};
int store_write_run(struct pg *pg, void *arg);
void store_write_clear(struct store_write *w);

#endif

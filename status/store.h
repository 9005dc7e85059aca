/* PostgreSQL as tide-status uses it: notices are read every second, incidents, components and uptime are kept.
 *
 * One connection. An advisory lock of its session says which tide-status process writes; the others show what that
 * one wrote. With the database away everything goes on in memory and in the snapshot; what was not written yet
 * (incident->version above saved_version) is written when it returns.
 *
 *     store_tick every second: poll job -> merge into the board -> on_change
 *                              write job, for the writer, when something is unsaved; uptime once a minute
 *
 * Ownership: borrows the board. After store_free no callback runs; its last memory goes with the loop's inbox.
 * Thread rule: used only on the control thread; jobs own copies of all they touch. */
#ifndef TIDE_STATUS_STORE_H
#define TIDE_STATUS_STORE_H

#include "base/pg.h"
#include "status/attack_notice.h"
#include "status/board.h"
#include "status/notice.h"

struct store;

struct store_conf {
    const struct pg_conf *database;
    void (*on_change)(void *arg);                                /* the board changed */
    void (*on_notice)(void *arg, const struct notice *n);        /* the newest one, once per row and start */
    void (*on_attack)(void *arg, const struct attack_notice *n); /* likewise */
    void *arg;
};

struct store *store_new(struct board *board, const struct store_conf *conf, struct err *err);
void store_free(struct store *s); /* NULL allowed; stops the database thread */
void store_tick(struct store *s, uint64_t mono_ms);
bool store_is_writer(const struct store *s);
/* Nothing was read for longer than that. */
bool store_is_stale(const struct store *s, uint64_t after_ms, uint64_t mono_ms);

#endif

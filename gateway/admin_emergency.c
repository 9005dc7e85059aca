/* Verbs of the admin API for emergencies: sign-up is closed here first, then in the database; opened the other way
 * around. See emergency.h. */
#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_change.h"
#include "base/clock.h"
#include "base/log.h"
#include "gateway/admin_inner.h"
#include "gateway/attack.h"
#include "gateway/config.h"
#include "gateway/emergency.h"

enum { JOB_MS = 2000 };

struct emergency_verb {
    struct policy_emergency record; /* close: what to write; open: what has to be written before */
    struct uuid written_id;         /* close: the database has it under this one */
    bool has_record;
    bool is_kept;                      /* close: on disk */
    char *actor, *reason, *request_id; /* open */
    char *preset;                      /* open: of A2 of the attack ladder */
    int64_t version;                   /* in force now */
    bool is_closed_again;              /* open: the attack ladder closes */
};

static struct accounts *accounts_of(const struct admin_call *c)
{
    return c->control->gateway->accounts;
}

static void drop(void *arg)
{
    struct emergency_verb *v = arg;
    free(v->actor);
    free(v->reason);
    free(v->request_id);
    free(v->preset);
    free(v);
}

/* version 0: the database does not have it; kept: on the disk of this gateway. */
static void reply(struct admin_call *c, const char *state, const struct uuid *id, int64_t version, bool kept)
{
    struct buf text;
    char id_text[ID_UUID_TEXT + 1];
    struct json_writer w = {.out = &text};
    buf_init(&text, ADMIN_ANSWER_MAX);
    json_open(&w, '{');
    json_str_at(&w, "state", str_from(state));
    if (id != NULL) {
        uuid_format(id, id_text);
        json_str_at(&w, "id", str_from(id_text));
    }
    json_str_at(&w, "where", version > 0 ? STR("every gateway") : STR("this gateway"));
    if (version > 0) {
        json_i64_at(&w, "version", version);
    } else {
        json_bool_at(&w, "kept", kept);
    }
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

/* --- closing ------------------------------------------------------------------------------------- */

static int run_close(struct pg *pg, void *arg)
{
    struct emergency_verb *v = arg;
    return policy_emergency_close(pg, &v->record, &v->written_id, &v->version);
}

static void on_closed(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    const struct emergency_verb *v = arg;
    if (rc == 0 && !c->dry_run) {
        emergency_is_written(accounts_of(c), &v->record, v->version);
    }
    const struct uuid *id = rc == 0 ? &v->written_id : &v->record.id;
    reply(c, "closed", c->dry_run ? NULL : id, rc == 0 ? v->version : 0, v->is_kept);
}

static void not_submitted(struct admin_call *c, void *arg)
{
    on_closed(c, arg, ERR_UNAVAILABLE, NULL);
}

static void emergency_close(struct admin_call *c, struct str reason, const struct uuid *id)
{
    struct policy_emergency wanted = {.id = *id};
    struct err err = {0};
    struct emergency_verb *v = calloc(1, sizeof *v);
    BUG_ON(v == NULL);
    snprintf(wanted.actor, sizeof wanted.actor, "%s", c->actor);
    snprintf(wanted.reason, sizeof wanted.reason, STR_FMT, STR_ARG(reason));
    wanted.closed_ms = clock_wall_ms();
    v->record = wanted;
    v->is_kept = c->dry_run || emergency_begin(accounts_of(c), &wanted, &v->record, &err) == 0;
    if (!v->is_kept) {
        log_error("emergency not kept on disk error=\"%s\"", err.msg);
    }
    admin_submit(c, &(struct admin_work){.run = run_close,
                                         .done = on_closed,
                                         .not_submitted = not_submitted,
                                         .drop = drop,
                                         .arg = v,
                                         .timeout_ms = JOB_MS});
}

/* --- opening ------------------------------------------------------------------------------------- */

static int run_open(struct pg *pg, void *arg)
{
    struct emergency_verb *v = arg;
    struct policy_changed changed = {0};
    bool has_moved = false;
    v->is_closed_again = false;
    int rc = attack_hold(pg, &has_moved);
    rc = rc == 0 && v->has_record ? policy_emergency_write(pg, &v->record, &v->version) : rc;
    rc = rc < 0 ? rc : policy_emergency_lift(pg, v->actor, v->reason, v->request_id, &changed);
    v->version = rc == 0 ? changed.version : 0;
    if (rc == 0 && has_moved) {
        struct attack_move m = {
            .actor = v->actor, .reason = v->reason, .request_id = v->request_id, .preset = v->preset};
        rc = attack_resume(pg, &m, &v->version, &v->is_closed_again);
    }
    return rc;
}

static bool is_away(int rc)
{
    return rc == ERR_UNAVAILABLE || rc == ERR_TIMEOUT || rc == ERR_CLOSED || rc == ERR_AGAIN;
}

/* The database is away. */
static int open_here(struct admin_call *c, const struct emergency_verb *v, struct err *err)
{
    return c->dry_run ? emergency_may_end(accounts_of(c), err)
                      : emergency_end(accounts_of(c), v->actor, v->reason, err);
}

static void on_opened(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    const struct emergency_verb *v = arg;
    struct err own = {0};
    if (rc == 0) {
        if (v->has_record && !c->dry_run) {
            emergency_is_written(accounts_of(c), &v->record, v->version);
        }
        control_poll_soon(c->control);
        reply(c, v->is_closed_again ? "closed" : "open", v->has_record ? &v->record.id : NULL, v->version,
              true);
    } else if (!is_away(rc)) {
        admin_refuse(c, rc, err);
    } else if (open_here(c, v, &own) == 0) {
        reply(c, "open", &v->record.id, 0, true);
    } else if (own.code == ERR_NOT_FOUND) {
        http_reply_error(c->ex, "database_unavailable",
                         "the database is away: what it has closed can only be opened there");
    } else {
        http_reply_error(c->ex, "internal_error", "still closed: %s", own.msg);
    }
}

static void open_not_submitted(struct admin_call *c, void *arg)
{
    on_opened(c, arg, ERR_UNAVAILABLE, NULL);
}

static void emergency_reopen(struct admin_call *c, struct str reason)
{
    const struct policy_emergency *now = emergency_now(accounts_of(c));
    struct emergency_verb *v = calloc(1, sizeof *v);
    BUG_ON(v == NULL);
    v->has_record = now != NULL;
    v->record = now != NULL ? *now : (struct policy_emergency){0};
    v->actor = strdup(c->actor);
    v->reason = strndup(reason.p, reason.n);
    v->request_id = strdup(c->ex->id);
    v->preset = strdup(c->control->gateway->conf->set->attack.preset);
    admin_submit(c, &(struct admin_work){.run = run_open,
                                         .done = on_opened,
                                         .not_submitted = open_not_submitted,
                                         .drop = drop,
                                         .arg = v,
                                         .timeout_ms = JOB_MS});
}

/* --- the verb ------------------------------------------------------------------------------------ */

void admin_policy_emergency(struct admin_call *c)
{
    static const char *const members[] = {"closed", "reason", "id"};
    struct str reason = STR(""), id_text = STR("");
    struct uuid id = {{0}};
    bool closed = false;
    if (!admin_knows_members(c, members, 3) || !admin_get_reason(c, &reason) ||
        !admin_get_text(c, "id", &id_text) || !admin_get_bool(c, "closed", &closed)) {
        return;
    }
    const char *wrong = json_member(&c->body, "closed") == NULL      ? "closed: true or false is wanted"
                        : id_text.n > 0 && !uuid_parse(id_text, &id) ? "id: is not a UUID"
                        : id_text.n > 0 && !closed                   ? "id: is for closing"
                        : reason.n > POLICY_EMERGENCY_TEXT_MAX       ? "reason: at most 200 bytes"
                                                                     : NULL;
    if (wrong != NULL || accounts_of(c) == NULL) {
        http_reply_error(c->ex, wrong != NULL ? "validation_failed" : "feature_disabled", "%s",
                         wrong != NULL ? wrong : "this gateway has no accounts (section auth)");
    } else if (closed) {
        emergency_close(c, reason, &id);
    } else {
        emergency_reopen(c, reason);
    }
}

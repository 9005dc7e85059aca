/* The admin verb that tries a policy over attempts of before: job after job on the database threads, the answer when
 * the last is done. One at a time. See auth/policy_replay.h. */
#include <stdlib.h>

#include "auth/policy_replay.h"
#include "gateway/admin_inner.h"
#include "gateway/config.h"

enum { STEP_MS = 20000, ATTEMPTS_PRESET = 10000 };

struct replay {
    struct pg_job job;
    struct admin_call *call; /* NULL: the client has gone */
    struct control *control;
    char *document;
    struct policy_replay *replay; /* NULL until the document is read */
    int64_t n;
};

static void replay_end(struct replay *r)
{
    if (r->call != NULL) {
        r->call->replay = NULL;
    }
    policy_replay_free(r->replay);
    r->control->replay = NULL;
    free(r->document);
    free(r);
}

static int run_step(struct pg *pg, void *arg)
{
    struct replay *r = arg;
    struct policy *p = NULL;
    if (r->replay == NULL) {
        int rc = policy_parse(str_from(r->document), 0, &p, pg_err(pg));
        if (rc < 0) {
            return rc;
        }
        r->replay = policy_replay_new(p, r->n);
        policy_unref(p);
    }
    return policy_replay_step(pg, r->replay);
}

static void on_step(void *arg, int rc, const struct err *err);

static void step(struct replay *r)
{
    r->job = (struct pg_job){.run = run_step, .done = on_step, .arg = r, .timeout_ms = STEP_MS};
    struct pg_pool *pool = r->control->gateway->pg;
    int rc = pool != NULL ? pg_submit(pool, &r->job) : ERR_UNAVAILABLE;
    if (rc < 0) {
        on_step(r, rc, &(struct err){.msg = "the database is away or too busy"});
    }
}

static void on_step(void *arg, int rc, const struct err *err)
{
    struct replay *r = arg;
    if (r->call == NULL || rc == ERR_CANCELED) {
        replay_end(r);
    } else if (rc < 0) {
        admin_refuse(r->call, rc, err);
        replay_end(r);
    } else if (!policy_replay_is_done(r->replay)) {
        step(r);
    } else {
        struct buf text;
        buf_init(&text, ADMIN_ANSWER_MAX);
        policy_replay_write(r->replay, &text);
        admin_reply(r->call, &text);
        buf_clear(&text);
        replay_end(r);
    }
}

void admin_replay_forget(struct replay *r)
{
    r->call = NULL;
}

void admin_policy_replay(struct admin_call *c)
{
    static const char *const members[] = {"document", "preset", "limit"};
    struct str preset = STR("");
    int64_t n = ATTEMPTS_PRESET;
    if (!admin_knows_members(c, members, 3) || !admin_get_text(c, "preset", &preset) ||
        !admin_get_number(c, "limit", &n)) {
        return;
    }
    const struct json_slice *document = json_member(&c->body, "document");
    const char *known = preset.n > 0 ? policy_preset(preset) : NULL;
    if ((document != NULL) == (preset.n > 0) || (preset.n > 0 && known == NULL)) {
        http_reply_error(c->ex, "validation_failed",
                         preset.n > 0 && known == NULL ? "preset: is not known"
                                                       : "either preset or document is wanted");
        return;
    }
    if (n < 1 || n > POLICY_REPLAY_MAX) {
        http_reply_error(c->ex, "validation_failed", "limit: 1 to %d", POLICY_REPLAY_MAX);
        return;
    }
    if (c->control->replay != NULL) { /* it keeps a database thread busy */
        http_reply_error(c->ex, "conflict", "a replay is running; one at a time");
        return;
    }
    struct str text = document != NULL ? document->raw : str_from(known);
    struct replay *r = calloc(1, sizeof *r);
    BUG_ON(r == NULL);
    *r = (struct replay){.call = c, .control = c->control, .document = strndup(text.p, text.n), .n = n};
    c->replay = r;
    c->control->replay = r;
    step(r);
}

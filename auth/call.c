/* See call.h. */
#include "auth/call.h"

#include <stdlib.h>

#include "auth/subject.h"
#include "base/http/problem.h"
#include "base/log.h"
#include "base/secret.h"

enum { BODY_STRING_MAX = 256, RETRY_AFTER_S = 2 };

void *auth_job_new(size_t size, struct auth_call *call)
{
    struct auth_job *job = calloc(1, size);
    BUG_ON(!job);
    job->size = size;
    job->al = call->al;
    job->secrets = secret_ring_ref(call->al->secrets);
    job->call = call;
    call->job = job;
    job->pg.timeout_ms = call->conf->job_ms;
    return job;
}

static void on_job_done(void *arg, int rc, const struct err *err)
{
    struct auth_job *job = arg;
    bool is_expected = rc == ERR_CONFLICT || rc == ERR_CANCELED || rc == ERR_LIMIT || rc == ERR_NOT_FOUND;
    if (rc < 0 && !is_expected) {
        log_warn("auth job failed code=%s error=\"%s\"", err_name(rc), err->msg);
    }
    job->done(job, rc);
}

void auth_job_submit(struct auth_job *job, int (*run)(struct pg *, void *),
                     void (*done)(struct auth_job *, int))
{
    job->done = done;
    job->pg.run = run;
    job->pg.done = on_job_done;
    job->pg.arg = job;
    job->pg.is_unknown = false;
    int rc = *job->al->pg ? pg_submit(*job->al->pg, &job->pg) : ERR_UNAVAILABLE;
    if (rc < 0) {
        done(job, rc);
    }
}

void auth_job_release(struct auth_job *job)
{
    if (job->call) {
        job->call->job = NULL;
        job->call = NULL;
    }
}

void auth_job_free(struct auth_job *job)
{
    auth_job_release(job);
    if (job->clear) {
        job->clear(job);
    }
    secret_ring_unref(job->secrets);
    secret_cleanse(job, job->size);
    free(job);
}

struct auth_wait *auth_wait_new(struct auth_call *call)
{
    struct auth_wait *w = calloc(1, sizeof *w);
    BUG_ON(!w);
    w->call = call;
    call->waits = w;
    return w;
}

struct auth_call *auth_wait_end(struct auth_wait *w)
{
    struct auth_call *call = w->call;
    if (call) {
        call->waits = NULL;
    }
    free(w);
    return call;
}

void auth_call_cancel(struct auth_call *call)
{
    if (call->waits) {
        call->waits->call = NULL;
        call->waits = NULL;
    }
    if (call->job) {
        auth_job_release(call->job);
    }
}

static void refuse_member(struct auth_call *call, struct str name, const char *what)
{
    struct problem p = {.code = "validation_failed",
                        .param = name,
                        .detail = arena_printf(&call->ex->arena, STR_FMT ": %s",
                                               (int)(name.n < 40 ? name.n : 40), name.p, what)};
    http_reply_problem(call->ex, &p);
}

static bool read_member(struct auth_call *call, const struct body_member *m, const struct json_slice *v,
                        void *into)
{
    char *field = (char *)into + m->offset;
    struct str *text = (struct str *)(void *)field;
    if (m->type == BODY_IGNORED || v->type == JSON_NULL) {
        return true;
    }
    if (m->type == BODY_BOOL) {
        if (!json_get_bool(v, (bool *)field)) {
            refuse_member(call, str_from(m->name), "must be true or false");
            return false;
        }
        return true;
    }
    if (m->type == BODY_OBJECT) {
        if (v->type != JSON_OBJECT) {
            refuse_member(call, str_from(m->name), "must be an object");
            return false;
        }
        *text = v->raw;
        return true;
    }
    if (!json_get_str(&call->ex->arena, v, text)) {
        refuse_member(call, str_from(m->name), "must be a string");
        return false;
    }
    if (text->n > (m->max_bytes ? m->max_bytes : BODY_STRING_MAX)) {
        refuse_member(call, str_from(m->name), "is too long");
        return false;
    }
    return true;
}

static const struct body_member *find_member(const struct body_member *members, unsigned count,
                                             const struct json_slice *v)
{
    for (unsigned i = 0; i < count && !v->key_escaped; i++) {
        if (str_is(v->key, members[i].name)) {
            return &members[i];
        }
    }
    return NULL;
}

bool auth_body_read(struct auth_call *call, const struct body_member *members, unsigned count, void *into)
{
    static const struct json_limits limits = {
        .max_depth = 8, .max_members = 100, .max_items = 100, .max_string = 8192};
    struct json_doc doc;
    struct err err = {0};
    int rc = json_scan(&call->ex->arena, call->body, &limits, &doc, &err);
    if (rc < 0) {
        http_reply_error(call->ex, rc == ERR_LIMIT ? "validation_failed" : "bad_json", "%s", err.msg);
        return false;
    }
    if (doc.type != JSON_OBJECT) {
        http_reply_error(call->ex, "bad_json", "the body must be a JSON object");
        return false;
    }
    for (uint32_t i = 0; i < doc.member_count; i++) {
        const struct json_slice *v = &doc.members[i];
        const struct body_member *m = find_member(members, count, v);
        if (!m) {
            refuse_member(call, arena_dup(&call->ex->arena, v->key), "unknown field");
            return false;
        }
        if (!read_member(call, m, v, into)) {
            return false;
        }
    }
    return true;
}

bool auth_object_str(struct auth_call *call, const char *object, struct str raw, const char *member,
                     uint32_t max_bytes, struct str *out)
{
    struct json_slice v;
    *out = STR("");
    while (json_next(&raw, &v)) {
        if (v.key_escaped || !str_is(v.key, member) || v.type == JSON_NULL) {
            continue;
        }
        struct str name = arena_printf(&call->ex->arena, "%s.%s", object, member);
        if (!json_get_str(&call->ex->arena, &v, out)) {
            refuse_member(call, name, "must be a string");
            return false;
        }
        if (out->n > max_bytes) {
            refuse_member(call, name, "is too long");
            return false;
        }
    }
    return true;
}

bool auth_phone_read(struct auth_call *call, struct str text, struct phone *out)
{
    struct err err = {0};
    if (phone_read(text, call->conf->phone_mode, out, &err) < 0) {
        refuse_member(call, STR("phone"), err.msg);
        return false;
    }
    return !call->al->ports->refuse_phone(call, str_from(out->e164));
}

struct auth_attempt *auth_attempt_new(struct auth_call *call, const struct phone *phone,
                                      const struct policy_decision *decision)
{
    struct auth_attempt *a = ARENA_NEW(&call->ex->arena, struct auth_attempt);
    *a = (struct auth_attempt){
        .decision = *decision, .caller = &call->caller, .payload = STR(""), .data = STR("")};
    a->decision.rule = arena_cstr(&call->ex->arena, str_from(decision->rule));
    auth_limit_key(call->al->secrets, phone, a->number);
    phone_prefix(phone, a->prefix);
    subject_of_phone(call->al->secrets, phone, &a->subject);
    return a;
}

void auth_reply_failed(struct auth_call *call, int rc)
{
    bool is_away = rc == ERR_UNAVAILABLE || rc == ERR_AGAIN || rc == ERR_TIMEOUT || rc == ERR_CLOSED;
    struct problem p = {.code = rc == ERR_CANCELED ? "draining"
                                : is_away          ? "database_unavailable"
                                                   : "unexpected_failure",
                        .retry_after_s = is_away || rc == ERR_CANCELED ? RETRY_AFTER_S : 0};
    http_reply_problem(call->ex, &p);
}

void auth_reply_json(struct auth_call *call, unsigned status, const struct buf *body)
{
    static const struct http_field fields[] = {
        {STR_INIT("content-type"), STR_INIT("application/json; charset=utf-8")},
        {STR_INIT("cache-control"), STR_INIT("no-store")},
        {STR_INIT("x-supabase-api-version"), STR_INIT("2024-01-01")},
    };
    if (body->overflowed) {
        http_reply_error(call->ex, "unexpected_failure", "the answer is too long");
        return;
    }
    http_reply(call->ex, status, fields, sizeof fields / sizeof *fields, buf_str(body));
}

unsigned auth_lang(const struct auth_call *call)
{
    return problem_lang_of(http_field_get(call->ex, "accept-language"));
}

/* What the handlers share: reading a body strictly, a database job that may outlive its call, refusing. Private
 * to auth/.
 *
 *     job = auth_job_new(sizeof *mine, call) -> fill copies -> auth_job_submit(job, run, done)
 *         -> run(pg, job) on a database thread -> done(job, rc) on the loop -> submit again, or auth_job_free
 *
 * A job is the first member of what a handler allocates. job->call is NULL once the client has gone: done then
 * finishes what was begun without answering. When the pool refuses, done is called at once.
 * Ownership: the handler's, until auth_job_free (which cleanses it). Thread rule: the loop, but for run. */
#ifndef TIDE_AUTH_CALL_H
#define TIDE_AUTH_CALL_H

#include "auth/auth.h"
#include "auth/phone.h"
#include "base/json.h"
#include "base/pg.h"

struct auth_job {
    struct pg_job pg;
    struct auth_loop *al;
    struct secret_ring *secrets; /* a reference: a reload may change the loop's meanwhile */
    struct auth_call *call;      /* NULL: nobody waits for the answer any more */
    void (*done)(struct auth_job *job, int rc);
    void (*clear)(struct auth_job *job); /* frees what the job holds besides itself; may be NULL */
    size_t size;
};
void *auth_job_new(size_t size, struct auth_call *call); /* zeroed; becomes call->job */
void auth_job_submit(struct auth_job *job, int (*run)(struct pg *, void *),
                     void (*done)(struct auth_job *, int));
void auth_job_release(struct auth_job *job); /* the call is answered, the job goes on without it */
void auth_job_free(struct auth_job *job);

/* Somebody who asked ask_caps or ask_known. On the heap until the answer; call is NULL once the client has gone. */
struct auth_wait {
    struct auth_call *call;
};
struct auth_wait *auth_wait_new(struct auth_call *call);
struct auth_call *auth_wait_end(struct auth_wait *w); /* frees it: the call that goes on, or NULL */

/* Members that a body may have; all others refuse it by name. */
enum body_type {
    BODY_STRING = 0,  /* into a struct str; absent or null: empty */
    BODY_BOOL = 1,    /* into a bool; absent or null: unchanged */
    BODY_IGNORED = 2, /* GoTrue clients send it, nothing here reads it */
    BODY_OBJECT = 3   /* into a struct str, as written; absent or null: empty. auth_object_str reads it */
};
struct body_member {
    const char *name;
    enum body_type type;
    size_t offset;
    uint32_t max_bytes; /* of a string; 0 = 256 */
};
/* False: refused and answered (bad_json, validation_failed naming the member). */
bool auth_body_read(struct auth_call *call, const struct body_member *members, unsigned count, void *into);
/* The string `member` of a BODY_OBJECT named `object`, empty when it is absent or null; its other members are ignored.
 * Likewise. */
bool auth_object_str(struct auth_call *call, const char *object, struct str raw, const char *member,
                     uint32_t max_bytes, struct str *out);
/* The member `phone`, made canonical; likewise. */
void otp_attempts_read(struct auth_attempts *out); /* otp_flow.c: the first half of auth_attempts_read */
bool auth_phone_read(struct auth_call *call, struct str text, struct phone *out);

/* An attempt with this number, for the port check_attempt: what is sent with it is still to be filled in. The decision
 * is copied: the policy may be another one when the answer comes. */
struct auth_attempt *auth_attempt_new(struct auth_call *call, const struct phone *phone,
                                      const struct policy_decision *decision);

/* Answers for a job that failed: 503 with Retry-After while the database is away, else 500. */
void auth_reply_failed(struct auth_call *call, int rc);
void auth_reply_json(struct auth_call *call, unsigned status, const struct buf *body); /* no-store */
unsigned auth_lang(const struct auth_call *call); /* enum problem_lang, by Accept-Language */

#endif

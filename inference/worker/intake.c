#include "inference/worker/intake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* One body. */
struct reading {
    struct loop_msg m; /* when it is read */
    struct reading *next;
    struct intake *intake;
    struct http_exchange *ex; /* the loop's; NULL: the client has left */
    void *user;               /* the exchange's, before */
    intake_cb on_read;
    enum intake_kind kind;
    struct openai_context context;
    struct arena arena; /* of what was read */
    struct intake_result result;
    uint64_t payer;
    uint64_t turn; /* where its last byte stands: intake.h */
    size_t n;
    char body[];
};

struct intake {
    struct loop *loop;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    struct reading *waiting; /* by turn */
    uint64_t taken;          /* bytes, so far */
    bool ending;
};

static void reading_free(struct reading *r)
{
    token_list_clear(&r->result.request.prompt);
    token_list_clear(&r->result.tokens);
    arena_clear(&r->arena);
    free(r);
}

/* --- on the intake's thread -------------------------------------------------------------------------- */

static int read_body(struct reading *r)
{
    struct str body = str_of(r->body, r->n);
    struct intake_result *out = &r->result;
    switch (r->kind) {
    case INTAKE_CHAT:
        return openai_parse_chat(&r->arena, body, &r->context, &out->request, &out->fault);
    case INTAKE_COMPLETION:
        return openai_parse_completion(&r->arena, body, &r->context, &out->request, &out->fault);
    case INTAKE_TOKENS:
        break;
    }
    return openai_parse_tokenize(&r->arena, body, &r->context, &out->tokens, &out->fault);
}

static struct reading *take_next(struct intake *in)
{
    pthread_mutex_lock(&in->mutex);
    while (!in->waiting && !in->ending) {
        pthread_cond_wait(&in->wake, &in->mutex);
    }
    struct reading *r = in->ending ? NULL : in->waiting;
    if (r) {
        in->waiting = r->next;
        in->taken += r->n;
    }
    pthread_mutex_unlock(&in->mutex);
    return r;
}

static void *intake_main(void *arg)
{
    struct intake *in = arg;
    struct reading *r;
    while ((r = take_next(in)) != NULL) {
        r->result.rc = read_body(r);
        loop_post(in->loop, &r->m);
    }
    return NULL;
}

/* --- on the loop ------------------------------------------------------------------------------------- */

static void on_read_msg(struct loop_msg *m, bool canceled)
{
    struct reading *r = (struct reading *)m;
    struct http_exchange *ex = r->ex;
    if (ex && !canceled) {
        ex->user = r->user;
        ex->on_finish = NULL;
        r->on_read(ex, &r->result);
    }
    reading_free(r);
}

/* Takes it out of those who wait; false: it is being read, or was. */
static bool leave(struct intake *in, struct reading *r)
{
    pthread_mutex_lock(&in->mutex);
    struct reading **at = &in->waiting;
    while (*at && *at != r) {
        at = &(*at)->next;
    }
    bool waited = *at != NULL;
    if (waited) {
        *at = r->next;
    }
    pthread_mutex_unlock(&in->mutex);
    return waited;
}

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct reading *r = ex->user;
    r->ex = NULL;
    if (leave(r->intake, r)) {
        reading_free(r);
    }
}

static void enqueue(struct intake *in, struct reading *r)
{
    struct reading **at = &in->waiting;
    uint64_t behind = in->taken;
    for (const struct reading *w = in->waiting; w && r->payer; w = w->next) {
        /* what others were served may have passed him */
        behind = w->payer == r->payer && w->turn > behind ? w->turn : behind;
    }
    r->turn = behind + r->n;
    while (*at && (*at)->turn <= r->turn) {
        at = &(*at)->next;
    }
    r->next = *at;
    *at = r;
}

void intake_read(struct intake *in, struct http_exchange *ex, uint64_t payer, enum intake_kind kind,
                 struct str body, const struct openai_context *c, intake_cb on_read)
{
    struct reading *r = malloc(sizeof *r + body.n);
    BUG_ON(!r);
    *r = (struct reading){.m = {.fn = on_read_msg},
                          .intake = in,
                          .ex = ex,
                          .user = ex->user,
                          .on_read = on_read,
                          .kind = kind,
                          .context = *c,
                          .payer = payer,
                          .n = body.n};
    arena_init(&r->arena);
    memcpy(r->body, body.p, body.n);
    ex->user = r;
    ex->on_finish = on_finish;
    pthread_mutex_lock(&in->mutex);
    enqueue(in, r);
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->mutex);
}

/* --- life -------------------------------------------------------------------------------------------- */

int intake_new(struct loop *loop, struct intake **out, struct err *err)
{
    struct intake *in = calloc(1, sizeof *in);
    BUG_ON(!in);
    in->loop = loop;
    pthread_mutex_init(&in->mutex, NULL);
    pthread_cond_init(&in->wake, NULL);
    int rc = pthread_create(&in->thread, NULL, intake_main, in);
    if (rc) {
        free(in);
        return err_set(err, ERR_IO, "intake: cannot start its thread: %s", strerror(rc));
    }
    pthread_setname_np(in->thread, "intake");
    *out = in;
    return 0;
}

void intake_free(struct intake *in)
{
    if (!in) {
        return;
    }
    pthread_mutex_lock(&in->mutex);
    in->ending = true;
    pthread_cond_signal(&in->wake);
    pthread_mutex_unlock(&in->mutex);
    pthread_join(in->thread, NULL);
    pthread_mutex_destroy(&in->mutex);
    pthread_cond_destroy(&in->wake);
    free(in);
}

/* The pipeline of request.h. Callbacks stand in the order of time:
 *
 *     on_request -> [cors] -> route -> identify -> on_body -> limits -> handle -> on_finish
 *
 * A stage that refuses has replied; the next thing that happens to the request is on_finish. */
#include "gateway/request.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/jws.h"
#include "base/log.h"
#include "gateway/access_log.h"
#include "gateway/accounts.h"
#include "gateway/challenge.h"
#include "gateway/bans.h"
#include "gateway/client_addr.h"
#include "gateway/config.h"
#include "gateway/cors.h"
#include "gateway/gateway.h"
#include "gateway/geography.h"
#include "gateway/identify.h"
#include "gateway/limits.h"
#include "gateway/logins.h"
#include "gateway/routes.h"
#include "gateway/sms.h"
#include "gateway/suspicion.h"
#include "gateway/trace.h"

static const char *const state_names[] = {
    [REQUEST_BEGUN] = "begun",       [REQUEST_IDENTIFYING] = "identifying", [REQUEST_READING_BODY] = "body",
    [REQUEST_LIMITING] = "limiting", [REQUEST_HANDLING] = "handling",       [REQUEST_FINISHED] = "finished",
};

enum { PRESSURE_RETRY_S = 5 };

static struct metric active = METRIC_GAUGE("tidegate_requests_active", "Requests running now.");

const char *request_state_name(enum request_state state)
{
    return state_names[state];
}

/* Forward only; every state may end. */
void request_set_state(struct request *r, enum request_state state)
{
    BUG_ON(state <= r->state);
    r->state = state;
    if (state != REQUEST_FINISHED) {
        uint64_t since = clock_mono_us() - r->ex->began_us;
        r->entered_us[state] = since > 0 ? since : 1;
    }
}

/* --- the stages ---------------------------------------------------------------------------------- */

static void on_deadline(void *arg)
{
    struct request *r = arg;
    if (r->ex->status != 0) {
        return; /* the answer is on its way: the server's send_stall watches it */
    }
    if (r->cancel != NULL) {
        void (*cancel)(struct request *) = r->cancel;
        r->cancel = NULL;
        cancel(r);
    }
    http_reply_error(r->ex, "gateway_timeout", "no answer within %llu ms",
                     (unsigned long long)r->conf->set->process.handle_ms);
}

static void handle(struct request *r)
{
    request_set_state(r, REQUEST_HANDLING);
    r->route->handle(r);
    if (r->ex->status == 0 && !r->route->own_deadlines) {
        loop_timer_init(r->gl->loop, &r->deadline, on_deadline, r);
        loop_timer_arm(&r->deadline, r->conf->set->process.handle_ms);
    }
}

static void limit(struct request *r)
{
    if (r->route->prepare != NULL) {
        r->route->prepare(r);
    }
    request_set_state(r, REQUEST_LIMITING);
    limits_begin(r, handle);
}

static void on_body(struct http_exchange *ex, int rc, struct str body)
{
    struct request *r = ex->user;
    if (rc != 0) {
        http_reply_error(ex, "payload_too_large", "the body may have %zu bytes", r->route->max_body_bytes);
        return;
    }
    r->body = body;
    limit(r);
}

/* Nothing here unpacks: what a few bytes unpack to has no bound. */
static bool refuse_encoded(struct request *r)
{
    struct str encoding = http_field_get(r->ex, "content-encoding");
    if (!r->route->plain_body || encoding.n == 0 || str_eq_nocase(encoding, STR("identity"))) {
        return false;
    }
    http_add_field(r->ex, "accept-encoding", STR("identity"));
    http_reply_error(r->ex, "unsupported_content_encoding", "content-encoding: only identity is taken");
    return true;
}

static void read_body(struct request *r)
{
    if (refuse_encoded(r)) {
        return;
    }
    if (r->route->body != ROUTE_BODY_BUFFER) {
        limit(r);
        return;
    }
    request_set_state(r, REQUEST_READING_BODY);
    http_read_body(r->ex, r->route->max_body_bytes, on_body);
}

static void identify(struct request *r)
{
    request_set_state(r, REQUEST_IDENTIFYING);
    if (identify_request(r)) {
        read_body(r);
    }
}

static void refuse_route(struct request *r, uint32_t allowed)
{
    if (allowed == 0) {
        http_reply_error(r->ex, "not_found", "there is nothing at this path");
        return;
    }
    http_add_field(r->ex, "allow", route_methods_text(&r->ex->arena, allowed));
    http_reply_error(r->ex, "method_not_allowed", "this path does not take " STR_FMT,
                     STR_ARG(r->ex->method_text));
}

/* --- begin and end ------------------------------------------------------------------------------- */

static void finish(struct request *r, enum http_finish reason)
{
    if (r->state == REQUEST_HANDLING && reason != HTTP_FINISH_DONE && r->cancel != NULL) {
        r->cancel(r);
    }
    request_set_state(r, REQUEST_FINISHED);
    if (r->deadline.armed) {
        loop_timer_disarm(&r->deadline);
    }
    limits_settle(r);
    logins_count(r);
    challenge_forget(r);
    sms_forget(r);
    suspicion_forget_request(r);
}

static void count(const struct request *r, uint64_t us)
{
    const struct route_entry *e = (const struct route_entry *)r->route; /* route is its first member */
    unsigned code_class = r->ex->status / 100;
    metric_child_add(e->by_code[code_class < ROUTE_CODE_CLASSES ? code_class : 0], 1);
    metric_child_observe_us(e->duration, us);
}

static void link_running(struct request *r)
{
    r->next = r->gl->running;
    if (r->next != NULL) {
        r->next->prev = r;
    }
    r->gl->running = r;
    r->gl->requests++;
    metric_add(&active, 1);
}

static void unlink_running(struct request *r)
{
    *(r->prev != NULL ? &r->prev->next : &r->gl->running) = r->next;
    if (r->next != NULL) {
        r->next->prev = r->prev;
    }
    r->gl->requests--;
    metric_add(&active, -1);
}

void request_cut_ended(struct gateway_loop *gl)
{
    for (struct request *r = gl->running; r != NULL; r = r->next) {
        bool is_ended = r->who != NULL && accounts_is_revoked(gl, r->who);
        if (is_ended && r->ex->dialect != HTTP_DIALECT_GOTRUE) {
            http_abort(r->ex); /* on_finish follows from the loop: the list stays as it is here */
        }
    }
}

void request_crash_note(int fd, void *arg)
{
    enum { NOTED_MAX = 1000 }; /* the list may be what is broken */
    const struct gateway_loop *gl = arg;
    unsigned n = 0;
    crash_put(fd, STR("crash requests in flight="));
    crash_put_number(fd, gl->requests);
    crash_put(fd, STR("\n"));
    for (const struct request *r = gl->running; r != NULL && n < NOTED_MAX; r = r->next, n++) {
        crash_put(fd, STR("crash request id="));
        crash_put(fd, str_of(r->ex->id, ID_REQUEST_TEXT));
        crash_put(fd, STR(" route="));
        crash_put(fd, str_from(r->route != NULL ? r->route->name : "none"));
        crash_put(fd, STR(" state="));
        crash_put(fd, str_from(request_state_name(r->state)));
        crash_put(fd, STR("\n"));
    }
}

static void on_finish(struct http_exchange *ex, enum http_finish reason)
{
    struct request *r = ex->user;
    uint64_t phases[REQUEST_PHASES];
    finish(r, reason);
    trace_phases(r, clock_mono_us(), phases);
    if (r->route != NULL) {
        count(r, phases[REQUEST_PHASE_LAST_BYTE]);
    }
    trace_finished(r->gl->trace, r, reason, phases);
    access_log_write(r->gl->gateway->access_log, r, reason, phases);
    unlink_running(r);
    config_hold_drop(r->hold);
}

static struct request *request_new(struct http_exchange *ex, struct gateway_loop *gl)
{
    struct request *r = ARENA_NEW(&ex->arena, struct request);
    r->ex = ex;
    r->gl = gl;
    r->hold = gl->hold;
    r->hold->refs++;
    r->conf = gl->conf;
    r->prompt_tokens = -1;
    r->completion_tokens = -1;
    r->body = STR("");
    r->token = STR("");
    r->device = STR("");
    r->entered_us[REQUEST_BEGUN] = clock_mono_us() - ex->began_us;
    trace_context_of(ex, &r->trace);
    ex->user = r;
    ex->on_finish = on_finish;
    link_running(r);
    return r;
}

static void on_request(struct http_exchange *ex, void *arg)
{
    struct gateway_loop *gl = arg;
    struct request *r = request_new(ex, gl);
    uint32_t allowed = 0;
    const struct route_entry *entry = route_find(gl->routes, ex->method, ex->path, &allowed);

    r->client = client_addr_find(ex, &r->conf->client_addr);
    r->place = geography_find(gl, &r->client);
    r->device = http_field_get(ex, "x-device-id");
    r->device.n = r->device.n > REQUEST_DEVICE_MAX ? REQUEST_DEVICE_MAX : r->device.n;
    ex->dialect = entry != NULL ? entry->route.dialect : route_dialect_of(ex->path);
    if (cors_apply(r, entry != NULL ? entry->route.methods : allowed)) {
        return;
    }
    if (entry == NULL) {
        suspicion_look_at_path(r);
        refuse_route(r, allowed);
        return;
    }
    if (!route_is_clear(gl->routes, ex->method, ex->path, &ex->arena)) {
        http_reply_error(ex, "bad_request", "the path can be read as one of another route");
        return;
    }
    r->route = &entry->route;
    if (bans_refuse_request(r)) {
        return;
    }
    if (gl->pressure >= PRESSURE_REQUESTS && r->route->is_heavy) {
        pressure_count_refused();
        http_reply_problem(ex, &(struct problem){.code = "service_unavailable",
                                                 .detail = STR("this gateway is short of memory"),
                                                 .retry_after_s = PRESSURE_RETRY_S});
        return;
    }
    if (!limits_denied_locally(r)) {
        identify(r);
    }
}

const struct http_handler request_http_handler = {.on_request = on_request};

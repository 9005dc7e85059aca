#include "status/ops/ops_feed.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/metrics.h"

enum {
    SLOW = 5, /* intervals between questions that the gateway's database answers */
    METRICS_BYTES = 16 << 20,
    JSON_BYTES = 4 << 20,
    DEADLINE_LEAST_MS = 1000,
    SILENT_INTERVALS = 3,
    SILENT_LEAST_MS = 6000,
};

static const struct json_limits limits = {
    .max_depth = 16, .max_members = 100000, .max_items = 200000, .max_string = 64 << 10};

static struct metric readings = METRIC_COUNTER_L(
    "tidestatus_ops_readings_total", "Readings of the gateway for the dashboard, by result.", "result");

static const struct {
    const char *path; /* of the read socket; NULL: probe.metrics_url */
    bool is_slow;
} sources[OPS_SOURCES] = {
    [OPS_WORKERS] = {"/admin/v1/workers", false},
    [OPS_TOP] = {"/admin/v1/limits/top?limit=6", false},
    [OPS_SMS] = {"/admin/v1/sms?limit=1", true},
    [OPS_ATTACK] = {"/admin/v1/attack", true},
    [OPS_MOVES] = {"/admin/v1/attack/history?limit=5", true},
    [OPS_POLICY] = {"/admin/v1/policy/history?limit=5", true},
};

struct question {
    struct ops_feed *feed;
    enum ops_source source;
    bool is_asked;
};

struct ops_feed {
    struct ops_feed_conf conf;
    struct loop_timer timer;
    struct question questions[OPS_SOURCES];
    struct ops_answer answers[OPS_SOURCES];
    struct ops_history history;
    unsigned until_slow; /* intervals */
    uint64_t heard_ms;   /* monotonic, of the last /metrics, or of the start */
};

/* --- answers ----------------------------------------------------------------------------------- */

static void set_trouble(struct ops_answer *a, const char *text)
{
    snprintf(a->trouble, sizeof a->trouble, "%.*s", (int)sizeof a->trouble - 1, text);
    a->trouble[str_utf8_safe_len(str_from(a->trouble))] = 0;
}

/* What a problem says of itself, else its status. */
static void take_problem(struct ops_answer *a, const struct prober_result *r)
{
    cJSON *json = NULL;
    struct err err;
    char status[32];
    snprintf(status, sizeof status, "HTTP %u", r->status);
    const char *detail = json_parse(r->body, &limits, &json, &err) == 0
                             ? cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "detail"))
                             : NULL;
    set_trouble(a, detail ? detail : status);
    cJSON_Delete(json);
}

static void take_json(struct ops_answer *a, const struct prober_result *r)
{
    cJSON *json = NULL;
    struct err err;
    if (json_parse(r->body, &limits, &json, &err) != 0) {
        set_trouble(a, err.msg);
        return;
    }
    cJSON_Delete(a->json);
    a->json = json;
    a->at_ms = clock_wall_ms();
    a->trouble[0] = 0;
}

static void take_metrics(struct ops_feed *f, const struct prober_result *r)
{
    struct ops_answer *a = &f->answers[OPS_METRICS];
    double policy = f->history.last.of[OPS_POLICY_VERSION], level = f->history.last.of[OPS_ATTACK_LEVEL];
    if (!ops_history_read(&f->history, r->body, clock_mono_ms())) {
        set_trouble(a, "probe.metrics_url: these are no metrics of a gateway");
        return;
    }
    a->at_ms = clock_wall_ms();
    a->trouble[0] = 0;
    f->heard_ms = clock_mono_ms();
    if (policy != f->history.last.of[OPS_POLICY_VERSION] || level != f->history.last.of[OPS_ATTACK_LEVEL]) {
        f->until_slow = 0; /* who moved it, and why */
    }
}

static void on_answer(void *arg, const struct prober_result *r)
{
    struct question *q = arg;
    struct ops_feed *f = q->feed;
    struct ops_answer *a = &f->answers[q->source];
    q->is_asked = false;
    if (r->rc != 0) {
        set_trouble(a, r->error);
    } else if (r->status != 200) {
        take_problem(a, r);
    } else if (q->source == OPS_METRICS) {
        take_metrics(f, r);
    } else {
        take_json(a, r);
    }
    metric_child_add(metric_child(&readings, a->trouble[0] ? "failed" : "ok"), 1);
    if (q->source == OPS_METRICS) {
        f->conf.on_change(f->conf.arg);
    }
}

/* --- questions --------------------------------------------------------------------------------- */

static void ask(struct ops_feed *f, enum ops_source s)
{
    const char *path = sources[s].path;
    char url[128];
    struct question *q = &f->questions[s];
    uint64_t deadline = 2 * f->conf.conf->interval_ms;
    if (q->is_asked) {
        return;
    }
    snprintf(url, sizeof url, "http://gateway%s", path ? path : "");
    struct prober_request request = {
        .url = path ? url : f->conf.metrics_url,
        .unix_socket = path ? f->conf.conf->gateway.text + strlen("unix:") : NULL,
        .deadline_ms = deadline > DEADLINE_LEAST_MS ? deadline : DEADLINE_LEAST_MS,
        .max_body_bytes = path ? JSON_BYTES : METRICS_BYTES,
    };
    q->is_asked = prober_fetch(f->conf.prober, &request, on_answer, q) == 0;
}

/* /metrics last: its answer makes the page, and the others are in by then. */
static void on_timer(void *arg)
{
    struct ops_feed *f = arg;
    bool is_slow = f->until_slow == 0, is_waiting = f->questions[OPS_METRICS].is_asked;
    f->until_slow = is_slow ? SLOW - 1 : f->until_slow - 1;
    ops_history_advance(&f->history, clock_mono_ms());
    for (int s = OPS_SOURCES - 1; s >= 0; s--) {
        if (is_slow || !sources[s].is_slow) {
            ask(f, (enum ops_source)s);
        }
    }
    if (is_waiting) { /* no answer yet: only the silence has grown */
        f->conf.on_change(f->conf.arg);
    }
    loop_timer_arm(&f->timer, f->conf.conf->interval_ms);
}

/* --- life -------------------------------------------------------------------------------------- */

struct ops_feed *ops_feed_new(const struct ops_feed_conf *conf)
{
    struct ops_feed *f = calloc(1, sizeof *f);
    BUG_ON(!f);
    f->conf = *conf;
    f->heard_ms = clock_mono_ms();
    ops_history_init(&f->history);
    for (int s = 0; s < OPS_SOURCES; s++) {
        f->questions[s] = (struct question){.feed = f, .source = (enum ops_source)s};
    }
    loop_timer_init(conf->loop, &f->timer, on_timer, f);
    metric_register(&readings);
    return f;
}

void ops_feed_free(struct ops_feed *f)
{
    if (!f) {
        return;
    }
    loop_timer_disarm(&f->timer);
    for (int s = 0; s < OPS_SOURCES; s++) {
        cJSON_Delete(f->answers[s].json);
    }
    free(f);
}

void ops_feed_start(struct ops_feed *f)
{
    loop_timer_arm(&f->timer, 0);
}

void ops_feed_set_conf(struct ops_feed *f, const struct ops_conf *conf, const char *metrics_url)
{
    f->conf.conf = conf;
    f->conf.metrics_url = metrics_url;
}

void ops_feed_view(struct ops_feed *f, struct ops_view *out)
{
    uint64_t silent = clock_mono_ms() - f->heard_ms, most = SILENT_INTERVALS * f->conf.conf->interval_ms;
    *out = (struct ops_view){
        .board = f->conf.board,
        .history = &f->history,
        .answers = f->answers,
        .now_ms = clock_wall_ms(),
        .silent_ms = silent,
        .is_silent =
            f->answers[OPS_METRICS].at_ms == 0 || silent > (most > SILENT_LEAST_MS ? most : SILENT_LEAST_MS),
    };
}

/* Listening to what workers tell of their load: one GET /tide/v1/load a worker that is configured with `load_report`, on
 * the control loop, for as long as the worker answers probes. A stream that ends or is silent is begun anew after a second;
 * a server that has none is asked again after a minute. */
#include "base/clock.h"
#include "base/log.h"
#include "inference/router/router_impl.h"

enum {
    STREAM_CONNECT_MS = 1000,
    STREAM_HEAD_MS = 2000,
    STREAM_SILENCE_MS = 5000,
    STREAM_AGAIN_MS = 1000,
    STREAM_NONE_MS = 60000,
};

static void end(struct member *m, uint64_t pause_ms)
{
    m->report.op = NULL;
    m->report.next_ms = clock_mono_ms() + pause_ms;
    sse_clear(&m->report.events);
}

static void on_head(struct http_op *op, unsigned status, const struct http_field *fields, unsigned count,
                    int64_t content_length)
{
    struct member *m = http_op_arg(op);
    bool is_there = status == 200 || status >= 500; /* 503: loading, or about to end */
    if (!is_there && !m->report.is_missing) {
        log_warn("worker name=%s what=load_report status=%u text=\"it tells no load; what is sent from here "
                 "counts\"",
                 m->worker->name, status);
    }
    m->report.is_missing = !is_there;
    if (status != 200) {
        http_op_cancel(op);
        end(m, is_there ? STREAM_AGAIN_MS : STREAM_NONE_MS);
    }
}

static int on_event(void *arg, struct str event)
{
    struct member *m = arg;
    struct worker_report report;
    struct err err;
    struct buf data;
    buf_init(&data, REPORT_EVENT_BYTES);
    int rc = 0;
    if (sse_data(event, &data)) {
        rc = worker_report_read(buf_str(&data), &report, &err);
        if (rc == 0) {
            m->report.heard++;
            worker_note_report(m->worker, &report, clock_mono_ms());
        } else {
            log_warn("worker name=%s what=load_report text=\"%s\"", m->worker->name, err.msg);
        }
    }
    buf_clear(&data);
    return rc;
}

static enum http_flow on_data(struct http_op *op, const char *p, size_t n)
{
    struct member *m = http_op_arg(op);
    if (sse_feed(&m->report.events, str_of(p, n), on_event, m) == 0) {
        return HTTP_FLOW_GO;
    }
    http_op_cancel(op); /* it speaks another language */
    end(m, STREAM_NONE_MS);
    return HTTP_FLOW_GONE;
}

static void on_end(struct http_op *op, int rc, const struct err *err)
{
    struct member *m = http_op_arg(op);
    log_debug("worker name=%s what=load_report text=\"ended: %s\"", m->worker->name, err ? err->msg : "");
    end(m, STREAM_AGAIN_MS);
}

static const struct http_client_handler handler = {.on_head = on_head, .on_data = on_data, .on_end = on_end};

static void listen_to(struct member *m)
{
    struct http_field fields[2] = {{STR("accept"), STR("text/event-stream")}};
    unsigned n = 1;
    if (m->worker->authorization[0]) {
        fields[n++] = (struct http_field){STR("authorization"), str_from(m->worker->authorization)};
    }
    struct http_client_request req = {.method = STR("GET"),
                                      .target = STR("/tide/v1/load"),
                                      .fields = fields,
                                      .field_count = n,
                                      .connect_ms = STREAM_CONNECT_MS,
                                      .head_ms = STREAM_HEAD_MS,
                                      .idle_ms = STREAM_SILENCE_MS};
    m->report.op = http_send_request(m->origin, &req, &handler, m);
}

void member_listen_if_due(struct member *m, uint64_t now_ms)
{
    uint8_t health = atomic_load(&m->worker->load->health);
    bool answers = health == WORKER_READY || health == WORKER_SUSPECT;
    if (m->worker->report_fresh_ms > 0 && m->report.op == NULL && answers && now_ms >= m->report.next_ms) {
        listen_to(m);
    }
}

void member_listen_stop(struct member *m)
{
    http_op_cancel(m->report.op);
    end(m, 0);
}

/* The pulse: requests, errors, refusals, times, with their lines of the last fifteen minutes. */
#include <math.h>

#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"

struct tile {
    const char *title;
    const char *line; /* what the picture shows, for screen readers */
    double values[OPS_POINTS];
    double least; /* ops_spark.h */
    const struct ops_marks *marks;
};

static void open_tile(struct buf *out, const char *title)
{
    buf_addf(out, "<div class=\"t\"><h3>%s</h3><p class=\"n\">", title);
}

static void close_tile(struct buf *out, const struct tile *t)
{
    buf_add_cstr(out, "</p>");
    ops_add_spark(out, t->line, t->values, t->least, t->marks);
    buf_add_cstr(out, "</div>");
}

static void set_rates(const struct ops_view *v, enum ops_count c, struct tile *t)
{
    for (unsigned i = 0; i < OPS_POINTS; i++) {
        const struct ops_point *p = ops_history_point(v->history, i);
        t->values[i] = p->seconds > 0 ? p->of[c] / p->seconds : NAN;
    }
}

static void set_shares(const struct ops_view *v, enum ops_count part, enum ops_count whole, struct tile *t)
{
    for (unsigned i = 0; i < OPS_POINTS; i++) {
        const struct ops_point *p = ops_history_point(v->history, i);
        t->values[i] = p->seconds > 0 ? p->of[whole] > 0 ? 100 * p->of[part] / p->of[whole] : 0 : NAN;
    }
}

static void set_quantiles(const struct ops_view *v, enum ops_histogram h, double q, struct tile *t)
{
    for (unsigned i = 0; i < OPS_POINTS; i++) {
        t->values[i] = 1000 * ops_point_quantile(v->history, ops_history_point(v->history, i), h, q);
    }
}

static void add_rate(const struct ops_view *v, enum ops_count c, struct buf *out)
{
    ops_add_number(out, ops_history_rate(v->history, c, OPS_NOW));
    buf_add_cstr(out, "<small>/s</small>");
}

static void add_gauge(const struct ops_view *v, enum ops_count c, const char *name, struct buf *out)
{
    double n;
    ops_add_number(out, ops_view_number(v, c, &n) ? n : NAN);
    buf_addf(out, " %s", name);
}

static void add_times(const struct ops_view *v, enum ops_histogram h, struct buf *out)
{
    ops_add_seconds(out, ops_history_quantile(v->history, h, 0.5, OPS_MINUTE));
    buf_add_cstr(out, "<small> p50</small></p><p class=\"s\">p99 ");
    ops_add_seconds(out, ops_history_quantile(v->history, h, 0.99, OPS_MINUTE));
}

/* --- tiles ------------------------------------------------------------------------------------- */

static void tile_requests(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "Requests");
    add_rate(v, OPS_REQUESTS, out);
    buf_add_cstr(out, "</p><p class=\"s\">");
    add_gauge(v, OPS_ACTIVE, "running, ", out);
    add_gauge(v, OPS_CONNECTIONS, "connections", out);
    t->line = "Requests a second";
    t->least = 1;
    set_rates(v, OPS_REQUESTS, t);
}

static void tile_errors(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "Errors");
    ops_add_share(out, ops_history_sum(v->history, OPS_ERRORS, OPS_MINUTE),
                  ops_history_sum(v->history, OPS_REQUESTS, OPS_MINUTE));
    buf_add_cstr(out, "<small> 5xx</small></p><p class=\"s\">");
    ops_add_number(out, ops_history_sum(v->history, OPS_ERRORS, OPS_POINTS));
    buf_add_cstr(out, " in 15 min");
    t->line = "Percent of requests that fail";
    t->least = 5;
    set_shares(v, OPS_ERRORS, OPS_REQUESTS, t);
}

static void tile_refused(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "Refused by limits");
    add_rate(v, OPS_REFUSED, out);
    buf_add_cstr(out, "</p><p class=\"s\">");
    ops_add_number(out, ops_history_sum(v->history, OPS_REFUSED, OPS_POINTS));
    buf_add_cstr(out, " in 15 min");
    t->line = "Refusals by limits a second";
    t->least = 1;
    set_rates(v, OPS_REFUSED, t);
}

static void tile_first_byte(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "First byte");
    add_times(v, OPS_FIRST_BYTE, out);
    t->line = "Milliseconds to the first byte, 99th percentile";
    t->least = 10;
    set_quantiles(v, OPS_FIRST_BYTE, 0.99, t);
}

static void tile_token(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "First token");
    add_times(v, OPS_TOKEN, out);
    t->line = "Milliseconds to a worker's first token, 99th percentile";
    t->least = 100;
    set_quantiles(v, OPS_TOKEN, 0.99, t);
}

static void tile_codes(const struct ops_view *v, struct tile *t, struct buf *out)
{
    open_tile(out, "Sign-ups");
    ops_add_number(out, 60 * ops_history_rate(v->history, OPS_SIGNED_UP, OPS_MINUTE));
    buf_add_cstr(out, "<small>/min</small></p><p class=\"s\">");
    ops_add_number(out, 60 * ops_history_rate(v->history, OPS_CODES, OPS_MINUTE));
    buf_add_cstr(out, "/min ask for codes");
    t->line = "Requests for codes a second";
    t->least = 1;
    set_rates(v, OPS_CODES, t);
}

void ops_panel_pulse(const struct ops_view *v, struct buf *out)
{
    static void (*const tiles[])(const struct ops_view *, struct tile *, struct buf *) = {
        tile_requests, tile_errors, tile_refused, tile_first_byte, tile_token, tile_codes,
    };
    const struct ops_marks marks = ops_panel_marks(v);
    struct tile t = {.marks = &marks};
    for (size_t k = 0; k < sizeof tiles / sizeof *tiles; k++) {
        tiles[k](v, &t, out);
        close_tile(out, &t);
    }
}

/* What the service stands on: workers, PostgreSQL and Redis, and what the public is told. */
#include <math.h>
#include <stdio.h>

#include "status/ops/ops_panels.h"
#include "status/ops/ops_text.h"
#include "status/page_parts.h"

/* --- workers ----------------------------------------------------------------------------------- */

enum { WORKER_ROWS = 200 }; /* a drawing has to fit in the queue of a stream */

static bool is_ready_worker(const cJSON *w)
{
    return strcmp(ops_json_text(w, "state"), "ready") == 0;
}

static void add_worker(const cJSON *w, struct buf *out)
{
    const char *state = ops_json_text(w, "state");
    bool is_ready = is_ready_worker(w);
    double running = ops_json_number(w, "running"), slots = ops_json_number(w, "slots");
    ops_panel_row(out, ops_json_text(w, "name"));
    buf_addf(out, "<td class=\"%s\">", is_ready ? "ok" : strcmp(state, "draining") == 0 ? "" : "bad");
    page_add_glyph(out, is_ready ? '0' : '4');
    buf_add_cstr(out, " ");
    ops_add_text(out, state);
    if (strcmp(ops_json_text(w, "breaker"), "closed") != 0) {
        buf_add_cstr(out, ", breaker ");
        ops_add_text(out, ops_json_text(w, "breaker"));
    }
    buf_add_cstr(out, "</td><td class=\"m\">");
    if (slots > 0) {
        ops_panel_bar(out, running / slots, running >= slots ? 'w' : 'a');
    }
    buf_add_cstr(out, "</td>");
    ops_panel_cell_number(out, running);
    ops_panel_cell_number(out, ops_json_number(w, "tokens"));
    buf_add_cstr(out, "<td class=\"r\">");
    double first_ms = ops_json_number(w, "first_token_ms");
    ops_add_seconds(out, first_ms > 0 ? first_ms / 1000 : NAN);
    buf_add_cstr(out, "</td>");
    ops_panel_cell_number(out, ops_json_number(w, "failures"));
    buf_add_cstr(out, "</tr>");
}

/* At most room of those that are ready, or are not; how many. */
static unsigned add_workers(const cJSON *items, bool ready, unsigned room, struct buf *out)
{
    const cJSON *item;
    unsigned n = 0;
    cJSON_ArrayForEach(item, items)
    {
        if (n < room && is_ready_worker(item) == ready) {
            add_worker(item, out);
            n++;
        }
    }
    return n;
}

void ops_panel_workers(const struct ops_view *v, struct buf *out)
{
    static const char *const columns[] = {"Worker",      "state",        "",          ">running",
                                          ">tokens out", ">first token", ">failures", NULL};
    double waiting;
    buf_add_cstr(out, "<p class=\"s\">");
    ops_add_number(out, ops_view_number(v, OPS_QUEUE, &waiting) ? waiting : NAN);
    buf_add_cstr(out, " wait, ");
    ops_add_number(out, ops_history_sum(v->history, OPS_CHAT_FULL, OPS_POINTS));
    buf_add_cstr(out, " refused and ");
    ops_add_number(out, ops_history_sum(v->history, OPS_CHAT_BROKEN, OPS_POINTS));
    buf_add_cstr(out, " streams broken in 15 min</p>");
    const cJSON *items = ops_json_list(ops_panel_answer(v, OPS_WORKERS, out), "items");
    unsigned all = (unsigned)cJSON_GetArraySize(items);
    if (all == 0) {
        ops_panel_empty(out, items ? "The gateway has no workers." : "");
        return;
    }
    ops_panel_head(out, columns);
    unsigned shown = add_workers(items, false, WORKER_ROWS, out);
    shown += add_workers(items, true, WORKER_ROWS - shown, out);
    ops_panel_end(out);
    if (all > shown) {
        buf_addf(out, "<p class=\"s\">and %u more</p>", all - shown);
    }
}

/* --- PostgreSQL and Redis ---------------------------------------------------------------------- */

static void add_store(const struct ops_view *v, const char *name, enum ops_count up, const char *well,
                      struct buf *out)
{
    double n;
    if (!ops_view_number(v, up, &n)) {
        return;
    }
    buf_addf(out, "<div><dt>%s</dt><dd class=\"%s\">", name, n > 0 ? "ok" : "bad");
    page_add_glyph(out, n > 0 ? '0' : '4');
    buf_addf(out, " %s</dd></div>", n > 0 ? well : "away");
}

static void add_work(const struct ops_view *v, const char *name, enum ops_histogram times, enum ops_count all,
                     enum ops_count good, struct buf *out)
{
    double rate = ops_history_rate(v->history, all, OPS_MINUTE);
    double failed =
        ops_history_sum(v->history, all, OPS_POINTS) - ops_history_sum(v->history, good, OPS_POINTS);
    buf_addf(out, "<div><dt>%s</dt><dd>", name);
    ops_add_number(out, rate);
    buf_add_cstr(out, "/s, p99 ");
    ops_add_seconds(out, ops_history_quantile(v->history, times, 0.99, OPS_MINUTE));
    buf_add_cstr(out, ", ");
    ops_add_number(out, failed);
    buf_add_cstr(out, " failed in 15 min</dd></div>");
}

void ops_panel_stores(const struct ops_view *v, struct buf *out)
{
    double queued;
    buf_add_cstr(out, "<dl>");
    add_store(v, "PostgreSQL", OPS_PG_UP, "answers", out);
    if (ops_view_number(v, OPS_PG_UP, &queued)) {
        add_work(v, "jobs", OPS_PG_TIME, OPS_PG_JOBS, OPS_PG_OK, out);
        buf_add_cstr(out, "<div><dt>jobs that wait</dt><dd>");
        ops_add_number(out, ops_view_number(v, OPS_PG_QUEUE, &queued) ? queued : NAN);
        buf_add_cstr(out, "</dd></div>");
    }
    bool is_one = !ops_view_number(v, OPS_REDIS_LEDGER, &queued); /* server for both roles */
    add_store(v, is_one ? "Redis" : "Redis, limits", OPS_REDIS_LIMITS, "answers", out);
    add_store(v, "Redis, ledger", OPS_REDIS_LEDGER, "answers", out);
    if (ops_view_number(v, OPS_REDIS_LIMITS, &queued)) {
        add_work(v, "commands", OPS_REDIS_TIME, OPS_REDIS_COMMANDS, OPS_REDIS_OK, out);
    }
    buf_add_cstr(out, "</dl>");
}

/* --- what the public is told ------------------------------------------------------------------- */

static void add_incidents(const struct ops_view *v, struct buf *out)
{
    const struct incident_book *book = &v->board->book;
    unsigned open = 0;
    buf_add_cstr(out, "<ul class=\"log\">");
    for (unsigned k = 0; k < book->count; k++) {
        const struct incident *i = book->items[k];
        if (!incident_is_open(i)) {
            continue;
        }
        open++;
        buf_add_cstr(out, "<li><a href=\"");
        ops_add_text(out, v->board->page.url);
        buf_addf(out, "/en/incidents/%s\" rel=\"noreferrer\">", i->code);
        ops_add_text(out, i->name.of[PROBLEM_LANG_EN]);
        buf_addf(out, "</a> %s, open for ", incident_status_word(i->status));
        ops_add_age(out, v->now_ms - i->started_ms);
        buf_add_cstr(out, ", last word ");
        ops_add_age(out, v->now_ms - i->updated_ms);
        buf_add_cstr(out, " ago</li>");
    }
    buf_add_cstr(out, "</ul>");
    if (open == 0) {
        ops_panel_empty(out, "No incident is open.");
    }
}

void ops_panel_public(const struct ops_view *v, struct buf *out)
{
    const struct board *b = v->board;
    buf_addf(out, "<p class=\"n w\">%s</p><ul class=\"comps\">",
             ladder_description(b->state, PROBLEM_LANG_EN));
    for (unsigned k = 0; k < b->component_count; k++) {
        const struct component *c = &b->components[k];
        char state = page_state_class(c->shown, c->is_stale);
        buf_addf(out, "<li class=\"%s\">", state == '0' ? "ok" : state == 'u' ? "" : "bad");
        page_add_glyph(out, state);
        buf_add_cstr(out, " ");
        ops_add_text(out, component_name(c, PROBLEM_LANG_EN));
        buf_add_cstr(out, "</li>");
    }
    buf_add_cstr(out, "</ul>");
    add_incidents(v, out);
    buf_add_cstr(out, "<p class=\"s\">Probes as of ");
    if (b->as_of_ms > 0) {
        ops_add_clock(out, b->as_of_ms);
    } else {
        buf_add_cstr(out, "never");
    }
    buf_add_cstr(out, "</p>");
}

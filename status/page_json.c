/* Statuspage v2. The order of keys is the order that Statuspage emits; consumers diff and cache by bytes. */
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "status/page.h"

enum { INCIDENTS_LISTED = 50 };

static void add_time(struct json_writer *w, const char *key, int64_t ms)
{
    char text[CLOCK_ISO_LEN + 1];
    if (ms == 0) {
        json_null_at(w, key);
        return;
    }
    clock_format_iso(ms, text);
    json_str_at(w, key, str_of(text, CLOCK_ISO_LEN));
}

static void add_text(struct json_writer *w, const char *key, const char *text)
{
    json_str_at(w, key, str_from(text));
}

static void add_page(struct json_writer *w, const struct board *b)
{
    json_open_at(w, "page", '{');
    add_text(w, "id", b->page.code);
    add_text(w, "name", b->page.name);
    add_text(w, "url", b->page.url);
    add_text(w, "time_zone", "Etc/UTC");
    add_time(w, "updated_at", b->updated_ms);
    json_close(w, '}');
}

static void add_status(struct json_writer *w, const struct board *b)
{
    json_open_at(w, "status", '{');
    add_text(w, "indicator", ladder_indicator(b->state));
    add_text(w, "description", ladder_description(b->state, PROBLEM_LANG_EN));
    json_close(w, '}');
}

/* --- components -------------------------------------------------------------------------------- */

struct component_row {
    const char *id;
    const char *name;
    const char *description; /* NULL: null */
    enum component_status status;
    int64_t created_ms;
    int64_t updated_ms;
    unsigned position;
    bool is_in_group;
    bool is_group;
};

static void add_component_members(struct json_writer *w, const struct board *b,
                                  const struct component_row *row)
{
    char start[CLOCK_ISO_LEN + 1];
    clock_format_iso(row->created_ms, start);
    add_text(w, "id", row->id);
    add_text(w, "name", row->name);
    add_text(w, "status", component_status_word(row->status));
    add_time(w, "created_at", row->created_ms);
    add_time(w, "updated_at", row->updated_ms);
    json_i64_at(w, "position", row->position);
    if (row->description) {
        add_text(w, "description", row->description);
    } else {
        json_null_at(w, "description");
    }
    json_bool_at(w, "showcase", !row->is_group);
    json_str_at(w, "start_date", str_of(start, 10));
    if (row->is_in_group) {
        add_text(w, "group_id", b->page.group);
    } else {
        json_null_at(w, "group_id");
    }
    add_text(w, "page_id", b->page.code);
    json_bool_at(w, "group", row->is_group);
    json_bool_at(w, "only_show_if_degraded", false);
}

/* Its place among its siblings, counted from 1. */
static unsigned position_of(const struct board *b, const struct component *c)
{
    unsigned position = 1;
    for (const struct component *other = b->components; other < c; other++) {
        position += (other->kind == COMPONENT_MODEL) == (c->kind == COMPONENT_MODEL);
    }
    return position;
}

static void add_component(struct json_writer *w, const struct board *b, const struct component *c)
{
    struct component_row row = {
        .id = c->code,
        .name = component_name(c, PROBLEM_LANG_EN),
        .description = component_description(c, PROBLEM_LANG_EN),
        .status = c->shown,
        .created_ms = c->created_ms,
        .updated_ms = c->updated_ms,
        .position = position_of(b, c),
        .is_in_group = c->kind == COMPONENT_MODEL,
    };
    json_open(w, '{');
    add_component_members(w, b, &row);
    json_close(w, '}');
}

static void add_model_group(struct json_writer *w, const struct board *b)
{
    struct component_row row = {
        .id = b->page.group,
        .name = "Models",
        .status = board_models_status(b),
        .created_ms = b->created_ms,
        .updated_ms = b->created_ms,
        .position = 1,
        .is_group = true,
    };
    for (unsigned i = 0; i < b->component_count; i++) {
        const struct component *c = &b->components[i];
        row.position += c->kind != COMPONENT_MODEL;
        if (c->kind == COMPONENT_MODEL && c->updated_ms > row.updated_ms) {
            row.updated_ms = c->updated_ms;
        }
    }
    json_open(w, '{');
    add_component_members(w, b, &row);
    json_open_at(w, "components", '[');
    for (unsigned i = 0; i < b->component_count; i++) {
        if (b->components[i].kind == COMPONENT_MODEL) {
            json_str(w, str_from(b->components[i].code));
        }
    }
    json_close(w, ']');
    json_close(w, '}');
}

static void add_components(struct json_writer *w, const struct board *b)
{
    bool has_models = false;
    json_open_at(w, "components", '[');
    for (unsigned i = 0; i < b->component_count; i++) {
        if (b->components[i].kind == COMPONENT_MODEL) {
            has_models = true;
        } else {
            add_component(w, b, &b->components[i]);
        }
    }
    if (has_models) {
        add_model_group(w, b);
    }
    for (unsigned i = 0; i < b->component_count; i++) {
        if (b->components[i].kind == COMPONENT_MODEL) {
            add_component(w, b, &b->components[i]);
        }
    }
    json_close(w, ']');
}

/* --- incidents --------------------------------------------------------------------------------- */

static void add_affected(struct json_writer *w, const struct board *b, const struct incident_update *u)
{
    if (u->change_count == 0) {
        json_null_at(w, "affected_components");
        return;
    }
    json_open_at(w, "affected_components", '[');
    for (unsigned k = 0; k < u->change_count; k++) {
        const struct incident_change *change = &u->changes[k];
        const struct component *c = board_find_component(b, str_from(change->code));
        char name[128];
        bool in_group = c && c->kind == COMPONENT_MODEL;
        snprintf(name, sizeof name, "%s%s", in_group ? "Models - " : "", change->name);
        json_open(w, '{');
        add_text(w, "code", change->code);
        add_text(w, "name", name);
        add_text(w, "old_status", component_status_word(change->before));
        add_text(w, "new_status", component_status_word(change->after));
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void add_update(struct json_writer *w, const struct board *b, const struct incident *i,
                       const struct incident_update *u)
{
    json_open(w, '{');
    add_text(w, "id", u->id);
    add_text(w, "status", incident_status_word(u->status));
    add_text(w, "body", u->body.of[PROBLEM_LANG_EN]);
    add_text(w, "incident_id", i->code);
    add_time(w, "created_at", u->at_ms);
    add_time(w, "updated_at", u->at_ms);
    add_time(w, "display_at", u->at_ms);
    add_affected(w, b, u);
    json_bool_at(w, "deliver_notifications", true);
    json_null_at(w, "custom_tweet");
    json_null_at(w, "tweet_id");
    json_close(w, '}');
}

static void add_incident_members(struct json_writer *w, const struct board *b, const struct incident *i)
{
    char link[256];
    snprintf(link, sizeof link, "%s/incidents/%s", b->page.url, i->code);
    add_text(w, "id", i->code);
    add_text(w, "name", i->name.of[PROBLEM_LANG_EN]);
    add_text(w, "status", incident_status_word(i->status));
    add_time(w, "created_at", i->started_ms);
    add_time(w, "updated_at", i->updated_ms);
    add_time(w, "monitoring_at", i->monitoring_ms);
    add_time(w, "resolved_at", i->resolved_ms);
    add_text(w, "impact", incident_impact_word(i->impact));
    add_text(w, "shortlink", link);
    add_time(w, "started_at", i->started_ms);
    add_text(w, "page_id", b->page.code);
    json_open_at(w, "incident_updates", '[');
    for (unsigned k = i->update_count; k > 0; k--) {
        add_update(w, b, i, &i->updates[k - 1]);
    }
    json_close(w, ']');
    json_open_at(w, "components", '[');
    for (unsigned k = 0; k < i->component_count; k++) {
        const struct component *c = board_find_component(b, str_from(i->components[k]));
        if (c) {
            add_component(w, b, c);
        }
    }
    json_close(w, ']');
    json_null_at(w, "reminder_intervals");
}

static void add_incidents(struct json_writer *w, const struct board *b, bool only_open)
{
    unsigned listed = 0;
    json_open_at(w, "incidents", '[');
    for (unsigned k = 0; k < b->book.count && listed < INCIDENTS_LISTED; k++) {
        if (only_open && !incident_is_open(b->book.items[k])) {
            continue;
        }
        json_open(w, '{');
        add_incident_members(w, b, b->book.items[k]);
        json_close(w, '}');
        listed++;
    }
    json_close(w, ']');
}

static void add_no_maintenances(struct json_writer *w)
{
    json_open_at(w, "scheduled_maintenances", '[');
    json_close(w, ']');
}

/* --- documents --------------------------------------------------------------------------------- */

static struct json_writer begin(const struct board *b, struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    add_page(&w, b);
    return w;
}

void page_json_summary(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_components(&w, b);
    add_incidents(&w, b, true);
    add_no_maintenances(&w);
    add_status(&w, b);
    json_close(&w, '}');
}

void page_json_status(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_status(&w, b);
    json_close(&w, '}');
}

void page_json_components(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_components(&w, b);
    json_close(&w, '}');
}

void page_json_incidents(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_incidents(&w, b, false);
    json_close(&w, '}');
}

void page_json_unresolved(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_incidents(&w, b, true);
    json_close(&w, '}');
}

void page_json_maintenances(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    add_no_maintenances(&w);
    json_close(&w, '}');
}

void page_json_incident(const struct board *b, const struct incident *i, struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    add_incident_members(&w, b, i);
    json_close(&w, '}');
}

static void add_uptime_day(struct json_writer *w, const struct uptime_day *d)
{
    char text[CLOCK_ISO_LEN + 1];
    clock_format_iso((int64_t)d->day * UPTIME_DAY_MS, text);
    json_open(w, '{');
    json_str_at(w, "date", str_of(text, 10));
    json_i64_at(w, "watched_s", (int64_t)d->watched);
    json_i64_at(w, "degraded_s", (int64_t)d->degraded);
    json_i64_at(w, "partial_outage_s", (int64_t)d->partial);
    json_i64_at(w, "major_outage_s", (int64_t)d->major);
    json_close(w, '}');
}

void page_json_uptime(const struct board *b, struct buf *out)
{
    struct json_writer w = begin(b, out);
    json_open_at(&w, "components", '[');
    for (unsigned i = 0; i < b->component_count; i++) {
        const struct component *c = &b->components[i];
        int32_t percent = uptime_centipercent(&c->uptime, uptime_day_of(b->counted_ms));
        json_open(&w, '{');
        add_text(&w, "id", c->code);
        add_text(&w, "name", component_name(c, PROBLEM_LANG_EN));
        if (percent < 0) {
            json_null_at(&w, "uptime_percent");
        } else {
            json_f64_at(&w, "uptime_percent", percent / 100.0);
        }
        json_open_at(&w, "days", '[');
        for (unsigned d = 0; d < c->uptime.count; d++) {
            add_uptime_day(&w, &c->uptime.days[d]);
        }
        json_close(&w, ']');
        json_close(&w, '}');
    }
    json_close(&w, ']');
    json_close(&w, '}');
}

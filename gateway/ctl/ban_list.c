#include "gateway/ctl/ban_list.h"

#include <stdio.h>
#include <stdlib.h>

enum { WRONG_TOLD = 20 };

struct reading {
    struct ban_list *list;
    const char *path;
    struct str text;
    const char *counted; /* newlines before it are in line */
    unsigned line;
};

static bool complain(struct reading *r, unsigned line, const char *what)
{
    if (r->list->wrong++ < WRONG_TOLD) {
        fprintf(stderr, "tidectl: %s:%u: %s\n", r->path, line, what);
    }
    return false;
}

/* Places are asked for in rising order. */
static unsigned line_of(struct reading *r, const char *at)
{
    for (; r->counted < at; r->counted++) {
        r->line += *r->counted == '\n';
    }
    return r->line;
}

static void add(struct ban_list *l, const struct ban_list_item *item)
{
    if (l->n == l->room) {
        l->room = l->room > 0 ? 2 * l->room : 1024;
        l->items = realloc(l->items, l->room * sizeof *l->items);
        BUG_ON(l->items == NULL);
    }
    l->items[l->n++] = *item;
}

/* --- plain ------------------------------------------------------------------------------------------- */

static void read_plain(struct reading *r)
{
    struct str rest = r->text;
    struct str line;
    for (unsigned number = 1; str_cut(&rest, '\n', &line); number++) {
        size_t n = 0;
        while (n < line.n && line.p[n] != '#' && line.p[n] != ';') {
            n++;
        }
        struct str target = str_of(line.p, n);
        struct str comment = n < line.n ? str_skip(line, n + 1) : STR("");
        target.n -= target.n > 0 && target.p[target.n - 1] == '\r';
        comment.n -= comment.n > 0 && comment.p[comment.n - 1] == '\r';
        target = str_trim(target);
        if (target.n == 0) {
            continue;
        }
        if (memchr(target.p, ' ', target.n) != NULL || memchr(target.p, '\t', target.n) != NULL) {
            complain(r, number, "more than one word; comments begin with #");
            continue;
        }
        add(r->list, &(struct ban_list_item){
                         .target = target, .reason = str_trim(comment), .ttl_s = -1, .line = number});
    }
}

/* --- CrowdSec ---------------------------------------------------------------------------------------- */

static bool take_unit(struct str *s, double n, double *seconds)
{
    static const struct {
        struct str name;
        double seconds;
    } units[] = {{STR_INIT("ms"), 1e-3}, {STR_INIT("us"), 1e-6}, {STR_INIT("ns"), 1e-9},
                 {STR_INIT("h"), 3600},  {STR_INIT("m"), 60},    {STR_INIT("s"), 1}};
    for (unsigned i = 0; i < sizeof units / sizeof *units; i++) {
        if (str_starts(*s, units[i].name)) {
            *s = str_skip(*s, units[i].name.n);
            *seconds += n * units[i].seconds;
            return true;
        }
    }
    return false;
}

bool ban_list_duration(struct str text, int64_t *seconds)
{
    bool is_negative = text.n > 0 && text.p[0] == '-';
    double sum = 0;
    text = str_skip(text, is_negative);
    if (text.n == 0) {
        return false;
    }
    while (text.n > 0) {
        char digits[32];
        size_t n = 0;
        while (n < text.n && n < sizeof digits - 1 && strchr("0123456789.", text.p[n]) != NULL) {
            digits[n] = text.p[n];
            n++;
        }
        digits[n] = '\0';
        text = str_skip(text, n);
        if (n == 0 || !take_unit(&text, strtod(digits, NULL), &sum) || sum > 1e9) {
            return false;
        }
    }
    *seconds = (int64_t)(is_negative ? -sum : sum);
    return true;
}

struct decision {
    struct str value, scope, type, duration, reason;
};

static bool get_texts(struct reading *r, struct str object, struct decision *d)
{
    struct json_slice m;
    *d = (struct decision){STR(""), STR("ip"), STR("ban"), STR(""), STR("")};
    while (json_next(&object, &m)) {
        struct str *to = str_is(m.key, "value")                                 ? &d->value
                         : str_is(m.key, "scope")                               ? &d->scope
                         : str_is(m.key, "type")                                ? &d->type
                         : str_is(m.key, "duration")                            ? &d->duration
                         : str_is(m.key, "reason") || str_is(m.key, "scenario") ? &d->reason
                                                                                : NULL;
        if (to != NULL && !json_get_str(&r->list->arena, &m, to)) {
            return false;
        }
    }
    return true;
}

static bool take_decision(struct reading *r, const struct json_slice *v)
{
    unsigned line = line_of(r, v->raw.p);
    struct decision d;
    int64_t ttl_s = -1;
    if (v->type != JSON_OBJECT || !get_texts(r, v->raw, &d)) {
        return complain(r, line,
                        "is no decision: {\"value\", \"scope\", \"type\", \"duration\", \"reason\"}");
    }
    if (d.duration.n > 0 && !ban_list_duration(d.duration, &ttl_s)) {
        return complain(r, line, "duration: is none: 4h, 1h30m");
    }
    bool is_as = str_eq_nocase(d.scope, STR("as"));
    bool is_address = str_eq_nocase(d.scope, STR("ip")) || str_eq_nocase(d.scope, STR("range"));
    if (!str_eq_nocase(d.type, STR("ban")) || (d.duration.n > 0 && ttl_s <= 0) || (!is_as && !is_address)) {
        r->list->skipped++;
        return true;
    }
    if (d.value.n == 0) {
        return complain(r, line, "value: is missing");
    }
    struct str target = is_as && d.value.p[0] >= '0' && d.value.p[0] <= '9'
                            ? arena_printf(&r->list->arena, "AS" STR_FMT, STR_ARG(d.value))
                            : d.value;
    add(r->list, &(struct ban_list_item){target, d.reason, ttl_s, line});
    return true;
}

static void take_decisions(struct reading *r, struct str array);

/* A decision, or an alert that holds some. */
static void take_entry(struct reading *r, const struct json_slice *v)
{
    struct str rest = v->raw;
    struct json_slice m;
    while (v->type == JSON_OBJECT && json_next(&rest, &m)) {
        if (str_is(m.key, "decisions")) {
            if (m.type == JSON_ARRAY) {
                take_decisions(r, m.raw);
            }
            return;
        }
    }
    (void)take_decision(r, v);
}

static void take_decisions(struct reading *r, struct str array)
{
    struct json_slice v;
    while (json_next(&array, &v)) {
        take_entry(r, &v);
    }
}

static void read_json(struct reading *r)
{
    struct json_limits limits = {
        .max_depth = 32, .max_members = 16u << 20, .max_items = 4u << 20, .max_string = 1u << 20};
    struct json_doc doc;
    struct err err = {0};
    if (json_scan(&r->list->arena, r->text, &limits, &doc, &err) != 0) {
        complain(r, 1, err.msg);
        return;
    }
    const struct json_slice *fresh = doc.type == JSON_OBJECT ? json_member(&doc, "new") : NULL;
    if (doc.type == JSON_ARRAY) {
        take_decisions(r, doc.raw);
    } else if (fresh != NULL && fresh->type == JSON_ARRAY) {
        take_decisions(r, fresh->raw);
    } else if (fresh == NULL || fresh->type != JSON_NULL) {
        complain(r, 1, "is no list of decisions: [...] or {\"new\": [...]}");
    }
}

bool ban_list_read(struct ban_list *l, const char *path, struct str text)
{
    struct reading r = {.list = l, .path = path, .text = text, .counted = text.p, .line = 1};
    size_t blank = 0;
    *l = (struct ban_list){0};
    arena_init(&l->arena);
    while (blank < text.n && strchr(" \t\r\n", text.p[blank]) != NULL) {
        blank++;
    }
    if (blank < text.n && (text.p[blank] == '[' || text.p[blank] == '{')) {
        read_json(&r);
    } else {
        read_plain(&r);
    }
    if (l->n > BAN_LIST_MOST) {
        return complain(&r, 1, "has more than a million entries");
    }
    if (l->wrong > WRONG_TOLD) {
        fprintf(stderr, "tidectl: %s: and %u more\n", path, l->wrong - WRONG_TOLD);
    }
    return l->wrong == 0;
}

void ban_list_clear(struct ban_list *l)
{
    free(l->items);
    arena_clear(&l->arena);
}

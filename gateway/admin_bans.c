/* Verbs of the admin API about bans and allowances: what there is, adding (one or a batch of an import), removing,
 * and asking what would become of somebody. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/pg.h"
#include "gateway/admin_inner.h"
#include "gateway/bans.h"
#include "gateway/config.h"
#include "ratelimit/bans_store.h"

enum {
    LIST_DEFAULT = 100,
    LIST_MAX = 10000,
    ITEMS_MAX = 2000, /* of one change */
    REASON_MAX = 200,
    LIST_NAME_MAX = 64,
    TTL_MAX_S = 366 * 86400,
    ERRORS_TOLD = 10,
};

#define TTL_WANTED "ttl_s: 0 (no end) to a year"

/* --- what there is ----------------------------------------------------------------------------------- */

static void on_listed(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    struct bans_query *q = arg;
    if (rc != 0) {
        admin_refuse(c, rc, err);
    } else {
        admin_reply(c, &q->out);
    }
}

static void drop_query(void *arg)
{
    struct bans_query *q = arg;
    free(q->list);
    buf_clear(&q->out);
    free(q);
}

/* A whole number of the query; false when it has answered. */
static bool query_number(struct admin_call *c, const char *name, uint64_t *out)
{
    struct str text;
    if (http_query_get(c->ex, name, &text) && !str_u64(text, out)) {
        http_reply_error(c->ex, "validation_failed", "%s: wants a whole number", name);
        return false;
    }
    return true;
}

/* "ban" or "allow", or as it was; false when it has answered. */
static bool read_effect(struct admin_call *c, struct str text, const char **effect)
{
    if (text.n == 0) {
        return true;
    }
    *effect = str_is(text, "allow") ? "allow" : str_is(text, "ban") ? "ban" : NULL;
    if (*effect == NULL) {
        http_reply_error(c->ex, "validation_failed", "effect: is not ban or allow");
    }
    return *effect != NULL;
}

void admin_bans(struct admin_call *c)
{
    uint64_t limit = LIST_DEFAULT;
    uint64_t after = 0;
    struct str effect_text = STR("");
    struct str list = STR("");
    const char *effect = "";
    (void)http_query_get(c->ex, "effect", &effect_text);
    (void)http_query_get(c->ex, "list", &list);
    if (!query_number(c, "limit", &limit) || !query_number(c, "after", &after) ||
        !read_effect(c, effect_text, &effect)) {
        return;
    }
    struct bans_query *q = calloc(1, sizeof *q);
    BUG_ON(q == NULL);
    q->effect = effect;
    q->list = strndup(list.p, list.n);
    q->after = after < INT64_MAX ? (int64_t)after : INT64_MAX;
    q->limit = limit < LIST_MAX ? (uint32_t)limit : LIST_MAX;
    buf_init(&q->out, ADMIN_ANSWER_MAX);
    admin_submit(c,
                 &(struct admin_work){.run = bans_list_job, .done = on_listed, .drop = drop_query, .arg = q});
}

/* --- what would become of somebody ------------------------------------------------------------------- */

static void write_verdict(struct admin_call *c, const struct ban_target *t, const struct ban *ban)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    char prefix[ADDR_TEXT + 4];
    buf_init(&text, 1024);
    json_open(&w, '{');
    json_str_at(&w, "target", str_from(t->text));
    json_bool_at(&w, "banned", ban != NULL);
    if (ban != NULL) {
        if (ban->kind == BAN_ADDRESS) {
            addr_prefix_format(&ban->prefix, prefix);
        }
        json_str_at(&w, "by", str_from(ban->kind == BAN_ADDRESS ? prefix : ban->text));
        json_i64_at(&w, "id", ban->id);
    }
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

void admin_bans_test(struct admin_call *c)
{
    struct ban_target t;
    struct err err;
    struct str text = STR("");
    (void)http_query_get(c->ex, "target", &text);
    if (ban_target_parse(text, &t, &err) != 0) {
        http_reply_error(c->ex, "validation_failed", "target: %s", err.msg);
        return;
    }
    struct ban_subject who = {.ja4 = STR(""), .device = STR(""), .phone = STR("")};
    struct str value = str_from(t.text);
    switch (t.kind) {
    case BAN_ADDRESS:
        who.address = &t.prefix.addr;
        break;
    case BAN_ASN:
        who.asn = (uint32_t)strtoul(t.text + 2, NULL, 10);
        break;
    case BAN_JA4:
        who.ja4 = str_skip(value, 4);
        break;
    case BAN_DEVICE:
        who.device = str_skip(value, 7);
        break;
    default:
        who.phone = value;
    }
    write_verdict(c, &t, bans_find(bans_now(c->control->gateway), &who, clock_mono_ms()));
}

/* --- a change ---------------------------------------------------------------------------------------- */

struct ban_edit {
    struct admin_call *call;
    const char *effect;
    struct str reason, list, confirm;
    int64_t ttl_s;    /* of items that name none */
    struct buf items; /* JSON for the database */
    unsigned count;
    struct buf wrong; /* what is wrong with items, line by line */
    unsigned wrong_count;
};

static void edit_clear(struct ban_edit *e)
{
    buf_clear(&e->items);
    buf_clear(&e->wrong);
}

static void tell_wrong(struct ban_edit *e, int64_t line, const char *why)
{
    if (e->wrong_count++ < ERRORS_TOLD) {
        const char *before = e->wrong.n > 0 ? "\n" : "";
        if (line > 0) {
            buf_addf(&e->wrong, "%sline %lld: %s", before, (long long)line, why);
        } else {
            buf_addf(&e->wrong, "%s%s", before, why);
        }
    }
}

static bool overlap(const struct addr_prefix *a, const struct addr_prefix *b)
{
    return addr_prefix_has(a, &b->addr) ? a->bits <= b->bits || addr_prefix_has(b, &a->addr)
                                        : addr_prefix_has(b, &a->addr);
}

/* A proxy whose word is believed, or one that may send PROXY headers; NULL: none is hit. */
static const struct addr_prefix *proxy_hit(const struct gateway_settings *set, const struct addr_prefix *p)
{
    const struct http_listener_conf *listeners = set->listeners.items;
    for (unsigned i = 0; i < set->trusted_proxies.n; i++) {
        if (overlap(&set->trusted_proxies.items[i], p)) {
            return &set->trusted_proxies.items[i];
        }
    }
    for (unsigned l = 0; l < set->listeners.n; l++) {
        for (unsigned i = 0; i < listeners[l].proxies.n; i++) {
            if (overlap(&listeners[l].proxies.items[i], p)) {
                return &listeners[l].proxies.items[i];
            }
        }
    }
    return NULL;
}

/* confirm: a name, or several with commas between. */
static bool is_confirmed(struct str confirm, const char *name)
{
    struct str item;
    while (str_cut(&confirm, ',', &item)) {
        if (str_is(str_trim(item), name)) {
            return true;
        }
    }
    return false;
}

/* Whether a ban of it may be put in force; else why not. */
static int check_ban(const struct ban_edit *e, const struct ban_target *t, struct err *err)
{
    const struct addr_prefix *proxy =
        t->kind == BAN_ADDRESS ? proxy_hit(e->call->control->gateway->conf->set, &t->prefix) : NULL;
    if (proxy != NULL) {
        char text[ADDR_TEXT + 4];
        addr_prefix_format(proxy, text);
        return err_set(err, ERR_INVALID, "%s would ban the trusted proxy %s", t->text, text);
    }
    if (ban_target_is_wide(t) && !is_confirmed(e->confirm, t->text)) {
        return err_set(err, ERR_INVALID, "%s is a large part of %s: confirm it by its name", t->text,
                       t->kind == BAN_PHONE ? "the world's numbers" : "the Internet");
    }
    return 0;
}

struct item {
    struct str target, reason;
    int64_t ttl_s, line;
};

/* An object, or a bare text. False: something of it is wrong, *why says what. */
static bool read_item(struct ban_edit *e, const struct json_slice *v, struct item *out, const char **why)
{
    struct arena *a = &e->call->ex->arena;
    struct str rest = v->raw;
    struct json_slice m;
    *out = (struct item){.target = STR(""), .reason = STR(""), .ttl_s = e->ttl_s};
    *why = "wants {\"target\", \"ttl_s\", \"reason\", \"line\"}";
    if (v->type == JSON_STRING) {
        return json_get_str(a, v, &out->target);
    }
    while (v->type == JSON_OBJECT && json_next(&rest, &m)) {
        bool good = str_is(m.key, "target")   ? json_get_str(a, &m, &out->target)
                    : str_is(m.key, "reason") ? json_get_str(a, &m, &out->reason)
                    : str_is(m.key, "ttl_s")  ? json_get_i64(&m, &out->ttl_s)
                                              : str_is(m.key, "line") && json_get_i64(&m, &out->line);
        if (!good) {
            return false;
        }
    }
    if (out->ttl_s < 0 || out->ttl_s > TTL_MAX_S) {
        *why = TTL_WANTED;
        return false;
    }
    if (out->reason.n > REASON_MAX) {
        *why = "reason: at most 200 bytes";
        return false;
    }
    return v->type == JSON_OBJECT;
}

static void take_item(struct ban_edit *e, const struct json_slice *v, bool is_removal)
{
    struct item item;
    struct ban_target target;
    struct err err;
    const char *why;
    if (!read_item(e, v, &item, &why)) {
        tell_wrong(e, item.line, why);
        return;
    }
    bool is_ban = !is_removal && strcmp(e->effect, "ban") == 0;
    if (ban_target_parse(item.target, &target, &err) != 0 || (is_ban && check_ban(e, &target, &err) != 0)) {
        tell_wrong(e, item.line, err.msg);
        return;
    }
    struct json_writer w = {.out = &e->items, .need_comma = e->count > 0};
    e->count++;
    if (is_removal) {
        json_str(&w, str_from(target.text));
        return;
    }
    json_open(&w, '{');
    json_str_at(&w, "target", str_from(target.text));
    json_i64_at(&w, "ttl_ms", item.ttl_s * 1000);
    json_str_at(&w, "reason", item.reason);
    json_close(&w, '}');
}

/* The array of that name into e->items; false when it has answered. */
static bool take_items(struct ban_edit *e, const char *name, bool is_removal)
{
    struct admin_call *c = e->call;
    const struct json_slice *list = json_member(&c->body, name);
    if (list == NULL || list->type != JSON_ARRAY) {
        http_reply_error(c->ex, "validation_failed", "%s: wants an array", name);
        return false;
    }
    struct str rest = list->raw;
    struct json_slice v;
    unsigned n = 0;
    buf_add_char(&e->items, '[');
    while (n < ITEMS_MAX && json_next(&rest, &v)) {
        take_item(e, &v, is_removal);
        n++;
    }
    buf_add_char(&e->items, ']');
    if (n == 0 || json_next(&rest, &v)) {
        http_reply_error(c->ex, "validation_failed", "%s: 1 to %d of them in one request", name, ITEMS_MAX);
        return false;
    }
    if (e->wrong_count > ERRORS_TOLD) {
        buf_addf(&e->wrong, "\nand %u more", e->wrong_count - ERRORS_TOLD);
    }
    if (e->wrong_count > 0) {
        http_reply_problem(c->ex, &(struct problem){.code = "validation_failed",
                                                    .detail = arena_dup(&c->ex->arena, buf_str(&e->wrong))});
    }
    return e->wrong_count == 0;
}

/* What adding and removing have in common; false when it has answered. */
static bool edit_begin(struct ban_edit *e, struct admin_call *c)
{
    struct str effect = STR("");
    *e = (struct ban_edit){
        .call = c, .effect = "ban", .reason = STR(""), .list = STR(""), .confirm = STR(""), .ttl_s = -1};
    buf_init(&e->items, ADMIN_BANS_BODY_MAX);
    buf_init(&e->wrong, 4096);
    if (!admin_get_text(c, "effect", &effect) || !read_effect(c, effect, &e->effect) ||
        !admin_get_text(c, "reason", &e->reason) || !admin_get_text(c, "list", &e->list) ||
        !admin_get_text(c, "confirm", &e->confirm) || !admin_get_number(c, "ttl_s", &e->ttl_s)) {
        return false;
    }
    if (e->reason.n == 0 || e->reason.n > REASON_MAX) {
        http_reply_error(c->ex, "validation_failed",
                         "reason: say why, in at most %d bytes; it goes into the audit log", REASON_MAX);
        return false;
    }
    if (e->list.n > LIST_NAME_MAX) {
        http_reply_error(c->ex, "validation_failed", "list: at most %d bytes", LIST_NAME_MAX);
        return false;
    }
    if (json_member(&c->body, "ttl_s") != NULL && (e->ttl_s < 0 || e->ttl_s > TTL_MAX_S)) {
        http_reply_error(c->ex, "validation_failed", TTL_WANTED);
        return false;
    }
    if (e->ttl_s < 0) {
        bool is_ban = strcmp(e->effect, "ban") == 0;
        e->ttl_s = is_ban ? (int64_t)(c->control->gateway->conf->set->bans.ttl_ms / 1000) : 0;
    }
    return true;
}

static void reply_changed(struct admin_call *c, const struct bans_change *x, unsigned checked, bool dry_run)
{
    struct buf text;
    struct json_writer w = {.out = &text};
    buf_init(&text, 512);
    json_open(&w, '{');
    json_i64_at(&w, "added", x->added);
    json_i64_at(&w, "renewed", x->renewed);
    json_i64_at(&w, "removed", x->removed);
    if (dry_run) {
        json_i64_at(&w, "checked", checked);
    }
    json_bool_at(&w, "dry_run", dry_run);
    json_close(&w, '}');
    admin_reply(c, &text);
    buf_clear(&text);
}

static void on_changed(struct admin_call *c, void *arg, int rc, const struct err *err)
{
    if (rc != 0) {
        admin_refuse(c, rc, err);
        return;
    }
    control_poll_soon(c->control);
    reply_changed(c, arg, 0, false);
}

static void drop_change(void *arg)
{
    struct bans_change *x = arg;
    free(x->items);
    free(x->list);
    free(x->reason);
    free(x->actor);
    free(x->request_id);
    free(x);
}

static void edit_submit(struct ban_edit *e, bool is_removal)
{
    struct admin_call *c = e->call;
    if (c->dry_run) {
        reply_changed(c, &(struct bans_change){0}, e->count, true);
        return;
    }
    struct bans_change *x = calloc(1, sizeof *x);
    BUG_ON(x == NULL);
    x->is_allow = strcmp(e->effect, "allow") == 0;
    x->is_removal = is_removal;
    x->items = e->items.n > 0 ? strndup(e->items.p, e->items.n) : strdup("[]");
    x->list = strndup(e->list.p, e->list.n);
    x->reason = strndup(e->reason.p, e->reason.n);
    x->actor = strdup(c->actor);
    x->request_id = strdup(c->ex->id);
    x->most = c->control->gateway->conf->set->bans.most;
    admin_submit(
        c, &(struct admin_work){.run = bans_change_job, .done = on_changed, .drop = drop_change, .arg = x});
}

void admin_bans_add(struct admin_call *c)
{
    static const char *const members[] = {"effect", "items", "list", "reason", "confirm", "ttl_s"};
    struct ban_edit e;
    if (!admin_knows_members(c, members, 6)) {
        return;
    }
    if (edit_begin(&e, c) && take_items(&e, "items", false)) {
        edit_submit(&e, false);
    }
    edit_clear(&e);
}

void admin_bans_remove(struct admin_call *c)
{
    static const char *const members[] = {"effect", "targets", "list", "reason"};
    struct ban_edit e;
    if (!admin_knows_members(c, members, 4)) {
        return;
    }
    bool good = edit_begin(&e, c);
    bool has_targets = json_member(&c->body, "targets") != NULL;
    if (good && has_targets == (e.list.n > 0)) {
        http_reply_error(c->ex, "validation_failed", "either targets or list is wanted");
        good = false;
    }
    if (good && (!has_targets || take_items(&e, "targets", true))) {
        edit_submit(&e, true);
    }
    edit_clear(&e);
}

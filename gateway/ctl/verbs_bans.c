/* Verbs about bans and allowances. */
#include <stdio.h>
#include <unistd.h>

#include "gateway/ctl/ban_list.h"
#include "gateway/ctl/ctl.h"

enum {
    TARGET_MAX = 1024,
    BODY_MAX = 1 << 20,
    PART = 1000,
    PAGE = 10000,
    FILE_MAX = 256 << 20,
    CHUNK = 1 << 16
};

static const struct ctl_view list_view = {"items",
                                          "ban",
                                          "target",
                                          {{"EFFECT", "effect"},
                                           {"TARGET", "target"},
                                           {"UNTIL", "until"},
                                           {"HITS", "hits"},
                                           {"LIST", "list"},
                                           {"REASON", "reason"},
                                           {"ACTOR", "actor"}}};

static void list_target(const struct ctl *c, struct buf *out, int64_t after, int64_t limit)
{
    buf_init(out, TARGET_MAX);
    buf_add_cstr(out, "/admin/v1/bans");
    ctl_add_query(out, "effect", c->allow ? "allow" : "ban");
    ctl_add_query(out, "list", c->list);
    ctl_add_query_number(out, "after", after);
    ctl_add_query_number(out, "limit", limit);
}

static int ban_list(const struct ctl *c)
{
    struct buf target;
    list_target(c, &target, 0, c->limit);
    int code = ctl_get(c, target.p, &list_view);
    buf_clear(&target);
    return code;
}

static int ban_test(const struct ctl *c)
{
    static const struct ctl_view view = {
        NULL, "ban", "target", {{"TARGET", "target"}, {"BANNED", "banned"}, {"BY", "by"}}};
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/bans/test");
    ctl_add_query(&target, "target", c->words[0]);
    int code = ctl_get(c, target.p, &view);
    buf_clear(&target);
    return code;
}

/* --- changes ----------------------------------------------------------------------------------------- */

static void open_body(const struct ctl *c, struct buf *body, struct json_writer *w)
{
    buf_init(body, BODY_MAX);
    *w = (struct json_writer){.out = body};
    json_open(w, '{');
    json_str_at(w, "effect", str_from(c->allow ? "allow" : "ban"));
    json_str_at(w, "reason", str_from(c->reason));
    if (c->list != NULL) {
        json_str_at(w, "list", str_from(c->list));
    }
    if (c->confirm != NULL) {
        json_str_at(w, "confirm", str_from(c->confirm));
    }
    if (c->ttl_ms > 0) {
        json_i64_at(w, "ttl_s", (c->ttl_ms + 999) / 1000);
    }
}

static void add_words(const struct ctl *c, struct json_writer *w, const char *name)
{
    json_open_at(w, name, '[');
    for (int i = 0; i < c->word_count; i++) {
        json_str(w, str_from(c->words[i]));
    }
    json_close(w, ']');
}

static const char *thing(const struct ctl *c)
{
    return c->allow ? "allowance" : "ban";
}

static int ban_add(const struct ctl *c)
{
    struct buf body;
    struct json_writer w;
    char what[64];
    open_body(c, &body, &w);
    add_words(c, &w, "items");
    json_close(&w, '}');
    snprintf(what, sizeof what, "%s/%.40s%s", thing(c), c->words[0], c->word_count > 1 ? "..." : "");
    int code = ctl_change(c, "POST", "/admin/v1/bans", &body, what, c->allow ? "allowed" : "banned");
    buf_clear(&body);
    return code;
}

static int64_t number_of(const struct buf *answer, const char *key)
{
    struct arena arena;
    struct json_doc doc;
    int64_t n = 0;
    arena_init(&arena);
    if (json_scan(&arena, buf_str(answer), &json_limits_default, &doc, NULL) == 0) {
        const struct json_slice *v = json_member(&doc, key);
        (void)(v != NULL && json_get_i64(v, &n));
    }
    arena_clear(&arena);
    return n;
}

/* A target without a ban was misspelt, or has an allowance; a list may be empty. */
static int tell_removed(const struct ctl *c, const struct buf *answer, const char *what)
{
    int64_t n = number_of(answer, "removed");
    char happened[48] = "removed";
    if (!c->dry_run && c->word_count > 0 && n == 0) {
        fprintf(stderr, "tidectl: there is no such %s: see tidectl ban list%s\n", thing(c),
                c->allow ? " --allow" : "");
        return CTL_NOT_FOUND;
    }
    if (!c->dry_run && (c->word_count != 1 || n != 1)) {
        snprintf(happened, sizeof happened, "removed: %lld", (long long)n);
    }
    ctl_say_done(c, buf_str(answer), what, happened);
    return CTL_OK;
}

static int ban_remove(const struct ctl *c)
{
    struct ctl_answer answer;
    struct buf body;
    struct json_writer w;
    char what[80];
    if ((c->word_count > 0) == (c->list != NULL)) {
        return ctl_usage(c, "either TARGET... or --list NAME is wanted");
    }
    open_body(c, &body, &w);
    if (c->word_count > 0) {
        add_words(c, &w, "targets");
    }
    json_close(&w, '}');
    snprintf(what, sizeof what, "%s/%.60s%s", thing(c), c->word_count > 0 ? c->words[0] : c->list,
             c->word_count > 1 ? "..." : "");
    int code = ctl_request(c, "POST", "/admin/v1/bans/remove", &body, &answer);
    code = code == CTL_OK ? tell_removed(c, &answer.body, what) : code;
    buf_clear(&answer.body);
    buf_clear(&body);
    return code;
}

/* --- import ------------------------------------------------------------------------------------------ */

struct import {
    const struct ctl *c;
    struct ban_list list;
    int64_t added, renewed;
};

static void add_items(struct json_writer *w, const struct ban_list *l, unsigned from, unsigned to)
{
    json_open_at(w, "items", '[');
    for (unsigned i = from; i < to; i++) {
        const struct ban_list_item *item = &l->items[i];
        struct str reason = item->reason;
        reason.n = reason.n < 200 ? reason.n : str_utf8_valid_len(str_of(reason.p, 200));
        json_open(w, '{');
        json_str_at(w, "target", item->target);
        if (item->ttl_s >= 0) {
            json_i64_at(w, "ttl_s", item->ttl_s);
        }
        json_str_at(w, "reason", reason);
        json_i64_at(w, "line", item->line);
        json_close(w, '}');
    }
    json_close(w, ']');
}

static void show_progress(const char *doing, unsigned done, unsigned all)
{
    if (isatty(STDERR_FILENO) && all > PART) {
        fprintf(stderr, "\r%s %u of %u%s", doing, done, all, done == all ? "\n" : "");
    }
}

/* All of the list, part by part. The first pass only tries: a bad line is told before anything has changed. */
static int send_all(struct import *m, bool is_trial)
{
    struct ctl c = *m->c;
    int code = CTL_OK;
    c.dry_run = is_trial;
    for (unsigned from = 0; from < m->list.n && code == CTL_OK; from += PART) {
        unsigned to = m->list.n - from > PART ? from + PART : m->list.n;
        struct ctl_answer answer;
        struct buf body;
        struct json_writer w;
        open_body(m->c, &body, &w);
        add_items(&w, &m->list, from, to);
        json_close(&w, '}');
        code = ctl_request(&c, "POST", "/admin/v1/bans", &body, &answer);
        m->added += number_of(&answer.body, "added");
        m->renewed += number_of(&answer.body, "renewed");
        buf_clear(&answer.body);
        buf_clear(&body);
        if (code == CTL_OK) {
            show_progress(is_trial ? "checked" : "imported", to, m->list.n);
        }
    }
    return code;
}

static void tell_import(const struct import *m)
{
    struct buf json;
    struct json_writer w = {.out = &json};
    char happened[128];
    char what[80];
    buf_init(&json, TARGET_MAX);
    json_open(&w, '{');
    json_i64_at(&w, "read", m->list.n);
    json_i64_at(&w, "skipped", m->list.skipped);
    json_i64_at(&w, "added", m->added);
    json_i64_at(&w, "renewed", m->renewed);
    json_bool_at(&w, "dry_run", m->c->dry_run);
    json_close(&w, '}');
    if (m->c->dry_run) {
        snprintf(happened, sizeof happened, "would be imported: %u entries, %u skipped", m->list.n,
                 m->list.skipped);
    } else {
        snprintf(happened, sizeof happened, "imported: %lld added, %lld renewed, %u skipped",
                 (long long)m->added, (long long)m->renewed, m->list.skipped);
    }
    snprintf(what, sizeof what, "%s/%.60s", thing(m->c), m->c->words[0]);
    ctl_say_done(m->c, buf_str(&json), what, happened);
    buf_clear(&json);
}

static bool read_file(const char *path, struct buf *out)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    char *room = f != NULL ? buf_reserve(out, CHUNK) : NULL;
    for (size_t n; room != NULL && (n = fread(room, 1, CHUNK, f)) > 0;) {
        buf_commit(out, n);
        room = buf_reserve(out, CHUNK);
    }
    bool ok = room != NULL && ferror(f) == 0;
    if (!ok) {
        fprintf(stderr, "tidectl: %s: cannot be read, or is longer than %d bytes\n", path, FILE_MAX);
    }
    if (f != NULL && f != stdin) {
        fclose(f);
    }
    return ok;
}

static int ban_import(const struct ctl *c)
{
    struct import m = {.c = c};
    struct buf text;
    int code = CTL_FAILED;
    buf_init(&text, FILE_MAX);
    if (read_file(c->words[0], &text)) {
        if (ban_list_read(&m.list, c->words[0], buf_str(&text))) {
            code = send_all(&m, true);
            code = code == CTL_OK && !c->dry_run ? send_all(&m, false) : code;
        }
        if (code == CTL_OK) {
            tell_import(&m);
        }
        ban_list_clear(&m.list);
    }
    buf_clear(&text);
    return code;
}

/* --- export ------------------------------------------------------------------------------------------ */

/* One page: its entries onto a list, as a line each where they are for a file. The id of the last one, 0 without any. */
static int64_t take_page(const struct ctl *c, struct json_writer *w, struct str json)
{
    static const struct json_limits limits = {
        .max_depth = 8, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1024};
    struct arena arena;
    struct json_doc doc;
    int64_t last = 0;
    arena_init(&arena);
    if (json_scan(&arena, json, &limits, &doc, NULL) == 0 && json_member(&doc, "items") != NULL) {
        struct str rest = json_member(&doc, "items")->raw;
        for (struct json_slice item; json_next(&rest, &item);) {
            struct str id = ctl_member(&arena, item.raw, "id", STR("0"));
            (void)str_i64(id, &last);
            if (c->form == CTL_TABLE) {
                printf(STR_FMT " # " STR_FMT "\n", STR_ARG(ctl_member(&arena, item.raw, "target", STR(""))),
                       STR_ARG(ctl_member(&arena, item.raw, "reason", STR(""))));
            } else {
                json_raw(w, item.raw);
            }
        }
    }
    arena_clear(&arena);
    return last;
}

static int ban_export(const struct ctl *c)
{
    struct buf all;
    struct json_writer w = {.out = &all};
    int code = CTL_OK;
    int64_t after = 0;
    buf_init(&all, FILE_MAX);
    json_open(&w, '{');
    json_open_at(&w, "items", '[');
    for (int64_t last = 1; last > 0 && code == CTL_OK;) {
        struct buf target;
        struct ctl_answer answer;
        list_target(c, &target, after, PAGE);
        code = ctl_request(c, "GET", target.p, NULL, &answer);
        last = code == CTL_OK ? take_page(c, &w, buf_str(&answer.body)) : 0;
        after = last;
        buf_clear(&answer.body);
        buf_clear(&target);
    }
    json_close(&w, ']');
    json_close(&w, '}');
    if (code == CTL_OK && c->form != CTL_TABLE) {
        code = ctl_print(c, buf_str(&all), &list_view);
    }
    buf_clear(&all);
    return code;
}

const struct ctl_verb ctl_verbs_bans[] = {
    {
        .words = "ban add",
        .args = "TARGET...",
        .options = "reason! ttl allow list confirm dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "turn somebody away, on every gateway within a second",
        .about =
            "TARGET is an address or prefix (203.0.113.0/24, 2001:db8::/32), an AS number (AS64500), a "
            "kind of "
            "TLS client (ja4:...), a device (device:...), or how phone numbers begin (+86170). "
            "Connections of "
            "banned addresses are reset before TLS; other requests get 403.\n\n"
            "Without --ttl a ban ends after bans.ttl of the configuration (4h). An allowance has no end "
            "unless "
            "one is given, and wins over every ban. Trusted proxies are never banned. More than an IPv4 "
            "/8 or an IPv6 /16, or a phone prefix of at most three digits, wants --confirm with its name "
            "(of several: with commas).",
        .examples = "ban add 203.0.113.0/24 --ttl 2h --reason \"pumping\"\n"
                    "ban add AS64500 ja4:t13d1516h2_8daaf6152771_02713d6af862 --reason \"attack 17\"\n"
                    "ban add 198.51.100.7 --allow --reason \"partner\"  # never banned",
        .run = ban_add,
    },
    {
        .words = "ban list",
        .options = "limit allow list",
        .level = CTL_LEVEL_READ,
        .summary = "what is banned, until when, why, and how often it was hit",
        .examples = "ban list\n"
                    "ban list --allow\n"
                    "ban list --list spamhaus --limit 1000",
        .run = ban_list,
    },
    {
        .words = "ban test",
        .args = "TARGET",
        .level = CTL_LEVEL_READ,
        .summary = "would this one be turned away now, and by which ban?",
        .examples = "ban test 203.0.113.7",
        .run = ban_test,
    },
    {
        .words = "ban remove",
        .args = "[TARGET...]",
        .options = "reason! allow list dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "take bans back, or all that came with a list",
        .examples = "ban remove 203.0.113.0/24 --reason \"over\"\n"
                    "ban remove --list spamhaus --reason \"outdated\"",
        .names = ban_list,
        .run = ban_remove,
    },
    {
        .words = "ban import",
        .args = "FILE",
        .options = "reason! ttl allow list confirm dry-run",
        .level = CTL_LEVEL_WRITE,
        .summary = "a list of addresses, plain or of CrowdSec",
        .about =
            "Plain: one target a line, comments after # or ;. CrowdSec: JSON decisions as `cscli decisions "
            "import` takes and `cscli decisions list -o json` prints; what is over, or no ban of an address, "
            "a "
            "range or an AS, is skipped. \"-\" reads standard input.\n\n"
            "The whole file is checked first: a bad line is named, and then nothing is imported. It is sent "
            "in "
            "parts of 1000; an import that was interrupted may be run again.",
        .examples = "ban import drop.txt --list spamhaus --ttl 24h --reason \"daily list\"\n"
                    "ban import decisions.json --reason \"crowdsec\" --dry-run",
        .run = ban_import,
    },
    {
        .words = "ban export",
        .options = "allow list",
        .level = CTL_LEVEL_READ,
        .summary = "all of them as a plain list that import takes",
        .examples = "ban export\n"
                    "ban export --allow",
        .run = ban_export,
    },
    {.words = NULL},
};

#include "status/site.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "base/log.h"

static const char html[] = "text/html; charset=utf-8";
static const char json[] = "application/json; charset=utf-8";

/* --- documents --------------------------------------------------------------------------------- */

static void document_unref(struct site_document *d)
{
    if (atomic_fetch_sub_explicit(&d->refs, 1, memory_order_acq_rel) == 1) {
        free(d->plain.p);
        free(d->gzip.p);
        free(d);
    }
}

/* The compressed form without time or name in its head: the same bytes give the same result. */
static void compress_body(const struct site_body *plain, struct site_body *out)
{
    z_stream z = {0};
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        return;
    }
    size_t room = deflateBound(&z, plain->n);
    char *p = malloc(room);
    z.next_in = (unsigned char *)plain->p;
    z.avail_in = (unsigned)plain->n;
    z.next_out = (unsigned char *)p;
    z.avail_out = (unsigned)room;
    bool ok = p && deflate(&z, Z_FINISH) == Z_STREAM_END && z.total_out < plain->n;
    out->n = ok ? z.total_out : 0;
    out->p = ok ? p : NULL;
    if (!ok) {
        free(p);
    }
    deflateEnd(&z);
}

static void set_etags(struct site_document *d)
{
    uint8_t digest[crypto_hash_sha256_BYTES];
    char text[33];
    crypto_hash_sha256(digest, (const unsigned char *)d->plain.p, d->plain.n);
    str_hex_encode(digest, 14, text);
    snprintf(d->plain.etag, sizeof d->plain.etag, "\"%s\"", text);
    snprintf(d->gzip.etag, sizeof d->gzip.etag, "\"%s-gz\"", text);
}

static struct site_document *document_new(const char *path, const char *type, const char *language,
                                          struct buf *bytes, int64_t now_ms)
{
    struct site_document *d = calloc(1, sizeof *d);
    BUG_ON(!d);
    atomic_init(&d->refs, 1);
    snprintf(d->path, sizeof d->path, "%s", path);
    d->type = type;
    d->language = language;
    d->plain.p = buf_take(bytes, &d->plain.n);
    clock_format_http(now_ms / 1000, d->modified);
    compress_body(&d->plain, &d->gzip);
    set_etags(d);
    return d;
}

/* --- rendering --------------------------------------------------------------------------------- */

struct render {
    const struct board *board;
    const struct site *old;
    struct site *site;
    struct buf bytes; /* of the document being made */
    int64_t now_ms;
};

/* Takes what r->bytes holds as the document of that path. */
static void finish(struct render *r, const char *path, const char *type, const char *language)
{
    struct site *s = r->site;
    if (r->bytes.overflowed || s->count == SITE_DOCUMENTS_MAX) {
        log_error("page left out, too large path=%s", path);
        buf_truncate(&r->bytes);
        return;
    }
    const struct site_document *before = r->old ? site_find(r->old, str_from(path)) : NULL;
    if (before && str_eq(str_of(before->plain.p, before->plain.n), buf_str(&r->bytes))) {
        struct site_document *same = (struct site_document *)before;
        atomic_fetch_add_explicit(&same->refs, 1, memory_order_relaxed);
        s->documents[s->count++] = same;
        buf_truncate(&r->bytes);
        return;
    }
    s->documents[s->count++] = document_new(path, type, language, &r->bytes, r->now_ms);
}

static void render_api(struct render *r)
{
    static const struct {
        const char *path;
        void (*render)(const struct board *, struct buf *);
        const char *type;
    } rows[] = {
        {"/api/v2/summary.json", page_json_summary, json},
        {"/api/v2/status.json", page_json_status, json},
        {"/api/v2/components.json", page_json_components, json},
        {"/api/v2/incidents.json", page_json_incidents, json},
        {"/api/v2/incidents/unresolved.json", page_json_unresolved, json},
        {"/api/v2/scheduled-maintenances.json", page_json_maintenances, json},
        {"/api/v2/scheduled-maintenances/upcoming.json", page_json_maintenances, json},
        {"/api/v2/scheduled-maintenances/active.json", page_json_maintenances, json},
        {"/api/v2/uptime.json", page_json_uptime, json},
        {"/history.atom", page_atom, "application/atom+xml; charset=utf-8"},
        {"/history.rss", page_rss, "application/rss+xml; charset=utf-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        rows[i].render(r->board, &r->bytes);
        finish(r, rows[i].path, rows[i].type, NULL);
    }
}

static void render_pages(struct render *r, enum problem_lang lang)
{
    const char *prefix = page_lang_prefix(lang);
    const char *tag = problem_lang_tag(lang);
    char path[64];
    page_html_front(r->board, lang, r->now_ms, &r->bytes);
    finish(r, prefix, html, tag);
    snprintf(path, sizeof path, "%s/history", prefix);
    page_html_history(r->board, lang, &r->bytes);
    finish(r, path, html, tag);
    snprintf(path, sizeof path, "!404%s", prefix);
    page_html_not_found(r->board, lang, &r->bytes);
    finish(r, path, html, tag);
    for (unsigned k = 0; k < r->board->book.count; k++) {
        const struct incident *i = r->board->book.items[k];
        snprintf(path, sizeof path, "%s/incidents/%s", prefix, i->code);
        page_html_incident(r->board, i, lang, &r->bytes);
        finish(r, path, html, tag);
    }
}

static void render_incident_files(struct render *r)
{
    char path[64];
    for (unsigned k = 0; k < r->board->book.count; k++) {
        const struct incident *i = r->board->book.items[k];
        snprintf(path, sizeof path, "/incidents/%s.json", i->code);
        page_json_incident(r->board, i, &r->bytes);
        finish(r, path, json, NULL);
    }
}

static int by_path(const void *a, const void *b)
{
    const struct site_document *const *x = a, *const *y = b;
    return strcmp((*x)->path, (*y)->path);
}

static void write_csp(struct site *s)
{
    char hash[64];
    page_style_hash(hash);
    snprintf(s->csp, sizeof s->csp,
             "default-src 'none'; style-src '%s'; img-src data:; base-uri 'none'; form-action 'none'", hash);
}

struct site *site_render(const struct board *b, const struct site *old, int64_t now_ms)
{
    struct render r = {.board = b, .old = old, .site = calloc(1, sizeof *r.site), .now_ms = now_ms};
    BUG_ON(!r.site);
    atomic_init(&r.site->refs, 1);
    buf_init(&r.bytes, SITE_DOCUMENT_MAX);
    write_csp(r.site);
    render_api(&r);
    render_incident_files(&r);
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        render_pages(&r, (enum problem_lang)lang);
    }
    buf_clear(&r.bytes);
    qsort(r.site->documents, r.site->count, sizeof r.site->documents[0], by_path);
    return r.site;
}

/* --- references and lookups -------------------------------------------------------------------- */

struct site *site_ref(struct site *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void site_unref(struct site *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (unsigned k = 0; k < s->count; k++) {
        document_unref(s->documents[k]);
    }
    free(s);
}

const struct site_document *site_find(const struct site *s, struct str path)
{
    unsigned low = 0, high = s->count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        struct str there = str_from(s->documents[mid]->path);
        int order = memcmp(path.p, there.p, path.n < there.n ? path.n : there.n);
        if (order == 0 && path.n == there.n) {
            return s->documents[mid];
        }
        if (order < 0 || (order == 0 && path.n < there.n)) {
            high = mid;
        } else {
            low = mid + 1;
        }
    }
    return NULL;
}

const struct site_document *site_not_found(const struct site *s, enum problem_lang lang)
{
    char path[32];
    snprintf(path, sizeof path, "!404%s", page_lang_prefix(lang));
    return site_find(s, str_from(path));
}

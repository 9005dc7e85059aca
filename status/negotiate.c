#include "status/negotiate.h"

#include <stdio.h>

/* The value of q in ";q=0.5" counts only as zero or not. */
static bool is_refused(struct str parameters)
{
    struct str one;
    while (str_cut(&parameters, ';', &one)) {
        one = str_trim(one);
        if (one.n < 3 || (one.p[0] | 0x20) != 'q' || one.p[1] != '=') {
            continue;
        }
        for (size_t i = 2; i < one.n; i++) {
            if (one.p[i] >= '1' && one.p[i] <= '9') {
                return false;
            }
        }
        return true;
    }
    return false;
}

bool negotiate_takes_gzip(struct str accept_encoding)
{
    struct str item;
    bool star = false;
    while (str_cut(&accept_encoding, ',', &item)) {
        struct str parameters = item, coding;
        if (!str_cut(&parameters, ';', &coding)) {
            continue;
        }
        coding = str_trim(coding);
        if (str_eq_nocase(coding, STR("gzip")) || str_eq_nocase(coding, STR("x-gzip"))) {
            return !is_refused(parameters);
        }
        if (str_is(coding, "*")) {
            star = !is_refused(parameters);
        }
    }
    return star;
}

bool negotiate_is_known(struct str if_none_match, const struct site_document *d)
{
    struct str item;
    if (str_is(str_trim(if_none_match), "*")) {
        return true;
    }
    while (str_cut(&if_none_match, ',', &item)) { /* our tags hold no comma */
        item = str_trim(item);
        if (str_starts(item, STR("W/"))) {
            item = str_skip(item, 2);
        }
        if (str_is(item, d->plain.etag) || str_is(item, d->gzip.etag)) {
            return true;
        }
    }
    return false;
}

static bool has_prefix(struct str path, const char *prefix)
{
    struct str p = str_from(prefix);
    return str_starts(path, p) && (path.n == p.n || path.p[p.n] == '/');
}

enum problem_lang negotiate_lang(struct str path, struct str accept_language)
{
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        if (has_prefix(path, page_lang_prefix((enum problem_lang)lang))) {
            return (enum problem_lang)lang;
        }
    }
    return problem_lang_of(accept_language);
}

const struct site_document *negotiate_find(const struct site *s, struct str path, struct str accept_language,
                                           bool *varies)
{
    char full[80];
    *varies = false;
    if (path.n == 0 || path.p[0] != '/') {
        return NULL;
    }
    if (path.p[path.n - 1] == '/') {
        path.n--;
    }
    const struct site_document *d = site_find(s, path);
    if (d || path.n > 40) {
        return d;
    }
    const char *prefix = page_lang_prefix(problem_lang_of(accept_language));
    int n = snprintf(full, sizeof full, "%s" STR_FMT, prefix, STR_ARG(path));
    d = site_find(s, str_of(full, (size_t)n));
    *varies = d != NULL;
    return d;
}

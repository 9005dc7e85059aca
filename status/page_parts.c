#include "status/page_parts.h"

#include <stdio.h>

#include "base/clock.h"

static const struct {
    const char *prefix;
    const char *tag;
    const char *name;
} langs[STATUS_LANGS] = {
    [PROBLEM_LANG_EN] = {"/en", "en", "English"},
    [PROBLEM_LANG_ZH_HANS] = {"/zh", "zh-Hans", "简体中文"},
    [PROBLEM_LANG_ZH_HANT] = {"/zh-hant", "zh-Hant", "繁體中文"},
};

const char *page_lang_prefix(enum problem_lang lang)
{
    return langs[lang].prefix;
}

/* Bytes at s that XML 1.0 (2.2 Char) has no way to say: a control character, U+FFFE or U+FFFF. 0: none. */
static size_t unsayable_len(struct str s)
{
    unsigned char c = (unsigned char)s.p[0];
    if (c < 0x20) {
        return c != '\t' && c != '\n' && c != '\r';
    }
    return str_starts(s, STR("\xef\xbf\xbe")) || str_starts(s, STR("\xef\xbf\xbf")) ? 3 : 0;
}

void page_escape(struct buf *out, struct str s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char *entity = NULL;
        size_t n = 1;
        switch (s.p[i]) {
        case '&':
            entity = "&amp;";
            break;
        case '<':
            entity = "&lt;";
            break;
        case '>':
            entity = "&gt;";
            break;
        case '"':
            entity = "&quot;";
            break;
        case '\'':
            entity = "&#39;";
            break;
        default:
            n = unsayable_len(str_skip(s, i));
            if (n == 0) {
                continue;
            }
            entity = " ";
        }
        buf_add(out, s.p + from, i - from);
        buf_add_cstr(out, entity);
        from = i + n;
    }
    buf_add(out, s.p + from, s.n - from);
}

/* --- times and states -------------------------------------------------------------------------- */

void page_add_time(struct buf *out, int64_t ms)
{
    char iso[CLOCK_ISO_LEN + 1];
    clock_format_iso(ms, iso);
    buf_addf(out, "<time datetime=\"%s\">%.10s %.5s UTC</time>", iso, iso, iso + 11);
}

char page_state_class(enum component_status s, bool is_stale)
{
    return is_stale && s <= COMPONENT_DEGRADED ? 'u' : (char)('0' + s);
}

void page_add_glyph(struct buf *out, char state_class)
{
    static const char *const paths[] = {
        ['0'] = "M3.5 8.5l3 3 6-7", /* tick */
        ['1'] = "M8 3v5l3 2",       /* clock */
        ['2'] = "M8 3v6M8 12v.5",   /* exclamation */
        ['3'] = "M8 3v6M8 12v.5",
        ['4'] = "M4 4l8 8M12 4l-8 8",                            /* cross */
        ['u'] = "M6 6a2 2 0 1 1 3 1.7c-.7.4-1 .8-1 1.6M8 12v.5", /* question mark */
    };
    buf_addf(out,
             "<svg viewBox=\"0 0 16 16\" fill=\"none\" stroke=\"currentColor\" stroke-width=\"2.2\" "
             "stroke-linecap=\"round\" stroke-linejoin=\"round\" aria-hidden=\"true\"><path "
             "d=\"%s\"/></svg>",
             paths[(unsigned char)state_class]);
}

/* --- frame ------------------------------------------------------------------------------------- */

static void add_languages(struct buf *out, enum problem_lang lang, const char *path)
{
    buf_addf(out, "<nav aria-label=\"%s\"><ul>", phrase(PHRASE_LANGUAGES, lang));
    for (int k = 0; k < STATUS_LANGS; k++) {
        buf_addf(out, "<li><a href=\"%s%s\" hreflang=\"%s\" lang=\"%s\"%s>%s</a></li>", langs[k].prefix, path,
                 langs[k].tag, langs[k].tag, k == (int)lang ? " aria-current=\"page\"" : "", langs[k].name);
    }
    buf_add_cstr(out, "</ul></nav>");
}

static const char *icon_colour(enum ladder_state s)
{
    static const char *const colours[] = {
        [LADDER_OPERATIONAL] = "2fb344",    [LADDER_MAINTENANCE] = "4f7fe8",
        [LADDER_STALE] = "8b94a1",          [LADDER_PARTIALLY_DEGRADED] = "e6b422",
        [LADDER_DEGRADED] = "e6b422",       [LADDER_MINOR_OUTAGE] = "ef7d2d",
        [LADDER_PARTIAL_OUTAGE] = "ef7d2d", [LADDER_MAJOR_OUTAGE] = "dc3b30",
    };
    return colours[s];
}

static void add_head(struct buf *out, const struct board *b, enum problem_lang lang, const char *title,
                     const char *path)
{
    buf_addf(out, "<!DOCTYPE html><html lang=\"%s\"><head><meta charset=\"utf-8\"><title>", langs[lang].tag);
    page_escape(out, str_from(title));
    buf_add_cstr(out, "</title><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">"
                      "<meta name=\"color-scheme\" content=\"light dark\">");
    buf_addf(out,
             "<link rel=\"icon\" href=\"data:image/svg+xml,%%3Csvg "
             "xmlns='http://www.w3.org/2000/svg' viewBox='0 0 "
             "16 16'%%3E%%3Ccircle cx='8' cy='8' r='7' fill='%%23%s'/%%3E%%3C/svg%%3E\">",
             icon_colour(b->state));
    buf_add_cstr(out, "<link rel=\"alternate\" type=\"application/atom+xml\" title=\"Atom\" "
                      "href=\"/history.atom\">");
    for (int k = 0; k < STATUS_LANGS; k++) {
        buf_addf(out, "<link rel=\"alternate\" hreflang=\"%s\" href=\"%s%s\">", langs[k].tag, langs[k].prefix,
                 path);
    }
    buf_addf(out, "<style>%s</style></head>", page_style);
}

void page_begin(struct buf *out, const struct board *b, enum problem_lang lang, const char *title,
                const char *path)
{
    add_head(out, b, lang, title, path);
    buf_addf(out,
             "<body><a class=\"skip\" href=\"#main\">%s</a><div class=\"w\"><header><a "
             "class=\"logo\" href=\"%s\">",
             phrase(PHRASE_SKIP_LINK, lang), langs[lang].prefix);
    buf_add_cstr(out,
                 "<svg viewBox=\"0 0 32 32\" aria-hidden=\"true\"><rect width=\"32\" height=\"32\" rx=\"9\" "
                 "fill=\"#1c4fd8\"/><path d=\"M5 13c3.7-4 7.3-4 11 0s7.3 4 11 0M5 21c3.7-4 7.3-4 11 0s7.3 4 "
                 "11 0\" fill=\"none\" stroke=\"#fff\" stroke-width=\"2.8\" "
                 "stroke-linecap=\"round\"/></svg>");
    page_escape(out, str_from(b->page.name));
    buf_add_cstr(out, "</a>");
    add_languages(out, lang, path);
    buf_add_cstr(out, "</header><main id=\"main\">");
}

void page_end(struct buf *out, const struct board *b, enum problem_lang lang)
{
    buf_addf(out,
             "</main><footer><ul class=\"inl\"><li>%s:</li><li><a href=\"/history.atom\">Atom</a></li>"
             "<li><a href=\"/history.rss\">RSS</a></li><li><a "
             "href=\"/api/v2/summary.json\">JSON</a></li>"
             "<li><a href=\"%s/history\">%s</a></li></ul><p>%s</p></footer></div></body></html>\n",
             phrase(PHRASE_FEEDS, lang), langs[lang].prefix, phrase(PHRASE_ALL_INCIDENTS, lang),
             phrase(PHRASE_FORMULA, lang));
    (void)b;
}

/* --- one incident ------------------------------------------------------------------------------ */

static void add_tags(struct buf *out, const struct board *b, const struct incident *i, enum problem_lang lang)
{
    buf_addf(out, "<p class=\"tags\"><span class=\"tag %s\">%s</span><span class=\"tag hu\">%s</span>",
             incident_is_open(i) ? "h2" : "h0", phrase(PHRASE_INVESTIGATING + i->status, lang),
             phrase(i->origin == INCIDENT_FROM_PROBES ? PHRASE_AUTOMATIC : PHRASE_POLICY, lang));
    struct buf names;
    buf_init(&names, INCIDENT_TEXT_MAX);
    for (unsigned k = 0; k < i->component_count; k++) {
        const struct component *c = board_find_component(b, str_from(i->components[k]));
        if (c) {
            buf_add_cstr(&names, names.n ? phrase(PHRASE_LIST_JOIN, lang) : "");
            page_escape(&names, str_from(component_name(c, lang)));
        }
    }
    if (names.n) {
        buf_add_cstr(out, "<span>");
        phrase_add(out, PHRASE_AFFECTED, lang, names.p, 0);
        buf_add_cstr(out, "</span>");
    }
    buf_clear(&names);
    buf_add_cstr(out, "</p>");
}

static void add_heading(struct buf *out, const struct incident *i, enum problem_lang lang, int level)
{
    buf_addf(out, "<h%d>", level);
    if (level > 1) {
        buf_addf(out, "<a href=\"%s/incidents/%s\">", langs[lang].prefix, i->code);
    }
    page_escape(out, str_from(i->name.of[lang]));
    buf_addf(out, "%s</h%d>", level > 1 ? "</a>" : "", level);
}

void page_add_incident(struct buf *out, const struct board *b, const struct incident *i,
                       enum problem_lang lang, int level)
{
    bool is_policy = i->origin != INCIDENT_FROM_PROBES;
    char edge = !incident_is_open(i) ? '0' : is_policy ? 'p' : (char)('0' + i->impact);
    buf_addf(out, "<article class=\"card inc i%c\">", edge);
    add_heading(out, i, lang, level);
    add_tags(out, b, i, lang);
    buf_add_cstr(out, "<ol class=\"ups\" reversed>");
    for (unsigned k = i->update_count; k > 0; k--) {
        const struct incident_update *u = &i->updates[k - 1];
        buf_addf(out, "<li><b>%s</b> ", phrase(PHRASE_INVESTIGATING + u->status, lang));
        page_add_time(out, u->at_ms);
        buf_add_cstr(out, "<p>");
        page_escape(out, str_from(u->body.of[lang]));
        buf_add_cstr(out, "</p></li>");
    }
    buf_add_cstr(out, "</ol></article>");
}

/* The HTML pages: front, history, one incident. */
#include <stdio.h>

#include "base/clock.h"
#include "status/page_parts.h"

enum { RECENT_DAYS = 14, BAR_STEP = 5, BAR_WIDTH = 4, BAR_HEIGHT = 34 };

static void title_of(const struct board *b, enum problem_lang lang, struct buf *out)
{
    phrase_add(out, PHRASE_TITLE, lang, b->page.name, 0);
}

/* --- the banner -------------------------------------------------------------------------------- */

static char hero_class(enum ladder_state s)
{
    static const char classes[] = {
        [LADDER_OPERATIONAL] = '0',        [LADDER_MAINTENANCE] = '1',  [LADDER_STALE] = 'u',
        [LADDER_PARTIALLY_DEGRADED] = '2', [LADDER_DEGRADED] = '2',     [LADDER_MINOR_OUTAGE] = '3',
        [LADDER_PARTIAL_OUTAGE] = '3',     [LADDER_MAJOR_OUTAGE] = '4',
    };
    return classes[s];
}

static void add_as_of(struct buf *out, const struct board *b, enum problem_lang lang)
{
    if (b->as_of_ms == 0) {
        buf_add_cstr(out, phrase(PHRASE_NEVER_SEEN, lang));
        return;
    }
    struct buf when;
    buf_init(&when, 256);
    page_add_time(&when, b->as_of_ms);
    phrase_add(out, PHRASE_AS_OF, lang, when.p, 0);
    buf_clear(&when);
}

static void add_hero(struct buf *out, const struct board *b, enum problem_lang lang)
{
    char state = hero_class(b->state);
    buf_addf(out, "<div class=\"hero h%c\"><div class=\"dot\">", state);
    page_add_glyph(out, state);
    buf_addf(out, "</div><div><h1>%s</h1><p>", ladder_description(b->state, lang));
    add_as_of(out, b, lang);
    buf_add_cstr(out, "</p></div></div>");
    if (b->is_stale) {
        buf_addf(out, "<p class=\"stale\" role=\"status\">%s</p>", phrase(PHRASE_STALE_BANNER, lang));
    }
    if (b->is_store_stale) {
        buf_addf(out, "<p class=\"stale\" role=\"status\">%s</p>", phrase(PHRASE_STORE_BANNER, lang));
    }
}

/* --- components -------------------------------------------------------------------------------- */

static void add_day_words(struct buf *out, const struct uptime_day *d, enum problem_lang lang)
{
    if (!d || d->watched <= 0) {
        buf_add_cstr(out, phrase(PHRASE_DAY_UNWATCHED, lang));
        return;
    }
    const struct {
        enum phrase word;
        double seconds;
    } parts[] = {
        {PHRASE_STATUS_MAJOR, d->major},
        {PHRASE_STATUS_PARTIAL, d->partial},
        {PHRASE_STATUS_DEGRADED, d->degraded},
    };
    bool any = false;
    for (size_t k = 0; k < sizeof parts / sizeof parts[0]; k++) {
        unsigned minutes = (unsigned)((parts[k].seconds + 30) / 60);
        if (minutes) {
            buf_addf(out, "%s%s ", any ? ", " : "", phrase(parts[k].word, lang));
            phrase_add(out, PHRASE_DAY_MINUTES, lang, NULL, minutes);
            any = true;
        }
    }
    buf_add_cstr(out, any ? "" : phrase(PHRASE_DAY_FINE, lang));
}

static void add_day(struct buf *out, int32_t day)
{
    char iso[CLOCK_ISO_LEN + 1];
    clock_format_iso((int64_t)day * UPTIME_DAY_MS, iso);
    buf_add(out, iso, 10);
}

static void add_bar(struct buf *out, const struct uptime_day *d, int32_t day, int at, enum problem_lang lang)
{
    buf_addf(out, "<rect x=\"%d\" width=\"%d\" height=\"%d\" rx=\"1\"", at * BAR_STEP, BAR_WIDTH, BAR_HEIGHT);
    if (d && d->watched > 0) {
        buf_addf(out, " class=\"k%d\"", (int)uptime_day_status(d));
    }
    buf_add_cstr(out, "><title>");
    add_day(out, day);
    buf_add_cstr(out, ": ");
    add_day_words(out, d, lang);
    buf_add_cstr(out, "</title></rect>");
}

static void add_uptime_words(struct buf *out, const struct component *c, int32_t today,
                             enum problem_lang lang)
{
    int32_t percent = uptime_centipercent(&c->uptime, today);
    char text[16];
    if (percent < 0) {
        buf_add_cstr(out, phrase(PHRASE_UPTIME_NONE, lang));
        return;
    }
    snprintf(text, sizeof text, "%d.%02d", (int)(percent / 100), (int)(percent % 100));
    phrase_add(out, PHRASE_UPTIME, lang, text, 0);
}

static void add_bars(struct buf *out, const struct component *c, int32_t today, enum problem_lang lang)
{
    buf_addf(out,
             "<svg class=\"bars\" viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" "
             "aria-label=\"",
             UPTIME_DAYS * BAR_STEP - (BAR_STEP - BAR_WIDTH), BAR_HEIGHT);
    add_uptime_words(out, c, today, lang);
    buf_add_cstr(out, "\">");
    for (int at = 0; at < UPTIME_DAYS; at++) {
        int32_t day = today - (UPTIME_DAYS - 1) + at;
        add_bar(out, uptime_find_day(&c->uptime, day), day, at, lang);
    }
    buf_addf(out, "</svg><div class=\"axis\"><span>%s</span><i></i><span>", phrase(PHRASE_DAYS_AGO, lang));
    add_uptime_words(out, c, today, lang);
    buf_addf(out, "</span><i></i><span>%s</span></div>", phrase(PHRASE_TODAY, lang));
}

static unsigned count_bad_days(const struct component *c)
{
    unsigned bad = 0;
    for (unsigned k = 0; k < c->uptime.count; k++) {
        bad += uptime_day_status(&c->uptime.days[k]) != COMPONENT_OPERATIONAL;
    }
    return bad;
}

/* The bad days as text: the same as the bars, for who cannot see or hover them. */
static void add_bad_days(struct buf *out, const struct component *c, enum problem_lang lang)
{
    unsigned bad = count_bad_days(c);
    if (bad == 0) {
        return;
    }
    buf_add_cstr(out, "<details><summary>");
    phrase_add(out, PHRASE_BAD_DAYS, lang, NULL, bad);
    buf_add_cstr(out, "</summary><ul>");
    for (unsigned k = c->uptime.count; k > 0; k--) {
        const struct uptime_day *d = &c->uptime.days[k - 1];
        if (uptime_day_status(d) != COMPONENT_OPERATIONAL) {
            buf_add_cstr(out, "<li>");
            add_day(out, d->day);
            buf_add_cstr(out, ": ");
            add_day_words(out, d, lang);
            buf_add_cstr(out, "</li>");
        }
    }
    buf_add_cstr(out, "</ul></details>");
}

static const char *state_words(const struct component *c, enum problem_lang lang)
{
    if (page_state_class(c->shown, c->is_stale) == 'u') {
        return phrase(PHRASE_UNKNOWN_STATUS, lang);
    }
    if (c->policy > component_fault(c)) {
        return phrase(c->policy >= COMPONENT_PARTIAL_OUTAGE ? PHRASE_CLOSED : PHRASE_LIMITED, lang);
    }
    return phrase(PHRASE_STATUS_OPERATIONAL + c->shown, lang);
}

static void add_state(struct buf *out, char state, const char *words)
{
    buf_addf(out, "<span class=\"st s%c\">", state);
    page_add_glyph(out, state);
    buf_addf(out, "%s</span></div>", words);
}

static void add_component(struct buf *out, const struct component *c, int32_t today, enum problem_lang lang)
{
    buf_add_cstr(out, "<li class=\"c\"><div class=\"row\"><h3>");
    page_escape(out, str_from(component_name(c, lang)));
    if (c->kind != COMPONENT_MODEL) {
        buf_addf(out, "<small>%s</small>", component_description(c, lang));
    }
    buf_add_cstr(out, "</h3>");
    add_state(out, page_state_class(c->shown, c->is_stale), state_words(c, lang));
    add_bars(out, c, today, lang);
    add_bad_days(out, c, lang);
    buf_add_cstr(out, "</li>");
}

static void add_models(struct buf *out, const struct board *b, int32_t today, enum problem_lang lang)
{
    unsigned models = 0;
    for (unsigned k = 0; k < b->component_count; k++) {
        const struct component *c = &b->components[k];
        if (c->kind != COMPONENT_MODEL) {
            continue;
        }
        if (models++ == 0) {
            buf_addf(out, "<li class=\"c\"><div class=\"row\"><h3>%s</h3></div><ul class=\"sub\">",
                     phrase(PHRASE_MODELS, lang));
        }
        add_component(out, c, today, lang);
    }
    buf_add_cstr(out, models ? "</ul></li>" : "");
}

static void add_components(struct buf *out, const struct board *b, int32_t today, enum problem_lang lang)
{
    buf_addf(out, "<section aria-labelledby=\"c\"><h2 id=\"c\">%s</h2><div class=\"card comps\"><ul>",
             phrase(PHRASE_COMPONENTS, lang));
    for (unsigned k = 0; k < b->component_count; k++) {
        if (b->components[k].kind != COMPONENT_MODEL) {
            add_component(out, &b->components[k], today, lang);
        }
    }
    add_models(out, b, today, lang);
    buf_add_cstr(out, "</ul></div></section>");
}

/* --- incidents --------------------------------------------------------------------------------- */

static unsigned add_incidents(struct buf *out, const struct board *b, bool open, int64_t since_ms,
                              enum problem_lang lang)
{
    unsigned shown = 0;
    for (unsigned k = 0; k < b->book.count; k++) {
        const struct incident *i = b->book.items[k];
        if (incident_is_open(i) == open && (open || i->updated_ms >= since_ms)) {
            page_add_incident(out, b, i, lang, 3);
            shown++;
        }
    }
    return shown;
}

void page_html_front(const struct board *b, enum problem_lang lang, int64_t now_ms, struct buf *out)
{
    struct buf title;
    buf_init(&title, 256);
    title_of(b, lang, &title);
    page_begin(out, b, lang, title.p, "");
    buf_clear(&title);
    add_hero(out, b, lang);
    if (incident_book_open_count(&b->book)) {
        buf_addf(out, "<section aria-labelledby=\"n\"><h2 id=\"n\">%s</h2>",
                 phrase(PHRASE_OPEN_INCIDENTS, lang));
        add_incidents(out, b, true, 0, lang);
        buf_add_cstr(out, "</section>");
    }
    add_components(out, b, uptime_day_of(now_ms), lang);
    buf_addf(out, "<section aria-labelledby=\"p\"><h2 id=\"p\">%s</h2>", phrase(PHRASE_PAST_INCIDENTS, lang));
    if (!add_incidents(out, b, false, now_ms - (int64_t)RECENT_DAYS * UPTIME_DAY_MS, lang)) {
        buf_addf(out, "<p class=\"sm\">%s</p>", phrase(PHRASE_NO_INCIDENTS_RECENT, lang));
    }
    buf_add_cstr(out, "</section>");
    page_end(out, b, lang);
}

static void begin_with(struct buf *out, const struct board *b, enum problem_lang lang, const char *what,
                       const char *path)
{
    struct buf title;
    buf_init(&title, 1024);
    buf_addf(&title, "%s - ", what);
    title_of(b, lang, &title);
    page_begin(out, b, lang, title.p, path);
    buf_clear(&title);
    buf_addf(out, "<p class=\"sm\"><a href=\"%s\">&larr; %s</a></p>", page_lang_prefix(lang),
             phrase(PHRASE_BACK, lang));
}

void page_html_history(const struct board *b, enum problem_lang lang, struct buf *out)
{
    begin_with(out, b, lang, phrase(PHRASE_ALL_INCIDENTS, lang), "/history");
    buf_addf(out, "<h1>%s</h1><br>", phrase(PHRASE_ALL_INCIDENTS, lang));
    for (unsigned k = 0; k < b->book.count; k++) {
        page_add_incident(out, b, b->book.items[k], lang, 2);
    }
    if (b->book.count == 0) {
        buf_addf(out, "<p class=\"sm\">%s</p>", phrase(PHRASE_NO_INCIDENTS_DAY, lang));
    }
    page_end(out, b, lang);
}

void page_html_incident(const struct board *b, const struct incident *i, enum problem_lang lang,
                        struct buf *out)
{
    char path[32];
    snprintf(path, sizeof path, "/incidents/%s", i->code);
    begin_with(out, b, lang, i->name.of[lang], path);
    page_add_incident(out, b, i, lang, 1);
    page_end(out, b, lang);
}

void page_html_not_found(const struct board *b, enum problem_lang lang, struct buf *out)
{
    begin_with(out, b, lang, phrase(PHRASE_NOT_FOUND, lang), "");
    buf_addf(out, "<h1>%s</h1>", phrase(PHRASE_NOT_FOUND, lang));
    page_end(out, b, lang);
}

/* Atom and RSS of all incidents: one entry an incident, revised in place, its updates newest first.
 * Readers parse the `<var data-var=...>` form exactly, so it is Statuspage's to the byte. */
#include "base/clock.h"
#include "status/page.h"
#include "status/phrases.h"

static const char *const months[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

struct stamp {
    char iso[CLOCK_ISO_LEN + 1]; /* 2026-11-22T03:40:26.123Z */
};

static struct stamp stamp_of(int64_t ms)
{
    struct stamp s;
    clock_format_iso(ms, s.iso);
    return s;
}

static const char *month_of(const struct stamp *s)
{
    int month = (s->iso[5] - '0') * 10 + (s->iso[6] - '0');
    return months[month - 1];
}

static const char *day_of(const struct stamp *s) /* without a leading zero: two characters at most */
{
    return s->iso[8] == '0' ? s->iso + 9 : s->iso + 8;
}

static void add_update(struct buf *html, const struct incident_update *u)
{
    struct stamp s = stamp_of(u->at_ms);
    const char *day = day_of(&s);
    buf_addf(html,
             "<p><small>%s <var data-var='date'>%.*s</var>, <var data-var='time'>%.5s</var> "
             "UTC</small><br>",
             month_of(&s), (int)(s.iso + 10 - day), day, s.iso + 11);
    buf_addf(html, "<strong>%s</strong> - ", phrase(PHRASE_INVESTIGATING + u->status, PROBLEM_LANG_EN));
    page_escape(html, str_from(u->body.of[PROBLEM_LANG_EN]));
    buf_add_cstr(html, "</p>");
}

static void add_content(struct buf *out, const struct incident *i)
{
    struct buf html;
    buf_init(&html, 256 * 1024);
    for (unsigned k = i->update_count; k > 0; k--) {
        add_update(&html, &i->updates[k - 1]);
    }
    page_escape(out, buf_str(&html));
    buf_clear(&html);
}

static struct str host_of(const struct board *b)
{
    struct str url = str_from(b->page.url);
    const char *sep = strstr(url.p, "://");
    struct str host = sep ? str_from(sep + 3) : url;
    struct str name;
    return str_cut(&host, '/', &name) ? name : url;
}

static void add_element(struct buf *out, const char *name, struct str text)
{
    buf_addf(out, "<%s>", name);
    page_escape(out, text);
    buf_addf(out, "</%s>", name);
}

static void add_title(struct buf *out, const struct board *b)
{
    buf_add_cstr(out, "<title>");
    page_escape(out, str_from(b->page.name));
    buf_add_cstr(out, " Status - Incident History</title>");
}

static void add_entry(struct buf *out, const struct board *b, const struct incident *i)
{
    struct str host = host_of(b);
    buf_addf(out, "<entry><id>tag:" STR_FMT ",2005:Incident/%s</id>", STR_ARG(host), i->code);
    buf_addf(out, "<published>%s</published><updated>%s</updated>", stamp_of(i->started_ms).iso,
             stamp_of(i->updated_ms).iso);
    buf_addf(out, "<link rel=\"alternate\" type=\"text/html\" href=\"%s/incidents/%s\"/>", b->page.url,
             i->code);
    add_element(out, "title", str_from(i->name.of[PROBLEM_LANG_EN]));
    buf_add_cstr(out, "<content type=\"html\">");
    add_content(out, i);
    buf_add_cstr(out, "</content></entry>\n");
}

void page_atom(const struct board *b, struct buf *out)
{
    int64_t updated = b->created_ms;
    for (unsigned k = 0; k < b->book.count; k++) {
        updated = b->book.items[k]->updated_ms > updated ? b->book.items[k]->updated_ms : updated;
    }
    struct str host = host_of(b);
    buf_add_cstr(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                      "<feed xml:lang=\"en-US\" xmlns=\"http://www.w3.org/2005/Atom\">");
    buf_addf(out, "<id>tag:" STR_FMT ",2005:/history</id>", STR_ARG(host));
    buf_addf(out, "<link rel=\"alternate\" type=\"text/html\" href=\"%s\"/>", b->page.url);
    buf_addf(out, "<link rel=\"self\" type=\"application/atom+xml\" href=\"%s/history.atom\"/>", b->page.url);
    add_title(out, b);
    buf_addf(out, "<updated>%s</updated><author>", stamp_of(updated).iso);
    add_element(out, "name", str_from(b->page.name));
    buf_add_cstr(out, "</author>\n");
    for (unsigned k = 0; k < b->book.count; k++) {
        add_entry(out, b, b->book.items[k]);
    }
    buf_add_cstr(out, "</feed>\n");
}

static void add_item(struct buf *out, const struct board *b, const struct incident *i)
{
    char date[CLOCK_HTTP_LEN + 1];
    clock_format_http(i->started_ms / 1000, date);
    buf_add_cstr(out, "<item>");
    add_element(out, "title", str_from(i->name.of[PROBLEM_LANG_EN]));
    buf_add_cstr(out, "<description>");
    add_content(out, i);
    buf_addf(out, "</description><pubDate>%s</pubDate>", date);
    buf_addf(out, "<link>%s/incidents/%s</link><guid>%s/incidents/%s</guid></item>\n", b->page.url, i->code,
             b->page.url, i->code);
}

void page_rss(const struct board *b, struct buf *out)
{
    char date[CLOCK_HTTP_LEN + 1];
    clock_format_http(b->updated_ms / 1000, date);
    buf_add_cstr(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                      "<rss version=\"2.0\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><channel>");
    add_title(out, b);
    buf_addf(out, "<link>%s</link><description>Statuspage</description><pubDate>%s</pubDate>\n", b->page.url,
             date);
    for (unsigned k = 0; k < b->book.count; k++) {
        add_item(out, b, b->book.items[k]);
    }
    buf_add_cstr(out, "</channel></rss>\n");
}

#include "status/ops/ops_text.h"

#include <math.h>
#include <stdio.h>

#include "base/clock.h"
#include "status/page.h"

enum { DAY_MS = 86400000 };

static const char dash[] = "–";

void ops_add_text(struct buf *out, const char *text)
{
    struct str rest = str_from(text);
    while (rest.n > 0) {
        size_t n = 0;
        while (n < rest.n && (unsigned char)rest.p[n] >= ' ' && rest.p[n] != 0x7f) {
            n++;
        }
        page_escape(out, str_of(rest.p, n));
        rest = str_skip(rest, n);
        if (rest.n > 0) {
            buf_add_char(out, ' ');
            rest = str_skip(rest, 1);
        }
    }
}

/* Three digits at most, and no more than one after the point. */
static void add_short(struct buf *out, double v, const char *unit)
{
    buf_addf(out, v < 9.95 && v != floor(v) ? "%.1f%s" : "%.0f%s", v, unit);
}

void ops_add_number(struct buf *out, double v)
{
    if (isnan(v)) {
        buf_add_cstr(out, dash);
    } else if (v < 0) {
        buf_addf(out, "%.0f", v);
    } else if (v < 999.5) {
        add_short(out, v, "");
    } else if (v < 999.5e3) {
        add_short(out, v / 1e3, "k");
    } else if (v < 999.5e6) {
        add_short(out, v / 1e6, "M");
    } else {
        add_short(out, v / 1e9, "G");
    }
}

void ops_add_seconds(struct buf *out, double s)
{
    if (isnan(s)) {
        buf_add_cstr(out, dash);
    } else if (s < 0.9995) {
        add_short(out, s * 1e3, " ms");
    } else if (s < 119.5) {
        add_short(out, s, " s");
    } else {
        buf_addf(out, "%.0f min", s / 60);
    }
}

void ops_add_share(struct buf *out, double part, double whole)
{
    double percent = whole > 0 ? 100 * part / whole : NAN;
    if (isnan(percent)) {
        buf_add_cstr(out, dash);
    } else if (percent > 0 && percent < 0.095) {
        buf_addf(out, "%.2f %%", percent);
    } else {
        add_short(out, percent, " %");
    }
}

void ops_add_age(struct buf *out, int64_t ms)
{
    long long s = ms / 1000;
    if (s < 60) {
        buf_add_cstr(out, "under 1 min");
    } else if (s < 7200) {
        buf_addf(out, "%lld min", s / 60);
    } else if (s < 172800) {
        buf_addf(out, "%lld h", s / 3600);
    } else {
        buf_addf(out, "%lld d", s / 86400);
    }
}

void ops_add_clock(struct buf *out, int64_t wall_ms)
{
    char iso[CLOCK_ISO_LEN + 1];
    clock_format_iso(wall_ms, iso);
    buf_addf(out, "%.8s UTC", iso + 11);
}

void ops_add_time(struct buf *out, const char *iso, int64_t now_ms)
{
    int64_t ms = 0;
    char text[CLOCK_ISO_LEN + 1];
    if (clock_parse_iso(iso, strlen(iso), &ms) != 0) {
        buf_add_cstr(out, dash);
        return;
    }
    clock_format_iso(ms, text);
    if (ms / DAY_MS == now_ms / DAY_MS) {
        buf_addf(out, "%.5s UTC", text + 11);
    } else {
        buf_addf(out, "%.5s %.5s UTC", text + 5, text + 11);
    }
}

/* --- JSON -------------------------------------------------------------------------------------- */

const char *ops_json_text(const cJSON *o, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, key));
    return text ? text : "";
}

double ops_json_number(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsNumber(v) ? v->valuedouble : NAN;
}

double ops_json_budget(const cJSON *o)
{
    double burst = ops_json_number(o, "burst");
    return burst > 0 ? burst : ops_json_number(o, "limit");
}

bool ops_json_is_true(const cJSON *o, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, key));
}

const cJSON *ops_json_list(const cJSON *o, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
    return cJSON_IsArray(v) ? v : NULL;
}

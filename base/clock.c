#include "base/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/str.h"

static _Atomic int64_t test_offset_ns;

static int64_t now_ns(clockid_t id)
{
    struct timespec ts;
    clock_gettime(id, &ts);
    return ts.tv_sec * 1000000000L + ts.tv_nsec + atomic_load_explicit(&test_offset_ns, memory_order_relaxed);
}

uint64_t clock_mono_ns(void)
{
    return (uint64_t)now_ns(CLOCK_MONOTONIC);
}

uint64_t clock_mono_us(void)
{
    return clock_mono_ns() / 1000;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

int64_t clock_wall_ms(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_wall_s(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000000;
}

void clock_test_advance_ms(int64_t ms)
{
    atomic_fetch_add_explicit(&test_offset_ns, ms * 1000000, memory_order_relaxed);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

/* Only years 0..9999 have the fixed length of the text; others are written as the nearest of them.
 */
static struct tm utc(int64_t wall_s)
{
    const int64_t year_0 = -62167219200, year_9999 = 253402300799;
    time_t t = wall_s < year_0 ? year_0 : wall_s > year_9999 ? year_9999 : wall_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    return tm;
}

static char *put_digits(char *p, int v, unsigned width)
{
    return str_put_digits(p, (uint32_t)v, width);
}

static char *put_text(char *p, const char *s, size_t n)
{
    memcpy(p, s, n);
    return p + n;
}

void clock_format_iso(int64_t wall_ms, char out[CLOCK_ISO_LEN + 1])
{
    int64_t s = floor_div(wall_ms, 1000);
    struct tm tm = utc(s);
    char *p = put_digits(out, tm.tm_year + 1900, 4);
    *p++ = '-';
    p = put_digits(p, tm.tm_mon + 1, 2);
    *p++ = '-';
    p = put_digits(p, tm.tm_mday, 2);
    *p++ = 'T';
    p = put_digits(p, tm.tm_hour, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_min, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_sec, 2);
    *p++ = '.';
    p = put_digits(p, (int)(wall_ms - s * 1000), 3);
    *p++ = 'Z';
    *p = '\0';
}

void clock_format_http(int64_t wall_s, char out[CLOCK_HTTP_LEN + 1])
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm = utc(wall_s);
    char *p = put_text(out, days + 3 * tm.tm_wday, 3);
    p = put_text(p, ", ", 2);
    p = put_digits(p, tm.tm_mday, 2);
    *p++ = ' ';
    p = put_text(p, months + 3 * tm.tm_mon, 3);
    *p++ = ' ';
    p = put_digits(p, tm.tm_year + 1900, 4);
    *p++ = ' ';
    p = put_digits(p, tm.tm_hour, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_min, 2);
    *p++ = ':';
    p = put_digits(p, tm.tm_sec, 2);
    p = put_text(p, " GMT", 4);
    *p = '\0';
}

/* --- reading ---------------------------------------------------------------------------------- */

struct cursor {
    const char *p;
    const char *end;
    bool ok;
};

static int take_digits(struct cursor *c, int width)
{
    int v = 0;
    for (int i = 0; i < width; i++, c->p++) {
        if (!c->ok || c->p == c->end || *c->p < '0' || *c->p > '9') {
            c->ok = false;
            return 0;
        }
        v = v * 10 + (*c->p - '0');
    }
    return v;
}

static void take_char(struct cursor *c, char want)
{
    if (c->ok && c->p < c->end && (*c->p == want || (want == 'T' && *c->p == 't'))) {
        c->p++;
        return;
    }
    c->ok = false;
}

static int take_in(struct cursor *c, int low, int high)
{
    int v = take_digits(c, 2);
    if (v < low || v > high) {
        c->ok = false;
    }
    return v;
}

/* Optional fraction of 1 to 9 digits, cut to milliseconds. */
static int take_fraction_ms(struct cursor *c)
{
    if (c->p == c->end || *c->p != '.') {
        return 0;
    }
    c->p++;
    int ms = 0, digits = 0;
    for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++, digits++) {
        ms = digits < 3 ? ms * 10 + (*c->p - '0') : ms;
    }
    for (int i = digits; i < 3; i++) {
        ms *= 10;
    }
    c->ok = c->ok && digits >= 1 && digits <= 9;
    return ms;
}

/* "Z", "+hh:mm" or "-hh:mm", as seconds east of UTC. */
static int take_offset_s(struct cursor *c)
{
    if (!c->ok || c->p == c->end) {
        c->ok = false;
        return 0;
    }
    char sign = *c->p++;
    if (sign == 'Z' || sign == 'z') {
        return 0;
    }
    if (sign != '+' && sign != '-') {
        c->ok = false;
        return 0;
    }
    int s = take_in(c, 0, 23) * 3600;
    take_char(c, ':');
    s += take_in(c, 0, 59) * 60;
    return sign == '-' ? -s : s;
}

static int days_of_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

int clock_parse_iso(const char *s, size_t n, int64_t *wall_ms)
{
    struct cursor c = {s, s + n, true};
    struct tm tm = {0};
    int year = take_digits(&c, 4);
    tm.tm_year = year - 1900;
    take_char(&c, '-');
    int month = take_in(&c, 1, 12);
    take_char(&c, '-');
    tm.tm_mday = take_in(&c, 1, c.ok ? days_of_month(year, month) : 31);
    take_char(&c, 'T');
    tm.tm_hour = take_in(&c, 0, 23);
    take_char(&c, ':');
    tm.tm_min = take_in(&c, 0, 59);
    take_char(&c, ':');
    tm.tm_sec = take_in(&c, 0, 59);
    int ms = take_fraction_ms(&c);
    int offset_s = take_offset_s(&c);
    if (!c.ok || c.p != c.end) {
        return ERR_INVALID;
    }
    tm.tm_mon = month - 1;
    *wall_ms = (timegm(&tm) - offset_s) * 1000 + ms;
    return 0;
}

#include "inference/worker/stopper.h"

enum { HELD_MAX = 1 << 20 };
#define REPLACEMENT STR("\xEF\xBF\xBD")

void stopper_init(struct stopper *s, const struct str *stops, unsigned stop_count)
{
    *s = (struct stopper){0};
    buf_init(&s->held, HELD_MAX);
    for (unsigned i = 0; i < stop_count && i < STOPPER_MAX_STOPS; i++) {
        s->stops[s->stop_count++] = stops[i];
    }
}

void stopper_clear(struct stopper *s)
{
    buf_clear(&s->held);
}

/* Length of the sequence that a first byte announces; 0: no sequence starts so. */
static unsigned announced(uint8_t first)
{
    return first < 0x80                    ? 1
           : first >= 0xC2 && first < 0xE0 ? 2
           : first >= 0xE0 && first < 0xF0 ? 3
           : first >= 0xF0 && first < 0xF5 ? 4
                                           : 0;
}

/* May byte number `at` of a sequence be c? (RFC 3629: overlong forms and surrogates are told by byte 1.) */
static bool continues(const uint8_t *sequence, unsigned at, uint8_t c)
{
    uint8_t low = 0x80;
    uint8_t high = 0xBF;
    if (at == 1) {
        low = sequence[0] == 0xE0 ? 0xA0 : sequence[0] == 0xF0 ? 0x90 : low;
        high = sequence[0] == 0xED ? 0x9F : sequence[0] == 0xF4 ? 0x8F : high;
    }
    return c >= low && c <= high;
}

static void take_byte(struct stopper *s, uint8_t c)
{
    if (s->raw_n && !continues(s->raw, s->raw_n, c)) {
        buf_add_str(&s->held, REPLACEMENT);
        s->raw_n = 0;
    }
    if (s->raw_n == 0 && announced(c) == 0) {
        buf_add_str(&s->held, REPLACEMENT);
        return;
    }
    s->raw[s->raw_n++] = c;
    if (s->raw_n == announced(s->raw[0])) {
        buf_add(&s->held, s->raw, s->raw_n);
        s->raw_n = 0;
    }
}

/* First occurrence of any stop string in the held text; false when there is none. */
static bool find_stop(const struct stopper *s, size_t *at)
{
    bool found = false;
    for (unsigned i = 0; i < s->stop_count; i++) {
        const char *p = memmem(s->held.p, s->held.n, s->stops[i].p, s->stops[i].n);
        if (p && (!found || (size_t)(p - s->held.p) < *at)) {
            found = true;
            *at = (size_t)(p - s->held.p);
        }
    }
    return found;
}

/* Bytes at the end of the held text that could grow into a stop string. */
static size_t undecided(const struct stopper *s)
{
    size_t longest = 0;
    for (unsigned i = 0; i < s->stop_count; i++) {
        size_t n = s->stops[i].n - 1 < s->held.n ? s->stops[i].n - 1 : s->held.n;
        while (n > longest && memcmp(s->held.p + s->held.n - n, s->stops[i].p, n) != 0) {
            n--;
        }
        longest = n > longest ? n : longest;
    }
    return longest;
}

bool stopper_push(struct stopper *s, struct str bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.n; i++) {
        take_byte(s, (uint8_t)bytes.p[i]);
    }
    size_t shown = 0;
    bool stopped = find_stop(s, &shown);
    if (!stopped) {
        shown = s->held.n - undecided(s);
    }
    buf_add(out, s->held.p, shown);
    buf_consume(&s->held, stopped ? s->held.n : shown);
    return stopped;
}

void stopper_finish(struct stopper *s, struct buf *out)
{
    if (s->raw_n) {
        buf_add_str(&s->held, REPLACEMENT);
        s->raw_n = 0;
    }
    buf_add_str(out, buf_str(&s->held));
    buf_truncate(&s->held);
}

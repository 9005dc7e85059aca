#include "status/prom_text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Does `labels` (between the braces) hold this pair as a whole? */
static bool has_label(struct str labels, struct str pair)
{
    for (size_t at = 0; at + pair.n <= labels.n; at++) {
        bool starts = at == 0 || labels.p[at - 1] == ',';
        bool ends = at + pair.n == labels.n || labels.p[at + pair.n] == ',';
        if (starts && ends && memcmp(labels.p + at, pair.p, pair.n) == 0) {
            return true;
        }
    }
    return false;
}

static bool read_value(struct str rest, double *out)
{
    char text[64], *end;
    rest = str_trim(rest);
    struct str number;
    if (!str_cut(&rest, ' ', &number) || number.n == 0 || number.n >= sizeof text) {
        return false;
    }
    memcpy(text, number.p, number.n);
    text[number.n] = 0;
    double v = strtod(text, &end);
    if (*end || !isfinite(v)) {
        return false;
    }
    *out = v;
    return true;
}

static bool read_line(struct str line, struct str name, const char *label, double *out)
{
    if (!str_starts(line, name)) {
        return false;
    }
    struct str rest = str_skip(line, name.n), labels = {"", 0};
    if (rest.n && rest.p[0] == '{') {
        const char *close = memrchr(rest.p, '}', rest.n);
        if (!close) {
            return false;
        }
        labels = str_of(rest.p + 1, (size_t)(close - rest.p) - 1);
        rest = str_skip(rest, (size_t)(close - rest.p) + 1);
    } else if (rest.n == 0 || rest.p[0] != ' ') {
        return false;
    }
    return (!label || has_label(labels, str_from(label))) && read_value(rest, out);
}

bool prom_text_sum(struct str text, const char *name, const char *label, double *out)
{
    struct str line;
    double sum = 0, v;
    bool found = false;
    while (str_cut(&text, '\n', &line)) {
        if (read_line(line, str_from(name), label, &v)) {
            sum += v;
            found = true;
        }
    }
    if (found) {
        *out = sum;
    }
    return found;
}

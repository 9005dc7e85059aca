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

static bool read_line(struct str line, struct prom_sample *out)
{
    size_t n = 0;
    while (n < line.n && line.p[n] != '{' && line.p[n] != ' ') {
        n++;
    }
    struct str rest = str_skip(line, n), labels = STR("");
    if (n == 0 || line.p[0] == '#' || rest.n == 0) {
        return false;
    }
    if (rest.p[0] == '{') {
        const char *close = memrchr(rest.p, '}', rest.n);
        if (!close) {
            return false;
        }
        labels = str_of(rest.p + 1, (size_t)(close - rest.p) - 1);
        rest = str_skip(rest, (size_t)(close - rest.p) + 1);
    }
    out->name = str_of(line.p, n);
    out->labels = labels;
    return read_value(rest, &out->value);
}

bool prom_text_next(struct str *text, struct prom_sample *out)
{
    struct str line;
    while (str_cut(text, '\n', &line)) {
        if (read_line(line, out)) {
            return true;
        }
    }
    return false;
}

/* Bytes up to the quote that ends a value which begins at s. */
static size_t value_len(struct str s)
{
    size_t n = 0;
    while (n < s.n && s.p[n] != '"') {
        n += s.p[n] == '\\' && n + 1 < s.n ? 2 : 1;
    }
    return n;
}

bool prom_label(struct str labels, const char *name, struct str *out)
{
    struct str key;
    while (str_cut(&labels, '=', &key)) {
        if (labels.n == 0 || labels.p[0] != '"') {
            return false;
        }
        labels = str_skip(labels, 1);
        size_t n = value_len(labels);
        if (n == labels.n) {
            return false;
        }
        if (str_is(key, name)) {
            *out = str_of(labels.p, n);
            return true;
        }
        labels = str_skip(labels, n + 1);
        if (labels.n > 0 && labels.p[0] == ',') {
            labels = str_skip(labels, 1);
        }
    }
    return false;
}

bool prom_text_sum(struct str text, const char *name, const char *label, double *out)
{
    struct prom_sample sample;
    double sum = 0;
    bool found = false;
    while (prom_text_next(&text, &sample)) {
        if (str_is(sample.name, name) && (!label || has_label(sample.labels, str_from(label)))) {
            sum += sample.value;
            found = true;
        }
    }
    if (found) {
        *out = sum;
    }
    return found;
}

#include "inference/worker/openai_field.h"

#include <stdio.h>

int openai_fail(struct openai_reader *r, const char *param, const char *text)
{
    r->fault->code = "validation_failed";
    snprintf(r->fault->param, sizeof r->fault->param, "%s", param);
    return err_set(&r->fault->err, ERR_INVALID, "%s: %s", param, text);
}

int openai_check_text(struct openai_reader *r, const char *param, size_t bytes)
{
    char text[96];
    size_t most = r->context->text_bytes;
    if (most == 0 || bytes <= most) {
        return 0;
    }
    r->fault->is_long = true;
    snprintf(text, sizeof text, "%zu bytes of text, more than the %zu that are read", bytes, most);
    return openai_fail(r, param, text);
}

const struct json_slice *openai_member(const struct openai_reader *r, const char *key)
{
    const struct json_slice *v = json_member(&r->doc, key);
    return v && v->type != JSON_NULL ? v : NULL;
}

int openai_bool(struct openai_reader *r, const char *key, bool *out)
{
    const struct json_slice *v = openai_member(r, key);
    return v && !json_get_bool(v, out) ? openai_fail(r, key, "expected true or false") : 0;
}

int openai_float(struct openai_reader *r, const char *key, double min, double max, float *out)
{
    const struct json_slice *v = openai_member(r, key);
    double number;
    if (!v) {
        return 0;
    }
    if (!json_get_f64(v, &number)) {
        return openai_fail(r, key, "expected a number");
    }
    if (!(number >= min && number <= max)) {
        char text[64];
        snprintf(text, sizeof text, "expected a number from %g to %g", min, max);
        return openai_fail(r, key, text);
    }
    *out = (float)number;
    return 0;
}

int openai_integer(struct openai_reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const struct json_slice *v = openai_member(r, key);
    if (!v) {
        return 0;
    }
    if (!json_get_i64(v, out)) {
        return openai_fail(r, key, "expected a whole number");
    }
    if (*out < min || *out > max) {
        char text[80];
        snprintf(text, sizeof text, "expected a whole number from %lld to %lld", (long long)min,
                 (long long)max);
        return openai_fail(r, key, text);
    }
    return 0;
}

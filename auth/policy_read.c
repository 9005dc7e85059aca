#include "auth/policy_read.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"

enum { WORD_MAX = 40 };

int policy_refuse(struct policy_reader *r, const char *fmt, ...)
{
    char what[200];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    return err_set(r->err, ERR_INVALID, "%s: %s", r->path, what);
}

size_t policy_enter(struct policy_reader *r, const char *name)
{
    size_t n = strlen(r->path);
    snprintf(r->path + n, sizeof r->path - n, ".%s", name);
    return n;
}

size_t policy_enter_item(struct policy_reader *r, int index)
{
    size_t n = strlen(r->path);
    snprintf(r->path + n, sizeof r->path - n, "[%d]", index);
    return n;
}

void policy_leave(struct policy_reader *r, size_t n)
{
    r->path[n] = 0;
}

/* --- hints ------------------------------------------------------------------------------------------- */

/* Levenshtein: how many letters to change, put in or take out. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[WORD_MAX + 1];
    size_t n = strlen(b);
    for (unsigned k = 0; k <= n; k++) {
        row[k] = k;
    }
    for (unsigned i = 1; *a; a++, i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned k = 1; k <= n; k++) {
            unsigned change = diagonal + (*a != b[k - 1]);
            unsigned shorter = (row[k] < row[k - 1] ? row[k] : row[k - 1]) + 1;
            diagonal = row[k];
            row[k] = change < shorter ? change : shorter;
        }
    }
    return row[n];
}

/* The nearest of the names as " (did you mean x?)", or nothing when none is near. names: n of them, stride apart. */
static const char *hint(const char *word, const char *const *names, size_t stride, char out[WORD_MAX + 32])
{
    size_t length = strlen(word), best_length = WORD_MAX + 1;
    unsigned best = (unsigned)(length / 3) + 1;
    out[0] = 0;
    for (; *names && length <= WORD_MAX; names = (const char *const *)((const char *)names + stride)) {
        size_t n = strlen(*names);
        unsigned d = n <= WORD_MAX ? distance(word, *names) : best;
        bool is_part = length > 3 && n < best_length && strstr(*names, word); /* country, phone_country */
        if (d < best || is_part) {
            best = d < best ? d : best;
            best_length = n;
            snprintf(out, WORD_MAX + 32, " (did you mean %s?)", *names);
        }
    }
    return out;
}

/* --- values ------------------------------------------------------------------------------------------ */

int policy_read_object(struct policy_reader *r, const cJSON *object, const struct policy_member *members,
                       void *into)
{
    if (!cJSON_IsObject(object)) {
        return REFUSE(r, "must be an object");
    }
    for (const cJSON *v = object->child; v; v = v->next) {
        const struct policy_member *m = members;
        while (m->name && strcmp(m->name, v->string) != 0) {
            m++;
        }
        size_t n = policy_enter(r, v->string);
        char near[WORD_MAX + 32];
        int rc = m->name
                     ? m->read(r, v, into)
                     : REFUSE(r, "unknown member%s", hint(v->string, &members->name, sizeof *members, near));
        if (rc < 0) {
            return rc;
        }
        policy_leave(r, n);
    }
    for (const struct policy_member *m = members; m->name; m++) {
        if (m->required && !cJSON_GetObjectItemCaseSensitive(object, m->name)) {
            return REFUSE(r, "member %s is missing", m->name);
        }
    }
    return 0;
}

int policy_read_text(struct policy_reader *r, const cJSON *value, size_t max, char **out)
{
    if (!cJSON_IsString(value)) {
        return REFUSE(r, "must be a string");
    }
    size_t n = strlen(value->valuestring);
    if (n == 0 || n > max) {
        return REFUSE(r, "must have 1 to %zu bytes", max);
    }
    *out = strdup(value->valuestring);
    return 0;
}

static bool is_word(const char *s)
{
    return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")] == 0;
}

int policy_read_word(struct policy_reader *r, const cJSON *value, char **out)
{
    int rc = policy_read_text(r, value, POLICY_ID_MAX, out);
    return rc < 0 || is_word(*out) ? rc : REFUSE(r, "may hold letters, digits, hyphen, underscore and dot");
}

int policy_read_bool(struct policy_reader *r, const cJSON *value, bool *out)
{
    *out = cJSON_IsTrue(value);
    return cJSON_IsBool(value) ? 0 : REFUSE(r, "must be true or false");
}

int policy_read_list(struct policy_reader *r, const cJSON *value, int max, policy_member_cb item, void *into)
{
    int count = cJSON_IsArray(value) ? cJSON_GetArraySize(value) : 0;
    if (count < 1 || count > max) {
        return REFUSE(r, "must be a list of 1 to %d", max);
    }
    int i = 0;
    for (const cJSON *v = value->child; v; v = v->next) {
        size_t n = policy_enter_item(r, i++);
        int rc = item(r, v, into);
        if (rc < 0) {
            return rc;
        }
        policy_leave(r, n);
    }
    return 0;
}

int policy_read_choice(struct policy_reader *r, const cJSON *value, const char *const *names)
{
    char all[120] = "";
    char near[WORD_MAX + 32] = "";
    for (int i = 0; names[i]; i++) {
        if (cJSON_IsString(value) && strcmp(value->valuestring, names[i]) == 0) {
            return i;
        }
        size_t n = strlen(all);
        snprintf(all + n, sizeof all - n, "%s%s", i ? ", " : "", names[i]);
    }
    if (cJSON_IsString(value)) {
        hint(value->valuestring, names, sizeof *names, near);
    }
    return REFUSE(r, "is not one of %s%s", all, near);
}

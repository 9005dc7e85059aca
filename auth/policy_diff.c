#include "auth/policy_diff.h"

#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"

enum { PATH_MAX_BYTES = 128 };

static const cJSON *member(const cJSON *object, const char *name)
{
    return cJSON_GetObjectItemCaseSensitive(object, name);
}

static void write_value(struct json_writer *w, const char *key, const cJSON *v)
{
    char *text = cJSON_PrintUnformatted(v);
    BUG_ON(!text);
    json_raw_at(w, key, str_from(text));
    free(text);
}

/* --- lists ------------------------------------------------------------------------------------------- */

struct texts {
    char **items; /* of each value as JSON, sorted */
    int count;
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void texts_init(struct texts *t, const cJSON *list)
{
    t->items = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *t->items);
    BUG_ON(!t->items);
    t->count = 0;
    for (const cJSON *v = list->child; v; v = v->next) {
        t->items[t->count] = cJSON_PrintUnformatted(v);
        BUG_ON(!t->items[t->count]);
        t->count++;
    }
    qsort(t->items, (size_t)t->count, sizeof *t->items, by_text);
}

static void texts_clear(struct texts *t)
{
    for (int i = 0; i < t->count; i++) {
        free(t->items[i]);
    }
    free(t->items);
}

/* Those of a that b has not; returns how many. */
static int write_missing(struct json_writer *w, const char *key, const struct texts *a, const struct texts *b)
{
    int found = 0;
    json_open_at(w, key, '[');
    for (int i = 0, k = 0; i < a->count; i++) {
        while (k < b->count && strcmp(b->items[k], a->items[i]) < 0) {
            k++;
        }
        bool is_there = k < b->count && strcmp(b->items[k], a->items[i]) == 0;
        if (!is_there && found++ < POLICY_DIFF_ITEMS) {
            json_raw(w, str_from(a->items[i]));
        }
        k += is_there;
    }
    json_close(w, ']');
    return found;
}

static bool is_plain_list(const cJSON *v)
{
    return cJSON_IsArray(v) && !cJSON_IsObject(v->child);
}

static bool lists_are_same(const cJSON *before, const cJSON *after)
{
    struct texts a, b;
    texts_init(&a, before);
    texts_init(&b, after);
    bool same = a.count == b.count;
    for (int i = 0; i < a.count && same; i++) {
        same = strcmp(a.items[i], b.items[i]) == 0;
    }
    texts_clear(&a);
    texts_clear(&b);
    return same;
}

static void write_list(struct json_writer *w, const cJSON *before, const cJSON *after)
{
    struct texts a, b;
    texts_init(&a, before);
    texts_init(&b, after);
    int added = write_missing(w, "added", &b, &a);
    int removed = write_missing(w, "removed", &a, &b);
    json_i64_at(w, "added_count", added);
    json_i64_at(w, "removed_count", removed);
    texts_clear(&a);
    texts_clear(&b);
}

/* --- members ----------------------------------------------------------------------------------------- */

/* Either may be NULL: not there. w NULL: only looks. Returns how many members differ. */
static int compare(struct json_writer *w, const char *path, const cJSON *before, const cJSON *after);

static int compare_objects(struct json_writer *w, const char *path, const cJSON *before, const cJSON *after)
{
    char below[PATH_MAX_BYTES];
    int differ = 0;
    for (const cJSON *v = before->child; v; v = v->next) {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "", v->string);
        differ += compare(w, below, v, member(after, v->string));
    }
    for (const cJSON *v = after->child; v; v = v->next) {
        snprintf(below, sizeof below, "%s%s%s", path, path[0] ? "." : "", v->string);
        differ += member(before, v->string) ? 0 : compare(w, below, NULL, v);
    }
    return differ;
}

static int compare(struct json_writer *w, const char *path, const cJSON *before, const cJSON *after)
{
    bool are_lists = before && after && is_plain_list(before) && is_plain_list(after);
    if (before && after && cJSON_IsObject(before) && cJSON_IsObject(after)) {
        return compare_objects(w, path, before, after);
    }
    if (are_lists ? lists_are_same(before, after) : before && after && cJSON_Compare(before, after, true)) {
        return 0;
    }
    if (w) {
        json_open(w, '{');
        json_str_at(w, "member", str_from(path));
        if (are_lists) {
            write_list(w, before, after);
        } else {
            if (before) {
                write_value(w, "before", before);
            }
            if (after) {
                write_value(w, "after", after);
            }
        }
        json_close(w, '}');
    }
    return 1;
}

static bool are_same(const cJSON *before, const cJSON *after)
{
    return compare(NULL, "", before, after) == 0;
}

/* --- rules ------------------------------------------------------------------------------------------- */

struct rule_pair {
    const cJSON *rule; /* of the document after */
    int from;          /* its place before; -1: it was not there */
    bool stays;        /* in order with the others that stay */
};

struct rules {
    const cJSON *before, *after; /* the lists */
    struct rule_pair *pairs;     /* by place after */
    int count;
};

static bool has_id(const cJSON *rule, const cJSON *id)
{
    const cJSON *own = member(rule, "id");
    return cJSON_IsString(own) && cJSON_IsString(id) && strcmp(own->valuestring, id->valuestring) == 0;
}

static int place_of(const cJSON *list, const cJSON *id)
{
    int i = 0;
    for (const cJSON *r = list->child; r; r = r->next, i++) {
        if (has_id(r, id)) {
            return i;
        }
    }
    return -1;
}

/* The longest run of rules that kept their order stays; the others moved. best[i]: length of the longest that ends
 * with pair i. At most POLICY_RULES_MAX rules, so that a square is small. */
static void find_stays(struct rules *r)
{
    int *best = calloc((size_t)r->count + 1, sizeof *best);
    int *before = calloc((size_t)r->count + 1, sizeof *before);
    BUG_ON(!best || !before);
    int last = -1;
    for (int i = 0; i < r->count; i++) {
        before[i] = -1;
        best[i] = r->pairs[i].from >= 0;
        for (int k = 0; k < i && r->pairs[i].from >= 0; k++) {
            if (r->pairs[k].from >= 0 && r->pairs[k].from < r->pairs[i].from && best[k] >= best[i]) {
                best[i] = best[k] + 1;
                before[i] = k;
            }
        }
        last = best[i] > 0 && (last < 0 || best[i] > best[last]) ? i : last;
    }
    for (; last >= 0; last = before[last]) {
        r->pairs[last].stays = true;
    }
    free(best);
    free(before);
}

static void write_rule(struct json_writer *w, const cJSON *rule, const char *change)
{
    json_open(w, '{');
    json_str_at(w, "what", STR("rule"));
    json_str_at(w, "id", str_from(cJSON_GetStringValue(member(rule, "id"))));
    json_str_at(w, "change", str_from(change));
}

/* Returns 1 when the rule was there and is not now. */
static int write_removed(struct json_writer *w, const struct rules *r, const cJSON *rule, int place)
{
    if (place_of(r->after, member(rule, "id")) >= 0) {
        return 0;
    }
    write_rule(w, rule, "removed");
    json_i64_at(w, "from", place);
    write_value(w, "before", rule);
    json_close(w, '}');
    return 1;
}

static int write_pair(struct json_writer *w, const struct rules *r, int to)
{
    const struct rule_pair *pair = &r->pairs[to];
    const cJSON *before = pair->from >= 0 ? cJSON_GetArrayItem(r->before, pair->from) : NULL;
    bool same = before && are_same(before, pair->rule);
    if (same && pair->stays) {
        return 0;
    }
    write_rule(w, pair->rule, !before ? "added" : same ? "moved" : "changed");
    if (before) {
        json_i64_at(w, "from", pair->from);
    }
    json_i64_at(w, "to", to);
    if (!before) {
        write_value(w, "after", pair->rule);
    } else if (!same) {
        json_bool_at(w, "moved", !pair->stays);
        json_open_at(w, "members", '[');
        compare(w, "", before, pair->rule);
        json_close(w, ']');
    }
    json_close(w, '}');
    return 1;
}

static int diff_rules(struct json_writer *w, const cJSON *before, const cJSON *after)
{
    struct rules r = {.before = before, .after = after, .count = cJSON_GetArraySize(after)};
    int changes = 0;
    int i = 0;
    r.pairs = calloc((size_t)r.count + 1, sizeof *r.pairs);
    BUG_ON(!r.pairs);
    for (const cJSON *v = after->child; v; v = v->next, i++) {
        r.pairs[i] = (struct rule_pair){v, place_of(before, member(v, "id")), false};
    }
    find_stays(&r);
    i = 0;
    for (const cJSON *v = before->child; v; v = v->next) {
        changes += write_removed(w, &r, v, i++);
    }
    for (i = 0; i < r.count; i++) {
        changes += write_pair(w, &r, i);
    }
    free(r.pairs);
    return changes;
}

/* --- the document ------------------------------------------------------------------------------------ */

static int diff_part(struct json_writer *w, const char *what, const cJSON *before, const cJSON *after)
{
    if (are_same(before, after)) {
        return 0;
    }
    json_open(w, '{');
    json_str_at(w, "what", str_from(what));
    json_str_at(w, "change", before && after ? STR("changed") : after ? STR("added") : STR("removed"));
    json_open_at(w, "members", '[');
    compare(w, cJSON_IsObject(before) && cJSON_IsObject(after) ? "" : what, before, after);
    json_close(w, ']');
    json_close(w, '}');
    return 1;
}

static int diff_documents(struct json_writer *w, const cJSON *before, const cJSON *after)
{
    int changes = diff_rules(w, member(before, "rules"), member(after, "rules"));
    for (const cJSON *v = after->child; v; v = v->next) {
        bool is_rest = strcmp(v->string, "rules") != 0 && strcmp(v->string, "version") != 0;
        changes += is_rest ? diff_part(w, v->string, member(before, v->string), v) : 0;
    }
    for (const cJSON *v = before->child; v; v = v->next) {
        bool is_rest = strcmp(v->string, "rules") != 0 && strcmp(v->string, "version") != 0;
        changes += is_rest && !member(after, v->string) ? diff_part(w, v->string, v, NULL) : 0;
    }
    return changes;
}

int policy_diff(struct str before, struct str after, struct buf *out, struct err *err)
{
    cJSON *a = NULL, *b = NULL;
    int rc = json_parse(before, &policy_json_limits, &a, err);
    rc = rc < 0 ? rc : json_parse(after, &policy_json_limits, &b, err);
    if (rc == 0 && (!cJSON_IsArray(member(a, "rules")) || !cJSON_IsArray(member(b, "rules")))) {
        rc = err_set(err, ERR_INVALID, "$.rules: is missing");
    }
    if (rc == 0) {
        struct json_writer w = {.out = out};
        json_open(&w, '{');
        json_open_at(&w, "changes", '[');
        int changes = diff_documents(&w, a, b);
        json_close(&w, ']');
        json_bool_at(&w, "same", changes == 0);
        json_close(&w, '}');
    }
    cJSON_Delete(a);
    cJSON_Delete(b);
    return rc;
}

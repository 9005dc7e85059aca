/* Rows of limits (ratelimit/rules.h), one a line: by|at|limit|burst|on_error|role|unit|address|prefixes|lease|newcomers.
 * An empty column is one that is not written. Names are ours: they become labels of metrics. */
#include "ratelimit/rules.h"
#include "tests/fuzz/fuzz.h"

enum { ROWS = 4, COLUMNS = 11 };

static unsigned rows_of(char *text, struct limit_row *rows)
{
    static const char *const names[ROWS] = {"a", "b", "c", "d"};
    struct str in = str_from(text), line;
    unsigned count = 0;
    while (count < ROWS && str_cut(&in, '\n', &line)) {
        const char **fields[COLUMNS] = {&rows[count].by,    &rows[count].at,       &rows[count].limit,
                                        &rows[count].burst, &rows[count].on_error, &rows[count].role,
                                        &rows[count].unit,  &rows[count].address,  &rows[count].prefixes,
                                        &rows[count].lease, &rows[count].newcomers};
        struct str column;
        for (unsigned i = 0; i < COLUMNS && str_cut(&line, '|', &column); i++) {
            ((char *)(uintptr_t)column.p)[column.n] = '\0';
            *fields[i] = column.n ? column.p : NULL;
        }
        rows[count].name = names[count];
        count++;
    }
    return count;
}

static void check_rule(const struct limit_rule *r)
{
    MUST(r->dimensions != 0 && r->dimensions < 1u << LIMIT_DIMENSIONS);
    MUST(r->gcra.limit > 0 && r->gcra.burst > 0 && r->inc_us > 0);
    MUST(r->bits4 <= 32 && r->bits6 <= 128 && strlen(r->name) == r->name_n &&
         strlen(r->policy) == r->policy_n);
    MUST(r->key_head_n < sizeof(r->key_head) && r->args_n < sizeof(r->args) && r->args_inc_n <= r->args_n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct limit_row rows[ROWS] = {0};
    struct err err = {0};
    char *text = malloc(n + 1);
    MUST(text);
    memcpy(text, data, n);
    text[n] = '\0';
    unsigned count = rows_of(text, rows);
    struct limit_rules *r = limit_rules_new(rows, count, &err);
    if (!r) {
        MUST(err.msg[0]);
        free(text);
        return 0;
    }
    for (unsigned i = 0; i < limit_rules_count(r); i++) {
        check_rule(limit_rules_get(r, i));
    }
    for (unsigned i = 0; limit_rules_point(r, i); i++) {
        struct str point = str_from(limit_rules_point(r, i));
        const struct limit_set *set = limit_rules_at(r, point);
        MUST(limit_rules_names(r, point) && set->count <= LIMIT_AT_MAX);
        MUST(limit_rules_at_event(r, point)->count <= set->count);
    }
    limit_rules_unref(r);
    free(text);
    return 0;
}

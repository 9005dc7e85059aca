#include "ratelimit/rules.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/money.h"
#include "ratelimit/prefixes.h"

/* Rules of one point's name: as a route (with the rows at "*") and as an event (without). */
struct point {
    char name[LIMIT_NAME_MAX + 1];
    struct limit_set route;
    struct limit_set event;
};

enum { POINTS_MAX = 64, CONCURRENT_MAX = 1000000, NEWCOMER_BURST_MIN = 8 };
static const uint64_t UNITS_MAX = 1000000000000ull; /* as gcra.c; keeps the factors' products in range */

struct limit_rules {
    atomic_uint refs;
    struct limit_rule rules[LIMIT_RULES_MAX];
    struct str at[LIMIT_RULES_MAX]; /* while being built: borrowed from the rows */
    unsigned count;
    struct point points[POINTS_MAX];
    unsigned point_count;
    struct limit_set everywhere; /* a route that no row names */
    struct limit_set nowhere;    /* an event that no row names */
};

static struct metric decisions =
    METRIC_COUNTER_L("tidegate_limits_decisions_total", "Limit decisions by rule.", "rule,decision");

static const char *const dimension_names[LIMIT_DIMENSIONS] = {
    "address", "device", "phone", "phone_prefix",  "account", "apikey",
    "route",   "ja4",    "model", "phone_country", "all",     "asn"};
static const char *const outcome_names[LIMIT_OUTCOMES] = {
    "allowed",         "denied", "denied_cached", "shadow_denied", "fallback_allowed",
    "fallback_denied", "leased", "newcomer",      "reserved"};

const char *limit_outcome_name(enum limit_outcome o)
{
    return o < LIMIT_OUTCOMES ? outcome_names[o] : "?";
}

const char *limit_dimension_name(enum limit_dimension d)
{
    return d < LIMIT_DIMENSIONS ? dimension_names[d] : "?";
}

/* --- fields --------------------------------------------------------------------------------------- */

static bool name_is_good(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool good = (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_';
        if (!good) {
            return false;
        }
    }
    return s.n >= 1 && s.n <= LIMIT_NAME_MAX;
}

/* Index of text among the names, `missing` when it is NULL, -1 when it is none of them. */
static int word_index(const char *text, const char *const *names, int count, int missing)
{
    if (!text) {
        return missing;
    }
    for (int i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static bool parse_by(const char *by, uint16_t *dimensions)
{
    struct str rest = str_from(by);
    struct str word;
    *dimensions = 0;
    while (str_cut(&rest, '+', &word)) {
        int found = -1;
        for (int d = 0; d < LIMIT_DIMENSIONS; d++) {
            found = str_is(word, dimension_names[d]) ? d : found;
        }
        if (found < 0 || (*dimensions & (1u << found))) {
            return false;
        }
        *dimensions = (uint16_t)(*dimensions | (1u << found));
    }
    return *dimensions != 0;
}

/* "4": no period. */
static bool parse_concurrent(const struct limit_row *row, uint64_t factor, struct gcra *g)
{
    uint64_t limit = 0;
    return !row->burst && str_u64(str_from(row->limit), &limit) && limit <= CONCURRENT_MAX &&
           gcra_init(g, limit * factor, 1, limit * factor, 0);
}

/* Whole units; of money millionths: "50", "0.25". */
static bool parse_units(struct str text, enum limit_unit unit, uint64_t *out)
{
    return unit == LIMIT_UNIT_MONEY ? money_parse(text, out) : str_u64(text, out);
}

static bool parse_limit(const struct limit_row *row, enum limit_unit unit, uint64_t factor, struct gcra *g)
{
    struct str rest = str_from(row->limit);
    struct str count;
    uint64_t limit = 0;
    uint64_t period_ms = 0;
    uint64_t burst = 0;
    if (unit == LIMIT_UNIT_CONCURRENT) {
        return parse_concurrent(row, factor, g);
    }
    if (!str_cut(&rest, '/', &count) || !parse_units(count, unit, &limit) ||
        !str_duration_ms(rest, &period_ms)) {
        return false;
    }
    burst = limit;
    if (row->burst && !parse_units(str_from(row->burst), unit, &burst)) {
        return false;
    }
    bool in_range = limit <= UNITS_MAX && burst <= UNITS_MAX && period_ms <= UINT64_MAX / 1000;
    uint64_t debt =
        unit == LIMIT_UNIT_TOKENS ? burst * factor : 0; /* an answer may cost more than estimated */
    return in_range && gcra_init(g, limit * factor, period_ms * 1000, burst * factor, debt);
}

/* --- what a rule needs at each request, made once -------------------------------------------------- */

static uint8_t resp_number(char *p, size_t room, int64_t v)
{
    char digits[24];
    int n = snprintf(digits, sizeof(digits), "%lld", (long long)v);
    return (uint8_t)snprintf(p, room, "$%d\r\n%s\r\n", n, digits);
}

static void rule_precompute(struct limit_rule *r, const char *name)
{
    const char *kind = r->unit == LIMIT_UNIT_CONCURRENT ? "rc" : "rl"; /* another type in Redis */
    r->key_head_n = (uint8_t)snprintf(r->key_head, sizeof(r->key_head), "%s:%s:", kind, name);
    r->inc_us = gcra_inc_us(&r->gcra, 1);
    const int64_t numbers[] = {r->inc_us, r->gcra.tau_us, r->gcra.cap_us};
    for (int i = 0; i < 3; i++) {
        r->args_n += resp_number(r->args + r->args_n, sizeof(r->args) - r->args_n, numbers[i]);
        r->args_inc_n = i == 0 ? r->args_n : r->args_inc_n;
    }
    uint64_t window_s = (r->gcra.period_us + 999999) / 1000000;
    unsigned long long q = r->gcra.limit;
    r->policy_n = (uint8_t)(r->unit == LIMIT_UNIT_CONCURRENT
                                ? snprintf(r->policy, sizeof(r->policy),
                                           "\"%s\";q=%llu;qu=\"concurrent-requests\"", name, q)
                                : snprintf(r->policy, sizeof(r->policy), "\"%s\";q=%llu;w=%llu", name, q,
                                           (unsigned long long)window_s));
    for (int i = 0; i < LIMIT_OUTCOMES; i++) {
        char labels[64];
        snprintf(labels, sizeof(labels), "%s,%s", name, outcome_names[i]);
        r->outcomes[i] = metric_child(&decisions, labels);
    }
}

static int row_error(const struct limit_row *row, const char *field, const char *wanted, struct err *err)
{
    return err_set(err, ERR_INVALID, "rule \"%.32s\": %s: %s", row->name ? row->name : "", field, wanted);
}

/* The words of a row. */
struct words {
    int on_error, role, unit, lease, newcomers;
};

static int words_read(const struct limit_row *row, struct words *w, struct err *err)
{
    static const char *const on_errors[] = {"local", "open", "closed"};
    static const char *const roles[] = {"limits", "ledger"};
    static const char *const units[LIMIT_UNITS] = {"requests", "tokens", "concurrent", "money"};
    static const char *const leases[] = {"off", "auto"};
    static const char *const newcomers[] = {"exact", "auto"};
    w->on_error = word_index(row->on_error, on_errors, 3, LIMIT_ON_ERROR_LOCAL);
    w->role = word_index(row->role, roles, 2, LIMIT_ROLE_LIMITS);
    w->unit = word_index(row->unit, units, LIMIT_UNITS, LIMIT_UNIT_REQUESTS);
    w->lease = word_index(row->lease, leases, 2, 1);
    w->newcomers = word_index(row->newcomers, newcomers, 2, 1);
    return w->on_error < 0    ? row_error(row, "on_error", "local, open or closed", err)
           : w->role < 0      ? row_error(row, "role", "limits or ledger", err)
           : w->unit < 0      ? row_error(row, "unit", "requests, tokens, concurrent or money", err)
           : w->lease < 0     ? row_error(row, "lease", "auto or off", err)
           : w->newcomers < 0 ? row_error(row, "newcomers", "auto or exact", err)
                              : 0;
}

static int address_check(const struct limit_row *row, const struct limit_rule *r, struct err *err)
{
    bool by_address = r->dimensions & (1u << LIMIT_BY_ADDRESS);
    if (row->address && strcmp(row->address, "4") != 0 && strcmp(row->address, "6") != 0) {
        return row_error(row, "address", "4 or 6", err);
    }
    if (row->address && !by_address) {
        return row_error(row, "address", "only for rules by address", err);
    }
    return row->prefixes && !by_address ? row_error(row, "prefixes", "only for rules by address", err) : 0;
}

/* Anyone can invent sources of these dimensions; of the others each is known to be somebody. */
static bool is_sprayable(uint16_t dimensions)
{
    const uint16_t invented = (1u << LIMIT_BY_ADDRESS) | (1u << LIMIT_BY_DEVICE) | (1u << LIMIT_BY_JA4);
    return (dimensions & invented) != 0 && (dimensions & ~(invented | (1u << LIMIT_BY_ROUTE))) == 0;
}

/* What is counted there comes from many: one of them alone cannot be told to wait. */
static bool is_shared(const struct limit_rule *r)
{
    const uint16_t wide = (1u << LIMIT_BY_ALL) | (1u << LIMIT_BY_PHONE_COUNTRY) |
                          (1u << LIMIT_BY_PHONE_PREFIX) | (1u << LIMIT_BY_ASN);
    bool is_taken = r->unit == LIMIT_UNIT_REQUESTS || r->unit == LIMIT_UNIT_MONEY;
    return is_taken && (r->dimensions & ~wide) == 0;
}

/* The rule of a row for one of its prefixes; p->factor is 1 for the row itself. */
static int rule_init(struct limit_rule *r, const struct limit_row *row, const struct limit_prefix *p,
                     struct err *err)
{
    struct words w;
    *r =
        (struct limit_rule){.shadow = row->shadow, .family = p->family, .bits4 = p->bits4, .bits6 = p->bits6};
    if (!name_is_good(str_from(row->name))) {
        return row_error(row, "name", "1 to 32 of a-z 0-9 _", err);
    }
    if (!parse_by(row->by, &r->dimensions)) {
        return row_error(row, "by",
                         "address, device, phone, phone_prefix, phone_country, account, apikey, route, ja4, "
                         "model, all, joined with +",
                         err);
    }
    int rc = words_read(row, &w, err);
    if (rc == 0) {
        rc = address_check(row, r, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (!row->limit || !parse_limit(row, (enum limit_unit)w.unit, p->factor, &r->gcra)) {
        return row_error(row, "limit",
                         w.unit == LIMIT_UNIT_CONCURRENT
                             ? "unit concurrent: a count like 4, and no burst"
                             : "a count and a period like 50/1s, a burst of at least 1, 400 days at most",
                         err);
    }
    char name[LIMIT_NAME_MAX + sizeof(p->suffix)];
    size_t n = (size_t)snprintf(name, sizeof(name), "%s%s", row->name, p->suffix);
    if (n > LIMIT_NAME_MAX) {
        return row_error(row, "name", "too long for the names of its prefixes (name_48)", err);
    }
    memcpy(r->name, name, n + 1);
    r->name_n = (uint8_t)n;
    r->on_error = (enum limit_on_error)w.on_error;
    r->role = (enum limit_role)w.role;
    r->unit = (enum limit_unit)w.unit;
    bool counts_requests = r->unit == LIMIT_UNIT_REQUESTS && r->role == LIMIT_ROLE_LIMITS;
    r->leases = w.lease == 1 && counts_requests;
    r->newcomers = w.newcomers == 1 && counts_requests && is_sprayable(r->dimensions) &&
                   r->on_error != LIMIT_ON_ERROR_CLOSED && r->gcra.burst >= NEWCOMER_BURST_MIN;
    r->is_private = (r->dimensions & ((1u << LIMIT_BY_ALL) | (1u << LIMIT_BY_PHONE_COUNTRY))) != 0;
    r->is_shared = is_shared(r);
    rule_precompute(r, name);
    return 0;
}

/* --- points --------------------------------------------------------------------------------------- */

/* The next point of an `at` text; false at its end. */
static bool next_point(struct str *at, struct str *point)
{
    while (at->n > 0 && (*at->p == ' ' || *at->p == ',')) {
        *at = str_skip(*at, 1);
    }
    size_t n = 0;
    while (n < at->n && at->p[n] != ' ' && at->p[n] != ',') {
        n++;
    }
    *point = str_of(at->p, n);
    *at = str_skip(*at, n);
    return n > 0;
}

static bool at_has(struct str at, struct str name)
{
    struct str point;
    while (next_point(&at, &point)) {
        if (str_eq(point, name)) {
            return true;
        }
    }
    return false;
}

static struct point *point_find(const struct limit_rules *all, struct str name)
{
    for (unsigned i = 0; i < all->point_count; i++) {
        if (str_is(name, all->points[i].name)) {
            return (struct point *)&all->points[i];
        }
    }
    return NULL;
}

static int points_add(struct limit_rules *all, const struct limit_row *row, struct str at, struct err *err)
{
    struct str name;
    while (next_point(&at, &name)) {
        if (str_is(name, "*") || point_find(all, name)) {
            continue;
        }
        if (!name_is_good(name)) {
            return row_error(row, "at", "names of routes or events (a-z 0-9 _), or *", err);
        }
        if (all->point_count == POINTS_MAX) {
            return err_set(err, ERR_LIMIT, "limits: more than %d routes and events are named", POINTS_MAX);
        }
        struct point *p = &all->points[all->point_count++];
        snprintf(p->name, sizeof(p->name), STR_FMT, STR_ARG(name));
    }
    return 0;
}

/* Fills a set with the rules that match, enforced ones first. name empty: only rows at "*". */
static int set_fill(const struct limit_rules *all, struct limit_set *set, struct str name, bool with_star,
                    struct err *err)
{
    for (int shadow = 0; shadow <= 1; shadow++) {
        for (unsigned i = 0; i < all->count; i++) {
            bool match = at_has(all->at[i], name) || (with_star && at_has(all->at[i], STR("*")));
            if (!match || all->rules[i].shadow != shadow) {
                continue;
            }
            if (set->count == LIMIT_AT_MAX) {
                return err_set(err, ERR_LIMIT, "limits: more than %d rules at \"" STR_FMT "\"", LIMIT_AT_MAX,
                               STR_ARG(name));
            }
            set->rules[set->count++] = &all->rules[i];
            set->dimensions |= all->rules[i].dimensions;
        }
    }
    return 0;
}

static int sets_fill(struct limit_rules *all, struct err *err)
{
    int rc = set_fill(all, &all->everywhere, STR("*"), true, err);
    for (unsigned i = 0; i < all->point_count && rc == 0; i++) {
        struct point *p = &all->points[i];
        rc = set_fill(all, &p->route, str_from(p->name), true, err);
        if (rc == 0) {
            rc = set_fill(all, &p->event, str_from(p->name), false, err);
        }
    }
    return rc;
}

/* --- life ----------------------------------------------------------------------------------------- */

static int rules_add_one(struct limit_rules *all, const struct limit_row *row, const struct limit_prefix *p,
                         struct err *err)
{
    if (all->count == LIMIT_RULES_MAX) {
        return err_set(err, ERR_LIMIT, "limits: more than %d rules", LIMIT_RULES_MAX);
    }
    int rc = rule_init(&all->rules[all->count], row, p, err);
    if (rc != 0) {
        return rc;
    }
    for (unsigned i = 0; i < all->count; i++) {
        if (strcmp(all->rules[i].name, all->rules[all->count].name) == 0) {
            return row_error(row, "name", "used twice", err);
        }
    }
    all->at[all->count++] = row->at ? str_from(row->at) : STR("*");
    return 0;
}

static int rules_add(struct limit_rules *all, const struct limit_row *row, struct err *err)
{
    struct limit_prefix prefixes[LIMIT_PREFIXES_MAX];
    unsigned n = limit_prefixes_parse(row->prefixes, row->address, prefixes);
    if (n == 0) {
        return row_error(
            row, "prefixes",
            "bits and factors like \"32 24x16 64 56x4 48x16\", one prefix a family without factor, "
            "only of the row's family",
            err);
    }
    int rc = 0;
    for (unsigned i = 0; i < n && rc == 0; i++) {
        rc = rules_add_one(all, row, &prefixes[i], err);
    }
    return rc == 0 ? points_add(all, row, row->at ? str_from(row->at) : STR("*"), err) : rc;
}

static void rules_free(struct limit_rules *all)
{
    for (unsigned i = 0; i < LIMIT_RULES_MAX; i++) { /* past the count there may be one that was refused */
        for (unsigned o = 0; o < LIMIT_OUTCOMES; o++) {
            metric_child_release(all->rules[i].outcomes[o]);
        }
    }
    free(all);
}

struct limit_rules *limit_rules_new(const struct limit_row *rows, unsigned count, struct err *err)
{
    struct limit_rules *all = calloc(1, sizeof(*all));
    BUG_ON(!all);
    atomic_init(&all->refs, 1);
    int rc = 0;
    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = rules_add(all, &rows[i], err);
    }
    if (rc == 0) {
        rc = sets_fill(all, err);
    }
    if (rc != 0) {
        rules_free(all);
        return NULL;
    }
    memset(all->at, 0, sizeof(all->at));
    return all;
}

struct limit_rules *limit_rules_ref(struct limit_rules *r)
{
    atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    return r;
}

void limit_rules_unref(struct limit_rules *r)
{
    if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1) {
        rules_free(r);
    }
}

const struct limit_set *limit_rules_at(const struct limit_rules *r, struct str route)
{
    const struct point *p = point_find(r, route);
    return p ? &p->route : &r->everywhere;
}

const struct limit_set *limit_rules_at_event(const struct limit_rules *r, struct str event)
{
    const struct point *p = point_find(r, event);
    return p ? &p->event : &r->nowhere;
}

unsigned limit_rules_count(const struct limit_rules *r)
{
    return r->count;
}

const struct limit_rule *limit_rules_get(const struct limit_rules *r, unsigned i)
{
    return &r->rules[i];
}

const char *limit_rules_point(const struct limit_rules *r, unsigned i)
{
    return i < r->point_count ? r->points[i].name : NULL;
}

bool limit_rules_names(const struct limit_rules *r, struct str point)
{
    return point_find(r, point) != NULL;
}

#include "auth/policy_when.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"
#include "base/clock.h"

/* --- lists ------------------------------------------------------------------------------------------- */

static const char *const methods[] = {"phone", "email", "apple", "google", NULL};
static const char *const types[] = {"mobile", "fixed_or_mobile", "voip", NULL};
static const char *const devices[] = {"none", "basic", "strong", NULL}; /* from 1 */
static const char *const platforms[] = {"ios", "android", "web", NULL}; /* from 1 */
static const char *const days[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun", NULL};

static int add_bit(struct policy_reader *r, const cJSON *v, const char *const *names, unsigned first,
                   uint32_t *bits)
{
    int i = policy_read_choice(r, v, names);
    if (i >= 0) {
        *bits |= 1u << (first + (unsigned)i);
    }
    return i;
}

static int item_method(struct policy_reader *r, const cJSON *v, void *bits)
{
    return add_bit(r, v, methods, 0, bits);
}

static int item_type(struct policy_reader *r, const cJSON *v, void *bits)
{
    return add_bit(r, v, types, 0, bits);
}

static int item_device(struct policy_reader *r, const cJSON *v, void *bits)
{
    return add_bit(r, v, devices, POLICY_DEVICE_NONE, bits);
}

static int item_platform(struct policy_reader *r, const cJSON *v, void *bits)
{
    return add_bit(r, v, platforms, POLICY_PLATFORM_IOS, bits);
}

static int item_day(struct policy_reader *r, const cJSON *v, void *bits)
{
    return add_bit(r, v, days, 0, bits);
}

static int item_country(struct policy_reader *r, const cJSON *v, void *set)
{
    int i = cJSON_IsString(v) ? policy_country_index(v->valuestring) : -1;
    if (i < 0) {
        return REFUSE(r, "is not a country of two capital letters");
    }
    ((struct policy_countries *)set)->bits[i / 32] |= 1u << (i % 32);
    return 0;
}

static int read_countries(struct policy_reader *r, const cJSON *v, struct policy_countries **out)
{
    *out = calloc(1, sizeof **out);
    BUG_ON(!*out);
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_country, *out);
}

static void numbers_add(struct policy_numbers *list, uint64_t n)
{
    list->items = realloc(list->items, (list->count + 1) * sizeof *list->items);
    BUG_ON(!list->items);
    list->items[list->count++] = n;
}

static int item_prefix(struct policy_reader *r, const cJSON *v, void *list)
{
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    size_t n = strlen(text);
    uint64_t digits;
    if (text[0] != '+' || n < 2 || n > PHONE_E164_MAX || text[1] == '0' ||
        !str_u64(str_of(text + 1, n - 1), &digits)) {
        return REFUSE(r, "is not + and the first digits of a number");
    }
    numbers_add(list, policy_prefix_key(digits, (unsigned)n - 1));
    return 0;
}

static int item_asn(struct policy_reader *r, const cJSON *v, void *list)
{
    double n = cJSON_IsNumber(v) ? v->valuedouble : 0;
    if (n < 1 || n > UINT32_MAX || n != floor(n)) {
        return REFUSE(r, "is not the number of an autonomous system");
    }
    numbers_add(list, (uint64_t)n);
    return 0;
}

static int item_campaign(struct policy_reader *r, const cJSON *v, void *into)
{
    struct policy_texts *list = into;
    list->items = realloc(list->items, (list->count + 1) * sizeof *list->items);
    BUG_ON(!list->items);
    list->items[list->count++] = NULL;
    return policy_read_word(r, v, &list->items[list->count - 1]);
}

static int item_domain(struct policy_reader *r, const cJSON *v, void *set)
{
    if (!cJSON_IsString(v) || !domain_is_good(str_from(v->valuestring))) {
        return REFUSE(r, "is not a domain in lower case, as mail.example");
    }
    (void)domain_set_add(set, str_from(v->valuestring));
    return 0;
}

/* --- conditions -------------------------------------------------------------------------------------- */

static int when_method(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_method, &((struct policy_rule *)rule)->methods);
}

static int when_type(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_type, &((struct policy_rule *)rule)->types);
}

static int when_device(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_device, &((struct policy_rule *)rule)->devices);
}

static int when_platform(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_platform, &((struct policy_rule *)rule)->platforms);
}

static int when_phone_country(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_countries(r, v, &((struct policy_rule *)rule)->phone_country);
}

static int when_ip_country(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_countries(r, v, &((struct policy_rule *)rule)->ip_country);
}

static int when_prefix(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_prefix, &((struct policy_rule *)rule)->prefix);
}

static int when_asn(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_asn, &((struct policy_rule *)rule)->asn);
}

static int when_campaign(struct policy_reader *r, const cJSON *v, void *rule)
{
    return policy_read_list(r, v, POLICY_VALUES_MAX, item_campaign, &((struct policy_rule *)rule)->campaign);
}

static int when_domain(struct policy_reader *r, const cJSON *v, void *into)
{
    struct policy_rule *rule = into;
    size_t bytes = 0;
    unsigned count = 0;
    for (const cJSON *item = cJSON_IsArray(v) ? v->child : NULL; item; item = item->next) {
        bytes += cJSON_IsString(item) ? strlen(item->valuestring) : 0;
        count++;
    }
    rule->email_domain = domain_set_new(count, bytes);
    return policy_read_list(r, v, POLICY_DOMAINS_MAX, item_domain, rule->email_domain);
}

static int read_answer(struct policy_reader *r, const cJSON *v, enum policy_answer *out)
{
    bool yes;
    int rc = policy_read_bool(r, v, &yes);
    *out = yes ? POLICY_YES : POLICY_NO;
    return rc;
}

static int when_virtual(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_answer(r, v, &((struct policy_rule *)rule)->is_virtual);
}

static int when_disposable(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_answer(r, v, &((struct policy_rule *)rule)->is_disposable);
}

static int when_same_country(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_answer(r, v, &((struct policy_rule *)rule)->is_same_country);
}

static int when_invite(struct policy_reader *r, const cJSON *v, void *rule)
{
    return read_answer(r, v, &((struct policy_rule *)rule)->is_invited);
}

static int app_version(struct policy_reader *r, const cJSON *v, void *out)
{
    bool is_good = cJSON_IsString(v) && policy_app_version_read(str_from(v->valuestring), out);
    return is_good ? 0 : REFUSE(r, "is not a version of 1 to %d numbers, as 2.10", POLICY_APP_PARTS);
}

static int app_at_least(struct policy_reader *r, const cJSON *v, void *rule)
{
    return app_version(r, v, &((struct policy_rule *)rule)->at_least);
}

static int app_below(struct policy_reader *r, const cJSON *v, void *rule)
{
    return app_version(r, v, &((struct policy_rule *)rule)->below);
}

static int when_app_version(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {
        {"at_least", app_at_least, false}, {"below", app_below, false}, {0}};
    struct policy_rule *rule = into;
    int rc = policy_read_object(r, v, members, rule);
    if (rc == 0 && !rule->at_least.is_known && !rule->below.is_known) {
        return REFUSE(r, "wants at_least, below or both");
    }
    return rc;
}

/* --- time -------------------------------------------------------------------------------------------- */

/* Zones that keep one offset all year. Others are written as offsets: a decision may not depend on which zone files
 * a machine has. */
static const struct zone {
    const char *name;
    int hours;
} zones[] = {
    {"UTC", 0},        {"Asia/Shanghai", 8}, {"Asia/Hong_Kong", 8},
    {"Asia/Macau", 8}, {"Asia/Taipei", 8},   {"Asia/Singapore", 8},
    {"Asia/Tokyo", 9}, {"Asia/Seoul", 9},    {"Asia/Bangkok", 7},
};

static int time_zone(struct policy_reader *r, const cJSON *v, void *time)
{
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    int64_t *offset_ms = &(int64_t){0};
    char probe[64];
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++) {
        if (strcmp(text, zones[i].name) == 0) {
            ((struct policy_time *)time)->offset_s = zones[i].hours * 3600;
            return 0;
        }
    }
    int n = snprintf(probe, sizeof probe, "1970-01-02T00:00:00%.20s", text);
    if (text[0] == '.' || clock_parse_iso(probe, (size_t)n, offset_ms) < 0) {
        return REFUSE(r, "is not UTC, an offset as +08:00, or a zone without summer time as Asia/Shanghai");
    }
    ((struct policy_time *)time)->offset_s = (int32_t)(86400 - *offset_ms / 1000);
    return 0;
}

static int local_minute(struct policy_reader *r, const cJSON *v, int64_t *out)
{
    char probe[64];
    int64_t ms;
    const char *text = cJSON_IsString(v) ? v->valuestring : "";
    int n = snprintf(probe, sizeof probe, "%.30s:00Z", text);
    if (strlen(text) != 16 || clock_parse_iso(probe, (size_t)n, &ms) < 0) {
        return REFUSE(r, "is not a local time as 2026-12-01T09:00");
    }
    *out = ms / 1000;
    return 0;
}

static int time_from(struct policy_reader *r, const cJSON *v, void *time)
{
    return local_minute(r, v, &((struct policy_time *)time)->from_s);
}

static int time_until(struct policy_reader *r, const cJSON *v, void *time)
{
    return local_minute(r, v, &((struct policy_time *)time)->until_s);
}

static int hour(struct policy_reader *r, const cJSON *v, bool is_end, uint16_t *out)
{
    const char *t = cJSON_IsString(v) ? v->valuestring : "";
    uint64_t h = 0, m = 0;
    bool is_good =
        strlen(t) == 5 && t[2] == ':' && str_u64(str_of(t, 2), &h) && str_u64(str_of(t + 3, 2), &m);
    if (!is_good || m > 59 || h * 60 + m > (is_end ? 1440 : 1439)) {
        return REFUSE(r, "is not an hour of the day as 09:00");
    }
    *out = (uint16_t)(h * 60 + m);
    return 0;
}

static int window_from(struct policy_reader *r, const cJSON *v, void *window)
{
    return hour(r, v, false, &((struct policy_window *)window)->from_min);
}

static int window_until(struct policy_reader *r, const cJSON *v, void *window)
{
    return hour(r, v, true, &((struct policy_window *)window)->until_min);
}

static int window_days(struct policy_reader *r, const cJSON *v, void *window)
{
    uint32_t bits = 0;
    int rc = policy_read_list(r, v, 7, item_day, &bits);
    ((struct policy_window *)window)->days = (uint8_t)bits;
    return rc;
}

static int item_window(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {
        {"days", window_days, false}, {"from", window_from, true}, {"until", window_until, true}, {0}};
    struct policy_time *time = into;
    struct policy_window *w = &time->windows[time->window_count++];
    w->days = 0x7f;
    int rc = policy_read_object(r, v, members, w);
    return rc == 0 && w->from_min == w->until_min ? REFUSE(r, "from and until are the same") : rc;
}

static int time_weekly(struct policy_reader *r, const cJSON *v, void *time)
{
    return policy_read_list(r, v, POLICY_WINDOWS_MAX, item_window, time);
}

static int when_time(struct policy_reader *r, const cJSON *v, void *into)
{
    static const struct policy_member members[] = {{"zone", time_zone, true},
                                                   {"from", time_from, false},
                                                   {"until", time_until, false},
                                                   {"weekly", time_weekly, false},
                                                   {0}};
    struct policy_time *t = ((struct policy_rule *)into)->time = calloc(1, sizeof *t);
    BUG_ON(!t);
    t->from_s = INT64_MIN;
    t->until_s = INT64_MAX;
    int rc = policy_read_object(r, v, members, t);
    if (rc < 0) {
        return rc;
    }
    t->from_s -= t->from_s != INT64_MIN ? t->offset_s : 0;
    t->until_s -= t->until_s != INT64_MAX ? t->offset_s : 0;
    if (t->window_count == 0 && t->from_s == INT64_MIN && t->until_s == INT64_MAX) {
        return REFUSE(r, "wants from, until or weekly");
    }
    return t->from_s < t->until_s ? 0 : REFUSE(r, "from is not before until");
}

/* --- the table --------------------------------------------------------------------------------------- */

#define LIST(item) "{\"type\":\"array\",\"minItems\":1,\"maxItems\":1000,\"items\":" item "}"
#define COUNTRIES LIST("{\"type\":\"string\",\"pattern\":\"^[A-Z]{2}$\"}")
#define BOOLEAN "{\"type\":\"boolean\"}"
#define APP_VERSION "{\"type\":\"string\",\"pattern\":\"^[0-9]{1,9}([.][0-9]{1,9}){0,3}$\"}"
#define LOCAL_TIME "{\"type\":\"string\",\"pattern\":\"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}$\"}"
#define HOUR "{\"type\":\"string\",\"pattern\":\"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$\"}"
#define OBJECT "{\"type\":\"object\",\"additionalProperties\":false,"

static const char time_schema[] = OBJECT
    "\"required\":[\"zone\"],\"minProperties\":2,\"properties\":{"
    "\"zone\":{\"type\":\"string\",\"pattern\":\"^(UTC|Z|[+-][0-9]{2}:?[0-9]{2}|Asia/[A-Z][A-Za-z_]+)$\"},"
    "\"from\":" LOCAL_TIME ",\"until\":" LOCAL_TIME ",\"weekly\":{\"type\":\"array\",\"minItems\":1,"
    "\"maxItems\":14,\"items\":" OBJECT "\"required\":[\"from\",\"until\"],\"properties\":{"
    "\"days\":{\"type\":\"array\",\"minItems\":1,\"maxItems\":7,\"items\":"
    "{\"enum\":[\"mon\",\"tue\",\"wed\",\"thu\",\"fri\",\"sat\",\"sun\"]}},"
    "\"from\":" HOUR ",\"until\":" HOUR "}}}}}";

/* By enum policy_condition. The ramp is a member of the rule: it has a row and no reader here. */
static const struct policy_member members[POLICY_CONDITIONS + 1] = {
    [POLICY_IF_METHOD] = {"method", when_method, false},
    [POLICY_IF_PHONE_TYPE] = {"phone_type", when_type, false},
    [POLICY_IF_PHONE_VIRTUAL] = {"phone_virtual", when_virtual, false},
    [POLICY_IF_EMAIL_DISPOSABLE] = {"email_disposable", when_disposable, false},
    [POLICY_IF_SAME_COUNTRY] = {"phone_country_is_ip_country", when_same_country, false},
    [POLICY_IF_DEVICE] = {"device", when_device, false},
    [POLICY_IF_PLATFORM] = {"platform", when_platform, false},
    [POLICY_IF_INVITE] = {"invite", when_invite, false},
    [POLICY_IF_PHONE_COUNTRY] = {"phone_country", when_phone_country, false},
    [POLICY_IF_IP_COUNTRY] = {"ip_country", when_ip_country, false},
    [POLICY_IF_APP_VERSION] = {"app_version", when_app_version, false},
    [POLICY_IF_RAMP] = {"ramp_percent", NULL, false},
    [POLICY_IF_TIME] = {"time", when_time, false},
    [POLICY_IF_ASN] = {"asn", when_asn, false},
    [POLICY_IF_PHONE_PREFIX] = {"phone_prefix", when_prefix, false},
    [POLICY_IF_CAMPAIGN] = {"campaign", when_campaign, false},
    [POLICY_IF_EMAIL_DOMAIN] = {"email_domain", when_domain, false},
};

static const char *const schemas[POLICY_CONDITIONS] = {
    [POLICY_IF_METHOD] = LIST("{\"enum\":[\"phone\",\"email\",\"apple\",\"google\"]}"),
    [POLICY_IF_PHONE_TYPE] = LIST("{\"enum\":[\"mobile\",\"fixed_or_mobile\",\"voip\"]}"),
    [POLICY_IF_PHONE_VIRTUAL] = BOOLEAN,
    [POLICY_IF_EMAIL_DISPOSABLE] = BOOLEAN,
    [POLICY_IF_SAME_COUNTRY] = BOOLEAN,
    [POLICY_IF_DEVICE] = LIST("{\"enum\":[\"none\",\"basic\",\"strong\"]}"),
    [POLICY_IF_PLATFORM] = LIST("{\"enum\":[\"ios\",\"android\",\"web\"]}"),
    [POLICY_IF_INVITE] = BOOLEAN,
    [POLICY_IF_PHONE_COUNTRY] = COUNTRIES,
    [POLICY_IF_IP_COUNTRY] = COUNTRIES,
    [POLICY_IF_APP_VERSION] =
        OBJECT "\"minProperties\":1,\"properties\":{\"at_least\":" APP_VERSION ",\"below\":" APP_VERSION "}}",
    [POLICY_IF_RAMP] = "{\"type\":\"number\",\"minimum\":0.01,\"maximum\":100}",
    [POLICY_IF_TIME] = time_schema,
    [POLICY_IF_ASN] = LIST("{\"type\":\"integer\",\"minimum\":1,\"maximum\":4294967295}"),
    [POLICY_IF_PHONE_PREFIX] = LIST("{\"type\":\"string\",\"pattern\":\"^[+][1-9][0-9]{0,14}$\"}"),
    [POLICY_IF_CAMPAIGN] = LIST("{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._-]{1,63}$\"}"),
    [POLICY_IF_EMAIL_DOMAIN] =
        "{\"type\":\"array\",\"minItems\":1,\"maxItems\":200000,\"items\":{\"type\":\"string\","
        "\"maxLength\":253,\"pattern\":\"^[a-z0-9]([a-z0-9-]*[a-z0-9])?"
        "([.][a-z0-9]([a-z0-9-]*[a-z0-9])?){1,15}$\"}}",
};

const char *policy_condition_name(enum policy_condition c)
{
    return members[c].name;
}

const char *policy_condition_schema(enum policy_condition c)
{
    return schemas[c];
}

int policy_read_when(struct policy_reader *r, const cJSON *v, void *into)
{
    struct policy_rule *rule = into;
    const cJSON *misplaced = cJSON_GetObjectItemCaseSensitive(v, "ramp_percent");
    if (misplaced) {
        policy_enter(r, "ramp_percent");
        return REFUSE(r, "stands beside when, not in it");
    }
    for (unsigned c = 0; c < POLICY_CONDITIONS; c++) {
        if (cJSON_GetObjectItemCaseSensitive(v, members[c].name)) {
            rule->has |= POLICY_BIT(c);
        }
    }
    return policy_read_object(r, v, members, rule);
}

int policy_read_ramp(struct policy_reader *r, const cJSON *v, void *into)
{
    struct policy_rule *rule = into;
    double parts = cJSON_IsNumber(v) ? v->valuedouble * (POLICY_RAMP_WHOLE / 100) : 0;
    if (parts < 1 || parts > POLICY_RAMP_WHOLE || fabs(parts - round(parts)) > 1e-6) {
        return REFUSE(r, "must be 0.01 to 100, in steps of 0.01");
    }
    rule->ramp = (uint32_t)lround(parts);
    rule->has |= POLICY_BIT(POLICY_IF_RAMP);
    ((struct policy *)r->subject)->has_ramp = true;
    return 0;
}

/* Names, defaults and ranges of the section `sms`. */
#include "gateway/sms_conf.h"

#include "base/money.h"

enum { PREFIX_DIGITS_MAX = 12, PRICES_MAX = 1000 };

static int check_price(const char *text, uint64_t *out, struct err *err)
{
    return money_parse(str_from(text), out)
               ? 0
               : err_set(err, ERR_INVALID, "a sum like 0.0045, six decimals at most");
}

static int check_row(void *section, const char **field, struct err *err)
{
    struct sms_price_row *row = section;
    struct str digits = str_from(row->prefix);
    uint64_t number = 0;
    *field = "prefix";
    if (!str_starts(digits, STR("+")) || digits.n > PREFIX_DIGITS_MAX ||
        !str_u64(str_skip(digits, 1), &number)) {
        return err_set(err, ERR_INVALID, "a country code and perhaps more digits, like +86 or +1242");
    }
    *field = "price";
    return check_price(row->price, &row->millionths, err);
}

static const struct conf_entry price_entries[] = {
    {.name = "prefix",
     .type = CONF_STRING,
     CONF_FIELD(struct sms_price_row, prefix),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "How numbers begin that cost this: +86, +1242. The longest that fits counts."},
    {.name = "price",
     .type = CONF_STRING,
     CONF_FIELD(struct sms_price_row, price),
     .flags = CONF_REQUIRED | CONF_RELOADABLE,
     .help = "Of one message: 0.0045."},
};

static const struct conf_section price_section = {.entries = price_entries,
                                                  .count = CONF_COUNT(price_entries),
                                                  .size = sizeof(struct sms_price_row),
                                                  .check = check_row};

#define GUARD(field_) CONF_FIELD(struct sms_guard_conf, field_)

static const struct conf_entry guard_entries[] = {
    {.name = "window",
     .type = CONF_DURATION,
     GUARD(window_ms),
     .preset = "10m",
     .min = 1000,
     .max = 86400000,
     .flags = CONF_RELOADABLE,
     .help = "How far back it looks, in ten steps."},
    {.name = "grace",
     .type = CONF_DURATION,
     GUARD(grace_ms),
     .preset = "2m",
     .max = 3600000,
     .flags = CONF_RELOADABLE,
     .help = "A person's time to type a code: codes sent later than that do not count yet."},
    {.name = "sends",
     .type = CONF_INT,
     GUARD(sends),
     .preset = "30",
     .max = 1000000,
     .flags = CONF_RELOADABLE,
     .help = "Codes within the window; fewer say nothing. 0: the guard is off."},
    {.name = "percent",
     .type = CONF_INT,
     GUARD(percent),
     .preset = "20",
     .max = 100,
     .flags = CONF_RELOADABLE,
     .help = "Of them that have to be used; when fewer are, the prefix is blocked."},
    {.name = "block",
     .type = CONF_DURATION,
     GUARD(block_ms),
     .preset = "1h",
     .min = 1000,
     .max = 604800000,
     .flags = CONF_RELOADABLE,
     .help = "For how long. It ends by itself, and counting begins anew."},
};

static int check_guard(void *section, const char **field, struct err *err)
{
    const struct sms_guard_conf *g = section;
    *field = "grace";
    return g->grace_ms < g->window_ms ? 0 : err_set(err, ERR_INVALID, "has to be shorter than the window");
}

static const struct conf_section guard_section = {
    .entries = guard_entries,
    .count = CONF_COUNT(guard_entries),
    .size = sizeof(struct sms_guard_conf),
    .check = check_guard,
    .help = "Finds prefixes (country code and the next digits) whose codes nobody uses, as when somebody "
            "earns by messages to "
            "numbers of their own, and blocks these alone, on all gateways."};

static const struct conf_entry entries[] = {
    {.name = "currency",
     .type = CONF_STRING,
     CONF_FIELD(struct sms_conf, currency),
     .preset = "USD",
     .min = 1,
     .max = 8,
     .flags = CONF_RELOADABLE,
     .help = "What prices and budgets are counted in; a word for people."},
    {.name = "price",
     .type = CONF_STRING,
     CONF_FIELD(struct sms_conf, price),
     .preset = "0.05",
     .flags = CONF_RELOADABLE,
     .help = "Of one message to a number that no row of `prices` names."},
    {.name = "prices",
     .type = CONF_LIST,
     CONF_FIELD(struct sms_conf, prices),
     .section = &price_section,
     .max = PRICES_MAX,
     .flags = CONF_RELOADABLE,
     .help = "Prices by how a number begins."},
    {.name = "login_reserve",
     .type = CONF_INT,
     CONF_FIELD(struct sms_conf, login_reserve),
     .preset = "20",
     .max = 90,
     .flags = CONF_RELOADABLE,
     .help =
         "Percent of each budget that is kept for numbers with an account: past the rest, nobody gets a code "
         "for a new account. Budgets are the rules at the event sms by all, phone_country, phone_prefix and "
         "asn."},
    {.name = "guard",
     .type = CONF_SECTION,
     CONF_FIELD(struct sms_conf, guard),
     .section = &guard_section,
     .flags = CONF_RELOADABLE,
     .help = "When a prefix is taken for pumped."},
};

static int check(void *section, const char **field, struct err *err)
{
    struct sms_conf *c = section;
    *field = "price";
    return check_price(c->price, &c->millionths, err);
}

const struct conf_section sms_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct sms_conf),
    .check = check,
    .help = "What codes by SMS cost. Budgets are rules of the section `limits` at the event sms: in "
            "messages, or of unit "
            "money.",
};

uint64_t sms_price(const struct sms_conf *c, struct str number)
{
    const struct sms_price_row *rows = c->prices.items;
    uint64_t price = c->millionths;
    size_t longest = 0;
    for (unsigned i = 0; i < c->prices.n; i++) {
        struct str prefix = str_from(rows[i].prefix);
        if (prefix.n > longest && str_starts(number, prefix)) {
            longest = prefix.n;
            price = rows[i].millionths;
        }
    }
    return price;
}

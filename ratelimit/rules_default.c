/* The rules as shipped. Chosen so that a person never meets them and a script does within seconds:
 * - everything: a bucket an address, wide enough for a household or an office behind one address; wider ones for
 *   the IPv6 prefixes that one subscriber may hold, none for IPv4 /24: a carrier puts a whole town behind one;
 * - codes by SMS cost money and annoy their receiver: narrow, in every dimension an attacker could vary, and
 *   closed while they cannot be counted;
 * - and all codes together have budgets, in messages and in money, for all and for each country: the last wall;
 * - at most eight answers at once an account: more than a person reads, fewer than a reseller wants;
 * - signing in and chatting go on while Redis is away, with this gateway's share of the rate. */
#include "ratelimit/rules.h"

/* clang-format off */
const struct limit_row limit_rows_default[] = {
    {.name = "address", .by = "address", .prefixes = "32 64 56x4 48x16", .at = "*", .limit = "50/1s", .burst = "100"},

    {.name = "otp_phone_minute", .by = "phone", .at = "sms", .limit = "1/60s", .on_error = "closed", .role = "ledger"},
    {.name = "otp_phone_hour", .by = "phone", .at = "sms", .limit = "5/1h", .on_error = "closed", .role = "ledger"},
    {.name = "otp_phone_day", .by = "phone", .at = "sms", .limit = "10/1d", .on_error = "closed", .role = "ledger"},
    {.name = "otp_prefix", .by = "phone_prefix", .at = "sms", .limit = "50/1h", .on_error = "closed", .role = "ledger"},
    {.name = "otp_device", .by = "device", .at = "sms", .limit = "5/1d", .on_error = "closed", .role = "ledger"},
    {.name = "otp_address4", .by = "address", .address = "4", .prefixes = "32 24x16", .at = "sms", .limit = "30/1h", .on_error = "closed", .role = "ledger"},
    {.name = "otp_address6", .by = "address", .address = "6", .prefixes = "64 56x4 48x16", .at = "sms", .limit = "20/1h", .on_error = "closed", .role = "ledger"},

    {.name = "sms_minute", .by = "all", .at = "sms", .limit = "3000/1m", .on_error = "closed", .role = "ledger"},
    {.name = "sms_day", .by = "all", .at = "sms", .limit = "300000/1d", .on_error = "closed", .role = "ledger"},
    {.name = "sms_country_day", .by = "phone_country", .at = "sms", .limit = "200000/1d", .on_error = "closed", .role = "ledger"},
    {.name = "sms_asn_hour", .by = "asn", .at = "sms", .limit = "20000/1h", .on_error = "closed", .role = "ledger"},
    {.name = "sms_money_day", .by = "all", .at = "sms", .limit = "5000/1d", .unit = "money", .on_error = "closed", .role = "ledger"},
    {.name = "sms_money_country_day", .by = "phone_country", .at = "sms", .limit = "2500/1d", .unit = "money", .on_error = "closed", .role = "ledger"},

    {.name = "verify_address", .by = "address", .prefixes = "32 64 56x4 48x64", .at = "auth_verify", .limit = "60/1h", .burst = "30"},
    {.name = "refresh_address", .by = "address", .at = "auth_token", .limit = "10/1s", .burst = "60"},
    {.name = "signup_denied", .by = "address", .prefixes = "32 64 56x4 48x64", .at = "signup_denied", .limit = "20/1h"},
    {.name = "signup_denied_device", .by = "device", .at = "signup_denied", .limit = "10/1h"},
    {.name = "waitlist_address", .by = "address", .prefixes = "32 64 56x4 48x64", .at = "waitlist", .limit = "30/1h"},
    {.name = "waitlist_device", .by = "device", .at = "waitlist", .limit = "5/1h"},
    {.name = "waitlist_phone", .by = "phone", .at = "waitlist", .limit = "5/1h"},
    {.name = "invite_failed", .by = "address", .prefixes = "32 64 56x4 48x64", .at = "invite", .limit = "20/1h"},
    {.name = "invite_failed_device", .by = "device", .at = "invite", .limit = "10/1h"},

    {.name = "chat_account", .by = "account", .at = "chat", .limit = "60/1m", .burst = "20"},
    {.name = "chat_running", .by = "account", .at = "chat", .limit = "8", .unit = "concurrent", .role = "ledger"},
};
/* clang-format on */
const unsigned limit_rows_default_count = sizeof(limit_rows_default) / sizeof(limit_rows_default[0]);

/* What a decision of the sign-up policy costs: 1,000 rules of which none but perhaps the last matches, one of them with
 * 100,000 e-mail domains, and how long reading such a document takes.
 *
 *     build/release/tests/policy_bench        build it with release; under valgrind --tool=callgrind for instructions
 *
 * Prints nanoseconds and the allocations of all decisions together; checks nothing but that each decides as it should. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "auth/policy.h"
#include "base/buf.h"

enum { RULES = 1000, DOMAINS = 100000, DECISIONS = 20000, DOCUMENT = 8 << 20 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Rules of one condition each, none of which matches; `when` of the i-th comes from its format. */
static struct policy *policy_of(const char *when, bool has_domains)
{
    struct buf text;
    struct policy *p = NULL;
    struct err err = {0};
    buf_init(&text, DOCUMENT);
    buf_add_cstr(&text, "{\"name\":\"bench\",\"existing_users\":\"unaffected\",\"default\":{\"effect\":"
                        "\"allow\"},\"rules\":[");
    for (unsigned i = 0; i + has_domains < RULES; i++) {
        buf_addf(&text,
                 "%s{\"id\":\"r%u\",\"effect\":\"deny\",\"reason\":\"signup_closed\",\"when\":{\"method\":["
                 "\"phone\",\"email\"],",
                 i ? "," : "", i);
        buf_addf(&text, when, i % 10, i / 10 % 10, i / 100);
        buf_add_cstr(&text, "}}");
    }
    if (has_domains) {
        buf_add_cstr(&text, ",{\"id\":\"trash\",\"effect\":\"deny\",\"reason\":\"signup_closed\",\"when\":{"
                            "\"email_domain\":[");
        for (unsigned i = 0; i < DOMAINS; i++) {
            buf_addf(&text, "%s\"d%u.example\"", i ? "," : "", i);
        }
        buf_add_cstr(&text, "]}}");
    }
    buf_add_cstr(&text, "]}");
    double began = now_s();
    if (policy_parse(buf_str(&text), 1, &p, &err) < 0) {
        fprintf(stderr, "policy_bench: %s\n", err.msg);
        exit(1);
    }
    printf("%-28s %8.1f ms for %zu bytes\n", "reading", (now_s() - began) * 1e3, text.n);
    buf_clear(&text);
    return p;
}

static void decide(const char *name, struct policy *p, const struct policy_facts *facts, const char *rule)
{
    struct policy_decision d;
    policy_decide(p, facts, &d);
    BUG_ON(strcmp(d.rule, rule) != 0);
    size_t before = mallinfo2().uordblks;
    double began = now_s();
    for (unsigned i = 0; i < DECISIONS; i++) {
        policy_decide(p, facts, &d);
    }
    double each_ns = (now_s() - began) / DECISIONS * 1e9;
    printf("%-28s %8.0f ns a decision, %zd bytes more allocated\n", name, each_ns,
           (ssize_t)(mallinfo2().uordblks - before));
    policy_unref(p);
}

int main(void)
{
    struct phone phone;
    phone_start();
    BUG_ON(phone_read(STR("+8613800138000"), PHONE_MODE_STRICT, &phone, NULL) < 0);
    struct policy_facts call = {.method = POLICY_METHOD_PHONE,
                                .phone = &phone,
                                .ip_country = "CN",
                                .asn = 4134,
                                .device = POLICY_DEVICE_BASIC,
                                .platform = POLICY_PLATFORM_IOS,
                                .now_s = 1764000000,
                                .email_disposable = POLICY_NO,
                                .app_version = {true, {2, 10, 0, 0}},
                                .email_domain = STR("mail.good.example"),
                                .campaign = STR("none"),
                                .invite = POLICY_NO};
    struct policy_facts mail = call;
    mail.email_domain = STR("a.b.d99999.example");
    decide("country and asn", policy_of("\"phone_country\":[\"HK\"],\"asn\":[1%u%u%u]", false), &call,
           "default");
    decide("ip_country and app_version",
           policy_of("\"ip_country\":[\"US\"],\"app_version\":{\"below\":\"1.%u%u%u\"}", false), &call,
           "default");
    decide("asn", policy_of("\"asn\":[1%u%u%u]", false), &call, "default");
    decide("phone_prefix", policy_of("\"phone_prefix\":[\"+8615%u%u%u\"]", false), &call, "default");
    decide("campaign", policy_of("\"campaign\":[\"c%u%u%u\"]", false), &call, "default");
    decide("app_version", policy_of("\"app_version\":{\"below\":\"1.%u%u%u\"}", false), &call, "default");
    decide("time", policy_of("\"time\":{\"zone\":\"UTC\",\"until\":\"200%u-01-1%uT0%u:00\"}", false), &call,
           "default");
    decide("email_domain, none matches", policy_of("\"email_domain\":[\"x%u%u%u.example\"]", true), &call,
           "default");
    decide("email_domain, the last does", policy_of("\"email_domain\":[\"x%u%u%u.example\"]", true), &mail,
           "trash");
    return 0;
}

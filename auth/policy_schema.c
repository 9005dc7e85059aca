/* The JSON Schema of the language: its conditions are those of policy_when.c. */
#include <stdio.h>

#include "auth/policy_inner.h"
#include "auth/policy_lint.h"

#define OBJECT "{\"type\":\"object\",\"additionalProperties\":false,"
#define WORD "{\"type\":\"string\",\"pattern\":\"^[A-Za-z0-9._-]{1,63}$\"}"
#define TEXT "{\"type\":\"string\",\"minLength\":1,\"maxLength\":500}"
#define REASON                                                                                               \
    "{\"enum\":[\"signup_region_not_allowed\",\"signup_closed\",\"signup_disabled\","                        \
    "\"signup_busy\",\"invite_required\"]}"
#define REASON_OF_MESSAGE                                                                                    \
    "{\"enum\":[\"signup_region_not_allowed\",\"signup_closed\",\"signup_disabled\",\"signup_busy\","        \
    "\"invite_required\",\"signup_waitlisted\"]}"
/* deny has a reason, the others have none; only allow has caps */
#define EFFECTS                                                                                              \
    "\"oneOf\":[{\"properties\":{\"effect\":{\"const\":\"allow\"},\"reason\":false}},"                       \
    "{\"properties\":{\"effect\":{\"const\":\"waitlist\"},\"reason\":false,\"caps\":false}},"                \
    "{\"properties\":{\"effect\":{\"const\":\"deny\"},\"caps\":false},\"required\":[\"reason\"]}]"
#define CAP "{\"type\":\"integer\",\"minimum\":0,\"maximum\":1000000000}"
#define CAPS                                                                                                 \
    OBJECT "\"minProperties\":1,\"properties\":{\"per_minute\":" CAP ",\"per_hour\":" CAP                    \
           ",\"per_day\":" CAP "}}"
#define EFFECT_AND_REASON                                                                                    \
    "\"effect\":{\"enum\":[\"allow\",\"deny\",\"waitlist\"]},\"reason\":" REASON                             \
    ",\"challenge\":{\"enum\":[\"none\",\"pow\",\"pow_hard\"]}"

static const char head[] =
    "{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"Tidegate sign-up policy\","
    "\"type\":\"object\",\"additionalProperties\":false,"
    "\"required\":[\"name\",\"rules\",\"default\",\"existing_users\"],\"properties\":{"
    "\"name\":" WORD ",\"version\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9000000000000000},"
    "\"existing_users\":{\"const\":\"unaffected\"},"
    "\"default\":" OBJECT "\"required\":[\"effect\"],\"properties\":{" EFFECT_AND_REASON "}," EFFECTS "},"
    "\"messages\":{\"type\":\"object\",\"maxProperties\":16,\"propertyNames\":" REASON_OF_MESSAGE
    ",\"additionalProperties\":" OBJECT "\"required\":[\"en\"],\"properties\":{\"en\":" TEXT
    ",\"zh-Hans\":" TEXT ",\"zh-Hant\":" TEXT "}}},"
    "\"rules\":{\"type\":\"array\",\"maxItems\":1000,\"items\":" OBJECT
    "\"required\":[\"id\",\"when\",\"effect\"]," EFFECTS ",\"properties\":{\"id\":" WORD "," EFFECT_AND_REASON
    ",\"when\":" OBJECT "\"properties\":{";

void policy_write_schema(struct buf *out)
{
    buf_add_cstr(out, head);
    const char *comma = "";
    for (enum policy_condition c = 0; c < POLICY_CONDITIONS; c++) {
        if (c != POLICY_IF_RAMP) {
            buf_addf(out, "%s\"%s\":%s", comma, policy_condition_name(c), policy_condition_schema(c));
            comma = ",";
        }
    }
    buf_addf(out, "}},\"caps\":" CAPS ",\"shadow\":{\"type\":\"boolean\"},\"%s\":%s}}}}}",
             policy_condition_name(POLICY_IF_RAMP), policy_condition_schema(POLICY_IF_RAMP));
}

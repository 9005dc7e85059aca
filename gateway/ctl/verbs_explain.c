/* Verb explain: why a request for a code went as it did, or how suspicious an address is. */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/ctl/ctl.h"

enum { TARGET_MAX = 1024 };

static const char *text_at(const cJSON *answer, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(answer, key));
    return text != NULL ? text : "";
}

static bool is_true(const cJSON *answer, const char *key)
{
    return cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(answer, key));
}

static long number_at(const cJSON *answer, const char *key)
{
    return (long)cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(answer, key));
}

static void say_what(const cJSON *answer)
{
    if (strcmp(text_at(answer, "kind"), "attempt") == 0) {
        printf("At %s this code request was %s. Policy version %ld, rule %s.\n", text_at(answer, "at"),
               strcmp(text_at(answer, "outcome"), "allow") == 0  ? "let on"
               : strcmp(text_at(answer, "outcome"), "deny") == 0 ? "refused"
                                                                 : "asked for proof of work",
               number_at(answer, "policy_version"), text_at(answer, "policy_rule"));
    } else {
        printf("%s now, before the next code request:\n", text_at(answer, "address"));
    }
    printf("Score %ld: %s%s%s\n", number_at(answer, "score"), text_at(answer, "verdict"),
           is_true(answer, "blind") ? ", without what Redis counts" : "",
           number_at(answer, "score") == 0 ? ". No signal speaks." : ", the sum of:");
}

static int explain(const struct ctl *c)
{
    static const struct ctl_view view = {
        "signals",
        "signal",
        "signal",
        {{"SIGNAL", "signal"}, {"POINTS", "points"}, {"SEEN", "seen"}, {"LIMIT", "limit"}}};
    struct ctl_answer answer;
    struct buf target;
    buf_init(&target, TARGET_MAX);
    buf_add_cstr(&target, "/admin/v1/explain");
    ctl_add_query(&target, "key", c->words[0]);
    int code = ctl_request(c, "GET", target.p, NULL, &answer);
    buf_clear(&target);
    if (code == CTL_OK && !ctl_print_raw(c, buf_str(&answer.body))) {
        cJSON *json = cJSON_ParseWithLength(answer.body.p, answer.body.n);
        bool has_signals = json != NULL && number_at(json, "score") > 0;
        if (json != NULL && c->form == CTL_TABLE) {
            say_what(json);
        }
        code = has_signals || c->form != CTL_TABLE ? ctl_print(c, buf_str(&answer.body), &view) : CTL_OK;
        cJSON_Delete(json);
    }
    buf_clear(&answer.body);
    return code;
}

const struct ctl_verb ctl_verbs_explain[] = {
    {
        .words = "explain",
        .args = "REQUEST-ID|ADDRESS",
        .level = CTL_LEVEL_READ,
        .summary = "why a code request was let on, asked for work or refused",
        .about =
            "By request id (x-request-id, or the access log): the score of that attempt, every signal that "
            "it is "
            "the sum of, the policy and its rule. By address: how suspicious it is now; nothing is counted.",
        .examples = "explain 0198c5a03f7e4b5c9d2e1f0a7b6c5d4e\n"
                    "explain 203.0.113.7",
        .run = explain,
    },
    {.words = NULL},
};

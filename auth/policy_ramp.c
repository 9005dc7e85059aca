#include "auth/policy_ramp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/policy_inner.h"

const struct policy_ramp_plan policy_ramp_plan_default = {
    .stages = {100, 500, 2500, POLICY_RAMP_WHOLE}, .count = 4, .every_s = 600};

int policy_ramp_plan_check(const struct policy_ramp_plan *plan, struct err *err)
{
    if (plan->count == 0 || plan->count > POLICY_RAMP_STAGES_MAX) {
        return err_set(err, ERR_INVALID, "stages: 1 to %d of them", POLICY_RAMP_STAGES_MAX);
    }
    for (unsigned i = 0; i < plan->count; i++) {
        if (plan->stages[i] <= (i > 0 ? plan->stages[i - 1] : 0)) {
            return err_set(err, ERR_INVALID, "stages: percents from 0.01, each larger than the one before");
        }
    }
    if (plan->stages[plan->count - 1] != POLICY_RAMP_WHOLE) {
        return err_set(err, ERR_INVALID, "stages: the last one is 100");
    }
    if (plan->every_s < POLICY_RAMP_EVERY_MIN_S || plan->every_s > POLICY_RAMP_EVERY_MAX_S) {
        return err_set(err, ERR_INVALID, "every_s: %d to %d", POLICY_RAMP_EVERY_MIN_S,
                       POLICY_RAMP_EVERY_MAX_S);
    }
    return 0;
}

enum policy_ramp_turn policy_ramp_decide(const struct policy_ramp_view *v)
{
    if (!v->is_ours && !v->is_covered) {
        return POLICY_RAMP_REPLACED;
    }
    if (!v->is_running) {
        return POLICY_RAMP_STAY;
    }
    if (v->is_bad || v->is_covered) {
        return POLICY_RAMP_STOP;
    }
    if (!v->is_due || !v->is_known) {
        return POLICY_RAMP_STAY;
    }
    return v->stage < v->count ? POLICY_RAMP_STEP : POLICY_RAMP_DONE;
}

/* --- the document of a stage ------------------------------------------------------------------------- */

static const char *text_of(const cJSON *object, const char *member)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, member));
    return text ? text : "";
}

static bool has_id(const cJSON *rules, const char *id)
{
    const cJSON *rule;
    cJSON_ArrayForEach(rule, rules)
    {
        if (strcmp(text_of(rule, "id"), id) == 0) {
            return true;
        }
    }
    return false;
}

/* One that neither the rules nor the others have: "ID", "ID-ramp", "ID-ramp-2"... */
static void free_id(const cJSON *rules, const cJSON *others, const char *wanted, char out[POLICY_ID_MAX + 1])
{
    snprintf(out, POLICY_ID_MAX + 1, "%s", wanted);
    for (unsigned n = 1; has_id(rules, out) || has_id(others, out) || strcmp(out, "default") == 0; n++) {
        char end[24] = "-ramp";
        if (n > 1) {
            snprintf(end, sizeof end, "-ramp-%u", n);
        }
        snprintf(out, POLICY_ID_MAX + 1, "%.*s%s", (int)(POLICY_ID_MAX - strlen(end)), wanted, end);
    }
}

/* Adds a rule of the candidate for the part of the people. */
static void add_narrowed(cJSON *rules, const cJSON *others, const cJSON *rule, const char *wanted,
                         double percent)
{
    char id[POLICY_ID_MAX + 1];
    const cJSON *own = cJSON_GetObjectItemCaseSensitive(rule, "ramp_percent");
    cJSON *copy = cJSON_Duplicate(rule, true);
    free_id(rules, others, wanted, id);
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "id");
    cJSON_DeleteItemFromObjectCaseSensitive(copy, "ramp_percent");
    cJSON_AddStringToObject(copy, "id", id);
    cJSON_AddNumberToObject(copy, "ramp_percent", own ? fmin(own->valuedouble, percent) : percent);
    if (!cJSON_HasObjectItem(copy, "when")) {
        cJSON_AddObjectToObject(copy, "when"); /* the default, as a rule */
    }
    cJSON_AddItemToArray(rules, copy);
}

static cJSON *make_rules(const cJSON *before, const cJSON *candidate, double percent)
{
    const cJSON *others = cJSON_GetObjectItemCaseSensitive(before, "rules");
    const cJSON *old = others->child;
    const cJSON *rule = cJSON_GetObjectItemCaseSensitive(candidate, "rules")->child;
    cJSON *rules = cJSON_CreateArray();
    while (old && rule && cJSON_Compare(old, rule, true)) {
        cJSON_AddItemToArray(rules, cJSON_Duplicate(rule, true));
        old = old->next;
        rule = rule->next;
    }
    for (; rule; rule = rule->next) {
        add_narrowed(rules, others, rule, text_of(rule, "id"), percent);
    }
    add_narrowed(rules, others, cJSON_GetObjectItemCaseSensitive(candidate, "default"), "default", percent);
    for (; old; old = old->next) {
        cJSON_AddItemToArray(rules, cJSON_Duplicate(old, true));
    }
    return rules;
}

/* Of both; where both have words for a reason, those of before. */
static cJSON *make_messages(const cJSON *before, const cJSON *candidate)
{
    const cJSON *words;
    cJSON *all = cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(before, "messages"), true);
    all = all ? all : cJSON_CreateObject();
    cJSON_ArrayForEach(words, cJSON_GetObjectItemCaseSensitive(candidate, "messages"))
    {
        if (!cJSON_GetObjectItemCaseSensitive(all, words->string)) {
            cJSON_AddItemToObject(all, words->string, cJSON_Duplicate(words, true));
        }
    }
    return all;
}

static cJSON *make_stage(const cJSON *before, const cJSON *candidate, double percent)
{
    char end[24], name[POLICY_NAME_MAX + 1];
    cJSON *stage = cJSON_CreateObject();
    snprintf(end, sizeof end, ".ramp-%g", percent);
    snprintf(name, sizeof name, "%.*s%s", (int)(POLICY_NAME_MAX - strlen(end)), text_of(candidate, "name"),
             end);
    cJSON_AddStringToObject(stage, "name", name);
    cJSON_AddStringToObject(stage, "existing_users", "unaffected");
    cJSON_AddItemToObject(stage, "rules", make_rules(before, candidate, percent));
    cJSON_AddItemToObject(stage, "default",
                          cJSON_Duplicate(cJSON_GetObjectItemCaseSensitive(before, "default"), true));
    cJSON_AddItemToObject(stage, "messages", make_messages(before, candidate));
    return stage;
}

static int write_stage(const cJSON *stage, struct buf *out, struct err *err)
{
    int count = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(stage, "rules"));
    if (count > POLICY_RULES_MAX) {
        return err_set(err, ERR_INVALID, "rules: both policies together have %d; a ramp has at most %d",
                       count, POLICY_RULES_MAX);
    }
    char *text = cJSON_PrintUnformatted(stage);
    BUG_ON(!text);
    buf_add_cstr(out, text);
    free(text);
    return out->overflowed ? err_set(err, ERR_INVALID, "both policies together are too long for a ramp") : 0;
}

int policy_ramp_document(struct str before, struct str candidate, uint32_t share, struct buf *out,
                         struct err *err)
{
    cJSON *old = NULL, *new = NULL;
    if (share >= POLICY_RAMP_WHOLE) {
        buf_add_str(out, candidate);
        return 0;
    }
    int rc = json_parse(before, &policy_json_limits, &old, err);
    if (rc == 0) {
        rc = json_parse(candidate, &policy_json_limits, &new, err);
    }
    if (rc == 0) {
        cJSON *stage = make_stage(old, new, share / 100.0);
        rc = write_stage(stage, out, err);
        cJSON_Delete(stage);
    }
    cJSON_Delete(old);
    cJSON_Delete(new);
    return rc;
}

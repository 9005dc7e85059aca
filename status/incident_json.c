#include "status/incident_json.h"

#include <stdio.h>

static const char *const origins[INCIDENT_ORIGINS] = {
    [INCIDENT_FROM_PROBES] = "probes", [INCIDENT_FROM_POLICY] = "policy", [INCIDENT_FROM_ATTACK] = "attack"};

const char *incident_origin_word(enum incident_origin o)
{
    return origins[o];
}

bool incident_origin_parse(struct str word, enum incident_origin *out)
{
    for (int o = 0; o < INCIDENT_ORIGINS; o++) {
        if (str_is(word, origins[o])) {
            *out = (enum incident_origin)o;
            return true;
        }
    }
    return false;
}

/* --- reading members --------------------------------------------------------------------------- */

static struct str get_str(const cJSON *object, const char *key)
{
    return str_from(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key)));
}

static int64_t get_i64(const cJSON *object, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(v) ? (int64_t)v->valuedouble : 0;
}

static bool get_code(const cJSON *value, char out[SHORT_CODE_LEN + 1])
{
    struct str s = str_from(cJSON_GetStringValue(value));
    if (!short_code_is_valid(s)) {
        return false;
    }
    memcpy(out, s.p, SHORT_CODE_LEN + 1);
    return true;
}

/* --- pieces ------------------------------------------------------------------------------------ */

void incident_json_write_text(struct json_writer *w, const struct incident_text *t)
{
    json_open(w, '{');
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        json_str_at(w, problem_lang_tag((enum problem_lang)lang), str_from(t->of[lang]));
    }
    json_close(w, '}');
}

bool incident_json_read_text(const cJSON *value, struct incident_text *out)
{
    if (!cJSON_IsObject(value)) {
        return false;
    }
    for (int lang = 0; lang < STATUS_LANGS; lang++) {
        struct str s = get_str(value, problem_lang_tag((enum problem_lang)lang));
        incident_text_set(out, (enum problem_lang)lang, s);
    }
    return true;
}

void incident_json_write_changes(struct json_writer *w, const struct incident_update *u)
{
    json_open(w, '[');
    for (unsigned k = 0; k < u->change_count; k++) {
        const struct incident_change *c = &u->changes[k];
        json_open(w, '{');
        json_str_at(w, "code", str_from(c->code));
        json_str_at(w, "name", str_from(c->name));
        json_str_at(w, "before", str_from(component_status_word(c->before)));
        json_str_at(w, "after", str_from(component_status_word(c->after)));
        json_close(w, '}');
    }
    json_close(w, ']');
}

int incident_json_read_changes(const cJSON *value, struct incident_change out[STATUS_COMPONENTS_MAX])
{
    int n = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, value)
    {
        struct incident_change *c = &out[n];
        if (n == STATUS_COMPONENTS_MAX ||
            !get_code(cJSON_GetObjectItemCaseSensitive(item, "code"), c->code) ||
            !component_status_parse(get_str(item, "before"), &c->before) ||
            !component_status_parse(get_str(item, "after"), &c->after)) {
            return -1;
        }
        snprintf(c->name, sizeof c->name, STR_FMT, STR_ARG(get_str(item, "name")));
        n++;
    }
    return n;
}

void incident_json_write_components(struct json_writer *w, const struct incident *i)
{
    json_open(w, '[');
    for (unsigned k = 0; k < i->component_count; k++) {
        json_str(w, str_from(i->components[k]));
    }
    json_close(w, ']');
}

bool incident_json_read_components(const cJSON *value, struct incident *i)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, value)
    {
        char code[SHORT_CODE_LEN + 1];
        if (!get_code(item, code)) {
            return false;
        }
        incident_touch_component(i, code);
    }
    return true;
}

/* --- whole incidents --------------------------------------------------------------------------- */

static void write_update(struct json_writer *w, const struct incident_update *u)
{
    json_open(w, '{');
    json_str_at(w, "id", str_from(u->id));
    json_str_at(w, "status", str_from(incident_status_word(u->status)));
    json_i64_at(w, "at_ms", u->at_ms);
    json_key(w, "body");
    incident_json_write_text(w, &u->body);
    json_key(w, "changes");
    incident_json_write_changes(w, u);
    json_close(w, '}');
}

void incident_json_write(struct json_writer *w, const struct incident *i)
{
    json_open(w, '{');
    json_str_at(w, "code", str_from(i->code));
    json_str_at(w, "origin", str_from(incident_origin_word(i->origin)));
    json_str_at(w, "status", str_from(incident_status_word(i->status)));
    json_str_at(w, "impact", str_from(incident_impact_word(i->impact)));
    json_key(w, "name");
    incident_json_write_text(w, &i->name);
    json_i64_at(w, "started_ms", i->started_ms);
    json_i64_at(w, "updated_ms", i->updated_ms);
    json_i64_at(w, "monitoring_ms", i->monitoring_ms);
    json_i64_at(w, "resolved_ms", i->resolved_ms);
    json_bool_at(w, "is_saved", i->saved_version == i->version);
    json_key(w, "components");
    incident_json_write_components(w, i);
    json_open_at(w, "updates", '[');
    for (unsigned k = 0; k < i->update_count; k++) {
        write_update(w, &i->updates[k]);
    }
    json_close(w, ']');
    json_close(w, '}');
}

static bool read_update(const cJSON *value, struct incident *i)
{
    struct incident_change changes[STATUS_COMPONENTS_MAX];
    struct incident_text body = {{0}};
    enum incident_status status;
    char id[SHORT_CODE_LEN + 1];
    int n = incident_json_read_changes(cJSON_GetObjectItemCaseSensitive(value, "changes"), changes);
    bool ok = n >= 0 && get_code(cJSON_GetObjectItemCaseSensitive(value, "id"), id) &&
              incident_status_parse(get_str(value, "status"), &status) &&
              incident_json_read_text(cJSON_GetObjectItemCaseSensitive(value, "body"), &body);
    if (ok) {
        incident_post(i, id, status, &body, changes, (unsigned)n, get_i64(value, "at_ms"));
    }
    incident_text_clear(&body);
    return ok;
}

static bool read_members(const cJSON *value, struct incident *i)
{
    const cJSON *item;
    cJSON_ArrayForEach(item, cJSON_GetObjectItemCaseSensitive(value, "updates"))
    {
        if (!read_update(item, i)) {
            return false;
        }
    }
    i->updated_ms = get_i64(value, "updated_ms");
    i->monitoring_ms = get_i64(value, "monitoring_ms");
    i->resolved_ms = get_i64(value, "resolved_ms");
    return incident_status_parse(get_str(value, "status"), &i->status) &&
           incident_impact_parse(get_str(value, "impact"), &i->impact) &&
           incident_json_read_components(cJSON_GetObjectItemCaseSensitive(value, "components"), i);
}

struct incident *incident_json_read(const cJSON *value)
{
    char code[SHORT_CODE_LEN + 1];
    enum incident_origin origin;
    struct incident_text name = {{0}};
    if (!get_code(cJSON_GetObjectItemCaseSensitive(value, "code"), code) ||
        !incident_origin_parse(get_str(value, "origin"), &origin) ||
        !incident_json_read_text(cJSON_GetObjectItemCaseSensitive(value, "name"), &name)) {
        return NULL;
    }
    struct incident *i = incident_new(code, origin, &name, get_i64(value, "started_ms"));
    incident_text_clear(&name);
    if (!read_members(value, i)) {
        incident_free(i);
        return NULL;
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(value, "is_saved"))) {
        i->saved_version = i->version;
    }
    return i;
}

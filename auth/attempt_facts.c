#include "auth/attempt_facts.h"

#include <stdio.h>

/* --- writing ----------------------------------------------------------------------------------------- */

static void write_phone(struct json_writer *w, const struct phone *p)
{
    char prefix[PHONE_E164_MAX + 1];
    phone_prefix(p, prefix);
    json_str_at(w, "phone_country", str_from(p->country));
    json_str_at(w, "phone_prefix", str_from(prefix));
    json_str_at(w, "phone_type", str_from(phone_type_name(p->type)));
    json_bool_at(w, "phone_virtual", p->is_virtual);
}

static void write_answer(struct json_writer *w, const char *name, enum policy_answer a)
{
    if (a != POLICY_UNKNOWN) {
        json_bool_at(w, name, a == POLICY_YES);
    }
}

static void write_text(struct json_writer *w, const char *name, struct str text)
{
    if (text.n > 0) {
        json_str_at(w, name, text);
    }
}

static void write_app_version(struct json_writer *w, const struct policy_app_version *v)
{
    char text[64];
    if (v->is_known) {
        snprintf(text, sizeof text, "%u.%u.%u.%u", v->parts[0], v->parts[1], v->parts[2], v->parts[3]);
        json_str_at(w, "app_version", str_from(text));
    }
}

void attempt_facts_write(const struct policy_facts *f, struct buf *out)
{
    struct json_writer w = {.out = out};
    json_open(&w, '{');
    json_str_at(&w, "method", str_from(policy_method_name(f->method)));
    if (f->phone) {
        write_phone(&w, f->phone);
    }
    if (f->has_ramp) {
        json_i64_at(&w, "ramp", f->ramp);
    }
    write_text(&w, "email_domain", f->email_domain);
    write_answer(&w, "email_disposable", f->email_disposable);
    write_text(&w, "ip_country", str_from(f->ip_country));
    if (f->asn) {
        json_i64_at(&w, "asn", f->asn);
    }
    if (f->device != POLICY_DEVICE_UNKNOWN) {
        json_str_at(&w, "device", str_from(policy_device_name(f->device)));
    }
    if (f->platform != POLICY_PLATFORM_UNKNOWN) {
        json_str_at(&w, "platform", str_from(policy_platform_name(f->platform)));
    }
    write_app_version(&w, &f->app_version);
    write_answer(&w, "invite", f->invite);
    write_text(&w, "campaign", f->campaign);
    json_close(&w, '}');
}

/* --- reading ----------------------------------------------------------------------------------------- */

struct reader {
    struct arena *arena;
    struct attempt_facts *out;
};

static bool take_text(struct reader *r, const struct json_slice *v, struct str *out)
{
    return json_get_str(r->arena, v, out);
}

static bool take_answer(const struct json_slice *v, enum policy_answer *out)
{
    bool yes;
    if (!json_get_bool(v, &yes)) {
        return false;
    }
    *out = yes ? POLICY_YES : POLICY_NO;
    return true;
}

/* The value below `end` whose name the text is; first: where names begin. */
static bool take_name(struct reader *r, const struct json_slice *v, const char *(*name)(int i), int first,
                      int end, int *out)
{
    struct str text;
    for (*out = first; take_text(r, v, &text) && *out < end; ++*out) {
        if (str_is(text, name(*out))) {
            return true;
        }
    }
    return false;
}

static const char *method_name(int i)
{
    return policy_method_name((enum policy_method)i);
}

static const char *type_name(int i)
{
    return phone_type_name((enum phone_type)i);
}

static const char *device_name(int i)
{
    return policy_device_name((enum policy_device)i);
}

static const char *platform_name(int i)
{
    return policy_platform_name((enum policy_platform)i);
}

static bool take_country(struct reader *r, const struct json_slice *v, char out[3])
{
    struct str text;
    if (!take_text(r, v, &text) || text.n > 2) {
        return false;
    }
    snprintf(out, 3, STR_FMT, STR_ARG(text));
    return true;
}

static bool take_phone(struct reader *r, const struct json_slice *v)
{
    struct phone *p = &r->out->phone;
    struct policy_facts *f = &r->out->facts;
    struct str text;
    int n;
    if (str_is(v->key, "phone_country")) {
        return take_country(r, v, p->country);
    }
    if (str_is(v->key, "phone_type")) {
        bool ok = take_name(r, v, type_name, 0, PHONE_TYPE_VOIP + 1, &n);
        p->type = ok ? (enum phone_type)n : p->type;
        return ok;
    }
    if (str_is(v->key, "phone_virtual")) {
        return json_get_bool(v, &p->is_virtual);
    }
    if (!str_is(v->key, "phone_prefix") || !take_text(r, v, &text) || text.n < 2 || text.n > PHONE_E164_MAX) {
        return false;
    }
    snprintf(p->e164, sizeof p->e164, STR_FMT, STR_ARG(text));
    f->phone = p;
    f->phone_is_prefix = true;
    return text.p[0] == '+' && strspn(p->e164 + 1, "0123456789") == text.n - 1;
}

static bool take_number(const struct json_slice *v, int64_t max, uint32_t *out)
{
    int64_t n;
    bool ok = json_get_i64(v, &n) && n >= 0 && n <= max;
    *out = ok ? (uint32_t)n : 0;
    return ok;
}

static bool take_caller(struct reader *r, const struct json_slice *v)
{
    struct policy_facts *f = &r->out->facts;
    struct str text;
    int n = 0;
    bool ok = false;
    if (str_is(v->key, "ip_country")) {
        ok = take_country(r, v, f->ip_country);
    } else if (str_is(v->key, "asn")) {
        ok = take_number(v, UINT32_MAX, &f->asn);
    } else if (str_is(v->key, "device")) {
        ok = take_name(r, v, device_name, POLICY_DEVICE_NONE, POLICY_DEVICE_STRONG + 1, &n);
        f->device = (enum policy_device)n;
    } else if (str_is(v->key, "platform")) {
        ok = take_name(r, v, platform_name, POLICY_PLATFORM_IOS, POLICY_PLATFORM_WEB + 1, &n);
        f->platform = (enum policy_platform)n;
    } else if (str_is(v->key, "app_version")) {
        ok = take_text(r, v, &text) && policy_app_version_read(text, &f->app_version);
    } else if (str_is(v->key, "invite")) {
        ok = take_answer(v, &f->invite);
    } else if (str_is(v->key, "campaign")) {
        ok = take_text(r, v, &f->campaign);
    }
    return ok;
}

static bool take(struct reader *r, const struct json_slice *v)
{
    struct policy_facts *f = &r->out->facts;
    int n = 0;
    bool ok;
    if (str_is(v->key, "method")) {
        ok = take_name(r, v, method_name, 0, POLICY_METHODS, &n);
        f->method = (enum policy_method)(ok ? n : 0);
        return ok;
    }
    if (str_is(v->key, "ramp")) {
        f->has_ramp = true;
        return take_number(v, POLICY_RAMP_WHOLE - 1, &f->ramp);
    }
    if (str_is(v->key, "email_domain")) {
        return take_text(r, v, &f->email_domain);
    }
    if (str_is(v->key, "email_disposable")) {
        return take_answer(v, &f->email_disposable);
    }
    return str_starts(v->key, STR("phone_")) ? take_phone(r, v) : take_caller(r, v);
}

int attempt_facts_read(struct arena *arena, struct str json, int64_t at_s, struct attempt_facts *out)
{
    struct reader r = {arena, out};
    struct json_doc doc;
    *out = (struct attempt_facts){.facts = {.now_s = at_s}};
    if (json.n > ATTEMPT_FACTS_MAX || json_scan(arena, json, &json_limits_default, &doc, NULL) < 0 ||
        doc.type != JSON_OBJECT) {
        return ERR_INVALID;
    }
    for (uint32_t i = 0; i < doc.member_count; i++) {
        if (!take(&r, &doc.members[i])) {
            return ERR_INVALID;
        }
    }
    return 0;
}

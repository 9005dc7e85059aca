#include "tests/unit/unit.h"

#include "base/http/problem.h"
#include "base/http/problem_table.h"

static void rows_are_sorted_and_whole(void **state)
{
    for (size_t i = 0; i < problem_row_count; i++) {
        const struct problem_row *r = &problem_rows[i];
        if (i > 0 && strcmp(problem_rows[i - 1].code, r->code) >= 0) {
            fail_msg("%s stands behind %s", r->code, problem_rows[i - 1].code);
        }
        assert_ptr_equal(problem_find(r->code), r);
        assert_true(r->status >= 400 && r->status < 600);
        assert_non_null(r->type);
        assert_non_null(r->title);
        for (int lang = 0; lang < 3; lang++) {
            if (r->words[lang] && (!r->words[0] || !str_is_utf8(str_from(r->words[lang])))) {
                fail_msg("%s: words %d", r->code, lang);
            }
        }
    }
}

static void unknown_codes_are_internal(void **state)
{
    assert_string_equal(problem_find("no_such_thing")->code, "internal_error");
    assert_string_equal(problem_find("")->code, "internal_error");
    assert_int_equal(problem_find("payload_too_large")->status, 413);
}

static void languages(void **state)
{
    static const struct {
        const char *accept;
        enum problem_lang lang;
    } rows[] = {
        {"", PROBLEM_LANG_EN},
        {"en-GB,en;q=0.9", PROBLEM_LANG_EN},
        {"zh", PROBLEM_LANG_ZH_HANS},
        {"zh-CN,zh;q=0.9,en;q=0.8", PROBLEM_LANG_ZH_HANS},
        {"zh-Hans-CN", PROBLEM_LANG_ZH_HANS},
        {"zh-TW", PROBLEM_LANG_ZH_HANT},
        {"zh-Hant-HK, en;q=0.5", PROBLEM_LANG_ZH_HANT},
        {"ZH-hk", PROBLEM_LANG_ZH_HANT},
        {"fr, de;q=0.9", PROBLEM_LANG_EN},
        {"fr, zh;q=0.3, en;q=0.2", PROBLEM_LANG_ZH_HANS},
        {"en;q=0.2, zh-TW;q=0.9", PROBLEM_LANG_ZH_HANT},
        {"zh;q=0, en;q=0.1", PROBLEM_LANG_EN},
        {"zh;q=abc, en", PROBLEM_LANG_EN},
        {"zhx", PROBLEM_LANG_EN},
        {";;;,,,", PROBLEM_LANG_EN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (problem_lang_of(str_from(rows[i].accept)) != rows[i].lang) {
            fail_msg("%s", rows[i].accept);
        }
    }
    assert_string_equal(problem_lang_tag(PROBLEM_LANG_ZH_HANT), "zh-Hant");
}

static void write(enum http_dialect dialect, const char *accept, const struct problem *p, cJSON **out)
{
    struct http_field field = {STR("accept-language"), str_from(accept)};
    struct http_exchange ex = {.dialect = dialect, .fields = &field, .field_count = 1, .id = "abc"};
    struct buf body;
    struct err err;
    buf_init(&body, 4096);
    problem_write(&ex, p, &body);
    assert_int_equal(json_parse(buf_str(&body), &json_limits_default, out, &err), 0);
    buf_clear(&body);
}

static const char *text(const cJSON *object, const char *name)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsString(v) ? v->valuestring : "(none)";
}

static void problem_bodies(void **state)
{
    cJSON *body;
    const struct problem p = {.code = "signup_region_not_allowed",
                              .detail = STR("say \"why\"\n"),
                              .param = STR("phone"),
                              .retry_after_s = 7,
                              .extra = STR("\"policy_version\":42")};
    write(HTTP_DIALECT_PROBLEM, "zh-CN", &p, &body);
    assert_string_equal(text(body, "type"), "urn:tidegate:problem:signup_region_not_allowed");
    assert_int_equal(cJSON_GetObjectItem(body, "status")->valueint, 403);
    assert_string_equal(text(body, "message"), "目前仅支持中国大陆手机号注册。已注册用户可正常登录。");
    assert_string_equal(text(body, "detail"), "say \"why\"\n");
    assert_string_equal(text(body, "field"), "phone");
    assert_string_equal(text(body, "request_id"), "abc");
    assert_int_equal(cJSON_GetObjectItem(body, "retry_after")->valueint, 7);
    assert_int_equal(cJSON_GetObjectItem(body, "policy_version")->valueint, 42);
    cJSON_Delete(body);
}

static void openai_bodies(void **state)
{
    cJSON *body;
    write(HTTP_DIALECT_OPENAI, "en",
          &(struct problem){.code = "model_not_found", .detail = STR("no model x")}, &body);
    const cJSON *error = cJSON_GetObjectItem(body, "error");
    assert_string_equal(text(error, "message"), "no model x");
    assert_string_equal(text(error, "type"), "invalid_request_error");
    assert_string_equal(text(error, "code"), "model_not_found");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(error, "param")));
    cJSON_Delete(body);
    write(HTTP_DIALECT_OPENAI, "en",
          &(struct problem){.code = "validation_failed", .message = STR("own words"), .param = STR("top_p")},
          &body);
    error = cJSON_GetObjectItem(body, "error");
    assert_string_equal(text(error, "message"), "own words");
    assert_string_equal(text(error, "param"), "top_p");
    cJSON_Delete(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_sorted_and_whole),
        cmocka_unit_test(unknown_codes_are_internal),
        cmocka_unit_test(languages),
        cmocka_unit_test(problem_bodies),
        cmocka_unit_test(openai_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/jws.h"
#include "base/json.h"
#include "base/log.h"
#include "gateway/access_log.h"
#include "gateway/trace.h"

static const struct http_field secret_fields[] = {
    {STR_INIT("authorization"), STR_INIT("Bearer TOPSECRET")},
    {STR_INIT("apikey"), STR_INIT("TOPSECRET")},
};

static void written(const struct request *r, char *line, size_t room)
{
    uint64_t phases[REQUEST_PHASES];
    trace_phases(r, clock_mono_us(), phases);
    char path[] = "/tmp/tide-access-XXXXXX";
    int fd = mkstemp(path);
    struct access_log *l = access_log_open(path, NULL);
    assert_non_null(l);
    access_log_write(l, r, HTTP_FINISH_CLIENT_GONE, phases);
    access_log_close(l);
    ssize_t n = read(fd, line, room - 1);
    assert_true(n > 0);
    line[n] = '\0';
    close(fd);
    unlink(path);
}

static const char *text_at(const cJSON *j, const char *key)
{
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(j, key);
    return v ? cJSON_GetStringValue(v) : NULL;
}

/* Of the request that one_line_without_secrets tells of. */
static void expect_times(const cJSON *j)
{
    assert_true(cJSON_GetObjectItem(j, "duration_s")->valuedouble >= 1.5);
    assert_true(cJSON_GetObjectItem(j, "duration_s")->valuedouble < 60);
    assert_int_equal(cJSON_GetObjectItem(j, "first_byte_s")->valuedouble * 1000, 250);
    assert_int_equal(cJSON_GetObjectItem(j, "parse_s")->valuedouble * 1e6 + 0.5, 20);
    assert_int_equal(cJSON_GetObjectItem(j, "auth_s")->valuedouble * 1e6 + 0.5, 100);
    assert_int_equal(cJSON_GetObjectItem(j, "limit_s")->valuedouble * 1e6 + 0.5, 1000);
    assert_int_equal(cJSON_GetObjectItem(j, "queue_s")->valuedouble * 1e6 + 0.5, 5000);
    assert_null(cJSON_GetObjectItem(j, "body_s")); /* it had none */
}

static void one_line_without_secrets(void **state)
{
    struct route route = {.name = "chat"};
    struct jws_claims who = {.sub = "0198-user"};
    struct http_exchange ex = {.method_text = STR("POST"),
                               .target = STR("/v1/chat?key=TOPSECRET"),
                               .path = STR("/v1/\x01\"chat\xff"),
                               .query = STR("key=TOPSECRET"),
                               .fields = secret_fields,
                               .field_count = 2,
                               .version = 20,
                               .status = 200,
                               .sent_bytes = 1234,
                               .received_bytes = 99,
                               .id = "00000000000000000000000000000abc"};
    ex.began_us = clock_mono_us() - 1500000;
    ex.first_byte_us = ex.began_us + 250000;
    struct request r = {.ex = &ex,
                        .route = &route,
                        .who = &who,
                        .token = STR("TOPSECRET"),
                        .body = STR("TOPSECRET"),
                        .device = STR("TOPSECRET"),
                        .model = "m",
                        .worker = "w",
                        .prompt_tokens = 7,
                        .completion_tokens = -1,
                        .place = {.country = "CN", .asn = 4134},
                        .state = REQUEST_HANDLING,
                        .entered_us = {[REQUEST_BEGUN] = 20,
                                       [REQUEST_IDENTIFYING] = 30,
                                       [REQUEST_LIMITING] = 130,
                                       [REQUEST_HANDLING] = 1130},
                        .queue_us = 5000,
                        .refused_by = "address"};
    assert_true(
        trace_context_parse(STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &r.trace));
    assert_true(addr_parse(STR("203.0.113.77"), &r.client));
    char line[4096];
    written(&r, line, sizeof(line));
    assert_null(strstr(line, "TOPSECRET"));
    assert_null(strstr(line, "113.77"));
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    cJSON *j = NULL;
    assert_int_equal(json_parse(str_from(line), &json_limits_default, &j, NULL), 0);
    assert_string_equal(text_at(j, "request_id"), ex.id);
    assert_string_equal(text_at(j, "client"), "203.0.113.0/24");
    assert_string_equal(text_at(j, "route"), "chat");
    assert_string_equal(text_at(j, "user_id"), "0198-user");
    assert_string_equal(text_at(j, "finish"), "client_gone");
    assert_string_equal(text_at(j, "protocol"), "h2");
    assert_string_equal(text_at(j, "country"), "CN");
    assert_int_equal(strlen(text_at(j, "@timestamp")), CLOCK_ISO_LEN);
    assert_int_equal(cJSON_GetObjectItem(j, "status")->valueint, 200);
    assert_int_equal(cJSON_GetObjectItem(j, "prompt_tokens")->valueint, 7);
    assert_null(cJSON_GetObjectItem(j, "completion_tokens"));
    expect_times(j);
    assert_string_equal(text_at(j, "trace_id"), "0af7651916cd43dd8448eb211c80319c");
    assert_string_equal(text_at(j, "parent_id"), "b7ad6b7169203331");
    assert_string_equal(text_at(j, "limit_rule"), "address");
    cJSON_Delete(j);
}

/* The longest path that gets in, of bytes that take six characters each: still one whole line. */
static void a_hostile_path_keeps_its_line(void **state)
{
    char path[4096];
    memset(path, 1, sizeof(path));
    struct http_exchange ex = {.method_text = STR("GET"), .path = {path, sizeof(path)}, .version = 11};
    struct request r = {.ex = &ex, .prompt_tokens = -1, .completion_tokens = -1};
    char line[16384];
    written(&r, line, sizeof(line));
    cJSON *j = NULL;
    assert_int_equal(json_parse(str_from(line), &json_limits_default, &j, NULL), 0);
    assert_string_equal(text_at(j, "route"), "none");
    assert_int_equal(strlen(text_at(j, "path")), 512);
    cJSON_Delete(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_line_without_secrets),
        cmocka_unit_test(a_hostile_path_keeps_its_line),
    };
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    log_close();
    return rc;
}

/* Where hooks may lead: the URL as written, and the address at the moment of connecting. */
#include "tests/unit/unit.h"

#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "gateway/hook_target.h"

static int read_url(const char *url, bool *is_loopback)
{
    struct err err = {0};
    int rc = hook_target_read(url, is_loopback, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void urls_as_written(void **state)
{
    static const struct {
        const char *url;
        bool is_loopback;
    } good[] = {
        {"https://sms.example.com/send", false},
        {"https://sms.example.com:8443/send?a=b", false},
        {"https://[2001:db8::1]/x", false},
        {"https://10.1.2.3/x", false},
        {"http://127.0.0.1:9490/sms", true},
        {"http://[::1]:9490/sms", true},
        {"http://localhost/sms", true},
        {"https://localhost:9490/sms", true},
        {"https://127.0.0.1.example.com/", false},
    };
    static const char *const bad[] = {
        "",
        "sms.example.com/send",
        "ftp://sms.example.com/",
        "file:///etc/passwd",
        "https:/sms.example.com/",
        "HTTP://127.0.0.1/",
        "http://sms.example.com/",
        "http://10.1.2.3/",
        "http://127.0.0.2/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com/",
        "http://localhost./",
        "http://127.0.0.1:9490@sms.example.com/",
        "http://localhost:x@10.0.0.1/",
        "https://user:password@sms.example.com/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://%31%32%37.0.0.1/",
        "https://[::1%25lo]/",
        "https://sms.example.com:99999/",
        "https://exa mple.com/",
        "https:///x",
    };
    bool is_loopback;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (read_url(good[i].url, &is_loopback) != 0 || is_loopback != good[i].is_loopback) {
            fail_msg("%s", good[i].url);
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (read_url(bad[i], &is_loopback) != ERR_INVALID) {
            fail_msg("%s is taken", bad[i]);
        }
    }
}

/* As curl hands it over: an address that a name resolved to, longer than struct sockaddr when it is IPv6. */
static bool connects(struct hook_target *t, const char *text)
{
    union {
        struct curl_sockaddr head;
        char room[sizeof(struct curl_sockaddr) + sizeof(struct sockaddr_in6)];
    } to = {.head = {.family = strchr(text, ':') ? AF_INET6 : AF_INET, .socktype = SOCK_STREAM}};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    char *at = to.room + offsetof(struct curl_sockaddr, addr);
    if (to.head.family == AF_INET) {
        assert_int_equal(inet_pton(AF_INET, text, &v4.sin_addr), 1);
        memcpy(at, &v4, sizeof v4);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        memcpy(at, &v6, sizeof v6);
    }
    curl_socket_t s = hook_target_socket(t, CURLSOCKTYPE_IPCXN, &to.head);
    if (s != CURL_SOCKET_BAD) {
        close(s);
    }
    return s != CURL_SOCKET_BAD;
}

static void a_public_name_leads_to_public_addresses(void **state)
{
    struct hook_target t = {.is_loopback = false};
    assert_true(connects(&t, "8.8.8.8"));
    static const char *const denied[] = {
        "127.0.0.1", "10.1.2.3",         "169.254.169.254",    "192.168.0.1", "100.64.0.1", "224.0.0.1",
        "::1",       "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "fd00::1",     "fe80::1",    "ff02::1"};
    for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
        if (connects(&t, denied[i])) {
            fail_msg("%s is connected to", denied[i]);
        }
    }
}

static void allowed_networks_open_themselves_only(void **state)
{
    struct addr_prefix allowed[2];
    assert_true(addr_prefix_parse(STR("10.1.0.0/16"), &allowed[0]));
    assert_true(addr_prefix_parse(STR("fd00:1::/32"), &allowed[1]));
    struct hook_target t = {.allowed = allowed, .allowed_count = 2};
    assert_true(connects(&t, "10.1.255.255"));
    assert_true(connects(&t, "::ffff:10.1.0.1"));
    assert_false(connects(&t, "10.2.0.0"));
    assert_false(connects(&t, "127.0.0.1"));
    struct addr a;
    assert_true(addr_parse(STR("fd00:1::5"), &a) && hook_target_allows(&t, &a));
    assert_true(addr_parse(STR("fd00:2::5"), &a) && !hook_target_allows(&t, &a));
}

static void a_loopback_host_stays_on_this_machine(void **state)
{
    struct addr_prefix all;
    assert_true(addr_prefix_parse(STR("0.0.0.0/0"), &all));
    struct hook_target t = {.is_loopback = true, .allowed = &all, .allowed_count = 1};
    assert_true(connects(&t, "127.0.0.1"));
    assert_false(connects(&t, "8.8.8.8"));
    assert_false(connects(&t, "10.0.0.1"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_as_written),
        cmocka_unit_test(a_public_name_leads_to_public_addresses),
        cmocka_unit_test(allowed_networks_open_themselves_only),
        cmocka_unit_test(a_loopback_host_stays_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

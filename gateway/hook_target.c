#include "gateway/hook_target.h"

#include "base/log.h"
#include "base/metrics.h"

static struct metric denied = METRIC_COUNTER(
    "tidegate_hook_addresses_denied_total",
    "Addresses of hooks that were not connected to: not public, nor in hooks.allowed_networks.");

static bool is_loopback_name(const char *host)
{
    static const char *const names[] = {"127.0.0.1", "[::1]", "localhost"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(host, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The host as curl understands it has to stand in the URL as written: 0x7f.1 and its like are refused here, by
 * name, instead of being looked through later. */
static int check_parts(const char *url, CURLU *parts, bool *is_loopback, struct err *err)
{
    char *host = NULL;
    if (curl_url_set(parts, CURLUPART_URL, url, CURLU_DISALLOW_USER) != CURLUE_OK ||
        curl_url_get(parts, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        return err_set(err, ERR_INVALID, "is not a URL without user and password");
    }
    struct str rest = str_from(url);
    bool is_https = str_starts(rest, STR("https://"));
    bool is_http = str_starts(rest, STR("http://"));
    rest = str_skip(rest, is_https ? 8 : is_http ? 7 : 0);
    bool is_plain = str_starts(rest, str_from(host));
    *is_loopback = is_loopback_name(host);
    curl_free(host);
    if (!is_plain) {
        return err_set(err, ERR_INVALID, "has a host that is written oddly");
    }
    if (!is_https && !(is_http && *is_loopback)) {
        return err_set(err, ERR_INVALID, "must be https, or http to 127.0.0.1, [::1] or localhost");
    }
    return 0;
}

int hook_target_read(const char *url, bool *is_loopback, struct err *err)
{
    CURLU *parts = curl_url();
    BUG_ON(!parts);
    int rc = check_parts(url, parts, is_loopback, err);
    curl_url_cleanup(parts);
    return rc;
}

bool hook_target_allows(const struct hook_target *t, const struct addr *a)
{
    if (t->is_loopback) {
        return addr_is_loopback(a);
    }
    for (unsigned i = 0; i < t->allowed_count; i++) {
        if (addr_prefix_has(&t->allowed[i], a)) {
            return true;
        }
    }
    return addr_is_public(a);
}

curl_socket_t hook_target_socket(void *target, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct addr a;
    char text[ADDR_TEXT];
    addr_from_sockaddr(&to->addr, &a);
    if (!hook_target_allows(target, &a)) {
        addr_format(&a, text);
        metric_add(&denied, 1);
        log_warn("hook address denied address=%s: not public, nor in hooks.allowed_networks", text);
        return CURL_SOCKET_BAD;
    }
    return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

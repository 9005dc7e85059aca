/* Where a hook may lead. Messages carry codes, and a name or a provider that was taken over must not turn the
 * gateway against the machines behind it. Not the call itself (hooks.c).
 *
 *     configuration: hook_target_read looks at the URL as written
 *     each connection: hook_target_socket looks at the address that is about to be connected to, after resolving:
 *     a name that answers differently the next time gains nothing
 *
 *     host as written                  scheme         addresses
 *     127.0.0.1, [::1], localhost      http, https    loopback only
 *     any other                        https          public ones (base/addr), and allowed networks
 *
 * Ownership: a target borrows `allowed`.
 * Errors: ERR_INVALID, with what is wrong with the URL.
 * Thread rule: const data; hook_target_socket on the thread that runs curl. */
#ifndef TIDE_GATEWAY_HOOK_TARGET_H
#define TIDE_GATEWAY_HOOK_TARGET_H

#include <curl/curl.h>

#include "base/addr.h"

struct hook_target {
    bool is_loopback; /* the host is one of the three above */
    const struct addr_prefix *allowed;
    unsigned allowed_count;
};

int hook_target_read(const char *url, bool *is_loopback, struct err *err) TIDE_CHECK;
bool hook_target_allows(const struct hook_target *t, const struct addr *a);
/* CURLOPT_OPENSOCKETFUNCTION, with a struct hook_target as its data. */
curl_socket_t hook_target_socket(void *target, curlsocktype purpose, struct curl_sockaddr *to);

#endif

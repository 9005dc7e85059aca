#include "status/ops/ops_access.h"

#include <openssl/crypto.h>

#include "base/base64.h"
#include "base/secret.h"

int ops_access_load(struct ops_access *a, const char *path, struct err *err)
{
    struct buf text;
    if (!path) {
        ops_access_clear(a);
        return 0;
    }
    buf_init(&text, 4096);
    int rc = secret_file_read(path, &text, err);
    struct str line = {"", 0}, rest = buf_str(&text);
    if (rc == 0 && (!str_cut(&rest, '\n', &line) || rest.n > 0 || line.n < OPS_PASSWORD_MIN ||
                    line.n > OPS_PASSWORD_MAX)) {
        rc = err_set(err, ERR_INVALID, "%s: want one line of %d to %d characters", path, OPS_PASSWORD_MIN,
                     OPS_PASSWORD_MAX);
    }
    if (rc == 0) {
        ops_access_clear(a);
        memcpy(a->password, line.p, line.n);
        a->n = line.n;
    }
    secret_cleanse(text.p, text.n);
    buf_clear(&text);
    return rc;
}

static bool is_password(const struct ops_access *a, struct str decoded)
{
    struct str user;
    return str_cut(&decoded, ':', &user) && decoded.n == a->n &&
           CRYPTO_memcmp(decoded.p, a->password, a->n) == 0;
}

bool ops_access_allows(const struct ops_access *a, struct str authorization)
{
    uint8_t decoded[OPS_PASSWORD_MAX + 128];
    struct str scheme;
    if (a->n == 0) {
        return true;
    }
    if (!str_cut(&authorization, ' ', &scheme) || !str_eq_nocase(scheme, STR("basic"))) {
        return false;
    }
    ptrdiff_t n = base64_decode(str_trim(authorization), decoded, sizeof decoded);
    bool allows = n > 0 && is_password(a, str_of((char *)decoded, (size_t)n));
    secret_cleanse(decoded, sizeof decoded);
    return allows;
}

bool ops_access_is_same(const struct ops_access *a, const struct ops_access *b)
{
    return a->n == b->n && secret_eq(a->password, b->password, a->n);
}

bool ops_access_allows_host(const struct ops_access *a, struct str authority)
{
    bool has_dot = false, is_number = true;
    if (a->n > 0 || (authority.n > 0 && authority.p[0] == '[')) { /* IPv6 */
        return true;
    }
    for (size_t k = 0; k < authority.n; k++) {
        has_dot = has_dot || authority.p[k] == '.';
        is_number = is_number && strchr("0123456789.:", authority.p[k]);
    }
    return !has_dot || is_number;
}

void ops_access_clear(struct ops_access *a)
{
    secret_cleanse(a->password, sizeof a->password);
    a->n = 0;
}

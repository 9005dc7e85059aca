/* Verbs that need no gateway: migrations (PostgreSQL itself), key files. */
#include <stdio.h>
#include <stdlib.h>

#include "base/jws.h"
#include "base/pg.h"
#include "base/secret.h"
#include "gateway/ctl/ctl.h"

enum { CONNECT_MS = 10000 };

static int fail(const struct err *err)
{
    fprintf(stderr, "tidectl: %s\n", err->msg);
    return err->code == ERR_UNAVAILABLE || err->code == ERR_TIMEOUT ? CTL_UNREACHABLE
           : err->code == ERR_CONFLICT                              ? CTL_CONFLICT
                                                                    : CTL_FAILED;
}

static void on_applied(void *arg, unsigned version, const char *name)
{
    printf("applied %04u %s\n", version, name);
}

int ctl_migrate(const struct ctl *c)
{
    struct err err = {0};
    unsigned version = 0;
    const char *uri = c->database != NULL ? c->database : getenv("TIDEGATE_PG");
    if (uri == NULL) {
        return ctl_usage("migrate: --database URI, or TIDEGATE_PG in the environment");
    }
    struct pg *pg = pg_open(uri, CONNECT_MS, &err);
    if (pg == NULL) {
        return fail(&err);
    }
    int rc = pg_migrate(pg, c->folder, on_applied, NULL, &err);
    if (rc == 0) {
        rc = pg_schema_version(pg, &version);
    }
    pg_close(pg);
    if (rc != 0) {
        return fail(&err);
    }
    printf("schema version %u\n", version);
    return CTL_OK;
}

int ctl_keyring_generate(const struct ctl *c)
{
    struct err err = {0};
    if (c->word_count != 1) {
        return ctl_usage("keyring generate FILE");
    }
    if (secret_ring_generate(c->words[0], &err) != 0) {
        return fail(&err);
    }
    printf("keyring/%s generated\n", c->words[0]);
    return CTL_OK;
}

int ctl_keyring_rotate(const struct ctl *c)
{
    struct err err = {0};
    char active[SECRET_ID_MAX + 1];
    if (c->word_count != 1) {
        return ctl_usage("keyring rotate FILE");
    }
    if (secret_ring_rotate_tickets(c->words[0], active, &err) != 0) {
        return fail(&err);
    }
    printf("keyring/%s ticket keys rotated, %s seals; give the file to every gateway and reload it\n",
           c->words[0], active);
    return CTL_OK;
}

int ctl_keys_generate(const struct ctl *c)
{
    struct err err = {0};
    char kid[JWS_KID_MAX + 1];
    if (c->word_count != 1) {
        return ctl_usage("keys generate FOLDER");
    }
    if (jws_key_generate(c->words[0], kid, &err) != 0) {
        return fail(&err);
    }
    printf("key/%s generated\n", kid);
    return CTL_OK;
}

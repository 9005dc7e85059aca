/* Verbs that need no gateway: migrations (PostgreSQL itself), key files. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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

/* What was applied: lines as it goes, or a list for -o json. */
struct applied {
    const struct ctl *c;
    struct buf text;
    struct json_writer w;
};

static void on_applied(void *arg, unsigned version, const char *name)
{
    struct applied *a = arg;
    json_str(&a->w, str_from(name));
    if (a->c->form == CTL_TABLE) {
        printf("%s %04u %s\n", a->c->dry_run ? "would apply" : "applied", version, name);
        fflush(stdout);
    }
}

static void say_migrated(struct applied *a, unsigned version)
{
    char thing[32];
    json_close(&a->w, ']');
    json_i64_at(&a->w, "schema_version", version);
    json_close(&a->w, '}');
    snprintf(thing, sizeof thing, "schema/%u", version);
    if (a->c->form == CTL_TABLE) {
        printf("schema version %u\n", version);
    } else {
        ctl_say_done(a->c, buf_str(&a->text), thing, "applied");
    }
}

static int migrate(const struct ctl *c)
{
    struct err err = {0};
    unsigned version = 0;
    const char *uri = c->database != NULL ? c->database : getenv("TIDEGATE_PG");
    if (uri == NULL) {
        return ctl_usage(c, "--database URI, or TIDEGATE_PG in the environment");
    }
    struct pg *pg = pg_open(uri, CONNECT_MS, &err);
    if (pg == NULL) {
        return fail(&err);
    }
    struct applied a = {.c = c, .w = {.out = &a.text}};
    buf_init(&a.text, CTL_DOCUMENT_MAX);
    json_open(&a.w, '{');
    json_open_at(&a.w, "applied", '[');
    int rc = c->dry_run ? pg_migrate_try(pg, c->folder, on_applied, &a, &err)
                        : pg_migrate(pg, c->folder, on_applied, &a, &err);
    if (rc == 0) {
        rc = pg_schema_version(pg, &version);
    }
    pg_close(pg);
    if (rc == 0) {
        say_migrated(&a, version);
    }
    buf_clear(&a.text);
    return rc == 0 ? CTL_OK : fail(&err);
}

static int say(const struct ctl *c, const char *kind, const char *name, const char *happened)
{
    struct buf thing;
    buf_init(&thing, 8192);
    buf_addf(&thing, "%s/%s", kind, name);
    ctl_say_done(c, STR(""), thing.p, happened);
    buf_clear(&thing);
    return CTL_OK;
}

/* --dry-run of what makes files. */
static int try_new(const char *path, struct err *err)
{
    return access(path, F_OK) == 0 ? err_set(err, ERR_CONFLICT, "%s exists", path) : 0;
}

static int try_folder(const char *path, struct err *err)
{
    return access(path, W_OK | X_OK) == 0 ? 0 : err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
}

static int keyring_generate(const struct ctl *c)
{
    struct err err = {0};
    int rc = c->dry_run ? try_new(c->words[0], &err) : secret_ring_generate(c->words[0], &err);
    return rc != 0 ? fail(&err) : say(c, "keyring", c->words[0], "generated");
}

static int keyring_rotate(const struct ctl *c)
{
    struct err err = {0};
    char active[SECRET_ID_MAX + 1];
    char happened[160];
    if (c->dry_run) {
        struct secret_ring *ring = NULL;
        int rc = secret_ring_load(c->words[0], &ring, &err);
        secret_ring_unref(ring);
        return rc != 0 ? fail(&err) : say(c, "keyring", c->words[0], "ticket keys rotated");
    }
    if (secret_ring_rotate_tickets(c->words[0], active, &err) != 0) {
        return fail(&err);
    }
    snprintf(happened, sizeof happened,
             "ticket keys rotated, %s seals; give the file to every gateway and reload it", active);
    return say(c, "keyring", c->words[0], happened);
}

static int keys_generate(const struct ctl *c)
{
    struct err err = {0};
    char kid[JWS_KID_MAX + 1];
    if (c->dry_run) {
        int rc = try_folder(c->words[0], &err);
        return rc != 0 ? fail(&err) : say(c, "key", c->words[0], "generated");
    }
    int rc = jws_key_generate(c->words[0], kid, &err);
    return rc != 0 ? fail(&err) : say(c, "key", kid, "generated");
}

const struct ctl_verb ctl_verbs_local[] = {
    {
        .words = "migrate",
        .options = "database folder dry-run",
        .summary = "applies the numbered SQL files",
        .about = "Speaks to PostgreSQL itself. What was applied before is left alone; a file that has "
                 "changed since is "
                 "refused (exit 6).",
        .examples = "migrate --database postgresql:///tidegate",
        .run = migrate,
    },
    {
        .words = "keyring generate",
        .args = "FILE",
        .options = "dry-run",
        .summary = "a new key ring: pepper, look-up, encryption, tickets",
        .about = "Every gateway gets the same file, readable by its user alone.",
        .examples = "keyring generate /etc/tidegate/keyring.json",
        .run = keyring_generate,
    },
    {
        .words = "keyring rotate",
        .args = "FILE",
        .options = "dry-run",
        .summary = "new keys for TLS session tickets; old tickets stay good",
        .examples = "keyring rotate /etc/tidegate/keyring.json",
        .run = keyring_rotate,
    },
    {
        .words = "keys generate",
        .args = "FOLDER",
        .options = "dry-run",
        .summary = "a new key that signs access tokens",
        .examples = "keys generate /etc/tidegate/keys",
        .run = keys_generate,
    },
    {.words = NULL},
};

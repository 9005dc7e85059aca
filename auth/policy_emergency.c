#include "auth/policy_emergency.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "auth/policy_change.h"
#include "base/json.h"
#include "base/pg.h"

enum { FILE_MAX = 4096, PATH_ROOM = 512 };

/* --- the file ---------------------------------------------------------------------------------------- */

static void emergency_print(const struct policy_emergency *e, struct buf *out)
{
    struct json_writer w = {.out = out};
    char id[ID_UUID_TEXT + 1];
    uuid_format(&e->id, id);
    json_open(&w, '{');
    json_str_at(&w, "id", str_from(id));
    json_i64_at(&w, "closed_ms", e->closed_ms);
    json_str_at(&w, "actor", str_from(e->actor));
    json_str_at(&w, "reason", str_from(e->reason));
    json_i64_at(&w, "opened_ms", e->opened_ms);
    json_str_at(&w, "opened_by", str_from(e->opened_by));
    json_str_at(&w, "opened_reason", str_from(e->opened_reason));
    json_close(&w, '}');
    buf_add_char(out, '\n');
}

/* Written beside and renamed over: a reader sees the old one or the new one. On the disk when this returns. */
int policy_emergency_save(const struct policy_emergency *e, const char *path, struct err *err)
{
    char beside[PATH_ROOM];
    struct buf text;
    if ((size_t)snprintf(beside, sizeof beside, "%s.new", path) >= sizeof beside) {
        return err_set(err, ERR_INVALID, "path of the file of an emergency is too long");
    }
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_set(err, ERR_IO, "cannot write %s: %s", beside, strerror(errno));
    }
    buf_init(&text, FILE_MAX);
    emergency_print(e, &text);
    bool ok = !text.overflowed && write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    buf_clear(&text);
    return ok && rename(beside, path) == 0
               ? 0
               : err_set(err, ERR_IO, "cannot write %s: %s", path, strerror(errno));
}

static bool read_text(struct arena *a, const struct json_doc *doc, const char *name, char *out)
{
    const struct json_slice *v = json_member(doc, name);
    struct str text;
    if (!v || !json_get_str(a, v, &text) || text.n > POLICY_EMERGENCY_TEXT_MAX) {
        return false;
    }
    snprintf(out, POLICY_EMERGENCY_TEXT_MAX + 1, STR_FMT, STR_ARG(text));
    return true;
}

static bool read_number(const struct json_doc *doc, const char *name, int64_t *out)
{
    const struct json_slice *v = json_member(doc, name);
    return v && json_get_i64(v, out);
}

static bool emergency_read(struct arena *a, struct str text, struct policy_emergency *e)
{
    struct json_doc doc;
    char id[POLICY_EMERGENCY_TEXT_MAX + 1];
    return json_scan(a, text, &json_limits_default, &doc, NULL) == 0 && read_text(a, &doc, "id", id) &&
           uuid_parse(str_from(id), &e->id) && read_number(&doc, "closed_ms", &e->closed_ms) &&
           read_text(a, &doc, "actor", e->actor) && read_text(a, &doc, "reason", e->reason) &&
           read_number(&doc, "opened_ms", &e->opened_ms) && read_text(a, &doc, "opened_by", e->opened_by) &&
           read_text(a, &doc, "opened_reason", e->opened_reason);
}

int policy_emergency_load(const char *path, struct policy_emergency *out, struct err *err)
{
    char text[FILE_MAX];
    struct arena arena;
    FILE *f = fopen(path, "re");
    if (!f) {
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "cannot read %s: %s", path,
                       strerror(errno));
    }
    size_t n = fread(text, 1, sizeof text, f);
    fclose(f);
    arena_init(&arena);
    *out = (struct policy_emergency){0};
    bool ok = emergency_read(&arena, str_of(text, n), out);
    arena_clear(&arena);
    return ok ? 0 : err_set(err, ERR_INVALID, "%s: is not the record of an emergency", path);
}

/* --- the database ------------------------------------------------------------------------------------ */

static int write_opened(struct pg *pg, const struct policy_emergency *e)
{
    return pg_query(pg,
                    "SELECT policy_emergency_was($1, to_timestamp($2::float8 / 1000), $3, $4,"
                    " to_timestamp($5::float8 / 1000), $6, $7)",
                    PG_UUID(e->id), PG_F64((double)e->closed_ms), PG_CSTR(e->actor), PG_CSTR(e->reason),
                    PG_F64((double)e->opened_ms), PG_CSTR(e->opened_by), PG_CSTR(e->opened_reason));
}

static int write_closed(struct pg *pg, const struct policy_emergency *e)
{
    struct str document = str_from(policy_preset(STR("closed")));
    struct policy *p = NULL;
    struct buf notice;
    buf_init(&notice, POLICY_DOCUMENT_MAX);
    int rc = policy_parse(document, 0, &p, pg_err(pg));
    if (rc == 0) {
        policy_write_notice(p, &notice);
        rc = pg_query(pg,
                      "SELECT policy_emergency_close($1, to_timestamp($2::float8 / 1000), $3, $4, $5, $6, $7,"
                      " $8, '')",
                      PG_UUID(e->id), PG_F64((double)e->closed_ms), PG_CSTR(policy_name(p)),
                      PG_CSTR(policy_state_name(policy_state(p))), PG_STR(document), PG_STR(buf_str(&notice)),
                      PG_CSTR(e->reason), PG_CSTR(e->actor));
    }
    buf_clear(&notice);
    policy_unref(p);
    return rc;
}

/* Its id is that of one which was opened again: closed under an id of its own. */
static int write_anew(struct pg *pg, const struct policy_emergency *e, struct uuid *id)
{
    struct policy_emergency anew = *e;
    anew.id = *id = uuid_v7();
    return write_closed(pg, &anew);
}

static int read_version(struct pg *pg, int64_t *version)
{
    int rc = pg_query_n(pg, "SELECT version FROM policy_current", 0, NULL);
    *version = rc > 0 ? pg_i64(pg, 0, 0) : 0;
    return rc < 0 ? rc : 0;
}

int policy_emergency_write(struct pg *pg, const struct policy_emergency *e, int64_t *version)
{
    struct uuid id;
    int rc = e->opened_ms ? write_opened(pg, e) : write_closed(pg, e);
    if (rc >= 0 && !e->opened_ms) {
        rc =
            pg_query(pg,
                     "SELECT FROM policy_emergencies e, policy_current JOIN policy_versions v USING (version)"
                     " WHERE e.id = $1 AND e.version < v.version"
                     " AND v.created_at < to_timestamp($2::float8 / 1000)"
                     " AND NOT EXISTS (SELECT FROM policy_pending WHERE is_emergency)",
                     PG_UUID(e->id), PG_F64((double)e->closed_ms));
        rc = rc > 0 ? write_anew(pg, e, &id) : rc;
    }
    return rc < 0 ? rc : read_version(pg, version);
}

int policy_emergency_close(struct pg *pg, const struct policy_emergency *e, struct uuid *id, int64_t *version)
{
    *id = e->id;
    int rc = write_closed(pg, e);
    if (rc >= 0) {
        rc = pg_query_n(pg, "SELECT FROM policy_pending WHERE is_emergency", 0, NULL);
    }
    rc = rc == 0 ? write_anew(pg, e, id) : rc;
    return rc < 0 ? rc : read_version(pg, version);
}

int policy_emergency_lift(struct pg *pg, const char *actor, const char *reason, const char *request_id,
                          struct policy_changed *out)
{
    int rows = pg_query_n(pg, "SELECT version FROM policy_pending WHERE is_emergency", 0, NULL);
    if (rows <= 0) {
        return rows < 0 ? rows : err_set(pg_err(pg), ERR_CONFLICT, "sign-up is not closed in an emergency");
    }
    struct policy_change c = {.actor = actor,
                              .reason = reason,
                              .request_id = request_id,
                              .action = "policy.emergency_open",
                              .if_version = pg_i64(pg, 0, 0)};
    return policy_change_end(pg, &c, out);
}

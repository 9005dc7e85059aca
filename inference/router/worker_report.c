#include "inference/router/worker_report.h"

#include "base/json.h"

enum { COUNT_MAX = 1000000000 };

static int read_count(const struct json_doc *doc, const char *name, int64_t *out, struct err *err)
{
    const struct json_slice *v = json_member(doc, name);
    if (v == NULL || !json_get_i64(v, out) || *out < 0 || *out > COUNT_MAX) {
        return err_set(err, ERR_INVALID, "%s: expected a number from 0 to %d", name, COUNT_MAX);
    }
    return 0;
}

static int read_members(const struct json_doc *doc, struct worker_report *out, struct err *err)
{
    int64_t running = 0, waiting = 0, used = 0, blocks = 0;
    bool is_draining = false;
    const struct json_slice *draining = json_member(doc, "draining");
    if (read_count(doc, "running", &running, err) != 0 || read_count(doc, "waiting", &waiting, err) != 0 ||
        read_count(doc, "kv_blocks_used", &used, err) != 0 ||
        read_count(doc, "kv_blocks", &blocks, err) != 0) {
        return ERR_INVALID;
    }
    if (draining == NULL || !json_get_bool(draining, &is_draining)) {
        return err_set(err, ERR_INVALID, "draining: expected true or false");
    }
    *out = (struct worker_report){
        .running = (int32_t)running,
        .waiting = (int32_t)waiting,
        .kv_used = (uint8_t)(used >= blocks ? (blocks > 0 ? 100 : 0) : used * 100 / blocks),
        .is_draining = is_draining};
    return 0;
}

int worker_report_read(struct str json, struct worker_report *out, struct err *err)
{
    struct arena a;
    struct json_doc doc;
    arena_init(&a);
    int rc = json_scan(&a, json, &json_limits_default, &doc, err);
    if (rc == 0 && doc.type != JSON_OBJECT) {
        rc = err_set(err, ERR_INVALID, "expected an object");
    }
    if (rc == 0) {
        rc = read_members(&doc, out, err);
    }
    arena_clear(&a);
    return rc == 0 ? 0 : ERR_INVALID;
}

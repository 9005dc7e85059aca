#include "inference/worker/device.h"

#include "base/log.h"

static int open_kind(const struct backend_kind *kind, const struct graph *g, const struct backend_conf *conf,
                     struct device *out, struct err *err)
{
    int rc = kind->open(g, conf, &out->backend, err);
    out->kind = rc ? NULL : kind;
    return rc;
}

static int open_several(const struct device_wish *wish, const struct graph *g,
                        const struct backend_conf *conf, struct device *out, struct err *err)
{
    struct backend_conf shared = *conf;
    shared.ranks = wish->ranks;
    shared.collective_ms = wish->collective_ms;
    if (wish->choice == DEVICE_CPU || !wish->cuda) {
        return err_set(err, ERR_INVALID, "--tensor-parallel-size %u: %s", wish->ranks,
                       wish->cuda ? "the CPU is one device" : "this tide-worker was built without CUDA");
    }
    return open_kind(wish->cuda, g, &shared, out, err);
}

int device_open(const struct device_wish *wish, const struct graph *g, const struct backend_conf *conf,
                struct device *out, struct err *err)
{
    *out = (struct device){0};
    if (wish->choice == DEVICE_CUDA && !wish->cuda) {
        return err_set(err, ERR_INVALID, "--device cuda: this tide-worker was built without CUDA");
    }
    if (wish->ranks > 1) {
        return open_several(wish, g, conf, out, err);
    }
    if (wish->choice == DEVICE_CPU || !wish->cuda) {
        return open_kind(&backend_cpu, g, conf, out, err);
    }
    int rc = open_kind(wish->cuda, g, conf, out, err);
    if (rc && wish->choice == DEVICE_AUTO) {
        log_warn("worker device=cpu reason=\"%s\"", err->msg);
        rc = open_kind(&backend_cpu, g, conf, out, err);
    }
    return rc;
}

int device_run(struct device *d, const struct batch *batch, float **logits, struct err *err)
{
    return d->kind->run(d->backend, batch, logits, err);
}

bool device_candidates(const struct device *d, uint32_t row, struct candidates *out)
{
    return d->kind->candidates(d->backend, row, out);
}

void device_describe(const struct device *d, char *out, size_t n)
{
    d->kind->describe(d->backend, out, n);
}

void device_close(struct device *d)
{
    if (d->kind) {
        d->kind->close(d->backend);
    }
    *d = (struct device){0};
}

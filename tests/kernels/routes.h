/* Routers with random scores, on both sides: what a batch's experts are. */
#ifndef TIDE_TESTS_ROUTES_H
#define TIDE_TESTS_ROUTES_H

#include "tests/kernels/device.h"

#include "kernels/route.h"

static struct expert_uses host_uses(uint32_t experts, size_t uses)
{
    return (struct expert_uses){host_bytes((experts + 1) * 4), host_bytes((experts + 1) * 4),
                                host_bytes(uses * 4)};
}

static struct expert_uses device_uses(uint32_t experts, size_t uses)
{
    return (struct expert_uses){device_bytes((experts + 1) * 4), device_bytes((experts + 1) * 4),
                                device_bytes(uses * 4)};
}

static void uses_free(struct expert_uses *u)
{
    free(u->active);
    free(u->first);
    free(u->use);
}

struct routed { /* what both sides found */
    struct route_params host;
    struct route_params device;
};

__attribute__((unused)) static struct routed run_route(struct route_params p, const float *scores,
                                                       const float *bias)
{
    size_t n = (size_t)p.count * p.experts;
    size_t uses = (size_t)p.count * p.used;
    struct routed r = {p, p};
    r.host.scores = host_bytes(n * sizeof *scores);
    memcpy(r.host.scores, scores, n * sizeof *scores);
    r.host.bias = bias;
    r.host.expert_of = host_bytes(uses * 4);
    r.host.by_expert = host_uses(p.experts, uses);
    r.device.scores = device_copy(scores, n * sizeof *scores);
    r.device.bias = bias ? device_copy(bias, p.experts * sizeof *bias) : NULL;
    r.device.expert_of = device_bytes(uses * 4);
    r.device.by_expert = device_uses(p.experts, uses);
    route_ref(&r.host);
    assert_int_equal(route_launch(&r.device, device_stream), cudaSuccess);
    return r;
}

__attribute__((unused)) static void routed_free(struct routed *r)
{
    free(r->host.scores);
    free(r->host.expert_of);
    uses_free(&r->host.by_expert);
}

#endif

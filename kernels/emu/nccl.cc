/* NCCL's functions, as nccl.h beside this declares them: ranks are threads of one process, one device each.
 *
 * A communicator that does not block (config.blocking = 0) may answer ncclInProgress, drawn by the seed; what was asked
 * for is then queued only once ncclCommGetAsyncError is asked, so that a caller who goes on without asking is seen. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <map>

#include "kernels/emu/collective.h"
#include "kernels/emu/runtime.h"

struct request { /* of a collective, not queued yet */
    std::shared_ptr<const struct collective> collective;
    cudaStream_t stream;
};

struct ncclComm {
    std::shared_ptr<struct clique> clique;
    int rank;
    bool blocks;
    std::vector<struct request> requests; /* in progress */
};

enum { RANKS_MAX = 8 };

static std::map<uint64_t, std::shared_ptr<struct clique>> cliques; /* by number of the unique id */
static uint64_t ids;
static thread_local char last_error[256];
static thread_local int groups;                           /* that are open */
static thread_local std::vector<struct ncclComm *> group; /* with requests in the open group */
static thread_local ncclResult_t group_error;

static struct member *self(struct ncclComm *comm)
{
    return &comm->clique->members[(size_t)comm->rank];
}

__attribute__((format(printf, 2, 3))) static ncclResult_t refuse(ncclResult_t rc, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(last_error, sizeof last_error, fmt, args);
    va_end(args);
    return rc;
}

static ncclResult_t begin(void)
{
    cudaError rc = runtime_begin();
    if (rc != cudaSuccess) {
        return refuse(ncclUnhandledCudaError, "Cuda failure '%s'", cudaGetErrorString(rc));
    }
    return ncclSuccess;
}

/* --- errors and versions -------------------------------------------------------------------------------- */

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
                                        "unhandled system error (run with NCCL_DEBUG=INFO for details)",
                                        "internal error - please report this issue to the NCCL developers",
                                        "invalid argument (run with NCCL_DEBUG=WARN for details)",
                                        "invalid usage (run with NCCL_DEBUG=WARN for details)",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return (size_t)result < sizeof texts / sizeof *texts ? texts[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return last_error;
}

/* --- communicators ---------------------------------------------------------------------------------------- */

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    struct emu_lock lock;
    memset(id, 0, sizeof *id);
    ids++;
    memcpy(id->internal, &ids, sizeof ids);
    return ncclSuccess;
}

static bool all_have_come(const struct clique *k)
{
    for (const struct member &m : k->members) {
        if (!m.has_come) {
            return false;
        }
    }
    return true;
}

static ncclResult_t check_join(const struct clique *k, int ranks, int rank, int device)
{
    if (k->members.size() != (size_t)ranks) {
        return refuse(ncclInvalidArgument, "rank %d says %d ranks, another said %zu", rank, ranks,
                      k->members.size());
    }
    if (k->members[(size_t)rank].has_come) {
        return refuse(ncclInvalidArgument, "rank %d came twice", rank);
    }
    for (size_t i = 0; i < k->members.size(); i++) {
        if (k->members[i].has_come && k->members[i].device == device) {
            return refuse(ncclInvalidUsage, "Duplicate GPU detected : rank %d and rank %zu both on device %d",
                          rank, i, device);
        }
    }
    return ncclSuccess;
}

static ncclResult_t wait_for_ranks(struct ncclComm *comm)
{
    while (!all_have_come(comm->clique.get())) {
        if (!wait_for_others()) {
            return refuse(ncclSystemError, "rank %d waited for ranks that never came", comm->rank);
        }
    }
    return ncclSuccess;
}

static ncclResult_t join(ncclComm_t *out, int ranks, const ncclUniqueId *id, int rank, bool blocks)
{
    uint64_t number;
    memcpy(&number, id->internal, sizeof number);
    std::shared_ptr<struct clique> &k = cliques[number];
    if (!k) {
        k = std::make_shared<struct clique>();
        k->members.resize((size_t)ranks);
    }
    ncclResult_t rc = check_join(k.get(), ranks, rank, runtime_device());
    if (rc != ncclSuccess) {
        return rc;
    }
    k->members[(size_t)rank].has_come = true;
    k->members[(size_t)rank].device = runtime_device();
    struct ncclComm *comm = new ncclComm{k, rank, blocks, {}};
    *out = comm;
    tell_others();
    if (all_have_come(k.get())) {
        cliques.erase(number);
    } else if (blocks) {
        rc = wait_for_ranks(comm);
    }
    return rc == ncclSuccess && !blocks ? ncclInProgress : rc;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    struct emu_lock lock;
    ncclResult_t rc = begin();
    if (rc != ncclSuccess) {
        return rc;
    }
    if (ranks < 1 || ranks > RANKS_MAX || rank < 0 || rank >= ranks) {
        return refuse(ncclInvalidArgument, "rank %d of %d", rank, ranks);
    }
    if (config && (config->magic != 0xcafebeef || config->size != sizeof *config)) {
        return refuse(ncclInvalidArgument,
                      "ncclConfig_t argument not initialized via NCCL_CONFIG_INITIALIZER");
    }
    if (groups > 0) {
        return refuse(ncclInvalidUsage, "communicators within a group are not emulated: a thread a rank");
    }
    return join(comm, ranks, &id, rank, !config || config->blocking != 0);
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    return ncclCommInitRankConfig(comm, ranks, id, rank, NULL);
}

static void queue_requests(struct ncclComm *comm)
{
    for (const struct request &r : comm->requests) {
        struct operation op = {};
        op.kind = OPERATION_COLLECTIVE;
        op.collective = r.collective;
        if (r.stream->captured) {
            self(comm)->recorded.push_back(r.collective);
        }
        stream_add(r.stream, op);
    }
    comm->requests.clear();
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *async)
{
    struct emu_lock lock;
    queue_requests(comm);
    *async = all_have_come(comm->clique.get()) ? self(comm)->error : ncclInProgress;
    return ncclSuccess;
}

static bool is_in_a_graph(const struct member *m)
{
    for (const std::weak_ptr<const struct collective> &recorded : m->recorded) {
        if (!recorded.expired()) {
            return true;
        }
    }
    return false;
}

/* A communicator goes when no graph has a collective of it, and the stream has none that a graph brought. */
static ncclResult_t wait_for_graphs(struct ncclComm *comm)
{
    while (is_in_a_graph(self(comm))) {
        if (!wait_for_others()) {
            emu_note(cudaErrorLaunchFailure,
                     "hang: rank %d ends a communicator while a graph has collectives of it", comm->rank);
            return refuse(ncclSystemError, "rank %d: a graph has collectives of it", comm->rank);
        }
    }
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    struct emu_lock lock;
    while (emu_abort_hangs()) {
        wait_for_others(); /* a device that does not answer */
    }
    self(comm)->is_aborted = true;
    self(comm)->waiting.reset();
    tell_others();
    ncclResult_t rc = wait_for_graphs(comm);
    delete comm;
    return rc;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    struct emu_lock lock;
    if (!comm->requests.empty() || self(comm)->waiting) {
        return refuse(ncclInvalidUsage, "rank %d: a collective has not ended", comm->rank);
    }
    ncclResult_t rc = wait_for_graphs(comm);
    delete comm;
    return rc;
}

/* --- collectives -------------------------------------------------------------------------------------------- */

static ncclResult_t check_call(struct ncclComm *comm, const struct collective *c, cudaStream_t stream)
{
    size_t ranks = comm->clique->members.size();
    if (!stream || stream->device != self(comm)->device ||
        (self(comm)->stream && self(comm)->stream != stream)) {
        return refuse(ncclInvalidUsage, "rank %d: not the stream of its device, or not the one it began with",
                      comm->rank);
    }
    if (runtime_device() != self(comm)->device) {
        return refuse(ncclInvalidUsage, "rank %d: the thread's device is not the communicator's", comm->rank);
    }
    if (!all_have_come(comm->clique.get()) || (!comm->requests.empty() && groups == 0)) {
        return refuse(ncclInvalidUsage, "rank %d: the last call is in progress", comm->rank);
    }
    if (!c->send || !c->receive || !collective_value_bytes(c->type) || c->root < 0 ||
        (size_t)c->root >= ranks) {
        return refuse(ncclInvalidArgument, "rank %d: no buffer, no such type or no such root", comm->rank);
    }
    if (c->kind == COLLECTIVE_ALL_REDUCE &&
        (c->type != ncclFloat32 || (c->op != ncclSum && c->op != ncclMax))) {
        return refuse(ncclInvalidArgument, "only sums and maxima of float32 are emulated");
    }
    return ncclSuccess;
}

/* Blocking communicators queue at once, others at once or when they are asked. */
static ncclResult_t settle(struct ncclComm *comm)
{
    if (!comm->blocks && emu_random() % 2) {
        return ncclInProgress;
    }
    queue_requests(comm);
    return ncclSuccess;
}

static ncclResult_t call(ncclComm_t comm, struct collective c, cudaStream_t stream)
{
    struct emu_lock lock;
    ncclResult_t rc = begin();
    if (rc == ncclSuccess) {
        rc = check_call(comm, &c, stream);
    }
    if (rc != ncclSuccess) {
        group_error = groups ? rc : group_error;
        return rc;
    }
    c.clique = comm->clique;
    c.rank = comm->rank;
    self(comm)->stream = stream;
    if (groups && comm->requests.empty()) {
        group.push_back(comm);
    }
    comm->requests.push_back({std::make_shared<const struct collective>(c), stream});
    return groups ? ncclSuccess : settle(comm);
}

ncclResult_t ncclAllReduce(const void *send, void *receive, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream)
{
    struct collective c = {};
    c.kind = COLLECTIVE_ALL_REDUCE;
    c.send = send;
    c.receive = receive;
    c.count = count;
    c.type = type;
    c.op = op;
    return call(comm, c, stream);
}

ncclResult_t ncclAllGather(const void *send, void *receive, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    struct collective c = {};
    c.kind = COLLECTIVE_ALL_GATHER;
    c.send = send;
    c.receive = receive;
    c.count = count;
    c.type = type;
    return call(comm, c, stream);
}

ncclResult_t ncclBroadcast(const void *send, void *receive, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    struct collective c = {};
    c.kind = COLLECTIVE_BROADCAST;
    c.send = send;
    c.receive = receive;
    c.count = count;
    c.type = type;
    c.root = root;
    return call(comm, c, stream);
}

ncclResult_t ncclGroupStart(void)
{
    groups++;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    struct emu_lock lock;
    if (groups == 0) {
        return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    }
    if (--groups > 0) {
        return ncclSuccess;
    }
    ncclResult_t rc = group_error;
    for (struct ncclComm *comm : group) {
        if (group_error != ncclSuccess) {
            comm->requests.clear();
        } else if (settle(comm) == ncclInProgress) {
            rc = ncclInProgress;
        }
    }
    group.clear();
    group_error = ncclSuccess;
    return rc;
}

#include "inference/worker/cuda/communicator.h"

#include <time.h>

enum { ASK_AGAIN_NS = 20000 };

static int nccl_error(ncclResult_t rc, ncclComm_t comm, const char *doing, struct err *err)
{
    const char *cause = ncclGetLastError(comm); /* first: it is the longer ones that are cut off */
    bool has_cause = cause && *cause;
    return err_set(err, ERR_UNAVAILABLE, "nccl: %s: %s%s%s%s", doing, has_cause ? cause : "",
                   has_cause ? " (" : "", ncclGetErrorString(rc), has_cause ? ")" : "");
}

static int aborted(const char *doing, struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, "nccl: %s: aborted", doing);
}

void communicator_init(struct communicator *c)
{
    *c = (struct communicator){0};
    pthread_mutex_init(&c->mutex, NULL);
}

void communicator_clear(struct communicator *c)
{
    pthread_mutex_destroy(&c->mutex);
}

int communicator_id(ncclUniqueId *id, struct err *err)
{
    ncclResult_t rc = ncclGetUniqueId(id);
    return rc == ncclSuccess ? 0 : nccl_error(rc, NULL, "making an id", err);
}

/* --- calls that may be in progress --------------------------------------------------------------------- */

static ncclResult_t async_error(struct communicator *c)
{
    ncclResult_t rc = ncclSuccess;
    pthread_mutex_lock(&c->mutex);
    if (c->comm) {
        ncclResult_t asked = ncclCommGetAsyncError(c->comm, &rc);
        rc = asked == ncclSuccess ? rc : asked;
    }
    pthread_mutex_unlock(&c->mutex);
    return rc;
}

/* Until what a call began is done. */
static int settle(struct communicator *c, ncclResult_t rc, const char *doing, struct err *err)
{
    static const struct timespec pause = {.tv_nsec = ASK_AGAIN_NS};
    while (rc == ncclInProgress && !atomic_load(&c->is_stopped)) {
        rc = async_error(c);
        if (rc == ncclInProgress) {
            nanosleep(&pause, NULL);
        }
    }
    if (atomic_load(&c->is_stopped)) {
        return aborted(doing, err);
    }
    return rc == ncclSuccess ? 0 : nccl_error(rc, NULL, doing, err);
}

int communicator_open(struct communicator *c, const ncclUniqueId *id, uint32_t rank, uint32_t ranks,
                      struct err *err)
{
    static const char doing[] = "meeting the other ranks";
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    pthread_mutex_lock(&c->mutex);
    bool is_over = atomic_load(&c->is_stopped);
    ncclResult_t rc =
        is_over ? ncclSuccess : ncclCommInitRankConfig(&c->comm, (int)ranks, *id, (int)rank, &config);
    pthread_mutex_unlock(&c->mutex);
    return is_over ? aborted(doing, err) : settle(c, rc, doing, err);
}

int communicator_sum(struct communicator *c, float *values, size_t n, cudaStream_t stream, struct err *err)
{
    static const char doing[] = "sum of the ranks";
    pthread_mutex_lock(&c->mutex);
    bool is_over = !c->comm || atomic_load(&c->is_stopped);
    ncclResult_t rc =
        is_over ? ncclSuccess : ncclAllReduce(values, values, n, ncclFloat32, ncclSum, c->comm, stream);
    pthread_mutex_unlock(&c->mutex);
    atomic_fetch_add(&c->calls, 1);
    return is_over ? aborted(doing, err) : settle(c, rc, doing, err);
}

static ncclResult_t gather_rows(ncclComm_t comm, const float *parts, size_t stride, float *out, size_t rows,
                                size_t part, uint32_t ranks, cudaStream_t stream)
{
    ncclResult_t rc = ncclGroupStart();
    for (size_t i = 0; i < rows && rc == ncclSuccess; i++) {
        rc = ncclAllGather(parts + i * stride, out + i * part * ranks, part, ncclFloat32, comm, stream);
    }
    ncclResult_t ended = ncclGroupEnd();
    return rc == ncclSuccess ? ended : rc;
}

int communicator_gather(struct communicator *c, const float *parts, size_t stride, float *out, size_t rows,
                        size_t part, uint32_t ranks, cudaStream_t stream, struct err *err)
{
    static const char doing[] = "gathering from the ranks";
    pthread_mutex_lock(&c->mutex);
    bool is_over = !c->comm || atomic_load(&c->is_stopped);
    ncclResult_t rc =
        is_over ? ncclSuccess : gather_rows(c->comm, parts, stride, out, rows, part, ranks, stream);
    pthread_mutex_unlock(&c->mutex);
    atomic_fetch_add(&c->calls, 1);
    return is_over ? aborted(doing, err) : settle(c, rc, doing, err);
}

/* --- from any thread ---------------------------------------------------------------------------------------- */

int communicator_check(struct communicator *c, struct err *err)
{
    ncclResult_t rc = async_error(c);
    return rc == ncclSuccess || rc == ncclInProgress ? 0 : nccl_error(rc, NULL, "a collective", err);
}

/* Not under the mutex: it may take until a rank that calls meanwhile has seen that it is over. */
static void end(struct communicator *c, ncclResult_t (*how)(ncclComm_t))
{
    pthread_mutex_lock(&c->mutex);
    ncclComm_t comm = c->comm;
    c->comm = NULL;
    pthread_mutex_unlock(&c->mutex);
    if (comm && how(comm) != ncclSuccess && how != ncclCommAbort) {
        ncclCommAbort(comm);
    }
}

void communicator_stop(struct communicator *c)
{
    atomic_store(&c->is_stopped, true);
}

void communicator_abort(struct communicator *c)
{
    communicator_stop(c);
    end(c, ncclCommAbort);
}

void communicator_close(struct communicator *c)
{
    end(c, ncclCommDestroy);
}

uint32_t communicator_calls(struct communicator *c)
{
    return atomic_load(&c->calls);
}

void communicator_replayed(struct communicator *c, uint32_t calls)
{
    atomic_fetch_add(&c->calls, calls);
}

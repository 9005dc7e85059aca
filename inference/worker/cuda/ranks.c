#include "inference/worker/cuda/ranks.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "inference/worker/cuda/cuda_backend.h"

enum { LOOK_MS = 50, GRACE_MS = 10000 }; /* the least time for what is queued to end after an abort */

enum task {
    TASK_NONE = 0,
    TASK_JOIN = 1, /* of the communicator */
    TASK_LOAD = 2,
    TASK_RUN = 3,
    TASK_END = 4,
};

struct rank {
    struct ranks *all;
    uint32_t number;
    pthread_t thread;
    bool is_started;
    struct shard shard;
    struct communicator communicator;
    struct backend *backend; /* under the mutex, until it is loaded */
    float *logits;
};

struct ranks {
    const struct graph *graph;
    struct backend_conf conf;
    ncclUniqueId id;
    pthread_mutex_t mutex;
    pthread_cond_t asked; /* a new turn */
    pthread_cond_t done;  /* a rank has ended its task */
    enum task task;
    uint64_t turn;
    const struct batch *batch;
    uint32_t busy;
    int rc; /* of the first that failed; it stays */
    struct err err;
    pthread_t aborter; /* where has_aborter */
    bool has_aborter;
    bool is_aborting; /* it has not ended yet */
    uint32_t count;
    struct rank rank[];
};

/* --- a rank's thread ---------------------------------------------------------------------------------------- */

static int join(struct rank *r, struct err *err)
{
    int rc = device_error(cudaSetDevice((int)r->number), "choosing the device", err);
    return rc ? rc : communicator_open(&r->communicator, &r->all->id, r->number, r->all->count, err);
}

/* Who aborts meanwhile has no graphs to let go of until it sees the backend. */
static int load(struct rank *r, struct err *err)
{
    struct backend *backend = NULL;
    int rc = cuda_shard_open(&r->shard, &r->communicator, &r->all->conf, &backend, err);
    pthread_mutex_lock(&r->all->mutex);
    r->backend = backend;
    pthread_mutex_unlock(&r->all->mutex);
    return rc;
}

static void leave(struct rank *r)
{
    if (r->backend) {
        decode_graphs_end(&r->backend->graphs); /* before the communicator, which waits for them */
    }
    communicator_close(&r->communicator); /* before the stream that it used */
    backend_cuda.close(r->backend);
}

static int perform(struct rank *r, enum task task, struct err *err)
{
    switch (task) {
    case TASK_JOIN:
        return join(r, err);
    case TASK_LOAD:
        return load(r, err);
    case TASK_RUN:
        return cuda_shard_run(r->backend, r->all->batch, &r->logits, err);
    case TASK_END:
        leave(r);
        return 0;
    case TASK_NONE:
        break;
    }
    return 0;
}

static void report(struct rank *r, int rc, const struct err *err)
{
    struct ranks *all = r->all;
    pthread_mutex_lock(&all->mutex);
    all->busy--;
    if (rc && !all->rc) {
        all->rc = err_set(&all->err, rc, "rank %u of %u: %s", r->number, all->count, err->msg);
    }
    pthread_cond_signal(&all->done);
    pthread_mutex_unlock(&all->mutex);
}

static void *rank_main(void *arg)
{
    struct rank *r = arg;
    enum task task = TASK_NONE;
    for (uint64_t turn = 0; task != TASK_END;) {
        struct err err = {0};
        pthread_mutex_lock(&r->all->mutex);
        while (r->all->turn == turn) {
            pthread_cond_wait(&r->all->asked, &r->all->mutex);
        }
        turn = r->all->turn;
        task = r->all->task;
        pthread_mutex_unlock(&r->all->mutex);
        int rc = perform(r, task, &err);
        report(r, rc, &err);
    }
    return NULL;
}

/* --- who watches ---------------------------------------------------------------------------------------------- */

/* Who asked for the fewest collectives is who the others wait for. */
static int too_late(struct ranks *r, uint32_t limit_ms, struct err *err)
{
    uint32_t least = 0;
    uint32_t most = 0;
    for (uint32_t i = 1; i < r->count; i++) {
        uint32_t calls = communicator_calls(&r->rank[i].communicator);
        least = calls < communicator_calls(&r->rank[least].communicator) ? i : least;
        most = calls > communicator_calls(&r->rank[most].communicator) ? i : most;
    }
    uint32_t fewest = communicator_calls(&r->rank[least].communicator);
    uint32_t calls = communicator_calls(&r->rank[most].communicator);
    if (fewest < calls) {
        return err_set(err, ERR_UNAVAILABLE,
                       "cuda: no end after %u ms: rank %u asked for %u collectives, rank %u for %u", limit_ms,
                       least, fewest, most, calls);
    }
    return err_set(err, ERR_UNAVAILABLE, "cuda: no end after %u ms: all %u ranks wait for collective %u",
                   limit_ms, r->count, calls);
}

static int check_collectives(struct ranks *r, struct err *err)
{
    for (uint32_t i = 0; i < r->count; i++) {
        struct err said;
        if (communicator_check(&r->rank[i].communicator, &said)) {
            return err_set(err, ERR_UNAVAILABLE, "rank %u of %u: %s", i, r->count, said.msg);
        }
    }
    return 0;
}

static void *abort_main(void *arg)
{
    struct ranks *r = arg;
    for (uint32_t i = 0; i < r->count; i++) {
        communicator_stop(&r->rank[i].communicator);
    }
    for (uint32_t i = 0; i < r->count; i++) {
        pthread_mutex_lock(&r->mutex);
        struct backend *backend = r->rank[i].backend;
        pthread_mutex_unlock(&r->mutex);
        cuda_shard_abort(backend, &r->rank[i].communicator);
    }
    pthread_mutex_lock(&r->mutex);
    r->is_aborting = false;
    pthread_cond_signal(&r->done);
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

/* NCCL's abort waits for the devices: a thread of its own does, so that who watches sees when none answers. */
static void abort_all(struct ranks *r)
{
    r->is_aborting = true;
    r->has_aborter = pthread_create(&r->aborter, NULL, abort_main, r) == 0;
    if (!r->has_aborter) {
        pthread_mutex_unlock(&r->mutex); /* ranks report meanwhile */
        abort_main(r);
        pthread_mutex_lock(&r->mutex);
    }
}

/* The thread has let go of the mutex for good. */
static void join_aborter(struct ranks *r)
{
    if (r->has_aborter) {
        pthread_join(r->aborter, NULL);
        r->has_aborter = false;
    }
}

static void look(struct ranks *r)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&r->done, &r->mutex, &until);
}

/* Until all ranks have ended their task, and an abort; under the mutex. limit_ms = 0: however long it takes. What ends is
 * not aborted: whatever failed before was, and the backends go now. */
static void watch(struct ranks *r, uint32_t limit_ms)
{
    bool is_end = r->task == TASK_END;
    uint64_t began = clock_mono_ms();
    uint64_t aborted = 0; /* when */
    while (r->busy > 0 || r->is_aborting) {
        look(r);
        uint64_t now = clock_mono_ms();
        if (!r->rc && r->busy > 0 && !is_end) {
            r->rc = check_collectives(r, &r->err);
        }
        if (!r->rc && r->busy > 0 && limit_ms && now - began >= limit_ms) {
            r->rc = too_late(r, limit_ms, &r->err);
        }
        if (r->rc && !aborted && !is_end) {
            abort_all(r);
            aborted = now;
        } else if (aborted && limit_ms && now - aborted > (limit_ms > GRACE_MS ? limit_ms : GRACE_MS)) {
            /* A device that does not even answer an abort: only the end of the process frees it. */
            log_error("cuda state=stuck reason=\"%s\"", r->err.msg);
            log_close();
            _exit(1);
        }
    }
    join_aborter(r);
}

static int ask(struct ranks *r, enum task task, uint32_t limit_ms, struct err *err)
{
    pthread_mutex_lock(&r->mutex);
    r->task = task;
    r->turn++;
    for (uint32_t i = 0; i < r->count; i++) {
        r->busy += r->rank[i].is_started;
    }
    pthread_cond_broadcast(&r->asked);
    watch(r, limit_ms);
    int rc = r->rc;
    if (rc) {
        *err = r->err;
    }
    pthread_mutex_unlock(&r->mutex);
    return rc;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static int check_devices(uint32_t ranks, struct err *err)
{
    int devices = 0;
    int rc = device_error(cudaGetDeviceCount(&devices), "looking for devices", err);
    if (!rc && (uint32_t)devices < ranks) {
        rc = err_set(err, ERR_INVALID, "cuda: %u devices are wanted, %d can be used", ranks, devices);
    }
    return rc;
}

static int start(struct ranks *r, struct err *err)
{
    int rc = 0;
    for (uint32_t i = 0; i < r->count && !rc; i++) {
        struct rank *rank = &r->rank[i];
        rank->all = r;
        rank->number = i;
        communicator_init(&rank->communicator);
        rc = shard_init(&rank->shard, r->graph, i, r->count, err);
        if (!rc && pthread_create(&rank->thread, NULL, rank_main, rank)) {
            rc = err_set(err, ERR_NOMEM, "cuda: no thread for rank %u", i);
        }
        rank->is_started = !rc;
    }
    return rc;
}

static struct ranks *ranks_new(const struct graph *g, const struct backend_conf *conf)
{
    struct ranks *r = calloc(1, sizeof *r + conf->ranks * sizeof *r->rank);
    if (r) {
        pthread_condattr_t attr;
        r->graph = g;
        r->conf = *conf;
        r->count = conf->ranks;
        pthread_mutex_init(&r->mutex, NULL);
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(&r->asked, NULL);
        pthread_cond_init(&r->done, &attr);
        pthread_condattr_destroy(&attr);
    }
    return r;
}

int ranks_open(const struct graph *g, const struct backend_conf *conf, struct ranks **out, struct err *err)
{
    struct ranks *r = ranks_new(g, conf);
    if (!r) {
        return err_set(err, ERR_NOMEM, "cuda: no memory");
    }
    int rc = check_devices(conf->ranks, err);
    rc = rc ? rc : communicator_id(&r->id, err);
    rc = rc ? rc : start(r, err);
    rc = rc ? rc : ask(r, TASK_JOIN, conf->collective_ms, err);
    rc = rc ? rc : ask(r, TASK_LOAD, 0, err);
    if (rc) {
        ranks_close(r);
        return rc;
    }
    *out = r;
    return 0;
}

int ranks_run(struct ranks *r, const struct batch *batch, float **logits, struct err *err)
{
    if (r->rc) {
        *err = r->err;
        return r->rc;
    }
    r->batch = batch;
    int rc = ask(r, TASK_RUN, r->conf.collective_ms, err);
    *logits = r->rank[0].logits;
    return rc;
}

void ranks_close(struct ranks *r)
{
    struct err ignored;
    if (!r) {
        return;
    }
    (void)ask(r, TASK_END, 0, &ignored);
    for (uint32_t i = 0; i < r->count; i++) {
        if (r->rank[i].is_started) {
            pthread_join(r->rank[i].thread, NULL);
        }
        if (r->rank[i].all) {
            communicator_clear(&r->rank[i].communicator);
            shard_clear(&r->rank[i].shard);
        }
    }
    pthread_cond_destroy(&r->asked);
    pthread_cond_destroy(&r->done);
    pthread_mutex_destroy(&r->mutex);
    free(r);
}

const struct backend *ranks_backend(const struct ranks *r, uint32_t rank)
{
    return r->rank[rank].backend;
}

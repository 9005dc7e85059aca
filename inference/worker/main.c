/* tide-worker: serves one GGUF model behind the OpenAI dialect.
 *
 *     main thread    the HTTP loop: takes requests, writes answers
 *     intake         parses and tokenizes the bodies of requests
 *     engine         loads the model, then computes batch after batch
 *     compute-N      help the engine within a step
 *
 * Outputs come back to the loop by its inbox. SIGTERM and SIGINT drain; SIGUSR1 reopens the log. A device that fails ends
 * the program with status 1, after its clients have been told. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/open_files.h"
#include "inference/worker/cpu/packed_file.h"
#include "inference/worker/diagnose.h"
#include "inference/worker/front.h"
#include "inference/worker/inspect.h"
#include "inference/worker/perplexity.h"
#include "inference/worker/speed.h"
#include "inference/worker/talk.h"
#include "inference/worker/worker_metrics.h"

/* The backend of the tide_program that this is part of; without one the CPU computes. */
#ifdef TIDE_CUDA
static const struct backend_kind *const linked_cuda = &backend_cuda;
#else
static const struct backend_kind *const linked_cuda = NULL;
#endif

enum { LAST_WORDS_MS = 5000 }; /* for telling clients that the device failed */

struct worker {
    const struct options *options;
    struct loop *loop;
    struct front *front;
    struct engine *engine;
    struct event *signals[3];
    char packed[PACKED_PATH_ROOM];
    bool draining;
    bool is_loading;
    int exit_code;
};

/* What the engine's thread tells the loop: the model is loaded, or the device has failed. */
struct engine_msg {
    struct loop_msg m;
    struct worker *worker;
    int rc;
    struct err err;
};

static int report(int rc, const struct err *err)
{
    if (rc) {
        fprintf(stderr, "tide-worker: %s\n", err->msg);
    }
    return rc ? 1 : 0;
}

/* Of a command that prints: what it printed must have arrived, on a full disk too. */
static int report_printed(int rc, struct err *err)
{
    if (!rc && (fflush(stdout) != 0 || ferror(stdout))) {
        rc = err_set(err, ERR_IO, "cannot write to standard output: %s", strerror(errno));
    }
    return report(rc, err);
}

static void on_loaded_msg(struct loop_msg *m, bool canceled)
{
    struct engine_msg *msg = (struct engine_msg *)m;
    struct worker *w = msg->worker;
    w->is_loading = false;
    if (msg->rc) {
        w->exit_code = report(msg->rc, &msg->err);
        loop_stop(w->loop);
    } else if (!canceled) {
        front_ready(w->front, w->engine);
    }
    free(msg);
}

static void on_empty(void *arg)
{
    struct worker *w = arg;
    loop_stop(w->loop);
}

static void drain(struct worker *w, uint32_t within_ms)
{
    w->draining = true;
    log_info("worker state=draining");
    front_drain(w->front, within_ms, on_empty, w);
}

static void on_failed_msg(struct loop_msg *m, bool canceled)
{
    struct engine_msg *msg = (struct engine_msg *)m;
    struct worker *w = msg->worker;
    w->exit_code = 1;
    if (!canceled && !w->draining) {
        drain(w, LAST_WORDS_MS);
    }
    free(msg);
}

static void post(struct worker *w, void (*fn)(struct loop_msg *, bool), int rc, const struct err *err)
{
    struct engine_msg *msg = calloc(1, sizeof *msg);
    BUG_ON(!msg);
    *msg = (struct engine_msg){.m = {.fn = fn}, .worker = w, .rc = rc, .err = *err};
    loop_post(w->loop, &msg->m);
}

static void on_loaded(void *arg, int rc, const struct err *err)
{
    post(arg, on_loaded_msg, rc, err);
}

static void on_told(void *arg)
{
    struct worker *w = arg;
    loop_wake(w->loop);
}

static void on_failed(void *arg)
{
    const struct err none = {0};
    post(arg, on_failed_msg, 0, &none);
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
    struct worker *w = arg;
    if (number == SIGUSR1) {
        log_reopen();
    } else if (w->draining) {
        loop_stop(w->loop); /* asked twice */
    } else {
        drain(w, w->options->drain_ms);
    }
}

static void watch_signals(struct worker *w)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file of packed weights past the limit of files: EFBIG, and none is kept */
    for (unsigned i = 0; i < 3; i++) {
        w->signals[i] = evsignal_new(loop_event_base(w->loop), numbers[i], on_signal, w);
        BUG_ON(!w->signals[i] || evsignal_add(w->signals[i], NULL));
    }
}

static int start(struct worker *w, struct err *err)
{
    const struct options *o = w->options;
    int rc = packed_file_path(o->model, o->packed_dir, w->packed, err);
    if (rc) {
        return rc;
    }
    const struct engine_conf conf = {.model = o->model,
                                     .slots = o->slots,
                                     .context = o->context,
                                     .kv_tokens = o->kv_tokens,
                                     .threads = o->threads,
                                     .step_tokens = o->step_tokens,
                                     .queue = o->queue,
                                     .packed = w->packed[0] ? w->packed : NULL,
                                     .portable = o->portable,
                                     .no_amx = o->no_amx,
                                     .device = o->device,
                                     .on_loaded = on_loaded,
                                     .on_told = on_told,
                                     .on_failed = on_failed,
                                     .arg = w};
    worker_metrics_init();
    watch_signals(w);
    rc = front_open(w->loop, o, &w->front, err);
    return rc ? rc : engine_new(&conf, &w->engine, err);
}

static int serve(const struct options *o)
{
    struct worker w = {.options = o, .loop = loop_new("worker", 0)};
    struct err err = {0};
    open_files_raise();
    crash_install("tide-worker");
    crash_thread_begin();
    int rc = start(&w, &err);
    if (rc) {
        w.exit_code = report(rc, &err);
    } else {
        w.is_loading = true;
        loop_run(w.loop);
    }
    front_close(w.front);
    if (w.is_loading) { /* its thread may be at it for minutes, and hears nothing: what it writes is the next writer's */
        log_info("worker state=stopped");
        log_close();
        _exit(w.exit_code);
    }
    engine_free(w.engine);
    for (unsigned i = 0; i < 3; i++) {
        event_free(w.signals[i]);
    }
    loop_free(w.loop);
    log_info("worker state=stopped");
    log_close();
    return w.exit_code;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    if (options_parse(argc, argv, &options, &err)) {
        fprintf(stderr, "tide-worker: %s\nTry tide-worker --help.\n", err.msg);
        return 2;
    }
    options.device.cuda = linked_cuda;
    log_set_level(options.log_level);
    switch (options.command) {
    case OPTIONS_HELP:
        options_usage(stdout);
        return 0;
    case OPTIONS_VERSION:
        puts("tide-worker " TIDE_VERSION);
        return 0;
    case OPTIONS_LOGITS:
        return report_printed(diagnose_logits(&options, &err), &err);
    case OPTIONS_TENSOR:
        return report_printed(diagnose_tensor(&options, &err), &err);
    case OPTIONS_TOKENS:
        return report_printed(diagnose_tokens(&options, &err), &err);
    case OPTIONS_BENCH:
        return report_printed(speed_run(&options, &err), &err);
    case OPTIONS_PERPLEXITY:
        return report_printed(perplexity_run(&options, &err), &err);
    case OPTIONS_INSPECT:
        return report_printed(inspect_run(&options, &err), &err);
    case OPTIONS_CHAT:
        return report_printed(talk_run(&options, &err), &err);
    case OPTIONS_SERVE:
        break;
    }
    return serve(&options);
}

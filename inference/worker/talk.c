#include "inference/worker/talk.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/id.h"
#include "inference/worker/engine.h"

enum { TURNS_MAX = 1000, LINE_MAX_BYTES = 1 << 20, ANSWER_MAX = 16 << 20, LEAST_ANSWER = 16 };

struct talk {
    struct engine *engine;
    struct arena arena; /* of the conversation */
    struct chat_message turns[TURNS_MAX];
    size_t turn_count;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool loaded;
    int rc;
    struct err err;
    bool done; /* the answer has ended */
    struct engine_output last;
    struct buf answer;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = 1;
}

static void on_loaded(void *arg, int rc, const struct err *err)
{
    struct talk *t = arg;
    pthread_mutex_lock(&t->mutex);
    t->loaded = true;
    t->rc = rc;
    t->err = *err;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static void on_output(void *arg, const struct engine_output *out)
{
    struct talk *t = arg;
    pthread_mutex_lock(&t->mutex);
    buf_add_str(&t->answer, out->text);
    fwrite(out->reasoning.p, 1, out->reasoning.n, stdout);
    if (out->text.n && t->answer.n == out->text.n && out->reasoning_tokens) {
        fputs("\n\n", stdout); /* the answer begins */
    }
    fwrite(out->text.p, 1, out->text.n, stdout);
    fflush(stdout);
    t->last = *out;
    t->done = out->finish != ENGINE_FINISH_NONE;
    pthread_cond_signal(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static int start(struct talk *t, const struct options *o, struct err *err)
{
    const struct engine_conf conf = {.model = o->model,
                                     .slots = 1,
                                     .context = o->context,
                                     .kv_tokens = o->kv_tokens,
                                     .threads = o->threads,
                                     .step_tokens = o->step_tokens,
                                     .queue = 1,
                                     .portable = o->portable,
                                     .no_amx = o->no_amx,
                                     .device = o->device,
                                     .on_loaded = on_loaded,
                                     .arg = t};
    int rc = engine_new(&conf, &t->engine, err);
    if (rc) {
        return rc;
    }
    pthread_mutex_lock(&t->mutex);
    while (!t->loaded) {
        pthread_cond_wait(&t->changed, &t->mutex);
    }
    pthread_mutex_unlock(&t->mutex);
    if (t->rc) {
        *err = t->err;
        return t->rc;
    }
    return engine_template(t->engine) ? 0 : err_set(err, ERR_INVALID, "the model has no chat template");
}

static void wait_answer(struct talk *t, uint64_t id)
{
    bool canceled = false;
    pthread_mutex_lock(&t->mutex);
    while (!t->done) {
        struct timespec soon;
        clock_gettime(CLOCK_REALTIME, &soon);
        soon.tv_nsec += 50000000;
        soon.tv_sec += soon.tv_nsec / 1000000000;
        soon.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&t->changed, &t->mutex, &soon); /* a signal does not wake it */
        if (interrupted && !canceled) {
            canceled = true;
            pthread_mutex_unlock(&t->mutex);
            engine_cancel(t->engine, id);
            pthread_mutex_lock(&t->mutex);
        }
    }
    pthread_mutex_unlock(&t->mutex);
    interrupted = 0;
}

static int answer(struct talk *t, struct err *err)
{
    struct engine_job job = {
        .sampling = {.temperature = 0.7F, .top_p = 0.95F}, .on_output = on_output, .arg = t};
    struct token_list prompt = {0};
    uint64_t id;
    int rc = chat_template_render(engine_template(t->engine), engine_tokenizer(t->engine), t->turns,
                                  t->turn_count, CHAT_THINKING_DEFAULT, &prompt, err);
    if (!rc && prompt.n + LEAST_ANSWER > engine_context(t->engine)) {
        rc = err_set(err, ERR_LIMIT, "the conversation fills the context of %u tokens; /new begins another",
                     engine_context(t->engine));
    }
    if (rc) {
        token_list_clear(&prompt);
        return rc;
    }
    job.thinks = chat_template_thinks(engine_template(t->engine), CHAT_THINKING_DEFAULT);
    job.opens_thinking = chat_template_opens_thinking(engine_template(t->engine), CHAT_THINKING_DEFAULT);
    job.prompt = prompt.p;
    job.prompt_n = (uint32_t)prompt.n;
    job.max_tokens = engine_context(t->engine) - job.prompt_n;
    id_random(&job.sampling.seed, sizeof job.sampling.seed);
    buf_init(&job.stops, 1);
    buf_truncate(&t->answer);
    t->done = false;
    if (engine_submit(t->engine, &job, &id)) {
        return err_set(err, ERR_AGAIN, "the engine is ending");
    }
    wait_answer(t, id);
    printf("\n[%u tokens, %u of %zu of the prompt known]\n", t->last.answer_tokens, t->last.cached_tokens,
           prompt.n);
    return t->last.finish == ENGINE_FINISH_FAILED ? err_set(err, ERR_IO, "the model could not compute") : 0;
}

static void forget(struct talk *t)
{
    arena_clear(&t->arena);
    arena_init(&t->arena);
    t->turn_count = 0;
}

static void add_turn(struct talk *t, struct str role, struct str content)
{
    t->turns[t->turn_count++] = (struct chat_message){role, arena_dup(&t->arena, content)};
}

static void take_line(struct talk *t, struct str line)
{
    struct err err = {0};
    if (t->turn_count + 2 > TURNS_MAX) {
        puts("[too many turns; /new begins another conversation]");
        return;
    }
    add_turn(t, STR("user"), line);
    if (answer(t, &err)) {
        printf("[%s]\n", err.msg);
        t->turn_count--;
        return;
    }
    add_turn(t, STR("assistant"), buf_str(&t->answer));
}

static void converse(struct talk *t)
{
    bool prompts = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    char *line = NULL;
    size_t room = 0;
    for (;;) {
        if (prompts) {
            fputs("> ", stdout);
            fflush(stdout);
        }
        ssize_t n = getline(&line, &room, stdin);
        struct str text = n > 0 ? str_trim(str_of(line, strcspn(line, "\r\n"))) : STR("");
        if (n < 0 || interrupted || str_is(text, "/exit")) {
            break;
        }
        if (str_is(text, "/new")) {
            forget(t);
        } else if (text.n > LINE_MAX_BYTES || !str_is_utf8(text)) {
            puts("[a line must be UTF-8 and at most 1 MiB]");
        } else if (text.n > 0) {
            take_line(t, text);
        }
    }
    free(line);
}

int talk_run(const struct options *o, struct err *err)
{
    struct talk t = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    struct sigaction action = {.sa_handler = on_interrupt}; /* no SA_RESTART: getline shall return */
    arena_init(&t.arena);
    buf_init(&t.answer, ANSWER_MAX);
    int rc = start(&t, o, err);
    if (!rc) {
        sigaction(SIGINT, &action, NULL);
        converse(&t);
    }
    engine_free(t.engine);
    buf_clear(&t.answer);
    arena_clear(&t.arena);
    return rc;
}

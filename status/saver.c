#include "status/saver.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "status/snapshot.h"

static struct metric saved =
    METRIC_GAUGE("tidestatus_snapshot_timestamp_seconds", "When the snapshot was last saved.");
static struct metric failures =
    METRIC_COUNTER("tidestatus_snapshot_failures_total", "Snapshots that were not saved.");

struct saver {
    char *path;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    char *text; /* waiting; NULL: nothing. Under lock, as the next two */
    size_t n;
    bool stopping;
};

static void save(struct saver *s, const char *text, size_t n)
{
    struct err err;
    if (snapshot_write(s->path, str_of(text, n), &err) < 0) {
        metric_add(&failures, 1);
        log_error("snapshot not saved: %s", err.msg);
    } else {
        metric_set(&saved, (double)clock_wall_s());
    }
}

static void *saver_thread(void *arg)
{
    struct saver *s = arg;
    pthread_mutex_lock(&s->lock);
    while (s->text || !s->stopping) {
        char *text = s->text;
        size_t n = s->n;
        if (!text) {
            pthread_cond_wait(&s->wanted, &s->lock);
            continue;
        }
        s->text = NULL;
        pthread_mutex_unlock(&s->lock);
        save(s, text, n);
        free(text);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

struct saver *saver_new(const char *path, struct err *err)
{
    struct saver *s = calloc(1, sizeof *s);
    BUG_ON(!s);
    s->path = strdup(path);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->wanted, NULL);
    metric_register(&saved);
    metric_register(&failures);
    if (pthread_create(&s->thread, NULL, saver_thread, s) != 0) {
        err_set(err, ERR_INTERNAL, "the snapshot thread does not start");
        free(s->path);
        free(s);
        return NULL;
    }
    return s;
}

void saver_put(struct saver *s, struct buf *text)
{
    size_t n;
    char *p = buf_take(text, &n);
    pthread_mutex_lock(&s->lock);
    free(s->text);
    s->text = p;
    s->n = n;
    pthread_cond_signal(&s->wanted);
    pthread_mutex_unlock(&s->lock);
}

void saver_free(struct saver *s)
{
    if (!s) {
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->stopping = true;
    pthread_cond_signal(&s->wanted);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->wanted);
    free(s->path);
    free(s);
}

#include "status/daemon.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "status/daemon_inner.h"
#include "status/snapshot.h"

enum { SAVE_EVERY_MS = 30000, SNAPSHOT_BYTES = 8 * 1024 * 1024, MINUTE_MS = 60000 };

/* --- what the public sees ---------------------------------------------------------------------- */

static void save_snapshot(struct daemon *d)
{
    struct buf text;
    if (!d->saver) {
        return;
    }
    buf_init(&text, SNAPSHOT_BYTES);
    snapshot_render(&d->board, clock_wall_ms(), &text);
    if (text.overflowed) {
        log_error("snapshot left out, too large");
    } else {
        saver_put(d->saver, &text);
    }
    buf_clear(&text);
    d->saved_mono_ms = clock_mono_ms();
}

void daemon_publish(struct daemon *d)
{
    struct site *site = site_render(&d->board, d->site, clock_wall_ms());
    for (unsigned k = 0; k < d->web_count; k++) {
        web_publish(d->webs[k], site);
    }
    site_unref(d->site);
    d->site = site;
    d->rendered_minute = d->board.as_of_ms / MINUTE_MS;
}

static void on_store_change(void *arg)
{
    struct daemon *d = arg;
    d->board.updated_ms = clock_wall_ms();
    watch_resume(&d->watch, &d->board, clock_mono_ms());
    board_refresh(&d->board, clock_wall_ms(), clock_mono_ms());
    daemon_publish(d);
}

static void show_notice(struct daemon *d, int64_t id)
{
    log_info("notice id=%lld shown", (long long)id);
    d->board.updated_ms = clock_wall_ms();
    board_refresh(&d->board, d->board.updated_ms, clock_mono_ms());
    daemon_publish(d);
    save_snapshot(d);
}

static void on_notice(void *arg, const struct notice *n)
{
    struct daemon *d = arg;
    d->notice_id = n->id;
    if (notice_apply(&d->board, n, clock_wall_ms())) {
        show_notice(d, n->id);
    }
}

static void on_attack(void *arg, const struct attack_notice *n)
{
    struct daemon *d = arg;
    if (attack_notice_apply(&d->board, n, clock_wall_ms())) {
        show_notice(d, n->id);
    }
}

/* While no notice was ever read, the Sign-up component goes by what the gateway says of itself. */
static void follow_settings(struct daemon *d)
{
    enum signup_state state;
    if (d->notice_id == 0 && checks_signup_state(d->checks, &state)) {
        struct component *signup = board_component(&d->board, COMPONENT_SIGNUP, STR(""), clock_wall_ms());
        if (signup) {
            signup->policy = notice_component_status(state);
        }
    }
}

static bool update_staleness(struct daemon *d, uint64_t mono_ms)
{
    bool was = d->board.is_store_stale;
    d->board.is_store_stale = d->store && store_is_stale(d->store, d->settings->page.stale_after_ms, mono_ms);
    return was != d->board.is_store_stale;
}

static bool writes_incidents(const struct daemon *d)
{
    return !d->store || store_is_writer(d->store) || d->board.is_store_stale;
}

static void on_tick(void *arg)
{
    struct daemon *d = arg;
    int64_t now = clock_wall_ms();
    uint64_t mono = clock_mono_ms();
    follow_settings(d);
    if (d->store) {
        store_tick(d->store, mono);
    }
    bool changed = update_staleness(d, mono);
    board_count_uptime(&d->board, now);
    changed |= board_refresh(&d->board, now, mono);
    if (writes_incidents(d) && watch_tick(&d->watch, &d->board, now, mono)) {
        board_refresh(&d->board, now, mono);
        d->board.updated_ms = now;
        changed = true;
    }
    if (changed || d->board.as_of_ms / MINUTE_MS != d->rendered_minute) {
        daemon_publish(d);
    }
    if (changed || mono - d->saved_mono_ms >= SAVE_EVERY_MS) {
        save_snapshot(d);
    }
    daemon_metrics_update(d);
    if (d->watchdog_ms && mono - d->watchdog_mono_ms >= d->watchdog_ms) {
        sd_notify_state("WATCHDOG=1");
        d->watchdog_mono_ms = mono;
    }
    loop_timer_arm(&d->tick, DAEMON_TICK_MS);
}

/* --- opening ----------------------------------------------------------------------------------- */

struct tls_set *daemon_load_tls(const struct status_settings *s, struct err *err)
{
    const struct conf_list *certs = &s->certificates;
    struct tls_set_conf conf = {
        .certs = certs->items, .cert_count = certs->n, .http2 = http_listeners_want_h2(&s->listeners)};
    return certs->n ? tls_set_new(&conf, err) : NULL;
}

void daemon_set_watch(struct daemon *d)
{
    const struct status_incidents_conf *i = &d->settings->incidents;
    d->watch.conf = (struct watch_conf){.open_after_ms = i->open_after_ms,
                                        .update_gap_ms = i->update_gap_ms,
                                        .update_every_ms = i->update_every_ms,
                                        .resolve_after_ms = i->resolve_after_ms,
                                        .window_ms = i->window_ms};
    d->board.page.stale_after_ms = d->settings->page.stale_after_ms;
}

static int open_listeners(struct daemon *d, struct err *err)
{
    const struct http_listener_conf *rows = d->settings->listeners.items;
    for (unsigned k = 0; k < d->settings->listeners.n; k++) {
        struct http_listener *l = http_listener_open(&rows[k], d->settings->process.threads, err);
        if (!l) {
            return err->code;
        }
        d->listeners[d->listener_count++] = (struct web_listener){.listener = l, .tls = rows[k].tls};
        log_info("listening name=%s address=%s", rows[k].name, http_listener_endpoint(l)->text);
    }
    return 0;
}

static int open_board(struct daemon *d, struct err *err)
{
    const struct status_settings *s = d->settings;
    int64_t now = clock_wall_ms();
    struct err why;
    board_init(&d->board, s->page.name, s->page.url, s->page.stale_after_ms, now);
    if (s->process.snapshot) {
        int rc = snapshot_load(s->process.snapshot, &d->board, &why);
        if (rc < 0 && rc != ERR_NOT_FOUND) {
            log_error("snapshot refused, the page starts empty: %s", why.msg);
        } else if (rc == 0) {
            log_info("snapshot loaded components=%u incidents=%u", d->board.component_count,
                     d->board.book.count);
        }
        d->saver = saver_new(s->process.snapshot, err);
        if (!d->saver) {
            return err->code;
        }
    }
    daemon_set_watch(d);
    watch_resume(&d->watch, &d->board, clock_mono_ms());
    return 0;
}

static int open_sources(struct daemon *d, struct err *err)
{
    const struct status_settings *s = d->settings;
    d->prober = prober_new(d->loop, s->probe.ca_file, err);
    if (!d->prober) {
        return err->code;
    }
    d->checks = checks_new(d->loop, d->prober, &d->board, &s->probe, err);
    if (!d->checks) {
        return err->code;
    }
    if (s->database) {
        struct store_conf conf = {.database = s->database,
                                  .on_change = on_store_change,
                                  .on_notice = on_notice,
                                  .on_attack = on_attack,
                                  .arg = d};
        d->store = store_new(&d->board, &conf, err);
        return d->store ? 0 : (int)err->code;
    }
    return 0;
}

static int open_webs(struct daemon *d, struct err *err)
{
    const struct status_settings *s = d->settings;
    board_refresh(&d->board, clock_wall_ms(), clock_mono_ms());
    daemon_publish(d);
    unsigned loops = s->process.threads;
    for (unsigned k = 0; k < loops; k++) {
        struct web *w = web_new(k, loops, &s->http, d->listeners, d->listener_count, d->tls, d->site, err);
        if (!w) {
            return err->code;
        }
        d->webs[d->web_count++] = w;
    }
    return 0;
}

struct ops_parts daemon_ops_parts(struct daemon *d, const struct status_settings *s, struct tls_set *tls)
{
    return (struct ops_parts){.loop = d->loop,
                              .prober = d->prober,
                              .board = &d->board,
                              .conf = s->ops,
                              .metrics_url = s->probe.metrics_url,
                              .limits = &s->http,
                              .tls = tls};
}

static int open_ops(struct daemon *d, struct err *err)
{
    struct ops_parts parts = daemon_ops_parts(d, d->settings, d->tls);
    if (!d->settings->ops) {
        return 0;
    }
    d->ops = ops_new(&parts, err);
    return d->ops ? 0 : (int)err->code;
}

static int open_all(struct daemon *d, struct err *err)
{
    int rc = open_board(d, err);
    if (rc == 0) {
        err->code = ERR_OK;
        d->tls = daemon_load_tls(d->settings, err);
        rc = err->code;
    }
    if (rc == 0) {
        rc = open_listeners(d, err);
    }
    if (rc == 0) {
        rc = open_sources(d, err);
    }
    if (rc == 0) {
        rc = daemon_metrics_open(d, err);
    }
    if (rc == 0) {
        rc = open_ops(d, err);
    }
    return rc == 0 ? open_webs(d, err) : rc;
}

struct daemon *daemon_new(const char *path, struct conf *conf, struct err *err)
{
    struct daemon *d = calloc(1, sizeof *d);
    BUG_ON(!d);
    d->path = path;
    d->conf = conf;
    d->settings = conf_root(conf);
    d->loop = loop_new("control", 0);
    loop_timer_init(d->loop, &d->tick, on_tick, d);
    if (open_all(d, err) < 0) {
        daemon_free(d);
        return NULL;
    }
    return d;
}

/* --- running and closing ----------------------------------------------------------------------- */

void daemon_run(struct daemon *d)
{
    daemon_events_open(d);
    d->watchdog_ms = sd_watchdog_ms();
    checks_start(d->checks);
    if (d->ops) {
        ops_start(d->ops);
    }
    loop_timer_arm(&d->tick, 0);
    sd_notify_state("READY=1\nSTATUS=serving");
    loop_run(d->loop);
    save_snapshot(d);
}

void daemon_free(struct daemon *d)
{
    daemon_events_close(d);
    loop_timer_disarm(&d->tick);
    for (unsigned k = 0; k < d->web_count; k++) {
        web_free(d->webs[k]);
    }
    daemon_metrics_close(d);
    for (unsigned k = 0; k < d->listener_count; k++) {
        http_listener_close(d->listeners[k].listener);
    }
    prober_free(d->prober);
    ops_free(d->ops);
    checks_free(d->checks);
    store_free(d->store);
    saver_free(d->saver);
    site_unref(d->site);
    tls_set_unref(d->tls);
    board_clear(&d->board);
    loop_free(d->loop);
    conf_unref(d->conf);
    free(d);
}

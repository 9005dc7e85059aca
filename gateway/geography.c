#include "gateway/geography.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/conf.h"
#include "base/log.h"
#include "base/metrics.h"
#include "gateway/config.h"
#include "gateway/control.h"
#include "gateway/gateway.h"

enum { REMEMBERED = 256 /* addresses a loop; a power of two */ };

static struct metric built = METRIC_GAUGE_L(
    "tidegate_geography_build_timestamp_seconds",
    "When the file in use was made, by what it was named for; 0: there is none in use.", "file");
static struct metric loads = METRIC_COUNTER_L("tidegate_geography_loads_total",
                                              "Files of places read, and whether they were good.", "result");
static struct metric lookups = METRIC_COUNTER_L(
    "tidegate_geography_lookups_total",
    "Addresses looked up in the files; those that a loop remembered are not counted.", "result");

/* --- configuration ----------------------------------------------------------------------------------- */

static const struct conf_entry geography_entries[] = {
    {.name = "country",
     .type = CONF_STRING,
     CONF_FIELD(struct geography_conf, files[GEO_COUNTRY]),
     .help =
         "MaxMind DB file (.mmdb) that knows the country of an address. One that knows autonomous systems "
         "too may stand here alone. Read anew when it changes; a broken one is refused and the old stays."},
    {.name = "asn",
     .type = CONF_STRING,
     CONF_FIELD(struct geography_conf, files[GEO_ASN]),
     .help = "MaxMind DB file that knows the autonomous system of an address."},
    {.name = "poll",
     .type = CONF_DURATION,
     CONF_FIELD(struct geography_conf, poll_ms),
     .preset = "5s",
     .min = 100,
     .max = 86400000,
     .help = "How often the files are looked at for changes. SIGHUP looks at once."},
};
const struct conf_section geography_conf_section = {.entries = geography_entries,
                                                    .count = CONF_COUNT(geography_entries),
                                                    .size = sizeof(struct geography_conf)};

/* --- the files --------------------------------------------------------------------------------------- */

/* Which file that is, as the file system tells it. All zero: there is none. */
struct stamp {
    dev_t device;
    ino_t inode;
    off_t bytes;
    struct timespec changed;
};

struct geography {
    struct gateway *gateway;
    struct geo *now;                /* a reference; NULL: none. Control thread */
    struct stamp stamps[GEO_KINDS]; /* of what was read last, good or not */
    struct geo_load *load;          /* running; NULL: none */
    bool is_ending;                 /* geography_stop has joined the thread of load */
};

struct geo_load {
    struct loop_msg msg; /* first: comes back to the control thread's loop */
    struct geography *geography;
    pthread_t thread;
    const struct gateway_config *conf; /* a reference: the names of the files */
    struct geo *geo;                   /* NULL: refused */
    struct err err;
};

struct remembered {
    struct addr addr;
    struct geo_place place;
};

struct geography_loop {
    struct geo *geo; /* a reference; NULL: none */
    struct metric_child *found, *unknown, *failed;
    struct remembered remembered[REMEMBERED];
};

static void stamp_files(const char *const *paths, struct stamp stamps[GEO_KINDS])
{
    memset(stamps, 0, GEO_KINDS * sizeof *stamps); /* padding too: they are compared as bytes */
    for (unsigned i = 0; i < GEO_KINDS; i++) {
        struct stat st;
        if (paths[i] && stat(paths[i], &st) == 0) {
            stamps[i].device = st.st_dev;
            stamps[i].inode = st.st_ino;
            stamps[i].bytes = st.st_size;
            stamps[i].changed = st.st_mtim;
        }
    }
}

static bool has_files(const char *const *paths)
{
    return paths[GEO_COUNTRY] || paths[GEO_ASN];
}

static void note(const struct geo *geo, int rc, const struct err *err)
{
    static const char *const names[GEO_KINDS] = {"country", "asn"};
    metric_child_add(metric_child(&loads, rc == 0 ? "ok" : "refused"), 1);
    if (rc < 0) {
        log_error("geography file refused, what was there before stays error=\"%s\"", err->msg);
        return;
    }
    for (enum geo_kind kind = 0; kind < GEO_KINDS; kind++) {
        metric_child_set(metric_child(&built, names[kind]), (double)geo_built_s(geo, kind));
    }
    log_info("geography country_built=%lld asn_built=%lld", (long long)geo_built_s(geo, GEO_COUNTRY),
             (long long)geo_built_s(geo, GEO_ASN));
}

/* --- handing over ------------------------------------------------------------------------------------ */

static void use_geo(struct gateway_loop *gl, void *geo)
{
    struct geography_loop *l = gl->geography;
    geo_unref(l->geo);
    l->geo = geo;
    memset(l->remembered, 0, sizeof l->remembered);
}

/* Takes the reference; NULL: none from now on. */
static void give_geo(struct geography *y, struct geo *geo)
{
    geo_unref(y->now);
    y->now = geo;
    for (unsigned i = 0; geo && i < y->gateway->loop_count; i++) {
        geo_ref(geo); /* use_geo keeps it */
    }
    gateway_each_loop(y->gateway, use_geo, geo);
}

static void on_loaded(struct loop_msg *m, bool canceled)
{
    struct geo_load *l = (struct geo_load *)(void *)m;
    struct geography *y = l->geography;
    y->load = NULL;
    if (y->is_ending || canceled) {
        geo_unref(l->geo);
    } else {
        pthread_join(l->thread, NULL);
        note(l->geo, l->geo ? 0 : (int)l->err.code, &l->err);
        if (l->geo) {
            give_geo(y, l->geo);
        }
    }
    config_unref(l->conf);
    free(l);
}

static void *load_thread(void *arg)
{
    struct geo_load *l = arg;
    struct loop *control = control_loop(l->geography->gateway->control);
    int rc = geo_open(l->conf->set->geography.files, &l->geo, &l->err);
    l->geo = rc == 0 ? l->geo : NULL;
    loop_post(control, &l->msg);
    return NULL;
}

static void load_files(struct geography *y)
{
    struct geo_load *l = calloc(1, sizeof *l);
    BUG_ON(!l);
    l->msg.fn = on_loaded;
    l->geography = y;
    l->conf = config_ref(y->gateway->conf);
    y->load = l;
    BUG_ON(pthread_create(&l->thread, NULL, load_thread, l) != 0);
}

/* The stamps are taken before the files are read: a change meanwhile is seen at the next look. */
static void look(void *arg)
{
    struct geography *y = arg;
    const char *const *paths = y->gateway->conf->set->geography.files;
    struct stamp stamps[GEO_KINDS];
    if (y->load) {
        return;
    }
    stamp_files(paths, stamps);
    if (memcmp(stamps, y->stamps, sizeof stamps) == 0) {
        return;
    }
    memcpy(y->stamps, stamps, sizeof stamps);
    if (has_files(paths)) {
        load_files(y);
    } else if (y->now) {
        give_geo(y, NULL);
    }
}

void geography_reload(struct gateway *g)
{
    look(g->geography);
}

/* --- asking ------------------------------------------------------------------------------------------ */

static struct geo_place find_in_files(struct geography_loop *l, const struct addr *client)
{
    struct geo_place place;
    bool ok = geo_find(l->geo, client, &place);
    metric_child_add(!ok ? l->failed : place.country[0] || place.asn ? l->found : l->unknown, 1);
    return place;
}

struct geo_place geography_find(struct gateway_loop *gl, const struct addr *client)
{
    struct geography_loop *l = gl->geography;
    uint64_t halves[2];
    if (!l->geo) {
        return (struct geo_place){{0}, 0};
    }
    memcpy(halves, client->b, sizeof halves);
    uint64_t hash = (halves[0] ^ halves[1] * 0x9e3779b97f4a7c15ULL) * 0xff51afd7ed558ccdULL;
    struct remembered *r = &l->remembered[hash >> 56];
    if (!addr_eq(&r->addr, client)) {
        *r = (struct remembered){*client, find_in_files(l, client)};
    }
    return r->place;
}
_Static_assert(REMEMBERED == 1 << 8, "geography_find takes eight bits of the hash");

/* --- life -------------------------------------------------------------------------------------------- */

void geography_open(struct gateway *g)
{
    const struct geography_conf *conf = &g->conf->set->geography;
    struct geography *y = calloc(1, sizeof *y);
    struct err err = {0};
    BUG_ON(!y);
    y->gateway = g;
    g->geography = y;
    metric_register(&loads);
    metric_register(&lookups);
    if (has_files(conf->files)) {
        stamp_files(conf->files, y->stamps);
        int rc = geo_open(conf->files, &y->now, &err);
        y->now = rc == 0 ? y->now : NULL;
        note(y->now, rc, &err);
    }
    control_tick(g->control, conf->poll_ms, look, y);
}

void geography_loop_open(struct gateway_loop *gl)
{
    struct geo *now = gl->gateway->geography->now;
    struct geography_loop *l = calloc(1, sizeof *l);
    BUG_ON(!l);
    gl->geography = l;
    l->geo = now ? geo_ref(now) : NULL;
    l->found = metric_child(&lookups, "found");
    l->unknown = metric_child(&lookups, "unknown");
    l->failed = metric_child(&lookups, "failed");
}

void geography_loop_close(struct gateway_loop *gl)
{
    if (gl->geography) {
        geo_unref(gl->geography->geo);
        free(gl->geography);
        gl->geography = NULL;
    }
}

void geography_stop(struct gateway *g)
{
    struct geography *y = g->geography;
    if (y && y->load) {
        y->is_ending = true;
        pthread_join(y->load->thread, NULL);
    }
}

void geography_close(struct gateway *g)
{
    if (g->geography) {
        geo_unref(g->geography->now);
        free(g->geography);
        g->geography = NULL;
    }
}

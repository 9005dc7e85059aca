#include "base/geo.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MEMBERS = 4, PATH_DEPTH = 3 };

/* Where each kind of file keeps its answer, by preference. */
static const char *const members[GEO_KINDS][MEMBERS][PATH_DEPTH] = {
    [GEO_COUNTRY] = {{"country", "iso_code"},
                     {"registered_country", "iso_code"},
                     {"country_code"},
                     {"country"}},
    [GEO_ASN] = {{"autonomous_system_number"}, {"traits", "autonomous_system_number"}, {"asn"}},
};

struct geo_file {
    MMDB_s db;
    bool is_open;
    unsigned has[GEO_KINDS]; /* bits: members that its records have */
};

struct geo {
    atomic_uint refs;
    struct geo_file files[GEO_KINDS];
    struct geo_file *of[GEO_KINDS]; /* which of them answers; NULL: none */
};

/* --- one record -------------------------------------------------------------------------------------- */

static bool read_country(const MMDB_entry_data_s *v, struct geo_place *out)
{
    if (v->type != MMDB_DATA_TYPE_UTF8_STRING || v->data_size != 2) {
        return false;
    }
    const char *c = v->utf8_string;
    if (c[0] < 'A' || c[0] > 'Z' || c[1] < 'A' || c[1] > 'Z') {
        return false;
    }
    memcpy(out->country, c, 2);
    out->country[2] = 0;
    return true;
}

static bool read_asn(const MMDB_entry_data_s *v, struct geo_place *out)
{
    uint64_t n = 0;
    switch (v->type) {
    case MMDB_DATA_TYPE_UINT16:
        n = v->uint16;
        break;
    case MMDB_DATA_TYPE_UINT32:
        n = v->uint32;
        break;
    case MMDB_DATA_TYPE_UINT64:
        n = v->uint64;
        break;
    case MMDB_DATA_TYPE_UTF8_STRING:
        if (v->data_size < 3 || memcmp(v->utf8_string, "AS", 2) != 0 ||
            !str_u64(str_of(v->utf8_string + 2, v->data_size - 2), &n)) {
            return false;
        }
        break;
    default:
        return false;
    }
    out->asn = n <= UINT32_MAX ? (uint32_t)n : 0;
    return out->asn != 0;
}

/* Asks for the members of `wanted` in turn. Sets their bit in *found when one answers. False: the record is broken. */
static bool read_record(MMDB_entry_s *entry, enum geo_kind kind, unsigned wanted, struct geo_place *out,
                        unsigned *found)
{
    for (unsigned m = 0; m < MEMBERS; m++) {
        MMDB_entry_data_s value;
        if (!(wanted >> m & 1) || !members[kind][m][0]) {
            continue;
        }
        int rc = MMDB_aget_value(entry, &value, (const char *const *)members[kind][m]);
        if (rc != MMDB_SUCCESS && rc != MMDB_LOOKUP_PATH_DOES_NOT_MATCH_DATA_ERROR) {
            return false;
        }
        if (rc == MMDB_SUCCESS && value.has_data &&
            (kind == GEO_COUNTRY ? read_country(&value, out) : read_asn(&value, out))) {
            *found |= 1u << m;
            return true;
        }
    }
    return true;
}

/* --- looking through a whole file -------------------------------------------------------------------- */

/* Records are shared by many nodes: each is read once. */
struct walk {
    struct geo_file *file;
    uint8_t *seen;   /* bit by offset in the data section */
    uint8_t *height; /* by node: what walk_node said; 0: not walked */
};

static bool walk_record(struct walk *w, uint8_t type, MMDB_entry_s *entry)
{
    if (type == MMDB_RECORD_TYPE_SEARCH_NODE || type == MMDB_RECORD_TYPE_EMPTY) {
        return true;
    }
    if (type != MMDB_RECORD_TYPE_DATA || entry->offset >= w->file->db.data_section_size) {
        return false;
    }
    uint8_t *seen = &w->seen[entry->offset / 8];
    uint8_t bit = (uint8_t)(1 << entry->offset % 8);
    if (*seen & bit) {
        return true;
    }
    *seen |= bit;
    struct geo_place place = {{0}, 0};
    bool ok = true;
    for (enum geo_kind kind = 0; kind < GEO_KINDS && ok; kind++) {
        for (unsigned m = 0; m < MEMBERS && ok;
             m++) { /* each on its own: all are read, also behind a good one */
            ok = read_record(entry, kind, 1u << m, &place, &w->file->has[kind]);
        }
    }
    return ok;
}

/* How many bits of an address are asked from this node down, at most; negative: something below is broken, or the way
 * is longer than an address. Some nodes are reached by several ways (IPv4 in IPv6): each is walked once. */
static int walk_node(struct walk *w, uint64_t number, int depth)
{
    const MMDB_metadata_s *about = &w->file->db.metadata;
    int bits = about->ip_version == 4 ? 32 : 128;
    if (number >= about->node_count || depth >= bits) {
        return -1;
    }
    if (w->height[number] > 0) {
        return depth + w->height[number] <= bits ? w->height[number] : -1;
    }
    MMDB_search_node_s node;
    if (MMDB_read_node(&w->file->db, (uint32_t)number, &node) != MMDB_SUCCESS ||
        !walk_record(w, node.left_record_type, &node.left_record_entry) ||
        !walk_record(w, node.right_record_type, &node.right_record_entry)) {
        return -1;
    }
    bool has_left = node.left_record_type == MMDB_RECORD_TYPE_SEARCH_NODE;
    bool has_right = node.right_record_type == MMDB_RECORD_TYPE_SEARCH_NODE;
    int left = has_left ? walk_node(w, node.left_record, depth + 1) : 0;
    int right = left >= 0 && has_right ? walk_node(w, node.right_record, depth + 1) : 0;
    if (left < 0 || right < 0) {
        return -1;
    }
    w->height[number] = (uint8_t)(1 + (left > right ? left : right));
    return w->height[number];
}

static bool walk_file(struct geo_file *f)
{
    struct walk w = {.file = f,
                     .seen = calloc(f->db.data_section_size / 8 + 1, 1),
                     .height = calloc(f->db.metadata.node_count + 1, 1)};
    BUG_ON(!w.seen || !w.height);
    bool ok = walk_node(&w, 0, 0) > 0;
    free(w.seen);
    free(w.height);
    return ok;
}

/* --- opening ----------------------------------------------------------------------------------------- */

/* A copy that nobody else can change or cut; a descriptor. */
static int copy_file(const char *path, struct err *err)
{
    struct stat st;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode)) {
        err_set(err, ERR_IO, "%s: cannot be read: %s", path, from < 0 ? strerror(errno) : "no regular file");
        if (from >= 0) {
            close(from);
        }
        return ERR_IO;
    }
    int to = st.st_size <= GEO_FILE_MAX ? memfd_create("geo", MFD_CLOEXEC) : -1;
    off_t at = 0;
    ssize_t n = 1;
    while (to >= 0 && at < st.st_size && n > 0) {
        n = sendfile(to, from, &at, (size_t)(st.st_size - at));
    }
    close(from);
    if (to >= 0 && n > 0) {
        return to;
    }
    if (to >= 0) {
        close(to);
    }
    return st.st_size > GEO_FILE_MAX ? err_set(err, ERR_LIMIT, "%s: is larger than 1 GiB", path)
                                     : err_set(err, ERR_IO, "%s: cannot be copied", path);
}

static int file_open(struct geo_file *f, const char *path, struct err *err)
{
    char copy[64];
    int fd = copy_file(path, err);
    if (fd < 0) {
        return fd;
    }
    snprintf(copy, sizeof copy, "/proc/self/fd/%d", fd);
    int rc = MMDB_open(copy, MMDB_MODE_MMAP, &f->db);
    close(fd);
    if (rc != MMDB_SUCCESS) {
        return err_set(err, ERR_INVALID, "%s: is not a good MaxMind DB file: %s", path, MMDB_strerror(rc));
    }
    f->is_open = true;
    return walk_file(f) ? 0 : err_set(err, ERR_INVALID, "%s: its tree or a record is broken", path);
}

static void geo_free(struct geo *g)
{
    for (unsigned i = 0; i < GEO_KINDS; i++) {
        if (g->files[i].is_open) {
            MMDB_close(&g->files[i].db);
        }
    }
    free(g);
}

int geo_open(const char *const paths[GEO_KINDS], struct geo **out, struct err *err)
{
    static const char *const lacks[GEO_KINDS] = {"holds no countries", "holds no autonomous systems"};
    struct geo *g = calloc(1, sizeof *g);
    BUG_ON(!g);
    atomic_init(&g->refs, 1);
    int rc = 0;
    for (enum geo_kind kind = 0; kind < GEO_KINDS && rc == 0; kind++) {
        struct geo_file *own = &g->files[kind];
        if (paths[kind]) {
            rc = file_open(own, paths[kind], err);
            g->of[kind] = own;
        }
        if (rc == 0 && paths[kind] && own->has[kind] == 0) {
            rc = err_set(err, ERR_INVALID, "%s: %s", paths[kind], lacks[kind]);
        }
    }
    for (enum geo_kind kind = 0; kind < GEO_KINDS && rc == 0; kind++) {
        struct geo_file *other = &g->files[!kind];
        g->of[kind] = g->of[kind] ? g->of[kind] : other->is_open && other->has[kind] ? other : NULL;
    }
    if (rc < 0) {
        geo_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

struct geo *geo_ref(struct geo *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void geo_unref(struct geo *g)
{
    if (g && atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) == 1) {
        geo_free(g);
    }
}

/* --- asking ------------------------------------------------------------------------------------------ */

static void sockaddr_of(const struct addr *a, struct sockaddr_storage *out)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)out;
    memset(out, 0, sizeof *out);
    if (addr_is_v4(a)) {
        v4->sin_family = AF_INET;
        memcpy(&v4->sin_addr, a->b + 12, 4);
    } else {
        v6->sin6_family = AF_INET6;
        memcpy(&v6->sin6_addr, a->b, 16);
    }
}

bool geo_find(const struct geo *g, const struct addr *a, struct geo_place *out)
{
    struct sockaddr_storage sa;
    bool ok = true;
    sockaddr_of(a, &sa);
    *out = (struct geo_place){{0}, 0};
    for (enum geo_kind kind = 0; kind < GEO_KINDS; kind++) {
        const struct geo_file *f = g->of[kind];
        unsigned found = 0;
        int rc = MMDB_SUCCESS;
        if (!f) {
            continue;
        }
        MMDB_lookup_result_s at = MMDB_lookup_sockaddr(&f->db, (const struct sockaddr *)&sa, &rc);
        bool is_short = rc == MMDB_IPV6_LOOKUP_IN_IPV4_DATABASE_ERROR; /* a file of IPv4 alone */
        ok &= rc == MMDB_SUCCESS || is_short;
        if (rc == MMDB_SUCCESS && at.found_entry) {
            ok &= read_record(&at.entry, kind, f->has[kind], out, &found);
        }
    }
    return ok;
}

int64_t geo_built_s(const struct geo *g, enum geo_kind kind)
{
    return g->files[kind].is_open ? (int64_t)g->files[kind].db.metadata.build_epoch : 0;
}

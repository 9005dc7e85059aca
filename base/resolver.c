/* evdns gives no /etc/hosts below evdns_getaddrinfo, and evdns_getaddrinfo no TTL: so the plain A and AAAA
 * questions are asked here, and the hosts file is read first (a small local file, at most every 10 s while it has the name). */
#include "base/resolver.h"

#include <event2/dns.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

enum { HOSTS_LINE = 1024, HOSTS_FRESH_MS = 10000 };

static char own_servers[RESOLVER_SERVERS][ADDR_TEXT + 9]; /* set once, before there are threads */
static unsigned own_server_count;

/* One question. It outlives a freed resolver until evdns calls back. */
struct lookup {
    struct resolver *resolver; /* NULL: nobody waits any more */
    struct evdns_request *request;
};

struct resolver {
    struct loop *loop;
    struct evdns_base *dns; /* made for the first question */
    struct lookup *v4, *v6; /* NULL when answered */
    void (*on_answer)(void *arg);
    void *arg;
    struct loop_task task;          /* calls on_answer */
    struct loop_timer other_family; /* no longer waited for */
    char host[256];
    uint16_t port;
    uint64_t asked_ms, fresh_until_ms;         /* monotonic */
    struct endpoint found[RESOLVER_ADDRESSES]; /* of the questions that run */
    unsigned found_count;
    uint64_t found_ttl_ms;
    struct endpoint addresses[RESOLVER_ADDRESSES];
    unsigned count;
    unsigned turn;
};

static void on_family_time(void *arg);

int resolver_servers_check(const char *const *servers, unsigned n, struct err *err)
{
    struct endpoint e;
    for (unsigned i = 0; i < n; i++) {
        if (strlen(servers[i]) >= sizeof own_servers[i] ||
            endpoint_parse(str_from(servers[i]), &e, NULL) != 0 || e.sa.ss_family == AF_UNIX) {
            return err_set(err, ERR_INVALID, "\"%s\" is not address:port", servers[i]);
        }
    }
    return 0;
}

void resolver_use_servers(const char *const *servers, unsigned n)
{
    for (own_server_count = 0; own_server_count < n && own_server_count < RESOLVER_SERVERS;
         own_server_count++) {
        memcpy(own_servers[own_server_count], servers[own_server_count],
               strlen(servers[own_server_count]) + 1);
    }
}

static void tell(void *arg)
{
    struct resolver *r = arg;
    r->on_answer(r->arg);
}

struct resolver *resolver_new(struct loop *loop, struct str host_port, void (*on_answer)(void *arg),
                              void *arg, struct err *err)
{
    const char *colon = memrchr(host_port.p, ':', host_port.n);
    struct str host = str_of(host_port.p, colon ? (size_t)(colon - host_port.p) : 0);
    struct str port = colon ? str_skip(host_port, host.n + 1) : STR("");
    uint64_t number = 0;
    if (host.n == 0 || host.n > 255 || memchr(host.p, ':', host.n) || !str_u64(port, &number) ||
        number == 0 || number > 65535) {
        (void)err_set(err, ERR_INVALID, "\"" STR_FMT "\" is neither host:port nor unix:/path",
                      STR_ARG(host_port));
        return NULL;
    }
    struct resolver *r = calloc(1, sizeof *r);
    BUG_ON(!r);
    r->loop = loop;
    r->on_answer = on_answer;
    r->arg = arg;
    r->task = (struct loop_task){.fn = tell, .arg = r};
    loop_timer_init(loop, &r->other_family, on_family_time, r);
    memcpy(r->host, host.p, host.n);
    r->port = (uint16_t)number;
    return r;
}

static void drop_lookup(struct resolver *r, struct lookup *l)
{
    if (l) {
        l->resolver = NULL;
        evdns_cancel_request(r->dns, l->request); /* calls back later, which frees l */
    }
}

void resolver_free(struct resolver *r)
{
    if (!r) {
        return;
    }
    loop_task_cancel(r->loop, &r->task);
    loop_timer_disarm(&r->other_family);
    drop_lookup(r, r->v4);
    drop_lookup(r, r->v6);
    if (r->dns) {
        evdns_base_free(r->dns, 0);
    }
    free(r);
}

static void keep_found(struct resolver *r, int family, const void *bytes)
{
    if (r->found_count == RESOLVER_ADDRESSES) {
        return;
    }
    struct endpoint *e = &r->found[r->found_count++];
    memset(e, 0, sizeof *e);
    if (family == AF_INET) {
        struct sockaddr_in *sa = (struct sockaddr_in *)&e->sa;
        sa->sin_family = AF_INET;
        sa->sin_port = htons(r->port);
        memcpy(&sa->sin_addr, bytes, sizeof sa->sin_addr);
        e->sa_len = sizeof *sa;
    } else {
        struct sockaddr_in6 *sa = (struct sockaddr_in6 *)&e->sa;
        sa->sin6_family = AF_INET6;
        sa->sin6_port = htons(r->port);
        memcpy(&sa->sin6_addr, bytes, sizeof sa->sin6_addr);
        e->sa_len = sizeof *sa;
    }
}

/* The new addresses replace the old ones, unless there are none. */
static void settle(struct resolver *r)
{
    loop_timer_disarm(&r->other_family);
    uint64_t ttl = r->found_ttl_ms < RESOLVER_TTL_FLOOR_MS ? RESOLVER_TTL_FLOOR_MS : r->found_ttl_ms;
    ttl = ttl > RESOLVER_TTL_CEILING_MS ? RESOLVER_TTL_CEILING_MS : ttl;
    if (r->found_count > 0) {
        memcpy(r->addresses, r->found, r->found_count * sizeof r->found[0]);
        r->count = r->found_count;
    } else {
        log_warn("resolver state=no_answer host=%s kept=%u", r->host, r->count);
        ttl = RESOLVER_TTL_FLOOR_MS;
    }
    r->fresh_until_ms = r->asked_ms + ttl;
    loop_at_turn_end(r->loop, &r->task);
}

static void on_family_time(void *arg)
{
    settle(arg);
}

static void on_lookup(int result, char type, int count, int ttl_s, void *addresses, void *arg)
{
    struct lookup *l = arg;
    struct resolver *r = l->resolver;
    if (r) {
        struct lookup **slot = r->v4 == l ? &r->v4 : &r->v6;
        *slot = NULL;
        size_t size = type == DNS_IPv4_A ? 4 : 16;
        for (int i = 0; result == DNS_ERR_NONE && i < count; i++) {
            keep_found(r, type == DNS_IPv4_A ? AF_INET : AF_INET6,
                       (const char *)addresses + (size_t)i * size);
        }
        if (result == DNS_ERR_NONE && ttl_s > 0) {
            uint64_t ttl = (uint64_t)ttl_s * 1000;
            r->found_ttl_ms = r->found_ttl_ms == 0 || ttl < r->found_ttl_ms ? ttl : r->found_ttl_ms;
        }
        if (!r->v4 && !r->v6) {
            settle(r);
        } else if (r->found_count > 0) {
            loop_timer_arm(&r->other_family, RESOLVER_FAMILY_MS);
        }
    }
    free(l);
}

/* One line of /etc/hosts: "address name name... # comment". */
static void read_hosts_line(struct resolver *r, struct str line)
{
    struct str word, address = STR("");
    bool match = false;
    struct str text = line;
    (void)str_cut(&line, '#', &text);
    for (size_t i = 0, start = 0; i <= text.n; i++) {
        if (i < text.n && text.p[i] != ' ' && text.p[i] != '\t' && text.p[i] != '\n') {
            continue;
        }
        word = str_of(text.p + start, i - start);
        start = i + 1;
        if (word.n == 0) {
            continue;
        }
        if (address.n == 0) {
            address = word;
        } else if (str_eq_nocase(word, str_from(r->host))) {
            match = true;
        }
    }
    struct addr a;
    if (match && addr_parse(address, &a)) {
        keep_found(r, addr_is_v4(&a) ? AF_INET : AF_INET6, addr_is_v4(&a) ? a.b + 12 : a.b);
    }
}

static bool read_hosts(struct resolver *r)
{
    FILE *f = fopen("/etc/hosts", "re");
    if (!f) {
        return false;
    }
    char line[HOSTS_LINE];
    while (fgets(line, sizeof line, f)) {
        read_hosts_line(r, str_from(line));
    }
    fclose(f);
    return r->found_count > 0;
}

static struct lookup *ask(struct resolver *r, bool v4)
{
    struct lookup *l = calloc(1, sizeof *l);
    BUG_ON(!l);
    l->resolver = r;
    l->request = v4 ? evdns_base_resolve_ipv4(r->dns, r->host, 0, on_lookup, l)
                    : evdns_base_resolve_ipv6(r->dns, r->host, 0, on_lookup, l);
    if (!l->request) {
        free(l);
        l = NULL;
    }
    return l;
}

/* A name server has two seconds and is asked twice, unless resolv.conf says otherwise. */
static struct evdns_base *new_dns(struct loop *loop)
{
    struct evdns_base *dns = evdns_base_new(loop_event_base(loop), EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (!dns) {
        return NULL;
    }
    evdns_base_set_option(dns, "timeout:", "2");
    evdns_base_set_option(dns, "attempts:", "2");
    for (unsigned i = 0; i < own_server_count; i++) {
        evdns_base_nameserver_ip_add(dns, own_servers[i]);
    }
    if (own_server_count == 0) {
        evdns_base_resolv_conf_parse(dns, DNS_OPTIONS_ALL & ~DNS_OPTION_HOSTSFILE, "/etc/resolv.conf");
    }
    return dns;
}

void resolver_refresh(struct resolver *r)
{
    if (r->v4 || r->v6 || loop_now_ms(r->loop) < r->fresh_until_ms) {
        return;
    }
    r->found_count = 0;
    r->found_ttl_ms = 0;
    r->asked_ms = loop_now_ms(r->loop);
    if (read_hosts(r)) {
        r->found_ttl_ms = HOSTS_FRESH_MS;
        settle(r);
        return;
    }
    if (!r->dns) {
        r->dns = new_dns(r->loop);
    }
    if (r->dns) {
        r->v4 = ask(r, true);
        r->v6 = ask(r, false);
    }
    if (!r->v4 && !r->v6) {
        settle(r);
    }
}

unsigned resolver_count(const struct resolver *r)
{
    return r->count;
}

bool resolver_has(const struct resolver *r, const struct sockaddr *sa)
{
    struct addr wanted;
    addr_from_sockaddr(sa, &wanted);
    for (unsigned i = 0; i < r->count; i++) {
        struct addr a;
        addr_from_sockaddr((const struct sockaddr *)&r->addresses[i].sa, &a);
        if (addr_eq(&a, &wanted)) {
            return true;
        }
    }
    return false;
}

const struct endpoint *resolver_next(struct resolver *r)
{
    return r->count > 0 ? &r->addresses[r->turn++ % r->count] : NULL;
}

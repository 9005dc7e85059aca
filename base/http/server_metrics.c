/* The metrics of the server. Reasons are words of this folder, never a client's. */
#include "base/http/server_impl.h"

static struct metric connections = METRIC_GAUGE("tidegate_http_connections", "Open client connections.");
static struct metric accepted =
    METRIC_COUNTER("tidegate_http_connections_accepted_total", "Client connections taken.");
static struct metric refused = METRIC_COUNTER_L("tidegate_http_connections_refused_total",
                                                "Connections closed at accept, by reason.", "reason");
static struct metric closed =
    METRIC_COUNTER_L("tidegate_http_limit_closes_total",
                     "Connections or requests ended by a limit or bad input, by reason.", "reason");
static struct metric handshakes =
    METRIC_COUNTER_L("tidegate_http_tls_handshakes_total", "TLS handshakes, by outcome.", "outcome");
static struct metric own_records = METRIC_COUNTER("tidegate_http_tls_own_records_total",
                                                  "TLS connections that went on without OpenSSL's object.");
static struct metric requests_h1 =
    METRIC_COUNTER("tidegate_http1_requests_total", "Requests that arrived by HTTP/1.");
static struct metric requests_h2 =
    METRIC_COUNTER("tidegate_http2_requests_total", "Requests that arrived by HTTP/2.");
static struct metric pings =
    METRIC_COUNTER("tidegate_http2_pings_total", "PING frames sent to clients that were silent.");

static struct metric waited =
    METRIC_COUNTER("tidegate_http2_requests_waited_total",
                   "Requests that had to wait for answers on their connection first.");

static struct metric phases = METRIC_HISTOGRAM_L(
    "tidegate_http_connection_phase_seconds",
    "accept: from accept to the client's first byte. tls: from there to the end of the handshake.", "phase");
static struct metric_child *phase_children[2];

void http_register_metrics(void)
{
    __atomic_store_n(&phase_children[HTTP_PHASE_ACCEPT], metric_child(&phases, "accept"), __ATOMIC_RELEASE);
    __atomic_store_n(&phase_children[HTTP_PHASE_TLS], metric_child(&phases, "tls"), __ATOMIC_RELEASE);
    metric_register(&connections);
    metric_register(&accepted);
    metric_register(&refused);
    metric_register(&closed);
    metric_register(&handshakes);
    metric_register(&own_records);
    metric_register(&requests_h1);
    metric_register(&requests_h2);
    metric_register(&pings);
    metric_register(&waited);
}

void http_count_refused(const char *reason)
{
    metric_child_add(metric_child(&refused, reason), 1);
}

void http_count_closed(const char *reason)
{
    metric_child_add(metric_child(&closed, reason), 1);
}

void http_count_handshake(const char *outcome)
{
    metric_child_add(metric_child(&handshakes, outcome), 1);
}

void http_count_own_records(void)
{
    metric_add(&own_records, 1);
}

void http_count_connection(int change)
{
    metric_add(&connections, change);
    if (change > 0) {
        metric_add(&accepted, change);
    }
}

void http_count_ping(void)
{
    metric_add(&pings, 1);
}

void http_count_waited(void)
{
    metric_add(&waited, 1);
}

void http_observe_phase(enum http_phase phase, uint64_t us)
{
    metric_child_observe_us(__atomic_load_n(&phase_children[phase], __ATOMIC_ACQUIRE), us);
}

void http_count_request(uint8_t version)
{
    metric_add(version == 20 ? &requests_h2 : &requests_h1, 1);
}

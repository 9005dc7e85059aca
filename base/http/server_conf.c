/* The limits of the server by name: defaults, ranges, words for the manual. */
#include "base/conf.h"
#include "base/http/server.h"

#define MS(field_, name_, preset_, min_, max_, help_)                                                        \
    {                                                                                                        \
        .name = (name_), .type = CONF_DURATION, CONF_FIELD(struct http_limits, field_), .preset = (preset_), \
        .min = (min_), .max = (max_), .flags = CONF_RELOADABLE, .help = (help_)                              \
    }
#define BYTES(field_, name_, preset_, min_, max_, help_)                                                     \
    {                                                                                                        \
        .name = (name_), .type = CONF_SIZE, CONF_FIELD(struct http_limits, field_), .preset = (preset_),     \
        .min = (min_), .max = (max_), .flags = CONF_RELOADABLE, .help = (help_)                              \
    }
#define COUNT(field_, name_, preset_, min_, max_, help_)                                                     \
    {                                                                                                        \
        .name = (name_), .type = CONF_INT, CONF_FIELD(struct http_limits, field_), .preset = (preset_),      \
        .min = (min_), .max = (max_), .flags = CONF_RELOADABLE, .help = (help_)                              \
    }

static const struct conf_entry entries[] = {
    MS(proxy_header_ms, "proxy_header", "3s", 100, 60000,
       "From accept to the end of the PROXY header, on listeners with proxy_protocol."),
    MS(handshake_ms, "handshake", "5s", 100, 60000, "From accept to the end of the TLS handshake."),
    MS(first_byte_ms, "first_byte", "5s", 100, 300000,
       "From the connection being ready to the first byte of its first request."),
    MS(header_ms, "header", "10s", 100, 300000, "From the first byte of a request to the end of its header."),
    MS(body_ms, "body", "30s", 100, 3600000,
       "From the end of the header to the end of a body of at most 1 MiB. Longer ones are held by "
       "body_min_rate."),
    MS(send_stall_ms, "send_stall", "30s", 100, 3600000,
       "Output waits and the client takes none of it: the connection, or the HTTP/2 stream, is reset."),
    MS(unacked_ms, "unacknowledged", "30s", 0, 3600000,
       "Output was sent, and the client's TCP acknowledges none of it: a phone that is gone without a word. "
       "Its connection ends, its requests are cancelled. 0: when the kernel gives up, after some 15 "
       "minutes."),
    MS(idle_ms, "idle", "60s", 1000, 3600000, "A connection without a request is closed."),
    MS(h2_ping_ms, "h2_ping", "30s", 0, 3600000,
       "An HTTP/2 client that is silent for this long is asked by PING, which also keeps NATs on the way "
       "awake. "
       "0: never."),
    MS(h2_ping_ack_ms, "h2_ping_ack", "10s", 100, 600000,
       "A client from which nothing follows the PING is gone: its requests are cancelled."),
    MS(max_age_ms, "max_age", "1h", 1000, 604800000,
       "A connection of this age takes no more requests: GOAWAY, or connection: close."),
    BYTES(body_min_rate, "body_min_rate", "1024", 0, 1 << 30,
          "Bytes a second that a body must come at, counted after 5 s and only while it is being read."),
    BYTES(send_min_rate, "send_min_rate", "240", 0, 1 << 30,
          "Bytes a second that a client must take while output waits for it, on average over send_stall: the "
          "connection, or the HTTP/2 stream, is reset. 0: any."),
    BYTES(h1_head_bytes, "h1_header", "16KiB", 1024, 32768, "Request line and header of an HTTP/1 request."),
    BYTES(h2_head_bytes, "h2_header", "32KiB", 1024, 262144, "Decoded header of an HTTP/2 request."),
    COUNT(fields, "fields", "64", 8, 1000, "Header fields of a request."),
    BYTES(target_bytes, "target", "4KiB", 256, 16384, "Path and query of a request."),
    BYTES(send_high_bytes, "send_high", "64KiB", 16384, 131072,
          "Answer bytes queued for a slow client at which its source is paused."),
    COUNT(connections, "connections", "0", 0, 1000000,
          "Open connections of the process. 0: as many as file descriptors allow, less a reserve."),
    COUNT(connections_per_addr, "connections_per_address", "256", 1, 1000000,
          "Open connections of one IPv4 address or IPv6 /64. Loopback and trusted proxies are exempt."),
    COUNT(handshakes_per_loop, "handshakes_in_flight", "256", 1, 100000,
          "TLS handshakes at once, on each loop."),
    COUNT(handshakes_per_s, "new_connections_per_second", "50", 1, 100000,
          "New connections a second of one IPv4 address or IPv6 /64, with bursts of twice that. Same "
          "exemptions."),
    BYTES(hello_bytes, "client_hello", "16KiB", 512, 65536, "A TLS ClientHello."),
    COUNT(hello_records, "client_hello_records", "16", 1, 1000,
          "TLS records that a ClientHello may be cut into."),
    COUNT(hello_extensions, "client_hello_extensions", "64", 16, 512, "Extensions of a ClientHello."),
    COUNT(key_updates, "key_updates", "32", 1, 1000000,
          "TLS KeyUpdate messages and tries to renegotiate, of one connection. Then it is closed."),
    COUNT(key_updates_per_min, "key_updates_per_minute", "8", 1, 1000000, "The same, in one minute."),
    {.name = "tls_own_records",
     .type = CONF_BOOL,
     CONF_FIELD(struct http_limits, own_records),
     .preset = "true",
     .flags = CONF_RELOADABLE,
     .help = "TLS 1.3 records after the handshake are made here: an idle connection costs a fifth. false: by "
             "OpenSSL, as those of TLS 1.2 always are."},
    COUNT(requests_per_connection, "requests_per_connection", "10000", 1, 1000000000,
          "Then GOAWAY, or connection: close."),
    COUNT(h2_streams, "h2_streams", "100", 1, 1000, "Requests at once on one HTTP/2 connection."),
    COUNT(h2_unanswered, "h2_unanswered", "16", 1, 1000,
          "Of them, that are worked on and have no answer yet. Further ones wait until one has."),
    COUNT(h2_resets_burst, "h2_resets", "100", 10, 100000,
          "Streams that a client may reset, or make us reset; refilled by a tenth a second. Then GOAWAY."),
    COUNT(h2_control_burst, "h2_control_frames", "200", 20, 100000,
          "PING, SETTINGS, PRIORITY, needless WINDOW_UPDATE, unknown frames and DATA below 64 bytes; an "
          "empty DATA frame counts ten. Refilled by a tenth a second. Then GOAWAY."),
};

const struct conf_section http_limits_conf_section = {
    .entries = entries,
    .count = CONF_COUNT(entries),
    .size = sizeof(struct http_limits),
};

/* What HTTP/2 peers may do beyond requests. */
#include "base/http/h2.h"

enum { FRAME_HEAD_BYTES = 9, DATA_SMALL_BYTES = 64 };

/* --- counting ------------------------------------------------------------------------------------- */

/* A bucket of `burst` tokens that refills by a tenth of it a second. */
bool h2_charge(struct h2 *h, struct h2_bucket *b, uint32_t burst, uint32_t tokens)
{
    uint64_t now = loop_now_ms(h->conn->server->loop);
    uint64_t back = (now - b->at_ms) * burst / 10;
    b->milli = b->milli > back ? b->milli - back : 0;
    b->at_ms = now;
    b->milli += (uint64_t)tokens * 1000;
    return b->milli <= (uint64_t)burst * 1000;
}

void h2_calm_down(struct h2 *h, const char *reason)
{
    if (!h->doomed) {
        h->doomed = true;
        http_count_closed(reason);
        nghttp2_session_terminate_session(h->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
}

static bool count_control(struct h2 *h, uint32_t tokens)
{
    if (!h2_charge(h, &h->control, h->conn->server->limits.h2_control_burst, tokens)) {
        h2_calm_down(h, "h2_control_frames");
        return false;
    }
    return true;
}

static bool count_reset(struct h2 *h)
{
    if (!h2_charge(h, &h->resets, h->conn->server->limits.h2_resets_burst, 1)) {
        h2_calm_down(h, "h2_resets");
        return false;
    }
    return true;
}

/* Who downloads has to open windows, and some clients set priorities: three a request and twenty a DATA frame
 * of ours are free. */
static bool count_useful(struct h2 *h)
{
    if (h->free_control > 0) {
        h->free_control--;
        return true;
    }
    return count_control(h, 1);
}

/* DATA that carries next to nothing and ends nothing; what is padded carries at least its length less 256. */
static bool count_data(struct h2 *h, const nghttp2_frame_hd *hd)
{
    size_t padding = hd->flags & NGHTTP2_FLAG_PADDED ? 256 : 0;
    if (hd->length >= padding + DATA_SMALL_BYTES || (hd->flags & NGHTTP2_FLAG_END_STREAM)) {
        return true;
    }
    return count_control(h, hd->length <= padding ? 10 : 1);
}

bool h2_count_frame_in(struct h2 *h, const nghttp2_frame_hd *hd)
{
    h->useless -= hd->type != NGHTTP2_HEADERS; /* those when they begin a request or its trailer */
    switch (hd->type) {
    case NGHTTP2_DATA:
        return count_data(h, hd);
    case NGHTTP2_HEADERS:
        h->free_control += 3;
        return true;
    case NGHTTP2_RST_STREAM:
        return count_reset(h);
    case NGHTTP2_PRIORITY:
        return hd->stream_id != 0 && count_useful(h); /* nghttp2 looks at none of them */
    case NGHTTP2_WINDOW_UPDATE:
    case NGHTTP2_PRIORITY_UPDATE:
        return count_useful(h);
    default: /* PING, SETTINGS, CONTINUATION, GOAWAY */
        return count_control(h, 1);
    }
}

static void scan_head(struct h2 *h, uint8_t byte)
{
    struct h2_scan *s = &h->scan;
    if (s->head < 3) {
        s->length = s->length << 8 | byte;
    } else if (s->head == 3) {
        s->type = byte;
    } else if (s->head == 4) {
        s->flags = byte;
    }
    if (++s->head < FRAME_HEAD_BYTES) {
        return;
    }
    h->useless++;
    if (s->type == NGHTTP2_HEADERS) {
        h->head_began_ms = loop_now_ms(h->conn->server->loop);
    }
    s->skip = s->length;
    s->length = s->head = 0;
}

/* A header block ends with its last frame, whatever becomes of its stream, or of others, meanwhile. */
static void scan_end(struct h2 *h)
{
    const struct h2_scan *s = &h->scan;
    bool is_head = s->type == NGHTTP2_HEADERS || s->type == NGHTTP2_CONTINUATION;
    if (is_head && (s->flags & NGHTTP2_FLAG_END_HEADERS)) {
        h->head_began_ms = 0;
    }
}

void h2_count_input(struct h2 *h, struct str data)
{
    struct h2_scan *s = &h->scan;
    while (data.n > 0) {
        size_t n = 1;
        if (s->skip > 0) {
            n = data.n < s->skip ? data.n : s->skip;
            s->skip -= (uint32_t)n;
        } else {
            scan_head(h, (uint8_t)data.p[0]);
        }
        data = str_skip(data, n);
        if (s->skip == 0 && s->head == 0) {
            scan_end(h);
        }
    }
}

/* A frame whose meaning shows only with its payload may be charged too early: the next one is free then. */
bool h2_count_useless(struct h2 *h)
{
    if (h->useless <= h->useless_charged) {
        return true;
    }
    uint32_t more = (uint32_t)(h->useless - h->useless_charged);
    h->useless_charged = h->useless;
    return count_control(h, more);
}

/* A reset that the peer made us send counts like its own; those that we wanted say NO_ERROR or CANCEL. */
bool h2_count_frame_out(struct h2 *h, const nghttp2_frame *frame)
{
    if (frame->hd.type == NGHTTP2_DATA) {
        h->free_control += 20;
    } else if (frame->hd.type == NGHTTP2_RST_STREAM && frame->rst_stream.error_code != NGHTTP2_NO_ERROR &&
               frame->rst_stream.error_code != NGHTTP2_CANCEL) {
        return count_reset(h);
    }
    return true;
}

bool h2_count_header(struct exchange *x, size_t name_n, size_t value_n)
{
    const struct http_limits *limits = &x->conn->server->limits;
    x->head_bytes += name_n + value_n + 32; /* RFC 9113 6.5.2 */
    x->head_fields++;
    if (x->head_bytes > limits->h2_head_bytes || x->head_fields > limits->fields + 4) {
        x->head_too_large = true;
    }
    return x->head_bytes <= 8 * (size_t)limits->h2_head_bytes;
}

#include "base/http/h1_parse.h"

enum {
    HOST_MAX = 255 + 6,
    METHOD_MAX = 32,
    CHUNK_EXT_MAX = 64,
    CHUNK_DIGITS_MAX = 8,
    TRAILERS_MAX = 8,
    DROPPED_MAX = 8192
};
#define LENGTH_MAX ((int64_t)1 << 53)

const uint8_t http_token_lower[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*', ['+'] = '+',
    ['-'] = '-', ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|',   ['~'] = '~', ['0'] = '0',
    ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6',   ['7'] = '7', ['8'] = '8',
    ['9'] = '9', ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e',   ['F'] = 'f', ['G'] = 'g',
    ['H'] = 'h', ['I'] = 'i', ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm',   ['N'] = 'n', ['O'] = 'o',
    ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r', ['S'] = 's', ['T'] = 't', ['U'] = 'u',   ['V'] = 'v', ['W'] = 'w',
    ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z', ['a'] = 'a', ['b'] = 'b', ['c'] = 'c',   ['d'] = 'd', ['e'] = 'e',
    ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i', ['j'] = 'j', ['k'] = 'k',   ['l'] = 'l', ['m'] = 'm',
    ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r', ['s'] = 's',   ['t'] = 't', ['u'] = 'u',
    ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};

static bool is_value_byte(uint8_t c)
{
    return (c >= 0x20 && c != 0x7f) || c == '\t';
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* --- the end of a head -------------------------------------------------------------------------- */

int64_t h1_request_end(const char *p, size_t n, size_t *scanned)
{
    while (*scanned < n) {
        const char *lf = memchr(p + *scanned, '\n', n - *scanned);
        if (!lf) {
            *scanned = n;
            return 0;
        }
        size_t at = (size_t)(lf - p);
        if (at == 0 || p[at - 1] != '\r') {
            return ERR_PROTOCOL;
        }
        *scanned = at + 1;
        if (at >= 3 && p[at - 2] == '\n') {
            return (int64_t)at + 1;
        }
    }
    return 0;
}

/* --- the head ----------------------------------------------------------------------------------- */

static int refuse(struct h1_refusal *why, const char *code, const char *text)
{
    *why = (struct h1_refusal){code, text};
    return ERR_PROTOCOL;
}

enum http_method http_method_of(struct str text)
{
    static const struct str names[] = {
        [HTTP_GET] = STR_INIT("GET"),         [HTTP_HEAD] = STR_INIT("HEAD"),
        [HTTP_POST] = STR_INIT("POST"),       [HTTP_PUT] = STR_INIT("PUT"),
        [HTTP_PATCH] = STR_INIT("PATCH"),     [HTTP_DELETE] = STR_INIT("DELETE"),
        [HTTP_OPTIONS] = STR_INIT("OPTIONS"),
    };
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (str_eq(text, names[i])) {
            return (enum http_method)i;
        }
    }
    return HTTP_OTHER;
}

/* Takes bytes up to the next space; *at is behind it afterwards. */
static bool take_word(const char *p, size_t n, size_t *at, bool (*is_ok)(uint8_t), struct str *out)
{
    size_t from = *at;
    size_t i = from;
    while (i < n && is_ok((uint8_t)p[i])) {
        i++;
    }
    if (i == from || i == n || p[i] != ' ') {
        return false;
    }
    *out = str_of(p + from, i - from);
    *at = i + 1;
    return true;
}

static bool is_token_byte(uint8_t c)
{
    return http_token_lower[c] != 0;
}

static bool is_target_byte(uint8_t c)
{
    return c > 0x20 && c < 0x7f && c != '#' && c != '\\';
}

bool http_target_is_valid(struct str target)
{
    for (size_t i = 0; i < target.n; i++) {
        if (!is_target_byte((uint8_t)target.p[i])) {
            return false;
        }
    }
    return target.n > 0;
}

/* One byte of a path, decoded; *at is behind it. -1: a broken escape. */
static int path_byte(struct str path, size_t *at)
{
    uint8_t byte = (uint8_t)path.p[*at];
    if (byte != '%') {
        *at += 1;
        return byte;
    }
    if (path.n - *at < 3 || str_hex_decode(str_of(path.p + *at + 1, 2), &byte, 1) != 1) {
        return -1;
    }
    *at += 3;
    return byte;
}

/* Without dots, escapes and control bytes: nearly all paths. */
static bool path_is_simple(struct str path)
{
    bool simple = true;
    for (size_t i = 0; i < path.n; i++) {
        uint8_t c = (uint8_t)path.p[i];
        simple &= c >= 0x20 && c != '%' && c != '.' && c != 0x7f;
    }
    return simple;
}

bool http_path_is_plain(struct str path)
{
    if (path_is_simple(path)) {
        return true;
    }
    size_t length = 0; /* of the segment, decoded */
    size_t dots = 0;
    for (size_t at = 0; at < path.n;) {
        int byte = path_byte(path, &at);
        if (byte < 0x20 || byte == 0x7f) {
            return false;
        }
        bool ends = byte == '/' || byte == '\\' || byte == ';'; /* some servers cut parameters off */
        if (ends && dots > 0 && dots == length) {
            return false;
        }
        length = ends ? 0 : length + 1;
        dots = ends ? 0 : dots + (byte == '.');
        if (length > 2) {
            dots = 0; /* no dot segment any more */
        }
    }
    return dots == 0 || dots != length;
}

static int parse_version(const char *p, size_t n, size_t *at, struct h1_head *head, struct h1_refusal *why)
{
    const char *v = p + *at;
    if (n - *at < 10 || memcmp(v, "HTTP/", 5) != 0 || !is_digit((uint8_t)v[5]) || v[6] != '.' ||
        !is_digit((uint8_t)v[7]) || v[8] != '\r' || v[9] != '\n') {
        return refuse(why, "bad_request", "malformed request line");
    }
    if (v[5] != '1' || v[7] > '1') {
        return refuse(why, "http_version_not_supported", "only HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken");
    }
    head->minor = (uint8_t)(v[7] - '0');
    head->close = head->minor == 0;
    *at += 10;
    return 0;
}

static int parse_request_line(const char *p, size_t n, size_t *at, struct h1_head *head,
                              struct h1_refusal *why)
{
    if (!take_word(p, n, at, is_token_byte, &head->method_text) || head->method_text.n > METHOD_MAX) {
        return refuse(why, "bad_request", "malformed method");
    }
    if (!take_word(p, n, at, is_target_byte, &head->target)) {
        return refuse(why, "bad_request", "malformed request target");
    }
    if (head->target.n > head->max_target) {
        return refuse(why, "uri_too_long", "the request target is too long");
    }
    head->method = http_method_of(head->method_text);
    return parse_version(p, n, at, head, why);
}

struct seen {
    bool host, length, transfer, upgrade, websocket;
};

static int take_length(struct str v, struct h1_head *head, struct seen *seen, struct h1_refusal *why)
{
    uint64_t length;
    if (seen->length) {
        return refuse(why, "bad_request", "more than one content-length");
    }
    if (!str_u64(v, &length) || length > (uint64_t)LENGTH_MAX || (v.n > 1 && v.p[0] == '0')) {
        return refuse(why, "bad_request", "malformed content-length");
    }
    seen->length = true;
    head->content_length = (int64_t)length;
    return 0;
}

static int take_transfer(struct str v, struct h1_head *head, struct seen *seen, struct h1_refusal *why)
{
    if (seen->transfer || !str_eq_nocase(v, STR("chunked"))) {
        return refuse(why, "bad_request", "transfer-encoding must be exactly: chunked");
    }
    if (head->minor == 0) {
        return refuse(why, "bad_request", "transfer-encoding in HTTP/1.0");
    }
    seen->transfer = true;
    return 0;
}

static bool is_host_byte(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '-' ||
           c == '_' || c == ':' || c == '[' || c == ']';
}

bool http_host_is_valid(struct str host)
{
    for (size_t i = 0; i < host.n; i++) {
        if (!is_host_byte((uint8_t)host.p[i])) {
            return false;
        }
    }
    return host.n > 0 && host.n <= HOST_MAX;
}

static int take_host(struct str v, struct h1_head *head, struct seen *seen, struct h1_refusal *why)
{
    if (seen->host) {
        return refuse(why, "bad_request", "more than one host");
    }
    if (!http_host_is_valid(v)) {
        return refuse(why, "bad_request", "malformed host");
    }
    seen->host = true;
    head->host = v;
    return 0;
}

static bool list_has(struct str v, struct str word)
{
    struct str item;
    while (str_cut(&v, ',', &item)) {
        if (str_eq_nocase(str_trim(item), word)) {
            return true;
        }
    }
    return false;
}

static void take_connection(struct str v, struct h1_head *head, struct seen *seen)
{
    head->close = head->close || list_has(v, STR("close"));
    seen->upgrade = seen->upgrade || list_has(v, STR("upgrade"));
}

static int take_expect(struct str v, struct h1_head *head, struct h1_refusal *why)
{
    if (!str_eq_nocase(v, STR("100-continue"))) {
        return refuse(why, "expectation_failed", "only 100-continue can be expected");
    }
    head->expect_continue = head->minor == 1;
    return 0;
}

/* Fields that decide framing and the connection; by length first, since most fields are none of them. */
static int take_field(const struct http_field *f, struct h1_head *head, struct seen *seen,
                      struct h1_refusal *why)
{
    switch (f->name.n) {
    case 4:
        return str_eq(f->name, STR("host")) ? take_host(f->value, head, seen, why) : 0;
    case 6:
        return str_eq(f->name, STR("expect")) ? take_expect(f->value, head, why) : 0;
    case 7:
        seen->websocket =
            seen->websocket || (str_eq(f->name, STR("upgrade")) && list_has(f->value, STR("websocket")));
        return 0;
    case 10:
        if (str_eq(f->name, STR("connection"))) {
            take_connection(f->value, head, seen);
        }
        return 0;
    case 14:
        return str_eq(f->name, STR("content-length")) ? take_length(f->value, head, seen, why) : 0;
    case 17:
        return str_eq(f->name, STR("transfer-encoding")) ? take_transfer(f->value, head, seen, why) : 0;
    default:
        return 0;
    }
}

static bool parse_name(char *p, size_t n, size_t *at, struct str *name)
{
    size_t from = *at;
    size_t i = from;
    while (i < n && http_token_lower[(uint8_t)p[i]]) {
        p[i] = (char)http_token_lower[(uint8_t)p[i]];
        i++;
    }
    if (i == from || i == n || p[i] != ':') {
        return false;
    }
    *name = str_of(p + from, i - from);
    *at = i + 1;
    return true;
}

static bool parse_value(const char *p, size_t n, size_t *at, struct str *value)
{
    size_t from = *at;
    size_t i = from + str_text_len(str_of(p + from, n - from));
    if (i + 1 >= n || p[i] != '\r' || p[i + 1] != '\n') {
        return false;
    }
    *value = str_trim(str_of(p + from, i - from));
    *at = i + 2;
    return true;
}

static int parse_fields(char *p, size_t n, size_t *at, struct h1_head *head, struct seen *seen,
                        struct h1_refusal *why)
{
    while (!(n - *at == 2 && p[*at] == '\r' && p[*at + 1] == '\n')) {
        struct http_field f;
        if (head->field_count == head->max_fields) {
            return refuse(why, "header_fields_too_large", "too many header fields");
        }
        if (!parse_name(p, n, at, &f.name)) {
            return refuse(why, "bad_request", "malformed field name");
        }
        if (!parse_value(p, n, at, &f.value)) {
            return refuse(why, "bad_request", "malformed field value");
        }
        head->fields[head->field_count++] = f;
        if (take_field(&f, head, seen, why) != 0) {
            return ERR_PROTOCOL;
        }
    }
    return 0;
}

static void split_target(struct h1_head *head, struct str origin)
{
    const char *mark = memchr(origin.p, '?', origin.n);
    size_t path = mark ? (size_t)(mark - origin.p) : origin.n;
    head->path = str_of(origin.p, path);
    head->query = mark ? str_skip(origin, path + 1) : STR("");
}

/* "http://host/path": only when it names the very Host. */
static int parse_absolute(struct h1_head *head, struct h1_refusal *why)
{
    struct str rest = head->target;
    if (rest.n > 7 && str_eq_nocase(str_of(rest.p, 7), STR("http://"))) {
        rest = str_skip(rest, 7);
    } else if (rest.n > 8 && str_eq_nocase(str_of(rest.p, 8), STR("https://"))) {
        rest = str_skip(rest, 8);
    } else {
        return refuse(why, "bad_request", "malformed request target");
    }
    const char *slash = memchr(rest.p, '/', rest.n);
    size_t n = slash ? (size_t)(slash - rest.p) : rest.n;
    if (!str_eq_nocase(str_of(rest.p, n), head->host)) {
        return refuse(why, "bad_request", "the request target names another host");
    }
    head->target = slash ? str_skip(rest, n) : STR("/");
    split_target(head, head->target);
    return 0;
}

/* Origin form, or "*", or an absolute one. */
static int take_target(struct h1_head *head, struct h1_refusal *why)
{
    if (str_is(head->method_text, "CONNECT")) {
        return refuse(why, "not_implemented", "CONNECT is not offered");
    }
    if (head->target.p[0] == '/') {
        split_target(head, head->target);
        return 0;
    }
    if (head->target.p[0] == '*' && head->target.n == 1) {
        if (head->method != HTTP_OPTIONS) {
            return refuse(why, "bad_request", "only OPTIONS has the target *");
        }
        head->path = head->target;
        head->query = STR("");
        return 0;
    }
    return parse_absolute(head, why);
}

static int check_target(struct h1_head *head, struct h1_refusal *why)
{
    if (take_target(head, why) != 0) {
        return ERR_PROTOCOL;
    }
    return http_path_is_plain(head->path) ? 0 : refuse(why, "bad_request", HTTP_PATH_IS_ODD);
}

int h1_request_parse(char *p, size_t n, struct h1_head *head, struct h1_refusal *why)
{
    struct seen seen = {0};
    size_t at = 0;
    head->field_count = 0;
    head->content_length = 0;
    head->host = STR("");
    head->expect_continue = head->upgrade_websocket = false;
    if (parse_request_line(p, n, &at, head, why) != 0 || parse_fields(p, n, &at, head, &seen, why) != 0) {
        return ERR_PROTOCOL;
    }
    if (seen.length && seen.transfer) {
        return refuse(why, "bad_request", "content-length beside transfer-encoding");
    }
    if (!seen.host && head->minor == 1) {
        return refuse(why, "bad_request", "host is missing");
    }
    if (seen.transfer) {
        head->content_length = -1;
    }
    head->upgrade_websocket = seen.upgrade && seen.websocket && head->minor == 1 && head->method == HTTP_GET;
    return check_target(head, why);
}

/* --- chunks --------------------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool size_byte(struct h1_chunked *d, uint8_t c)
{
    int hex = hex_value(c);
    if (hex >= 0) {
        d->left = d->left << 4 | (uint64_t)hex;
        return ++d->digits <= CHUNK_DIGITS_MAX;
    }
    d->state = c == ';' ? H1_CHUNK_EXT : H1_CHUNK_SIZE_LF;
    return d->digits > 0 && (c == ';' || c == '\r');
}

/* Where a name, a token or a quoted value may end: the next extension, or the line. */
static bool ext_end(struct h1_chunked *d, uint8_t c)
{
    d->state = c == ';' ? H1_CHUNK_EXT : H1_CHUNK_SIZE_LF;
    return c == ';' || c == '\r';
}

static bool ext_quoted(struct h1_chunked *d, uint8_t c)
{
    if (d->state == H1_CHUNK_EXT_ESCAPED) {
        d->state = H1_CHUNK_EXT_QUOTED;
    } else if (c == '"') {
        d->state = H1_CHUNK_EXT_DONE;
    } else if (c == '\\') {
        d->state = H1_CHUNK_EXT_ESCAPED;
    }
    return is_value_byte(c);
}

/* RFC 9112 7.1.1, with optional space only behind the semicolon. */
static bool ext_byte(struct h1_chunked *d, uint8_t c)
{
    if (++d->ext_bytes > CHUNK_EXT_MAX || ++d->dropped > DROPPED_MAX) {
        return false;
    }
    switch (d->state) {
    case H1_CHUNK_EXT:
        d->state = http_token_lower[c] ? H1_CHUNK_EXT_NAME : H1_CHUNK_EXT;
        return http_token_lower[c] || c == ' ' || c == '\t';
    case H1_CHUNK_EXT_NAME:
        if (c == '=') {
            d->state = H1_CHUNK_EXT_VALUE;
            return true;
        }
        return http_token_lower[c] || ext_end(d, c);
    case H1_CHUNK_EXT_VALUE:
        d->state = c == '"' ? H1_CHUNK_EXT_QUOTED : H1_CHUNK_EXT_TOKEN;
        return c == '"' || http_token_lower[c];
    case H1_CHUNK_EXT_TOKEN:
        return http_token_lower[c] || ext_end(d, c);
    case H1_CHUNK_EXT_DONE:
        return ext_end(d, c);
    default:
        return ext_quoted(d, c);
    }
}

static void size_done(struct h1_chunked *d)
{
    d->state = d->left > 0 ? H1_CHUNK_DATA : H1_CHUNK_TRAILER;
    d->digits = 0;
    d->ext_bytes = 0;
}

static bool trailer_byte(struct h1_chunked *d, uint8_t c)
{
    d->dropped++;
    switch (d->state) {
    case H1_CHUNK_TRAILER:
        if (c == '\r') {
            d->state = H1_CHUNK_END_LF;
            return true;
        }
        d->state = H1_CHUNK_TRAILER_NAME;
        return http_token_lower[c] && ++d->trailers <= TRAILERS_MAX;
    case H1_CHUNK_TRAILER_NAME:
        if (c == ':') {
            d->state = H1_CHUNK_TRAILER_VALUE;
            return true;
        }
        return http_token_lower[c] && d->dropped <= DROPPED_MAX;
    default:
        if (c == '\r') {
            d->state = H1_CHUNK_TRAILER_LF;
            return true;
        }
        return is_value_byte(c) && d->dropped <= DROPPED_MAX;
    }
}

static bool expect_byte(struct h1_chunked *d, uint8_t c, char wanted, enum h1_chunk_state next)
{
    d->state = (uint8_t)next;
    return c == (uint8_t)wanted;
}

static bool chunk_byte(struct h1_chunked *d, uint8_t c)
{
    switch (d->state) {
    case H1_CHUNK_SIZE:
        return size_byte(d, c);
    case H1_CHUNK_EXT:
    case H1_CHUNK_EXT_NAME:
    case H1_CHUNK_EXT_VALUE:
    case H1_CHUNK_EXT_TOKEN:
    case H1_CHUNK_EXT_QUOTED:
    case H1_CHUNK_EXT_ESCAPED:
    case H1_CHUNK_EXT_DONE:
        return ext_byte(d, c);
    case H1_CHUNK_SIZE_LF:
        size_done(d);
        return c == '\n';
    case H1_CHUNK_DATA_CR:
        return expect_byte(d, c, '\r', H1_CHUNK_DATA_LF);
    case H1_CHUNK_DATA_LF:
        return expect_byte(d, c, '\n', H1_CHUNK_SIZE);
    case H1_CHUNK_TRAILER_LF:
        return expect_byte(d, c, '\n', H1_CHUNK_TRAILER);
    case H1_CHUNK_END_LF:
        return expect_byte(d, c, '\n', H1_CHUNK_END);
    default:
        return trailer_byte(d, c);
    }
}

enum h1_chunk_result h1_chunked_next(struct h1_chunked *d, struct str *in, struct str *data)
{
    while (in->n > 0) {
        if (d->state == H1_CHUNK_DATA) {
            size_t n = in->n < d->left ? in->n : (size_t)d->left;
            *data = str_of(in->p, n);
            *in = str_skip(*in, n);
            d->left -= n;
            d->state = d->left > 0 ? H1_CHUNK_DATA : H1_CHUNK_DATA_CR;
            return H1_CHUNK_HAS_DATA;
        }
        uint8_t c = (uint8_t)in->p[0];
        *in = str_skip(*in, 1);
        if (!chunk_byte(d, c)) {
            return H1_CHUNK_BAD;
        }
        if (d->state == H1_CHUNK_END) {
            return H1_CHUNK_DONE;
        }
    }
    return H1_CHUNK_MORE;
}

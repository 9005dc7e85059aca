/* traceparent (gateway/trace_context.h): what is accepted is accepted again when written anew. */
#include <stdio.h>

#include "gateway/trace_context.h"
#include "tests/fuzz/fuzz.h"

static bool is_hex(const char *s, size_t n)
{
    return strlen(s) == n && strspn(s, "0123456789abcdef") == n && strspn(s, "0") < n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct trace_context t = {.id = "untouched"}, again;
    char *exact = fuzz_copy(data, n);
    bool is_one = trace_context_parse(str_of(exact, n), &t);
    free(exact);
    if (!is_one) {
        MUST(strcmp(t.id, "untouched") == 0);
        return 0;
    }
    char text[TRACE_CONTEXT_TEXT + 1];
    MUST(is_hex(t.id, TRACE_ID_TEXT) && is_hex(t.parent, TRACE_PARENT_TEXT) && t.flags <= 3);
    snprintf(text, sizeof(text), "00-%s-%s-%02x", t.id, t.parent, t.flags);
    MUST(trace_context_parse(str_from(text), &again));
    MUST(strcmp(t.id, again.id) == 0 && strcmp(t.parent, again.parent) == 0 && t.flags == again.flags);
    return 0;
}

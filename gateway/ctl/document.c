/* JSON documents that the operator hands over. */
#include <stdio.h>

#include "gateway/ctl/ctl.h"

/* Looked at here, so that the place is told in terms of the file. */
static bool is_json(const char *path, struct str text)
{
    struct arena arena;
    struct json_doc doc;
    struct err err = {0};
    struct json_limits limits = {
        .max_depth = 32, .max_members = 1u << 20, .max_items = 1u << 20, .max_string = 1u << 20};
    arena_init(&arena);
    int rc = json_scan(&arena, text, &limits, &doc, &err);
    if (rc != 0) {
        fprintf(stderr, "tidectl: %s: %s\n", path, err.msg);
    }
    arena_clear(&arena);
    return rc == 0;
}

bool ctl_read_document(const char *path, struct buf *out)
{
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "r");
    if (f == NULL) {
        fprintf(stderr, "tidectl: %s: cannot be read\n", path);
        return false;
    }
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;) {
        buf_add(out, chunk, n);
    }
    bool ok = ferror(f) == 0 && !out->overflowed;
    if (f != stdin) {
        fclose(f);
    }
    if (!ok) {
        fprintf(stderr, "tidectl: %s: cannot be read, or is longer than %d bytes\n", path, CTL_DOCUMENT_MAX);
    }
    return ok && is_json(path, buf_str(out));
}
